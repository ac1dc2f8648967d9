"""Reading an HTTP request within bounds: query, credentials, body as JSON or form. Nothing is guessed."""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from controlplane.web.api.calls import parsed
from controlplane.web.api.operation import MAX_BODY_BYTES, AnyOperation
from controlplane.web.api.operations.oauth import basic_credentials
from controlplane.web.problem import HeadersTooLargeError, RequestInvalidError, RequestTimeoutError
from outpost.core.chat.messages import BodyTooLargeError, ContentTypeError, check_content_type

MAX_HEADER_BYTES: Final = 16_384  # of all names and values of a request
MAX_QUERY_CHARS: Final = 4_096
MAX_QUERY_FIELDS: Final = 32
BODY_SECONDS: Final = 30.0  # for all of it
FORM_TYPE: Final = "application/x-www-form-urlencoded"


def check_head(request: web.BaseRequest) -> None:
    """Refuse a header section beyond the limit. Raises HeadersTooLargeError."""
    if sum(len(name) + len(value) for name, value in request.raw_headers) > MAX_HEADER_BYTES:
        raise HeadersTooLargeError(
            f"the headers have more than {MAX_HEADER_BYTES} bytes",
            field="headers",
            next_step="send fewer or shorter ones",
        )


def query_of(request: web.BaseRequest) -> dict[str, str]:
    """Parameters of the query, each once. Raises RequestInvalidError."""
    return _pairs(request.rel_url.raw_query_string, "query")


def token_of(request: web.BaseRequest) -> str:
    """The access token; empty when there is none, or more than one header that could hold it."""
    found = request.headers.getall("Authorization", [])
    scheme, _, token = found[0].partition(" ") if len(found) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else ""


async def body_of(request: web.BaseRequest, operation: AnyOperation) -> Mapping[str, object]:
    """The body as the operation takes it.

    Raises:
        ContentTypeError: another media type, or a content coding.
        BodyTooLargeError: beyond the limit; so is RequestTimeoutError for one that is too slow.
        RequestError: not the JSON that it must be: one class for each cause.
        RequestInvalidError: not the form that it must be.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise ContentTypeError(
            "compressed bodies are not accepted", field="Content-Encoding", next_step="send the body uncompressed"
        )
    if operation.form:
        return await _form(request)
    check_content_type(request.headers.get("Content-Type", ""))
    return parsed(operation, await _read(request, operation.max_body_bytes))


async def _form(request: web.BaseRequest) -> Mapping[str, object]:
    if request.content_type != FORM_TYPE:
        raise ContentTypeError(f"the content type is not {FORM_TYPE}", field="Content-Type")
    raw = await _read(request, MAX_BODY_BYTES)
    try:
        fields = _pairs(raw.decode("ascii"), "body")
    except UnicodeDecodeError:
        raise RequestInvalidError("the form is not ASCII", field="body", next_step="percent-encode it") from None
    header = request.headers.get("Authorization")
    basic = basic_credentials(header) if header is not None else None
    if basic is not None:  # catalogue P1: HTTP Basic wins over the body
        fields["client_id"], fields["client_secret"] = basic
    return fields


async def _read(request: web.BaseRequest, max_bytes: int) -> bytes:
    if request.content_length is not None and request.content_length > max_bytes:
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.content.iter_any():
                size += len(part)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                parts.append(part)
    except TimeoutError:
        raise RequestTimeoutError(f"the body did not arrive within {BODY_SECONDS:g} s", field="body") from None
    return b"".join(parts)


def _pairs(text: str, field: str) -> dict[str, str]:
    if len(text) > (MAX_QUERY_CHARS if field == "query" else MAX_BODY_BYTES):
        raise RequestInvalidError(f"the {field} is too long", field=field)
    if not text:
        return {}
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
        )
    except ValueError:
        raise RequestInvalidError(f"the {field} cannot be read as name=value pairs", field=field) from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RequestInvalidError(f"a name stands twice in the {field}", field=field, next_step="send each once")
    return found


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is larger than {max_bytes} bytes", field="body", next_step="send a smaller one")
