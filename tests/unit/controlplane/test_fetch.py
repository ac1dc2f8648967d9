"""Files by hash: judged at every chunk, ended from outside, packed where that helps."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from outpost_wire.v1 import sync_pb2

from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import Act
from controlplane.rpc import codec, packing
from controlplane.rpc.packing import Packing
from controlplane.rpc.streams import Streams
from controlplane.rpc.sync import SyncService
from controlplane.services.identity import Principal
from outpost.core.bundle.delta import unpack_chunk
from tests.unit.controlplane.bed import Bed, bed

PATIENCE = 10.0
CHUNK = 100


@dataclass
class Context:
    """One call; its peer reads so many chunks and then no more."""

    reads: int = 10**9
    chunks: list[sync_pb2.FetchChunk] = field(default_factory=list)
    stuck: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, chunk: sync_pb2.FetchChunk) -> None:
        if len(self.chunks) == self.reads:
            self.stuck.set()
            await asyncio.Event().wait()
        self.chunks.append(chunk)

    @property
    def body(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)


@dataclass
class Site:
    plane: Bed
    principal: Principal
    streams: Streams
    service: SyncService
    judged: list[Act]

    async def file(self) -> tuple[bytes, bytes]:
        """Hash and bytes of the largest file of the org."""
        newest = self.plane.views.held("acme").newest
        assert newest is not None
        largest = max(newest.files, key=lambda file: file.size)
        async with self.plane.store.for_org("acme").read() as transaction:
            return largest.sha256, await transaction.releases.part(largest.sha256, 0, largest.size)

    async def fetch(self, context: Context, sha256: bytes, **asked: Any) -> None:
        await self.service.Fetch(sync_pb2.FetchRequest(sha256=sha256, **asked), context)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    async with bed(folder) as plane:
        principal = await plane.principal(await plane.enrolled())
        judged: list[Act] = []

        class Gatekeeper:
            def authorise(self, principal: Principal, act: Act, *view: Any) -> bool:
                judged.append(act)
                return plane.gatekeeper.authorise(principal, act, *view)

        async def paced(context: Context, act: Act) -> Principal:
            return principal

        streams = Streams(Gatekeeper())  # type: ignore[arg-type]
        desk = SimpleNamespace(
            callers=SimpleNamespace(paced=paced),
            delivery=plane.delivery,
            gatekeeper=Gatekeeper(),
            views=plane.views,
        )
        yield Site(plane, principal, streams, SyncService(desk, streams), judged)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "CHUNK_BYTES", CHUNK)


async def test_every_chunk_is_judged(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        sha256, body = await there.file()
        context = Context()
        await there.fetch(context, sha256)
        assert context.body == body
        assert len(context.chunks) > 3
        assert there.judged == [Act.SYNC] * len(context.chunks)


def unpacked(chunks: list[sync_pb2.FetchChunk]) -> bytes:
    return b"".join(unpack_chunk(each.data, each.plain_bytes) if each.plain_bytes else each.data for each in chunks)


@pytest.mark.parametrize("offset", [0, 1, 250])
async def test_a_fetch_goes_on_from_an_offset_and_is_packed_for_those_who_unpack(
    offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "CHUNK_BYTES", 10 * CHUNK)
    async with site(tmp_path) as there:
        sha256, body = await there.file()
        for zstd in (False, True, True):
            context = Context()
            await there.fetch(context, sha256, offset=offset, zstd=zstd)
            assert unpacked(context.chunks) == body[offset:]
            assert any(each.plain_bytes for each in context.chunks) is zstd


BODIES: dict[str, tuple[bytes, int]] = {
    "text gets smaller": (b"detector " * 100, 9),
    "noise travels as it is": (random.Random(7).randbytes(900), 0),
    "of text before noise only the text is packed": (b"detector " * 50 + random.Random(7).randbytes(450), 5),
    "nothing is nothing": (b"", 0),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_chunk_is_packed_where_that_makes_it_smaller(what: str) -> None:
    body, least = BODIES[what]
    chunks = packing.packed(body)
    assert unpacked(list(chunks)) == body
    assert sum(each.plain_bytes > 0 for each in chunks) == least
    assert all(len(each.data) <= CHUNK for each in chunks)


async def test_a_part_is_packed_once_for_all_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []

    def pack(part: bytes) -> packing.Chunks:
        made.append(part)
        if part == b"bad" and made.count(part) == 1:
            raise MemoryError
        return (sync_pb2.FetchChunk(data=part),)

    monkeypatch.setattr(packing, "packed", pack)
    parts = Packing()
    got = await asyncio.gather(*(parts.of(("acme", b"1", 0), b"one") for _ in range(10)))
    assert {each[0].data for each in got} == {b"one"}
    assert made == [b"one"]
    with pytest.raises(MemoryError):
        await parts.of(("acme", b"2", 0), b"bad")
    assert (await parts.of(("acme", b"2", 0), b"bad"))[0].data == b"bad"
    for number in range(packing.KEPT_PARTS):
        await parts.of(("acme", b"3", number), b"more")
    await parts.of(("acme", b"1", 0), b"one")
    assert made.count(b"one") == 2


async def test_a_revocation_ends_a_fetch_whose_peer_does_not_read(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        sha256, _ = await there.file()
        context = Context(reads=1)
        fetching = asyncio.create_task(there.fetch(context, sha256))
        await asyncio.wait_for(context.stuck.wait(), PATIENCE)
        assert "acme" in there.streams.orgs()  # its view is kept fresh meanwhile
        await there.plane.administration.revoke("acme", "prod", "stolen")
        await there.plane.views.refresh("acme")
        with pytest.raises(ControlPlaneError) as why:
            await asyncio.wait_for(fetching, PATIENCE)
        assert why.value.code == "outpost.revoked"
        assert list(there.streams.orgs()) == []


async def test_a_fetch_does_not_outlive_its_certificate(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        sha256, _ = await there.file()
        context = Context(reads=0)
        fetching = asyncio.create_task(there.fetch(context, sha256))
        await asyncio.wait_for(context.stuck.wait(), PATIENCE)
        there.streams.end_expired(there.principal.not_after_ms)
        with pytest.raises(ControlPlaneError) as why:
            await asyncio.wait_for(fetching, PATIENCE)
        assert why.value.code == "identity.refused"


async def test_a_peer_that_goes_away_ends_its_fetch_and_nothing_stays(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        sha256, _ = await there.file()
        context = Context(reads=0)
        fetching = asyncio.create_task(there.fetch(context, sha256))
        await asyncio.wait_for(context.stuck.wait(), PATIENCE)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert list(there.streams.orgs()) == []
