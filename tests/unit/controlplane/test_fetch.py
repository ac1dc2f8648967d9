"""Files by hash: judged at every chunk, ended from outside, packed where that helps."""

import asyncio
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
from controlplane.rpc import codec
from controlplane.rpc.streams import Streams
from controlplane.rpc.sync import SyncService
from controlplane.services.identity import Principal
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

        async def identified(context: Context, act: Act) -> Principal:
            return principal

        streams = Streams(Gatekeeper())  # type: ignore[arg-type]
        desk = SimpleNamespace(
            callers=SimpleNamespace(identified=identified),
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
