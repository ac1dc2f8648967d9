"""Recovery on the real store: whoever holds the key gets a certificate, and nobody else learns anything."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certs.csr import build_request
from certs.shell.signers import generate_tls_key
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import DRAIN_MS, Act
from controlplane.domain.quotas import CERTIFICATES_PER_OUTPOST_A_DAY
from controlplane.domain.recovery import GRACE_MS, MAX_IN_A_ROW
from controlplane.services.recover import RecoveryCall
from tests.unit.controlplane.bed import bed, new_csr
from tests.unit.controlplane.machines import AWAY, DAY_MS, MINUTE_MS, Machine, boot, refused


async def test_an_expired_certificate_is_recovered_and_counted(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        for _ in range(MAX_IN_A_ROW):
            plane.clock.ms += 3 * DAY_MS
            with refused("identity.refused"):
                await machine.use()
            machine = await machine.recover()
            await machine.use()
        plane.clock.ms += 3 * DAY_MS
        with refused("recover.count"):
            await machine.recover()
        assert (await machine.row()).recoveries == MAX_IN_A_ROW


async def test_a_regular_renewal_starts_the_count_anew(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        plane.clock.ms += 3 * DAY_MS
        machine = await machine.recover()
        assert (await machine.row()).recoveries == 1
        machine = await machine.renew()
        assert (await machine.row()).recoveries == 0


async def test_the_same_recovery_gets_the_same_certificate_until_it_ends(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        plane.clock.ms += 3 * DAY_MS
        key = generate_tls_key()
        csr = build_request(key)
        first = await plane.recovery.recover(machine.proof(csr))
        assert (await plane.recovery.recover(machine.proof(csr))).chain == first.chain
        plane.clock.ms += 2 * DAY_MS
        second = await plane.recovery.recover(machine.proof(csr))
        assert (second.chain != first.chain, second.join_sequence) == (True, first.join_sequence)
        await machine.after(key, second).use()


async def test_the_key_of_a_certificate_that_was_never_used_recovers_too(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await (await Machine.enroll(plane)).renew()
        plane.clock.ms += 3 * DAY_MS
        recovered = await machine.recover()
        assert recovered.sequence == 3
        await recovered.use()


async def test_a_key_is_worth_nothing_after_its_grace(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        plane.clock.ms += DAY_MS + GRACE_MS + MINUTE_MS
        with refused("recover.grace"):
            await machine.recover()


async def test_a_copied_key_that_recovers_locks(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        plane.clock.ms += 3 * DAY_MS
        await original.recover()
        with refused("identity.locked"):
            await replace(original, source=AWAY).recover()
        assert (await original.row()).alert_sources == ("192.0.2.1", AWAY)


async def test_a_recovery_by_a_retired_key_is_late_or_a_clones(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        plane.clock.ms += 3 * DAY_MS
        key = generate_tls_key()
        csr = build_request(key)
        late = original.proof(csr)
        fresh = original.after(key, await plane.recovery.recover(late))
        await fresh.use()
        with refused("identity.superseded"):
            await plane.recovery.recover(late)
        plane.clock.ms += 10_000
        with refused("identity.locked"):
            await plane.recovery.recover(replace(original.proof(csr), source=AWAY))


STRANGERS: dict[str, Callable[[RecoveryCall, RecoveryCall], RecoveryCall]] = {
    "an org that is not here": lambda good, other: replace(good, org="nobody"),
    "an org that is no name": lambda good, other: replace(good, org="-"),
    "an outpost that is not here": lambda good, other: replace(good, outpost_id="op-" + "0" * 16),
    "an outpost of another org": lambda good, other: replace(good, org="globex"),
    "another outpost's certificate": lambda good, other: replace(good, serial=other.serial),
    "a serial that was never issued": lambda good, other: replace(good, serial="1"),
    "a proof of another key": lambda good, other: replace(good, proof=other.proof),
    "a proof of no bytes": lambda good, other: replace(good, proof=b""),
    "a proof over another sequence": lambda good, other: replace(good, join_sequence=2),
    "a proof over another start": lambda good, other: replace(good, boot_id=boot(9)),
    "a proof over another request": lambda good, other: replace(good, csr_der=new_csr()),
}


@pytest.mark.parametrize("what", STRANGERS)
async def test_whoever_does_not_hold_the_key_gets_one_answer(what: str, tmp_path: Path) -> None:
    async with bed(tmp_path, "acme", "globex") as plane:
        machine, other = await Machine.enroll(plane), await Machine.enroll(plane, "other")
        call = STRANGERS[what](machine.proof(new_csr()), other.proof(new_csr()))
        call = replace(call, nonce=plane.recovery.challenge(call.org, call.outpost_id)[0])
        with pytest.raises(ControlPlaneError) as caught:
            await plane.recovery.recover(call)
        assert caught.value.as_dict() == {
            "code": "recover.refused",
            "message": "no outpost here is bound to this key",
            "fatal": True,
            "field": "proof",
            "next": "enroll the outpost anew: controlplane outpost reenroll NAME --org ORG",
        }
        assert (await machine.row()).state.value == "active"


async def test_nonces_are_for_one_outpost_and_one_minute(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine, other = await Machine.enroll(plane), await Machine.enroll(plane, "other")
        good = machine.proof(new_csr())
        with refused("recover.nonce"):
            await plane.recovery.recover(replace(good, nonce=other.proof(new_csr()).nonce))
        plane.clock.ms += MINUTE_MS + 1
        with refused("recover.nonce"):
            await plane.recovery.recover(good)


async def test_a_source_of_bad_proofs_is_throttled(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        codes = []
        for _ in range(12):
            with pytest.raises(ControlPlaneError) as caught:
                await plane.recovery.recover(replace(machine.proof(new_csr()), proof=b"", source=AWAY))
            codes.append(caught.value.code)
        assert codes == ["recover.refused"] * 10 + ["throttled"] * 2
        await machine.recover()


async def test_a_thief_does_not_take_the_audit_tail_from_the_honest_holder(tmp_path: Path) -> None:
    """Both hold one key; whatever certificates the thief makes of it, those of the other go on counting."""
    async with bed(tmp_path) as plane:
        honest = await Machine.enroll(plane)
        thief = replace(honest, source=AWAY)
        await honest.hello(boot(4))
        with refused("identity.locked"):
            await thief.hello(boot(4, "1"))
        await plane.views.refresh("acme")
        tail = await honest.recover()
        await tail.use(Act.DRAIN)
        stolen = [await thief.recover() for _ in range(CERTIFICATES_PER_OUTPOST_A_DAY)]
        with refused("certificate.quota"):
            await thief.recover()
        for machine in (honest, tail, *stolen[-2:]):
            await machine.use(Act.DRAIN)
            with refused("identity.locked"):
                await machine.use()
        plane.clock.ms += 2 * DAY_MS
        for _ in range(CERTIFICATES_PER_OUTPOST_A_DAY):
            stolen.append(await stolen[-1].recover())  # from one to the next
        tail = await tail.recover()
        await tail.use(Act.DRAIN)
        plane.clock.ms += DRAIN_MS - 2 * DAY_MS
        with refused("identity.locked"):
            await tail.recover()


async def test_a_right_proof_is_not_shut_out_by_wrong_ones_from_its_own_address(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        for _ in range(5_000):
            plane.recovery.challenge("acme", machine.id)
        bad = replace(machine.proof(new_csr()), proof=b"")
        codes = []
        for _ in range(12):
            with pytest.raises(ControlPlaneError) as caught:
                await plane.recovery.recover(bad)
            codes.append(caught.value.code)
        assert codes == ["recover.refused"] * 10 + ["throttled"] * 2
        assert bad.source == machine.source
        await machine.recover()


async def test_a_withdrawn_outpost_recovers_for_its_tail_only(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        await plane.administration.revoke("acme", "prod", "lost")
        plane.clock.ms += 2 * DAY_MS
        key = generate_tls_key()
        csr = build_request(key)
        first = await plane.recovery.recover(machine.proof(csr))
        assert (await plane.recovery.recover(machine.proof(csr))).chain == first.chain
        tail = machine.after(key, first)
        assert tail.sequence == 1
        await tail.use(Act.DRAIN)
        for act in (Act.SYNC, Act.RENEW):
            with refused("outpost.revoked"):
                await tail.use(act)
        plane.clock.ms += DRAIN_MS
        with refused("outpost.revoked"):
            await tail.recover()
