"""What a provider's answer may bring along: status, media type and a few headers; all else stays behind."""

import re
from collections.abc import Mapping

import orjson

from outpost.core.bundle.documents import Provider
from outpost.core.chat.messages import BodyLimits, JsonObject, parse_body
from outpost.core.errors import PeerError, RequestError
from outpost.gateway.upstream import MAX_REPLY_BYTES, ProviderBadReplyError
from outpost.ports import UpstreamResponse

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
_CREDENTIALS = frozenset({401, 403})
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


class ProviderCredentialsError(PeerError):
    """The provider does not accept the key that this outpost has for it."""

    code = "provider.credentials"
    fatal = True


def forwarded_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of the provider that the client gets: figures only."""
    found = {name: headers.get(name, "") for name in _FORWARDED}
    return {name: value for name, value in found.items() if _HEADER_VALUE.fullmatch(value)}


def check_head(response: UpstreamResponse, provider: Provider, *, stream: bool) -> None:
    """Accept status 200 with the media type that was asked for.

    Raises:
        PeerError: ProviderStatusError, ProviderRateLimitedError, ProviderRejectedError, ProviderCredentialsError,
            ProviderBadReplyError.
    """
    if response.status != 200:
        raise _failure(response.status, provider)
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    wanted = _STREAM_TYPE if stream else _JSON_TYPE
    if media_type != wanted:
        raise ProviderBadReplyError(f"the provider's answer is not {wanted}", field="Content-Type")


def _failure(status: int, provider: Provider) -> PeerError:
    """Name a failure by status alone: text and codes of the provider may repeat the prompt."""
    said = f"provider {provider.name} answered {status}"
    if status in _CREDENTIALS:
        return ProviderCredentialsError(f"{said}: it does not accept our key", next_step=_key_step(provider))
    if status == 429:
        return ProviderRateLimitedError(said, next_step="try again later")
    if status in _REJECTED:
        return ProviderRejectedError(said, next_step="check model and parameters")
    return ProviderStatusError(said)


def _key_step(provider: Provider) -> str:
    if not provider.key_secret:
        return "its route names no key: set key_secret"
    return f"check the file secrets/{provider.key_secret} of the outpost"


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
