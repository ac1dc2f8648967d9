"""Frames: length, JSON object, bounds, and what a closed peer looks like."""

import asyncio

import orjson
import pytest

from outpost.ipc import frames


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=frames.MAX_FRAME_BYTES)
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def framed(body: bytes, size: int | None = None) -> bytes:
    return (len(body) if size is None else size).to_bytes(4, "big") + body


async def test_what_is_written_is_read() -> None:
    sent: list[frames.Frame] = [{"type": "a", "text": "é" * 1000}, {"type": "b", "list": [1, None, True]}, {}]
    reader = reader_of(b"".join(frames.encode(frame) for frame in sent))
    assert [await frames.read(reader) for _ in sent] == sent


async def test_a_frame_at_the_bound_passes_and_one_byte_more_does_not() -> None:
    room = frames.MAX_FRAME_BYTES - len(orjson.dumps({"x": ""}))
    at_bound = {"x": "a" * room}
    assert await frames.read(reader_of(frames.encode(at_bound))) == at_bound
    with pytest.raises(frames.FrameError):
        frames.encode({"x": "a" * (room + 1)})


BROKEN: dict[str, tuple[bytes, type[Exception]]] = {
    "nothing at all": (b"", frames.PeerGoneError),
    "half a header": (b"\x00\x00", frames.PeerGoneError),
    "half a body": (framed(b'{"type"', size=40), frames.PeerGoneError),
    "a length over the bound, before anything is read": (
        framed(b"", size=frames.MAX_FRAME_BYTES + 1),
        frames.FrameError,
    ),
    "a body that is no JSON": (framed(b"{type}"), frames.FrameError),
    "a body that is no text": (framed(b"\xff\xff"), frames.FrameError),
    "an empty body": (framed(b""), frames.FrameError),
    "JSON that is no object": (framed(b"[1,2]"), frames.FrameError),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_reader_refuses(what: str) -> None:
    data, error = BROKEN[what]
    with pytest.raises(error):
        await frames.read(reader_of(data))


async def test_a_reset_is_a_peer_that_has_gone() -> None:
    reader = asyncio.StreamReader()
    reader.set_exception(ConnectionResetError())
    with pytest.raises(frames.PeerGoneError):
        await frames.read(reader)
