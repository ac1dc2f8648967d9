"""What a provider's answer may bring along: status, media type and a few headers; all else stays behind."""

import re
from collections.abc import Mapping

import orjson

from outpost.core.chat.messages import BodyLimits, JsonObject, parse_body
from outpost.core.errors import PeerError, RequestError
from outpost.gateway.upstream import MAX_REPLY_BYTES, ProviderBadReplyError, read_all
from outpost.ports import UpstreamResponse

MAX_ERROR_BYTES = 65_536  # bytes of a provider's error that are read to find its code
ERROR_SECONDS = 5.0  # time for that
REPLY_LIMITS = BodyLimits(max_bytes=MAX_REPLY_BYTES, max_nodes=1_000_000)
_STREAM_TYPE = "text/event-stream"
_JSON_TYPE = "application/json"
_FORWARDED = (
    "openai-processing-ms",
    "openai-version",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)
# A figure too short to be a card number, a date, or a duration such as 1m30.5s: no room for text.
_HEADER_VALUE = re.compile(r"\d{1,10}|\d{4}-\d{2}-\d{2}|(?:\d{1,6}(?:\.\d{1,6})?(?:ms|[dhms])){1,4}", re.ASCII)
_IDENTIFIER = re.compile(r"[a-z][a-z_]{0,47}")  # error codes of providers
_REJECTED = frozenset({400, 404, 413, 422})


class ProviderStatusError(PeerError):
    """The provider failed."""

    code = "provider.status"


class ProviderRateLimitedError(PeerError):
    """The provider has had enough for now."""

    code = "provider.rate_limited"


class ProviderRejectedError(PeerError):
    """The provider calls the request wrong."""

    code = "provider.rejected"
    fatal = True


def forwarded_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of the provider that the client gets: figures only."""
    found = {name: headers.get(name, "") for name in _FORWARDED}
    return {name: value for name, value in found.items() if _HEADER_VALUE.fullmatch(value)}


async def check_head(response: UpstreamResponse, *, stream: bool) -> None:
    """Accept status 200 with the media type that was asked for.

    Raises:
        PeerError: ProviderStatusError, ProviderRateLimitedError, ProviderRejectedError, ProviderBadReplyError.
    """
    if response.status != 200:
        raise await _failure(response)
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    wanted = _STREAM_TYPE if stream else _JSON_TYPE
    if media_type != wanted:
        raise ProviderBadReplyError(f"the provider's answer is not {wanted}", field="Content-Type")


async def _failure(response: UpstreamResponse) -> PeerError:
    """Name a failure by status and, where it is a plain word, the provider's code; its text may repeat the prompt."""
    word = await _error_word(response)
    said = f"the provider answered {response.status}" + (f" ({word})" if word else "")
    if response.status == 429:
        return ProviderRateLimitedError(said, next_step="try again later")
    if response.status in _REJECTED:
        return ProviderRejectedError(said, next_step="check model and parameters")
    return ProviderStatusError(said)


async def _error_word(response: UpstreamResponse) -> str:
    try:
        raw = await read_all(response.chunks(), ERROR_SECONDS)
        tree = parse_body(raw, BodyLimits(max_bytes=MAX_ERROR_BYTES))
    except (PeerError, RequestError):
        return ""
    error = tree.get("error")
    words = [error.get("code"), error.get("type")] if isinstance(error, dict) else []
    return next((word for word in words if isinstance(word, str) and _IDENTIFIER.fullmatch(word)), "")


def parse_reply(raw: bytes) -> JsonObject:
    """Read a whole answer as strictly as a request.

    Raises:
        ProviderBadReplyError: names the cause by code.
    """
    try:
        return parse_body(raw, REPLY_LIMITS)
    except RequestError as error:
        raise ProviderBadReplyError(f"the provider's answer is not acceptable JSON ({error.code})") from None


def serialise(tree: JsonObject) -> bytes:
    """Bytes of a tree; nobody else's serialisation ever leaves."""
    return orjson.dumps(tree)
