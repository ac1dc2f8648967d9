"""Live streams: who ends when, who is written to and how many at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.domain.boots import Hello
from controlplane.domain.errors import ControlPlaneError, StateError
from controlplane.rpc.streams import NEVER, Line, Stream, Streams
from controlplane.services.identity import Gatekeeper, Principal
from controlplane.services.views import MAX_AGE_SECONDS, Views
from tests.unit.controlplane.bed import Bed, bed

PATIENCE = 10.0


@dataclass
class Peer:
    """A stream with the coroutine that reads it; remembers how it ended."""

    stream: Stream
    task: "asyncio.Task[None]"
    ended: "asyncio.Future[ControlPlaneError | str]"

    @property
    def end(self) -> str:
        """Code, or how it ended otherwise; "live" while it did not."""
        if not self.ended.done():
            return "live"
        result = self.ended.result()
        return result if isinstance(result, str) else result.code


@dataclass
class Site:
    plane: Bed
    streams: Streams
    peers: list[Peer] = field(default_factory=list)

    async def open(self, principal: Principal, boot: str = "1" * 32, offered: int = 1) -> Peer:
        started: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        ended: asyncio.Future[ControlPlaneError | str] = asyncio.get_running_loop().create_future()

        async def handler() -> None:
            task = asyncio.current_task()
            assert task is not None
            stream = Stream(principal, None, task)
            stream.boot_id, stream.offered = boot, offered
            self.streams.enter(stream)
            started.set_result(stream)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.set_result(stream.end or ("left" if stream.left else "cancelled"))
            finally:
                self.streams.leave(stream)

        task = asyncio.create_task(handler())
        peer = Peer(await started, task, ended)
        self.peers.append(peer)
        return peer

    async def turn(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    async with bed(folder) as plane:
        streams = Streams(plane.gatekeeper)
        there = Site(plane, streams)
        plane.views.listen(streams.changed, streams.orgs)
        yield there
        for peer in there.peers:
            peer.task.cancel()
        await asyncio.gather(*(peer.task for peer in there.peers), return_exceptions=True)
        assert streams.count() == 0


async def fleet(there: Site, count: int) -> list[Principal]:
    return [await there.plane.principal(await there.plane.enrolled(f"prod-{number}")) for number in range(count)]


async def test_a_revocation_ends_its_own_stream_and_no_other(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        one, two = [await there.open(each) for each in await fleet(there, 2)]
        await there.plane.administration.revoke("acme", "prod-0", "stolen")
        await there.plane.views.refresh("acme")
        await there.turn()
        assert (one.end, two.end) == ("outpost.revoked", "live")
        assert there.streams.count() == 1


@dataclass
class SlowStore:
    """The real store; its next answer takes longer than a view may be old."""

    plane: Bed
    is_slow: bool = False

    async def heads(self, orgs: Any) -> Any:
        found = await self.plane.store.heads(orgs)
        if self.is_slow:
            self.plane.clock.ms += int(MAX_AGE_SECONDS * 1000) + 1
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plane.store, name)


async def test_a_change_that_a_slow_comparison_brings_is_obeyed(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        store = SlowStore(plane)
        views = Views(store, plane.clock)  # type: ignore[arg-type]
        streams = Streams(Gatekeeper(store, views, lambda: plane.board.current.anchors, plane.clock))  # type: ignore[arg-type]
        there = Site(plane, streams)
        views.listen(streams.changed, streams.orgs)
        gone, stays = [await there.open(each) for each in await fleet(there, 2)]
        await views.refresh("acme")
        await plane.administration.revoke("acme", "prod-0", "stolen")
        store.is_slow = True
        await views.refresh("acme")
        await there.turn()
        assert (gone.end, stays.end) == ("outpost.revoked", "live")
        stays.task.cancel()
        await asyncio.gather(stays.task, gone.task, return_exceptions=True)


async def test_the_newer_stream_of_an_outpost_stays(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        (principal,) = await fleet(there, 1)
        first = await there.open(principal)
        again = await there.open(principal)
        other = await there.open(principal, boot="2" * 32)
        await there.turn()
        assert (first.end, again.end, other.end) == ("sync.replaced", "identity.superseded", "live")
        assert there.streams.count() == 1


async def test_a_start_that_said_hello_at_another_replica_ends_the_older_one_here(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        (principal,) = await fleet(there, 1)
        await there.plane.delivery.hello(principal, Hello("1" * 32, "1", "192.0.2.1"))
        older = await there.open(principal)
        await there.plane.views.refresh("acme")
        await there.turn()
        assert older.end == "live"
        await there.plane.words.hello(principal, Hello("2" * 32, "1", "192.0.2.1"))
        await there.plane.views.refresh("acme")
        await there.turn()
        assert older.end == "identity.superseded"


async def test_no_stream_outlives_its_certificate(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        (principal,) = await fleet(there, 1)
        peer = await there.open(principal)
        there.streams.end_expired(principal.not_after_ms - 1)
        await there.turn()
        assert peer.end == "live"
        there.streams.end_expired(principal.not_after_ms)
        await there.turn()
        assert peer.end == "identity.refused"


async def test_the_first_end_counts(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        (principal,) = await fleet(there, 1)
        peer = await there.open(principal)
        peer.stream.finish(StateError("first"))
        peer.stream.finish(ControlPlaneError("second"))
        peer.stream.leave()
        await there.turn()
        assert peer.end == "store.failed"


async def test_a_stop_says_goodbye_to_everybody_and_ends_in_order(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        said: list[tuple[str, tuple[bytes, ...]]] = []

        async def write(stream: Stream) -> None:
            said.append((stream.principal.outpost_id, stream.outbox))

        there.streams.line = Line(write)
        peers = [await there.open(each) for each in await fleet(there, 5)]
        await asyncio.wait_for(there.streams.stop(b"goodbye", 5.0), PATIENCE)
        await there.turn()
        assert sorted(said) == sorted((peer.stream.principal.outpost_id, (b"goodbye",)) for peer in peers)
        assert [peer.end for peer in peers] == ["left"] * 5


async def test_a_stop_does_not_wait_for_those_who_do_not_read(tmp_path: Path) -> None:
    async with site(tmp_path) as there:

        async def write(stream: Stream) -> None:
            await asyncio.Event().wait()

        there.streams.line = Line(write)
        peer = await there.open((await fleet(there, 1))[0])
        await asyncio.wait_for(there.streams.stop(b"goodbye", 0.01), PATIENCE)
        await there.turn()
        assert peer.end == "left"


async def test_only_streams_that_lack_the_newest_set_are_put_into_line(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        written: list[str] = []

        async def write(stream: Stream) -> None:
            written.append(stream.principal.outpost_id)

        there.streams.line = Line(write)
        principals = await fleet(there, 3)
        behind = await there.open(principals[0], offered=1)
        await there.open(principals[1], offered=2)  # has it already
        await there.open(principals[2], offered=0)  # its own coroutine makes its first offer
        await there.plane.publisher.publish_routes("acme", await routes(there))
        await there.plane.views.refresh("acme")
        await there.turn()
        assert written == [behind.stream.principal.outpost_id]


async def test_a_set_that_failed_is_not_offered_again_once_a_newer_one_was_or_the_stream_ended(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        written: list[int] = []

        async def write(stream: Stream) -> None:
            written.append(stream.offered)

        there.streams.line = Line(write)
        again, newer, gone = [await there.open(each) for each in await fleet(there, 3)]
        for peer in (again, newer, gone):
            there.streams.offer_later(peer.stream, 0.01)
        newer.stream.offered = 2
        there.streams.leave(gone.stream)
        assert gone.stream.retry is not None
        assert gone.stream.retry.cancelled()
        async with asyncio.timeout(PATIENCE):
            while not written:
                await asyncio.sleep(0.001)
        assert newer.stream.retry is not None
        assert newer.stream.retry.when() <= asyncio.get_running_loop().time()  # it is over too
        await there.turn()
        assert written == [NEVER]


async def test_a_stream_from_which_the_newest_set_is_withheld_gets_it_once_that_is_forgiven(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        written: list[int] = []

        async def write(stream: Stream) -> None:
            written.append(stream.offered)

        there.streams.line = Line(write)
        peer = await there.open((await fleet(there, 1))[0])
        view = there.plane.views.held("acme")
        view.refused[peer.stream.principal.outpost_id] = "bundle.hash"
        peer.stream.withheld = True
        there.streams.changed(view, frozenset())
        await there.turn()
        assert written == []
        view.refused.clear()
        there.streams.changed(view, frozenset())
        await there.turn()
        assert written == [NEVER]
        assert not peer.stream.withheld


async def routes(there: Site) -> Any:
    from controlplane.services.defaults import default_provider

    return [default_provider("http://127.0.0.1:10/v1", "")]
