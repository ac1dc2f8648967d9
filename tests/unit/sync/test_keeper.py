"""What an agent does with its certificate: renewal, recovery, new roots, and what it says of each."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from certs import keys
from certs.adoption import trust_bundle_digest
from certs.shell.dev import create_hierarchy
from outpost import issuing, ports
from outpost.sync import schedule
from outpost.sync.identity import Identity
from tests.unit.sync.agent_world import (
    MADE,
    NOW_MS,
    SET,
    Plane,
    World,
    answer,
    away,
    refused,
    running,
    started,
    until,
)
from tests.unit.sync.enrolled import TRUST_DOMAIN, offer

HOUR_MS = 3_600_000


async def established(plane: Plane) -> None:
    """The control plane has spoken."""
    plane.session.down.put_nowait(offer(SET))
    assert (await answer(plane))[0] == "ack"


async def test_a_certificate_is_renewed_at_half_of_its_life_and_the_connection_moves(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = world.identity
    async with running(world) as plane:
        await established(plane)
        world.age(0.39)
        await asyncio.sleep(0.05)
        assert world.authority.asked == []
        world.age(0.41)  # 50 % less 10 %, by chance
        again = await world.next_plane()
        assert world.authority.asked[0][0::2] == ("renew", 1)
        assert (again.identity.key_pem, again.identity.enrollment.join_sequence) == (world.identity.key_pem, 2)
        assert again.identity.key_pem != before.key_pem
        await until(lambda: plane.closed)
        assert not again.closed
        await established(again)
        assert world.known.functions["certificate"] == "ok"
        assert world.ledger.events == ["bundle.activated", "certificate.renewed"]
        assert world.known.attempts == 0


async def test_the_new_connection_stands_before_the_old_one_is_let_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    gate = asyncio.Event()
    connect = world._connect

    def slow(identity: Identity, attempts: int) -> Plane:
        plane = connect(identity, attempts)
        if len(world.planes) == 2:
            plane.gate = gate
        return plane

    world._connect = slow  # type: ignore[method-assign]
    world.agent = type(world.agent)("acme", world.parts(), "1.0")
    async with running(world) as plane:
        await established(plane)
        plane.session.down.put_nowait(ports.RotateNow())
        again = await world.next_plane()
        await again.opened.wait()
        assert not plane.closed
        plane.session.down.put_nowait(refused("sync.replaced", fatal=False))  # the server heard the new one first
        await asyncio.sleep(0.02)
        assert world.known.functions["control_link"] == "ok"
        gate.set()
        await established(again)
        await until(lambda: plane.closed)
        assert len(world.planes) == 2


async def test_calls_that_run_end_on_the_old_connection_and_later_ones_go_over_the_new(tmp_path: Path) -> None:
    world = World(tmp_path)
    release, seen = asyncio.Event(), []

    async def deliver(line: ports.ControlPlane, known: object) -> None:
        while True:
            seen.append(await line.root("origin", 1))

    async def root(self: Plane, origin: str, size: int) -> tuple[int, bytes]:
        await asyncio.sleep(0.001)
        if self is world.planes[0]:
            await release.wait()
        assert not self.closed
        return world.planes.index(self), b""

    world.delivering = deliver
    Plane.root, kept = root, Plane.root  # type: ignore[method-assign,assignment]
    try:
        async with running(world) as plane:
            await established(plane)
            plane.session.down.put_nowait(ports.RotateNow())
            line = world.agent._line
            assert line is not None
            await until(lambda: not line._open.is_set())
            assert len(world.planes) == 1  # the call that runs is waited for
            release.set()
            await until(lambda: len(seen) > 3)
            assert [number for number, _ in seen][:2] == [0, 1]
    finally:
        Plane.root = kept  # type: ignore[method-assign]


async def test_a_move_that_fails_leaves_the_old_connection_and_is_tried_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.failures = [None, away(), away(), None]
    async with running(world) as plane:
        await established(plane)
        plane.session.down.put_nowait(ports.RotateNow())
        for _ in range(2):
            failed = await world.next_plane()
            await until(lambda: failed.closed)  # noqa: B023 -- waited for within the turn
            assert not plane.closed
        await established(await world.next_plane())
        await until(lambda: plane.closed)


async def test_the_same_request_is_sent_until_it_is_answered_over_restarts(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.age(0.7)
    world.authority.lost = 3
    async with running(world):
        await until(lambda: len(world.authority.asked) >= 2)
    again = World.__new__(World)
    again.__dict__.update(world.__dict__)
    again.agent = type(world.agent)("acme", world.parts(), "1.0")
    async with running(again):
        await until(lambda: not (world.files.folder / "renewal.pem").exists())
    assert world.identity.enrollment.join_sequence == 2
    assert len({csr for _, csr, _ in world.authority.asked}) == 1


async def test_a_renewal_that_fails_is_told_from_two_thirds_of_the_life_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.authority.failures = [away()] * 1000
    async with running(world) as plane:
        await established(plane)
        world.age(0.6)
        await until(lambda: "unreachable" in world.known.notes.get("certificate", ""))
        assert world.known.functions["certificate"] == "ok"
        world.age(0.67)
        await until(lambda: world.known.functions["certificate"] == "certificate.late")
        world.authority.failures = []
        await until(lambda: world.known.functions["certificate"] == "ok")
        assert world.known.notes["certificate"] == ""


async def test_an_expired_certificate_is_recovered_and_then_renewed_soon(tmp_path: Path) -> None:
    world = World(tmp_path)
    ends = world.identity.life[1]
    world.clock.time_ms = NOW_MS + 72 * HOUR_MS
    async with running(world) as plane:
        assert world.authority.asked[0][0::2] == ("recover", 1)
        assert (plane.identity.enrollment.join_sequence, world.known.recoveries) == (2, 1)
        await established(plane)
        record = world.ledger.records[0]
        assert (record["event"], record["expired"], record["join_sequence"]) == ("certificate.recovered", ends, 2)
        world.clock.time_ms += (schedule.RECOVERED_SECONDS + 1) * 1000
        await world.next_plane()
        assert [way for way, _, _ in world.authority.asked] == ["recover", "renew"]


async def test_nobody_is_called_with_an_expired_certificate(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.clock.time_ms = NOW_MS + 72 * HOUR_MS
    world.authority.failures = [away()] * 4 + [refused("recover.nonce", fatal=False)]
    async with running(world):
        # One of the four was met by the look at why nobody answers.
        assert world.known.failed_recoveries == {"controlplane.unreachable": 3, "recover.nonce": 1}
        assert len(world.planes) == 1


async def test_a_certificate_that_is_dying_is_recovered_when_it_cannot_be_renewed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.clock.time_ms = (world.identity.life[1] - schedule.DYING_SECONDS + 1) * 1000
    world.authority.failures = [away()]
    async with started(world):
        await until(lambda: world.identity.enrollment.join_sequence == 2)
        assert [way for way, _, _ in world.authority.asked] == ["recover"]


async def test_a_clock_that_is_ahead_is_named_and_a_good_certificate_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.clock.time_ms = NOW_MS + 72 * HOUR_MS
    world.authority.ahead_ms = -72 * HOUR_MS
    async with running(world) as plane:
        assert world.authority.asked == []
        assert world.known.functions["clock"] == "clock.skew"
        assert "259200 s ahead of" in world.known.notes["clock"]
        assert world.known.functions["certificate"] == "ok"
        world.clock.time_ms = NOW_MS
        plane.session.down.put_nowait(ports.Offer("n", "1.1", (), NOW_MS))
        await until(lambda: world.known.functions["clock"] == "ok")


async def test_a_disk_that_takes_no_request_keeps_from_asking(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.age(0.7)
    (world.files.folder / "renewal.pem").mkdir()
    async with running(world):
        await until(lambda: world.known.functions["certificate"] == "certificate.late")
        await until(lambda: "identity.renewal_store" in world.known.notes["certificate"])
        assert world.authority.asked == []


async def test_a_disk_that_takes_no_counter_keeps_from_connecting(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.files.folder / "boot").mkdir()
    async with started(world):
        await until(lambda: world.known.functions["control_link"] == "identity.boot_counter")
        assert (world.planes, world.known.notes["control_link"] != "") == ([], True)
        (world.files.folder / "boot").rmdir()
        await world.next_plane()


async def test_a_record_that_the_log_does_not_take_is_put_there_later(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.age(0.7)
    world.ledger.full = True
    async with running(world):
        await until(lambda: world.identity.enrollment.join_sequence == 2)
        await asyncio.sleep(0.02)
        assert world.ledger.events == []
        world.ledger.full = False
        await until(lambda: world.ledger.events == ["certificate.renewed"])


OTHER = create_hierarchy(NOW_MS // 1000, TRUST_DOMAIN)
ANSWERS: dict[str, Callable[[issuing.RenewalAnswer], issuing.RenewalAnswer]] = {
    "the certificate is for another key": lambda good: issuing.RenewalAnswer(
        MADE.leaf.chain_der, good.trust_bundle, good.join_sequence
    ),
    "the chain is empty": lambda good: issuing.RenewalAnswer((), good.trust_bundle, good.join_sequence),
    "the trust bundle is empty": lambda good: issuing.RenewalAnswer(good.chain, (), good.join_sequence),
    "the trust bundle has another root": lambda good: issuing.RenewalAnswer(
        good.chain, (keys.certificate_der(OTHER.root.certificate),), good.join_sequence
    ),
    "the trust bundle has an issuing CA": lambda good: issuing.RenewalAnswer(
        good.chain, (*good.trust_bundle, good.chain[1]), good.join_sequence
    ),
    "the sequence jumps": lambda good: issuing.RenewalAnswer(good.chain, good.trust_bundle, good.join_sequence + 1),
    "the bytes are no certificates": lambda good: issuing.RenewalAnswer((b"x",), good.trust_bundle, good.join_sequence),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_an_answer_is_not_taken_when(what: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.age(0.7)
    issue = world.authority._issue
    world.authority._issue = lambda csr, sequence: ANSWERS[what](issue(csr, sequence))  # type: ignore[method-assign]
    before = world.identity
    async with running(world):
        await until(lambda: "renewal.answer" in world.known.notes.get("certificate", ""))
        assert world.identity == before


async def test_a_new_root_is_adopted_through_the_old_one_and_put_on_record(tmp_path: Path) -> None:
    world = World(tmp_path)
    now = NOW_MS // 1000
    server, cross = OTHER.server(now), OTHER.cross(MADE.trust, now)
    world.shown = (*server.chain_der[:2], keys.certificate_der(OTHER.root.certificate), keys.certificate_der(cross))
    world.clock.time_ms = NOW_MS + 25 * HOUR_MS
    world.authority.trust = OTHER
    world.authority.failures = [away()]  # the handshake fails: the server is below a root that is not believed
    async with running(world) as plane:
        await established(plane)
        adopted = world.ledger.records[0]
        assert adopted["event"] == "trust.adopted"
        roots = (MADE.trust.root.certificate, OTHER.root.certificate)
        assert adopted["trust_bundle_sha256"] == trust_bundle_digest(roots).hex()
        assert adopted["added"] == [keys.key_id(keys.require_tls_key(OTHER.root.certificate.public_key()))]
        assert world.hellos[-1].trust_bundle_sha256 == trust_bundle_digest(roots[1:])  # of the recovery's answer


async def test_a_root_that_nobody_vouches_for_is_not_adopted(tmp_path: Path) -> None:
    world = World(tmp_path)
    server = OTHER.server(NOW_MS // 1000)
    world.shown = (*server.chain_der[:2], keys.certificate_der(OTHER.root.certificate))
    world.clock.time_ms = NOW_MS + 25 * HOUR_MS
    world.authority.failures = [away()] * 1000
    before = world.identity.trust_bundle_pem
    async with started(world):
        await until(lambda: "chain.depth" in world.known.notes.get("certificate", ""))
        assert world.identity.trust_bundle_pem == before
        assert world.ledger.events == []


async def test_a_server_that_is_believed_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    server, cross = MADE.trust.server(NOW_MS // 1000), MADE.trust.cross(OTHER, NOW_MS // 1000)
    root = keys.certificate_der(MADE.trust.root.certificate)
    world.shown = (*server.chain_der[:2], root, keys.certificate_der(cross))
    world.clock.time_ms = NOW_MS + 25 * HOUR_MS
    world.authority.failures = [away()]
    async with running(world):
        assert "trust.adopted" not in world.ledger.events


WITHDRAWN = {"revoked": "outpost.revoked", "locked": "identity.locked"}


@pytest.mark.parametrize("what", WITHDRAWN)
async def test_a_withdrawn_identity_delivers_its_tail_and_asks_again_at_the_cap(what: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.chance.number = 0.5
    delivered: list[ports.ControlPlane] = []

    async def deliver(plane: ports.ControlPlane, known: object) -> None:
        delivered.append(plane)
        await asyncio.Event().wait()

    world.delivering = deliver
    world.failures = [refused(WITHDRAWN[what]), None, refused(WITHDRAWN[what]), None]
    async with started(world):
        await until(lambda: len(delivered) >= 2)
        assert world.known.withdrawn == world.known.functions["control_link"] == WITHDRAWN[what]
        assert world.files.withdrawn() == WITHDRAWN[what]
        assert world.waits[:2] == [30.0, 30.0]  # half of the cap, at once
        assert world.ledger.events == ["identity.withdrawn"]
        plane = world.planes[-1]
        await until(lambda: len(world.planes) >= 5)
        plane = world.planes[-1]
        plane.session.down.put_nowait(ports.Offer("n", "1.1", (), 0))
        await until(lambda: world.known.withdrawn == "")
        assert world.files.withdrawn() == ""


async def test_a_withdrawn_identity_is_not_renewed_but_recovers_a_certificate_for_its_tail(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.note_withdrawn("identity.locked")
    world.failures = [refused("identity.locked")] * 1000
    world.agent = type(world.agent)("acme", world.parts(), "1.0")
    world.age(0.9)
    async with started(world):
        await until(lambda: len(world.planes) > 4)
        assert world.authority.asked == []
        world.age(1.1)
        await until(lambda: world.authority.asked)
        assert world.authority.asked[0][0] == "recover"


async def test_a_superseded_identity_asks_again_at_the_cap_and_does_not_drain(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.chance.number = 0.5
    world.failures = [refused("identity.superseded", fatal=False)] * 3
    async with started(world):
        await until(lambda: len(world.waits) >= 3)
        assert world.waits[:3] == [30.0] * 3
        assert world.known.withdrawn == ""


async def test_a_signed_order_is_obeyed_said_and_ends_everything(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with running(world) as plane:
        await established(plane)
        plane.session.down.put_nowait(ports.Locked("forged"))
        await established(plane)
        assert not world.locker.locked
        plane.session.down.put_nowait(ports.Locked("operator.lock"))
        beat = await asyncio.wait_for(plane.session.beats.get(), 5)
        assert (beat.state, beat.functions["control_link"]) == ("LOCKED", "outpost.locked")
        await until(lambda: world.locker.wiped and plane.closed)
        await asyncio.sleep(0.02)
        assert len(world.planes) == 1


async def test_a_locked_outpost_says_so_and_calls_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.locker.locked = True
    async with started(world):
        await until(lambda: world.known.functions["control_link"] == "outpost.locked")
        assert world.planes == []
