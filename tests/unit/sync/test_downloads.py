"""Files that an offer only names: turns are waited for, broken transfers go on, and what is there stays there."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from outpost_wire.v1 import sync_pb2

from outpost import ports
from outpost.core.bundle.delta import DeltaDamagedError
from outpost.core.errors import OutpostError, PeerError
from outpost.rpc.client import FetchError, fetched
from outpost.rpc.codec import ControlPlaneUnreachableError
from outpost.sync.downloads import JITTER_SECONDS, LONGEST_TURN_SECONDS, MOST_TURNS, Downloads
from tests.unit.sync.agent_world import World, away, refused

ONE, TWO = b"1" * 1000, b"2" * 1000
PIECE = 100


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def later(seconds: float) -> PeerError:
    error = refused("throttled", fatal=False)
    error.retry_after_seconds = seconds
    return error


@dataclass
class Server:
    """Sends files in pieces.

    Attributes:
        ends: how the next fetches end: after so many pieces, with an error.
        offsets: at which byte each fetch began.
    """

    ends: list[tuple[int, OutpostError]] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    async def fetch(self, sha256: bytes, size: int, part: bytearray | None = None) -> bytes:
        assert part is not None
        self.offsets.append(len(part))
        return await fetched(self._chunks(sha256, len(part)), sha256, size, part)

    async def _chunks(self, sha256: bytes, offset: int) -> AsyncIterator[sync_pb2.FetchChunk]:
        body = next(each for each in (ONE, TWO) if digest(each) == sha256)
        pieces, error = self.ends.pop(0) if self.ends else (10**9, None)
        for at in range(offset, len(body), PIECE):
            if not pieces:
                break
            pieces -= 1
            yield sync_pb2.FetchChunk(data=body[at : at + PIECE])
        if error is not None:
            raise error


def offered(*bodies: bytes) -> ports.Offer:
    files = tuple(ports.OfferedFile(f"f-{n}", digest(body), len(body), False, b"") for n, body in enumerate(bodies))
    return ports.Offer("n-1", "1.1", files, 0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def downloads(world: World) -> Downloads:
    return Downloads(world.parts())


async def test_a_turn_is_waited_for_and_what_came_is_kept(world: World, downloads: Downloads) -> None:
    world.chance.number = 0.5
    server = Server([(0, later(2.0)), (0, later(9.0))])
    fetch = downloads.over(server, offered(ONE))  # type: ignore[arg-type]
    assert await fetch(digest(ONE), len(ONE)) == ONE
    assert world.waits == [2.0 + JITTER_SECONDS / 2, 9.0 + JITTER_SECONDS / 2]
    assert server.offsets == [0, 0, 0]


async def test_no_turn_parks_an_outpost_and_turns_have_an_end(world: World, downloads: Downloads) -> None:
    server = Server([(0, later(10.0**9))] * (MOST_TURNS + 1))
    fetch = downloads.over(server, offered(ONE))  # type: ignore[arg-type]
    with pytest.raises(PeerError):
        await fetch(digest(ONE), len(ONE))
    assert world.waits == [LONGEST_TURN_SECONDS] * MOST_TURNS


async def test_a_broken_transfer_goes_on_where_it_broke(downloads: Downloads) -> None:
    server = Server([(3, away()), (2, away())])
    fetch = downloads.over(server, offered(ONE))  # type: ignore[arg-type]
    assert await fetch(digest(ONE), len(ONE)) == ONE
    assert server.offsets == [0, 3 * PIECE, 5 * PIECE]


async def test_the_next_connection_goes_on_too_and_asks_for_nothing_that_is_there(downloads: Downloads) -> None:
    server = Server([(10**9, None), (4, away()), (0, away())])  # type: ignore[list-item]
    fetch = downloads.over(server, offered(ONE, TWO))  # type: ignore[arg-type]
    assert await fetch(digest(ONE), len(ONE)) == ONE
    with pytest.raises(ControlPlaneUnreachableError):
        await fetch(digest(TWO), len(TWO))
    again = Server()
    fetch = downloads.over(again, replace(offered(ONE, TWO), nonce="n-2"))  # type: ignore[arg-type]
    assert await fetch(digest(ONE), len(ONE)) == ONE
    assert await fetch(digest(TWO), len(TWO)) == TWO
    assert again.offsets == [4 * PIECE]


async def test_what_came_before_a_damaged_chunk_is_kept(downloads: Downloads) -> None:
    server = Server([(3, DeltaDamagedError("damaged"))])
    fetch = downloads.over(server, offered(ONE))  # type: ignore[arg-type]
    with pytest.raises(DeltaDamagedError):
        await fetch(digest(ONE), len(ONE))
    assert await fetch(digest(ONE), len(ONE)) == ONE
    assert server.offsets == [0, 3 * PIECE]


async def test_other_bytes_than_announced_are_not_kept(downloads: Downloads) -> None:
    server = Server()
    fetch = downloads.over(server, offered(ONE))  # type: ignore[arg-type]
    with pytest.raises(FetchError):
        await fetch(digest(ONE), len(ONE) - 1)
    assert await fetch(digest(ONE), len(ONE)) == ONE
    assert server.offsets == [0, 0]


async def test_nothing_is_kept_of_another_offer_or_once_it_is_over(downloads: Downloads) -> None:
    server = Server([(3, away()), (0, away())])
    fetch = downloads.over(server, offered(ONE))  # type: ignore[arg-type]
    with pytest.raises(ControlPlaneUnreachableError):
        await fetch(digest(ONE), len(ONE))
    downloads.over(server, offered(TWO))  # type: ignore[arg-type]
    fetch = downloads.over(server, offered(ONE))  # type: ignore[arg-type]
    assert await fetch(digest(ONE), len(ONE)) == ONE
    downloads.end()
    assert await fetch(digest(ONE), len(ONE)) == ONE
    assert server.offsets == [0, 3 * PIECE, 0, 0]
