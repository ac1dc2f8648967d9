"""Many streams over real loopback gRPC: admission, addresses, what is withheld, what is shared, and what ends."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from outpost_wire.v1 import sync_pb2, types_pb2

from controlplane.bootstrap.plane import initialise, opened
from controlplane.bootstrap.serving import Server
from controlplane.domain import offers
from controlplane.domain.throttle import Rate
from controlplane.rpc import greeting, streams
from controlplane.services.defaults import default_policy, default_provider
from controlplane.settings import Settings
from outpost import ports
from outpost.core.bundle.delta import set_identity
from outpost.rpc import codec
from tests.contract.control_planes import Outpost, digests, enroll, hello
from tests.integration.controlplane_client import SECONDS, Client, Running, ended, heard, read

HERD = 12


@asynccontextmanager
async def serving(folder: Path, **settings: object) -> AsyncIterator[Running]:
    """A control plane with settings; a second time on the same folder it is another process's start."""
    if not (folder / "controlplane.toml").exists():
        await initialise(folder, Settings(enroll_port=0, grpc_port=0, **settings), None)  # type: ignore[arg-type]
        async with opened(folder) as plane:
            await plane.publisher.create("acme", [default_provider("http://127.0.0.1:9/v1", "provider")])
    async with opened(folder) as plane:
        server = Server(plane)
        try:
            yield Running(plane, server, dict(await server.start()))
        finally:
            await server.stop()


async def refused_open(outpost: Outpost) -> codec.ControlPlaneRefusedError:
    with pytest.raises(codec.ControlPlaneRefusedError) as caught:
        await outpost.plane.open(hello())
    return caught.value


async def test_a_withdrawn_outpost_that_calls_again_and_again_is_throttled_and_costs_others_nothing(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path / "cp", connect_rate=10) as cp:
        bad, good = [await Client.enroll(await cp.token(name=name)) for name in ("bad", "good")]
        await cp.plane.administration.revoke("acme", "bad", "")
        streams_of_it = [(await ended(await bad.hello()))[1].code for _ in range(8)]
        assert streams_of_it == ["outpost.revoked"] * 6 + ["throttled"] * 2
        told = await asyncio.gather(*(bad.fetch(bytes(32)) for _ in range(20)), return_exceptions=True)
        assert {each.details() for each in told if isinstance(each, grpc.aio.AioRpcError)} == {"outpost.revoked"}
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bad.fetch(bytes(32))
        assert caught.value.details() == "throttled"
        assert (await read(await good.hello())).WhichOneof("message") == "offer"  # a rate of 10 is one at once


async def test_whoever_comes_beyond_the_rate_is_told_when_to_come_back_and_is_taken_then(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp", connect_rate=4) as cp:
        fleet = [await enroll(cp) for _ in range(HERD)]
        waits: list[float] = []
        refusals: set[tuple[str, bool]] = set()

        async def connect(outpost: Outpost) -> ports.SyncSession:
            while True:
                try:
                    return await outpost.plane.open(hello())
                except codec.ControlPlaneRefusedError as error:
                    refusals.add((error.remote_code, error.remote_fatal))
                    waits.append(error.retry_after_seconds)
                    await asyncio.sleep(error.retry_after_seconds)

        sessions = await asyncio.wait_for(asyncio.gather(*map(connect, fleet)), 60)
        assert len(sessions) == HERD
        assert refusals == {("throttled", False)}
        assert all(0 < wait < 60 for wait in waits)
        assert len(set(waits)) > HERD // 2  # moments of their own
        for session in sessions:
            assert isinstance(await heard(session), ports.Offer)
        for outpost in fleet:
            await outpost.plane.close()


async def test_a_herd_costs_others_nothing_but_new_streams(tmp_path: Path) -> None:
    """Calls of an outpost that is connected are not throttled with the streams of a herd."""
    async with serving(tmp_path / "cp", connect_rate=1) as cp:
        one = await enroll(cp)
        session = await one.plane.open(hello())
        offer = await heard(session)
        assert isinstance(offer, ports.Offer)
        assert (await refused_open(one)).remote_code == "throttled"
        assert await one.plane.fetch(offer.files[0].sha256, offer.files[0].size)
        await one.plane.close()


async def test_the_addresses_of_all_replicas_are_told_at_enrollment_and_on_every_stream(tmp_path: Path) -> None:
    told = ("a.example:8444", "b.example:8444")
    async with serving(tmp_path / "cp", sync_endpoints=told) as cp:
        outpost = await enroll(cp)
        assert outpost.answer.sync_endpoints == told
        session = await outpost.plane.open(hello())
        assert isinstance(await heard(session), ports.Offer)
        assert await session.receive() == ports.Endpoints(told)
        await outpost.plane.close()


async def test_the_leaf_alone_is_enough(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp") as cp:
        outpost = await enroll(cp)
        assert outpost.answer.chain[1] in outpost.answer.issuers
        alone = outpost.connect(chain=outpost.answer.chain[:1])
        session = await alone.open(hello())
        assert isinstance(await heard(session), ports.Offer)
        for plane in (alone, outpost.plane):
            await plane.close()


async def test_a_refused_set_is_not_offered_again_on_another_stream_or_by_another_process(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        call = await client.hello()
        offer = (await read(call)).offer
        error = types_pb2.ErrorDetail(code="bundle.self_test", message="no\x1b[31m\x00 finding", fatal=True)
        await call.write(sync_pb2.SyncUp(nack=sync_pb2.Nack(nonce=offer.nonce, error=error, resource="policy")))
        shown = await cp.shown(holds=lambda found: bool(found.delivery and found.delivery.code))
        assert shown.delivery is not None
        assert (shown.delivery.state, shown.delivery.message) == ("refused", "no?[31m? finding")
        again = (await read(await client.hello())).offer
        assert (again.withheld, list(again.files), again.revision) == ("bundle.self_test", [], offer.revision)
        fresh = (await read(await client.hello(boot="1" * 32))).offer  # another start: mended, or another version
        assert (fresh.withheld, len(fresh.files)) == ("", len(offer.files))
        error = types_pb2.ErrorDetail(code="bundle.self_test", fatal=True)
        call = await client.hello(boot="1" * 32)
        nonce = (await read(call)).offer.nonce
        await call.write(sync_pb2.SyncUp(nack=sync_pb2.Nack(nonce=nonce, error=error)))
        await cp.shown(holds=lambda found: bool(found.delivery and found.delivery.state == "refused"))
        await client.channel.close()
    async with serving(tmp_path / "cp") as cp:  # another process: it knows only what is stored
        later = Client(client.answer, client.key_pem, client.log, str(cp.ready["grpc"]))
        call = await later.hello(boot="1" * 32)
        assert (await read(call)).offer.withheld == "bundle.self_test"
        await cp.plane.publisher.publish_policy("acme", default_policy("acme").replace(b"found.", b"seen."))
        fresh = (await read(call)).offer
        assert (fresh.withheld, bool(fresh.files), fresh.revision) == ("", True, "2.2")
        await later.channel.close()


async def test_a_start_that_says_what_it_refused_is_not_offered_it(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp") as cp:
        outpost = await enroll(cp)
        offer = await heard(await outpost.plane.open(hello()))
        assert isinstance(offer, ports.Offer)
        again = await heard(await outpost.plane.open(replace(hello(), refused_revision=offer.revision)))
        assert isinstance(again, ports.Offer)
        assert (again.withheld, again.files) == ("refused", ())
        await outpost.plane.close()


async def test_one_release_reaches_every_stream_once(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp") as cp:
        fleet = [await enroll(cp) for _ in range(HERD)]
        sessions = [await each.plane.open(hello()) for each in fleet]
        first = [await heard(each) for each in sessions]
        assert all(isinstance(each, ports.Offer) for each in first)
        for session, offer in zip(sessions, first, strict=True):
            assert isinstance(offer, ports.Offer)
            await session.ack(offer.nonce, offer.revision, 1)
        await cp.plane.publisher.publish_policy("acme", default_policy("acme").replace(b"found.", b"seen."))
        second = await asyncio.wait_for(asyncio.gather(*(heard(each) for each in sessions)), SECONDS)
        nonces = [each.nonce for each in (*first, *second) if isinstance(each, ports.Offer)]
        assert len(set(nonces)) == 2 * HERD  # each its own, though the body is shared
        assert Counter(each.revision for each in second if isinstance(each, ports.Offer)) == {"2.2": HERD}
        inline = {name.partition("-")[0] for each in second if isinstance(each, ports.Offer) for name in _inline(each)}
        assert "policy/packs" in inline
        assert "vendor/detectors" not in inline  # held, and not sent again
        for outpost in fleet:
            await outpost.plane.close()


def _inline(offer: ports.Offer) -> list[str]:
    return [file.name for file in offer.files if file.inline]


async def test_a_set_that_comes_while_an_offer_is_unanswered_is_offered_too(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp") as cp:
        outpost = await enroll(cp)
        session = await outpost.plane.open(hello())
        first = await heard(session)
        for word in (b"one.", b"two.", b"three."):
            await cp.plane.publisher.publish_policy("acme", default_policy("acme").replace(b"found.", word))
        offer = first
        async with asyncio.timeout(SECONDS):
            while not (isinstance(offer, ports.Offer) and offer.revision == "4.4"):
                offer = await heard(session)
        await session.ack(offer.nonce, offer.revision, 1)
        shown = await cp.shown(
            outpost.name, holds=lambda found: bool(found.delivery and found.delivery.state == "active")
        )
        assert shown.delivery is not None
        assert shown.delivery.revision == "4.4"
        await outpost.plane.close()


async def test_while_an_offer_is_worked_on_the_next_one_says_nothing_against_the_set_that_was_held(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path / "cp") as cp:
        outpost = await enroll(cp)
        session = await outpost.plane.open(hello())
        first = await heard(session)
        assert isinstance(first, ports.Offer)
        await session.ack(first.nonce, first.revision, 1)
        await cp.shown(outpost.name, holds=lambda found: bool(found.delivery and found.delivery.state == "active"))
        offers = []
        for word in (b"one.", b"two."):  # the first of the two is not answered before the second comes
            await cp.plane.publisher.publish_policy("acme", default_policy("acme").replace(b"found.", word))
            async with asyncio.timeout(SECONDS):
                offers.append(await heard(session))
        one, two = offers
        assert isinstance(one, ports.Offer)
        assert isinstance(two, ports.Offer)
        assert (bool(one.base_sha256), two.base_sha256, two.removed) == (True, b"", ())
        await session.ack(one.nonce, one.revision, 1)
        await session.ack(two.nonce, two.revision, 1)
        await cp.plane.publisher.publish_policy("acme", default_policy("acme").replace(b"found.", b"three."))
        async with asyncio.timeout(SECONDS):
            three = await heard(session)
        assert isinstance(three, ports.Offer)
        assert three.base_sha256 == set_identity({item.name: item.sha256 for item in two.files})
        await outpost.plane.close()


async def refused_changes(session: ports.SyncSession, code: str) -> ports.Offer:
    """Refuse the changes of the next offer as an outpost that holds another set; what comes then."""
    offer = await heard(session)
    assert isinstance(offer, ports.Offer)
    assert offer.base_sha256
    error = {"code": code, "message": "another set is held", "field": "base", "next": "", "fatal": True}
    await session.nack(offer.nonce, error, "base")
    again = await heard(session)
    assert isinstance(again, ports.Offer)
    assert again.revision == offer.revision
    return again


@pytest.mark.parametrize("code", ["delta.base", "delta.mismatch"])
async def test_whoever_holds_another_set_than_thought_is_offered_the_complete_one_at_once(
    code: str, tmp_path: Path
) -> None:
    async with serving(tmp_path / "cp") as cp:
        outpost = await enroll(cp)
        session = await outpost.plane.open(hello())
        first = await heard(session)
        assert isinstance(first, ports.Offer)
        await session.ack(first.nonce, first.revision, 1)
        await cp.shown(outpost.name, holds=lambda found: bool(found.delivery and found.delivery.state == "active"))
        for word in (b"one.", b"two."):  # once it took the complete set, it is offered changes again
            await cp.plane.publisher.publish_policy("acme", default_policy("acme").replace(b"found.", word))
            whole = await refused_changes(session, code)
            assert (whole.base_sha256, whole.withheld) == (b"", "")
            assert len(whole.files) >= len(first.files)
            shown = await cp.shown(outpost.name, holds=lambda found: bool(found.delivery and found.delivery.code))
            assert shown.delivery is not None
            assert (shown.delivery.state, shown.delivery.code) == ("failed", code)
            await session.ack(whole.nonce, whole.revision, 1)
            await cp.shown(outpost.name, holds=lambda found: bool(found.delivery and found.delivery.state == "active"))
        await outpost.plane.close()


async def test_what_failed_for_a_reason_that_passes_is_offered_again_on_the_same_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "FIRST_RETRY_SECONDS", 0.02)
    async with serving(tmp_path / "cp") as cp:
        outpost = await enroll(cp)
        session = await outpost.plane.open(hello())
        error = {"code": "cache.write_failed", "message": "no room", "field": "", "next": "", "fatal": False}
        async with asyncio.timeout(SECONDS):
            for _ in range(3):
                offer = await heard(session)
                assert isinstance(offer, ports.Offer)
                assert (offer.revision, offer.withheld, bool(offer.files)) == ("1.1", "", True)
                await session.nack(offer.nonce, error, "")
                shown = await cp.shown(outpost.name, holds=lambda found: bool(found.delivery and found.delivery.code))
                assert shown.delivery is not None
                assert (shown.delivery.state, shown.delivery.code) == ("failed", "cache.write_failed")
            offer = await heard(session)
        assert isinstance(offer, ports.Offer)
        await session.ack(offer.nonce, offer.revision, 1)
        await cp.shown(outpost.name, holds=lambda found: bool(found.delivery and found.delivery.state == "active"))
        await outpost.plane.close()


async def test_many_are_revoked_in_one_transaction_and_no_other_stream_ends(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp") as cp:
        fleet = [await Client.enroll(await cp.token(name=f"prod-{number}")) for number in range(HERD)]
        calls = [await each.hello() for each in fleet]
        for call in calls:
            await read(call)
        from controlplane.domain import outposts

        async with cp.plane.store.for_org("acme").write() as transaction:
            for client in fleet[: HERD // 2]:
                outpost = await transaction.outposts.get(client.answer.outpost_id)
                await transaction.outposts.save(outposts.revoked(outpost, "stolen", 1))
        for client, call in zip(fleet[: HERD // 2], calls, strict=False):
            status, why = await ended(call)
            assert (status, why.code) == (grpc.StatusCode.PERMISSION_DENIED, "outpost.revoked")
            assert (await ended(await client.hello()))[1].code == "outpost.revoked"
        await cp.plane.publisher.publish_policy("acme", default_policy("acme").replace(b"found.", b"seen."))
        for call in calls[HERD // 2 :]:
            assert (await read(call)).offer.revision == "2.2"
        for client in fleet:
            await client.channel.close()


async def test_a_stop_spreads_those_who_come_back_over_more_time_the_more_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp", connect_rate=1) as cp:
        one = await enroll(cp)
        session = await one.plane.open(hello())
        await heard(session)
        await cp.server.stop()
        assert await heard(session) == ports.Drain(10)
        assert await heard(session) is None
        await one.plane.close()


async def test_a_flood_of_messages_ends_its_stream_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MESSAGES", Rate(3_600_000.0, 3))
    async with serving(tmp_path / "cp") as cp:
        one, two = [await Client.enroll(await cp.token(name=name)) for name in ("one", "two")]
        flooded, quiet = await one.hello(), await two.hello()
        for call in (flooded, quiet):
            await read(call)
        status = sync_pb2.SyncUp(status=sync_pb2.Status(state="ACTIVE"))

        for _ in range(4):
            await flooded.write(status)
        code, why = await ended(flooded)
        assert (code, why.code, why.fatal) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "throttled", False)
        assert why.retry_after_ms > 0
        await quiet.write(status)
        assert (await cp.shown("two", holds=lambda found: bool(found.status))).status["state"] == "ACTIVE"
        for client in (one, two):
            await client.channel.close()


async def test_a_message_larger_than_any_hello_is_refused_though_uploads_may_be_larger(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        call = client.sync.Sync()
        await call.write(sync_pb2.SyncUp(hello=sync_pb2.Hello(capabilities=["x" * 70_000])))
        assert (await ended(call))[1].code == "wire.invalid"
        await client.channel.close()


async def test_a_stream_without_hello_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting, "HELLO_SECONDS", 0.05)
    async with serving(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        status, why = await ended(client.sync.Sync())
        assert (status, why.code, why.fatal) == (grpc.StatusCode.PERMISSION_DENIED, "sync.hello", False)
        await client.channel.close()


async def test_an_outpost_that_is_up_to_date_is_sent_no_bytes(tmp_path: Path) -> None:
    async with serving(tmp_path / "cp") as cp:
        outpost = await enroll(cp)
        session = await outpost.plane.open(hello())
        offer = await heard(session)
        assert isinstance(offer, ports.Offer)
        again = await heard(await outpost.plane.open(hello(held=digests(offer))))
        assert isinstance(again, ports.Offer)
        assert (again.revision, again.files, again.withheld) == (offer.revision, (), "")
        await outpost.plane.close()
