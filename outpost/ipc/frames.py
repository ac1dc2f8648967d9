"""Frames between the processes of one outpost: u32 big-endian length, then JSON.

Both ends are our own processes, reached through Unix sockets in a folder with mode 0700; the bounds protect
against bugs, not attackers.
"""

import asyncio
from typing import Any

import orjson

from outpost.core.errors import InternalError

MAX_FRAME_BYTES = 8 * 1024 * 1024  # a group of 100 records of 64 KiB fits; source: core/audit/record bound
HEADER_BYTES = 4

Frame = dict[str, Any]


class FrameError(InternalError):
    """A frame is longer than the bound or no JSON object."""

    code = "ipc.frame"


class PeerGoneError(InternalError):
    """The other process closed the socket or died."""

    code = "ipc.peer_gone"
    fatal = False


def encode(frame: Frame) -> bytes:
    """Bytes of one frame.

    Raises:
        FrameError: longer than MAX_FRAME_BYTES.
    """
    body = orjson.dumps(frame)
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(body)} bytes is over the bound of {MAX_FRAME_BYTES}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


async def read(reader: asyncio.StreamReader) -> Frame:
    """The next frame.

    Raises:
        PeerGoneError: end of the stream.
        FrameError: too long, or not a JSON object.
    """
    try:
        size = int.from_bytes(await reader.readexactly(HEADER_BYTES), "big")
        if size > MAX_FRAME_BYTES:
            raise FrameError(f"a frame of {size} bytes is over the bound of {MAX_FRAME_BYTES}")
        body = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise PeerGoneError("the other process closed the socket") from error
    try:
        frame = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FrameError("a frame is no JSON") from error
    if not isinstance(frame, dict):
        raise FrameError("a frame is no JSON object")
    return frame
