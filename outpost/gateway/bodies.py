"""Reading a request body within bounds of size and time."""

import asyncio

from aiohttp import web

from outpost.core.chat.messages import BodyTooLargeError, ContentTypeError
from outpost.gateway.limits import BODY_SECONDS, BodyTimeoutError


async def read_body(request: web.Request, max_bytes: int, seconds: float = BODY_SECONDS) -> bytes:
    """Read the whole body.

    Args:
        request: its body was not read before.
        max_bytes: longest accepted; a longer announced length is refused unread.
        seconds: for all of it.

    Raises:
        ContentTypeError: a content coding; what cannot be read as it came cannot be inspected.
        BodyTooLargeError: longer.
        BodyTimeoutError: too slow.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise ContentTypeError(
            "compressed bodies are not accepted", field="Content-Encoding", next_step="send the body uncompressed"
        )
    if request.content_length is not None and request.content_length > max_bytes:
        raise too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.content.iter_any():
                size += len(part)
                if size > max_bytes:
                    raise too_large(max_bytes)
                parts.append(part)
    except TimeoutError:
        raise BodyTimeoutError(f"the body did not arrive within {seconds:g} s", field="body") from None
    return b"".join(parts)


def too_large(max_bytes: int) -> BodyTooLargeError:
    """The error for a body beyond the limit."""
    return BodyTooLargeError(
        f"the body is larger than {max_bytes} bytes", field="body", next_step="send a shorter conversation"
    )
