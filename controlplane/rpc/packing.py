"""Parts of files as they travel: chunks, packed where that helps, made once for a fleet that fetches the same file."""

import asyncio

from outpost_wire.v1 import sync_pb2

from controlplane.rpc import codec
from outpost.core.bundle.delta import pack_chunk

KEPT_PARTS = 16  # of 1 MiB at most, the oldest go first: those that outposts of a fleet fetch at about the same time
PACKERS = 1  # parts that are packed at the same time: 1 MiB takes a core for 5 ms
WORTH = 0.9  # of its bytes; a part whose first chunk stays larger than that travels plainly

PartKey = tuple[str, bytes, int]
Chunks = tuple[sync_pb2.FetchChunk, ...]


class Packing:
    """Packed parts by org, hash of the file, and offset."""

    def __init__(self) -> None:
        self._made: dict[PartKey, asyncio.Future[Chunks]] = {}
        self._turn = asyncio.Semaphore(PACKERS)

    async def of(self, key: PartKey, part: bytes) -> Chunks:
        """Chunks of a part for those that unpack."""
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = asyncio.ensure_future(self._make(part))
            while len(self._made) > KEPT_PARTS:
                del self._made[next(iter(self._made))]
        try:
            return await asyncio.shield(found)
        except Exception:
            if self._made.get(key) is found:
                del self._made[key]
            raise

    async def _make(self, part: bytes) -> Chunks:
        async with self._turn:
            return await asyncio.to_thread(packed, part)


def plain(part: bytes) -> Chunks:
    """Chunks of a part as they are."""
    return tuple(map(_plain, _cut(part)))


def packed(part: bytes) -> Chunks:
    """Chunks of a part, each one packed where that makes it smaller."""
    pieces = _cut(part)
    if not pieces or len(pack_chunk(pieces[0])) > WORTH * len(pieces[0]):
        return plain(part)
    return tuple(map(_packed, pieces))


def _cut(part: bytes) -> list[bytes]:
    return [part[at : at + codec.CHUNK_BYTES] for at in range(0, len(part), codec.CHUNK_BYTES)]


def _plain(piece: bytes) -> sync_pb2.FetchChunk:
    return sync_pb2.FetchChunk(data=piece)


def _packed(piece: bytes) -> sync_pb2.FetchChunk:
    frame = pack_chunk(piece)
    return sync_pb2.FetchChunk(data=frame, plain_bytes=len(piece)) if len(frame) < len(piece) else _plain(piece)
