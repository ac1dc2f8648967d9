"""The way to providers: an aiohttp client that follows no redirect, asks no proxy and bounds everything it reads.

PeerError
├── ProviderTimeoutError · ProviderResetError · ProviderUnreachableError
└── ProviderTooLargeError · ProviderBadReplyError
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping

import aiohttp

from outpost.core.errors import PeerError
from outpost.ports import UpstreamRequest

MAX_REPLY_BYTES = 32 * 1_048_576  # bytes of one answer; ten times the longest answer of today's models
MAX_HEAD_FIELD_BYTES = 8_190  # bytes of one header; aiohttp's and nginx's own bound
MAX_CONNECTIONS_PER_HOST = 1_024  # sockets; the in-flight bound of a worker is lower
KEEPALIVE_SECONDS = 15.0  # below the idle limits of the large providers, so that a kept connection is seldom stale
READ_BUFFER_BYTES = 65_536


class ProviderTimeoutError(PeerError):
    """The provider did not answer, or stopped answering, within the route's limit."""

    code = "provider.timeout"


class ProviderResetError(PeerError):
    """The provider broke the connection."""

    code = "provider.reset"


class ProviderUnreachableError(PeerError):
    """No connection to the provider."""

    code = "provider.unreachable"


class ProviderTooLargeError(PeerError):
    """The answer is longer than the limit."""

    code = "provider.too_large"


class ProviderBadReplyError(PeerError):
    """The answer breaks HTTP, its media type or JSON."""

    code = "provider.bad_reply"


class UpstreamReply:
    """Head of an answer; implements ``ports.UpstreamResponse``."""

    def __init__(self, response: aiohttp.ClientResponse, max_bytes: int) -> None:
        self._response = response
        self._max_bytes = max_bytes
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as they arrive; raises PeerError leaves."""
        total = 0
        try:
            async for chunk in self._response.content.iter_any():
                total += len(chunk)
                if total > self._max_bytes:
                    raise ProviderTooLargeError(f"the provider's answer is larger than {self._max_bytes} bytes")
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _translate(error) from None

    async def close(self) -> None:
        """Let the connection go; an unread answer closes it."""
        self._response.close()


class AiohttpUpstream:
    """Implements ``ports.Upstream`` with one connection pool."""

    def __init__(self, tls: ssl.SSLContext | None = None, max_reply_bytes: int = MAX_REPLY_BYTES) -> None:
        self._max_reply_bytes = max_reply_bytes
        connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=MAX_CONNECTIONS_PER_HOST,
            keepalive_timeout=KEEPALIVE_SECONDS,
            ssl=tls if tls is not None else True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            max_line_size=MAX_HEAD_FIELD_BYTES,
            max_field_size=MAX_HEAD_FIELD_BYTES,
            read_bufsize=READ_BUFFER_BYTES,
        )

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Send and wait for the head.

        Raises:
            PeerError: a leaf of this module.
        """
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=request.connect_timeout_seconds,
            sock_connect=request.connect_timeout_seconds,
            sock_read=request.read_timeout_seconds,
        )
        try:
            response = await self._session.request(
                request.method,
                request.url,
                data=request.body,
                headers=request.headers,
                timeout=timeout,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _translate(error) from None
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise ProviderBadReplyError("the provider compressed its answer although it was asked not to")
        return UpstreamReply(response, self._max_reply_bytes)

    async def close(self) -> None:
        """Close the pool."""
        await self._session.close()


def _translate(error: Exception) -> PeerError:
    """Name the cause in our own words: texts of the client library can hold URLs and bytes of the peer."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ProviderTimeoutError("the provider did not accept a connection in time", field="connect_timeout_ms")
    if isinstance(error, TimeoutError):
        return ProviderTimeoutError("the provider did not send anything in time", field="read_timeout_ms")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ProviderUnreachableError(
            "the provider cannot be reached", field="base_url", next_step="run `outpost doctor`"
        )
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | ValueError):
        return ProviderBadReplyError("the provider's answer is not acceptable HTTP")
    return ProviderResetError("the provider broke the connection")


async def read_all(chunks: AsyncIterator[bytes], deadline_seconds: float) -> bytes:
    """Collect a whole answer within a time that bounds a provider which drips.

    Raises:
        PeerError: as ``chunks``, or the deadline passed.
    """
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(deadline_seconds):
            async for chunk in chunks:
                parts.append(chunk)
    except TimeoutError:
        raise ProviderTimeoutError("the provider did not finish its answer in time") from None
    return b"".join(parts)
