"""Identities on the real store: bound tokens, clones, recoveries, new enrollments, orders to wipe."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import recover
from certs.csr import build_request
from certs.errors import TrustError
from certs.join_token import parse
from certs.shell.signers import generate_tls_key
from controlplane.domain.boots import Hello
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import DRAIN_MS, Act, Outpost
from controlplane.domain.recovery import GRACE_MS, MAX_IN_A_ROW
from controlplane.services.administer import Terms
from controlplane.services.clones import Sighting
from controlplane.services.identity import Principal
from controlplane.services.recover import Recovered, RecoveryCall
from outpost.core.bundle.lock import Addressee, verify_lock
from outpost.core.bundle.release import RoleKeys
from tests.unit.controlplane.bed import Bed, Log, ask, bed, new_csr

DAY_MS = 24 * 3600 * 1000
MINUTE_MS = 60_000
AWAY = "198.51.100.2"


def boot(counter: int, chance: str = "0") -> str:
    return f"{counter:08x}" + chance * 24


def refused(code: str) -> AbstractContextManager[Any]:
    class Refused:
        def __enter__(self) -> None:
            return None

        def __exit__(self, kind: object, error: object, trace: object) -> bool:
            assert isinstance(error, ControlPlaneError | TrustError), error
            assert error.code == code
            return True

    return Refused()


@dataclass
class Machine:
    """An outpost that enrolled, and whatever it was issued since."""

    plane: Bed
    key: ec.EllipticCurvePrivateKey
    chain: tuple[bytes, ...]
    sequence: int
    log: Log
    id: str
    name: str = "prod"
    source: str = "192.0.2.1"
    principals: list[Principal] = field(default_factory=list)

    @classmethod
    async def enroll(cls, plane: Bed, name: str = "prod", token: str = "", log: Log | None = None) -> "Machine":
        key, log = generate_tls_key(), log or Log("", "")
        spent = parse(token) if token else await plane.token(name=name)
        call = plane.call(spent, build_request(key), audit_public_key=log.public_key)
        enrolled = await plane.enrollment.enroll(call)
        told = enrolled.outpost
        return cls(plane, key, enrolled.chain.leaf_and_issuers, told.join_sequence, log, told.id, name)

    @property
    def serial(self) -> str:
        return f"{x509.load_der_x509_certificate(self.chain[0]).serial_number:x}"

    async def use(self, act: Act = Act.SYNC) -> Principal:
        return await self.plane.gatekeeper.identify(self.chain, act)

    async def hello(self, boot_id: str) -> None:
        principal = await self.use()
        await self.plane.words.hello(principal, Hello(boot_id, "1", self.source))
        await self.plane.views.refresh("acme")

    async def renew(self) -> "Machine":
        key = generate_tls_key()
        call = ask(build_request(key), self.sequence, boot(1), self.source)
        renewed = await self.plane.renewal.renew(await self.use(Act.RENEW), call)
        return replace(self, key=key, chain=renewed.chain.leaf_and_issuers, sequence=renewed.join_sequence)

    def proof(self, csr: bytes, **changes: Any) -> RecoveryCall:
        nonce, _ = self.plane.recovery.challenge("acme", self.id, self.source)
        claim = recover.RecoverClaim("acme", self.id, nonce, csr, self.sequence, boot(1))
        proof = self.key.sign(recover.recover_message(claim), ec.ECDSA(hashes.SHA256()))
        values: dict[str, Any] = {
            "org": "acme",
            "outpost_id": self.id,
            "nonce": nonce,
            "csr_der": csr,
            "join_sequence": self.sequence,
            "serial": self.serial,
            "proof": proof,
            "boot_id": boot(1),
            "caller_ms": 0,
            "source": self.source,
        }
        return RecoveryCall(**{**values, **changes})

    async def recover(self) -> "Machine":
        key = generate_tls_key()
        recovered = await self.plane.recovery.recover(self.proof(build_request(key)))
        return self.after(key, recovered)

    def after(self, key: ec.EllipticCurvePrivateKey, recovered: Recovered) -> "Machine":
        return replace(self, key=key, chain=recovered.chain.leaf_and_issuers, sequence=recovered.join_sequence)

    async def row(self) -> Outpost:
        return (await self.plane.administration.show("acme", self.id)).outpost


async def test_a_token_bound_to_a_network_is_spent_from_there_only(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token(network="203.0.113.0/24", logical="site-1")
        with refused("token.source"):
            await plane.enrollment.enroll(plane.call(token))
        enrolled = await plane.enrollment.enroll(plane.call(token, source="203.0.113.9"))
        assert (enrolled.outpost.site, enrolled.outpost.boot_source) == ("site-1", "203.0.113.9")


async def test_a_second_key_locks_both_holders_and_names_both_addresses(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        copy = replace(original, source=AWAY)
        await original.renew()
        with refused("identity.locked"):
            await copy.renew()
        row = await original.row()
        assert (row.state.value, row.alert, row.alert_sources) == ("locked", "identity.second_key", ("192.0.2.1", AWAY))
        await plane.views.refresh("acme")
        for machine in (original, copy):
            with refused("identity.locked"):
                await machine.use()
            await machine.use(Act.DRAIN)


async def test_a_renewal_with_a_retired_certificate_locks(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        csr = new_csr()
        first = await plane.renewal.renew(await original.use(), ask(csr))
        await plane.gatekeeper.identify(first.chain.leaf_and_issuers, Act.SYNC)
        held = Principal("acme", original.id, original.serial, 2**60)
        with refused("identity.superseded"):  # an answered request that arrives late
            await plane.renewal.renew(held, ask(csr))
        with refused("identity.locked"):
            await plane.renewal.renew(held, ask(new_csr(), source=AWAY))
        row = await original.row()
        assert (row.alert, row.alert_sources) == ("identity.retired_certificate", ("192.0.2.1", AWAY))
        await plane.views.refresh("acme")
        await original.use(Act.DRAIN)  # whoever caused the lock may deliver its audit tail as well


async def test_a_retired_holder_that_lives_locks_and_late_bytes_do_not(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        copy = replace(original, source=AWAY)
        renewed = await original.renew()
        await renewed.hello(boot(1))
        held = Principal("acme", copy.id, copy.serial, 2**60)
        assert await plane.clones.is_retired(held)
        assert not await plane.clones.is_retired(replace(held, serial="77"))
        assert not await plane.clones.is_retired(await renewed.use())
        assert (await original.row()).state.value == "active"
        assert (await plane.clones.found(held, Sighting(boot(1), AWAY))).code == "identity.locked"
        assert (await original.row()).alert == "identity.retired_certificate"


async def test_two_starts_with_one_counter_lock(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        await original.hello(boot(4))
        with refused("identity.locked"):
            await replace(original, source=AWAY).hello(boot(4, "1"))
        row = await original.row()
        assert (row.alert, row.alert_sources) == ("identity.copied_start", ("192.0.2.1", AWAY))


async def test_an_earlier_start_is_refused_and_locks_only_when_it_lives(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        await original.hello(boot(4))
        await original.hello(boot(5))
        for _ in range(3):
            with refused("identity.superseded"):
                await original.hello(boot(4))
        assert (await original.row()).alert == ""
        principal = await original.use()
        current = await plane.clones.found(principal, Sighting(boot(5), AWAY))
        assert (current.code, (await original.row()).state.value) == ("identity.superseded", "active")
        assert (await plane.clones.found(principal, Sighting(boot(4), AWAY))).code == "identity.locked"
        assert (await original.row()).alert == "identity.earlier_start"


async def test_only_a_new_enrollment_unlocks_and_voids_what_was_before(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        thief = replace(original, source=AWAY)
        await original.renew()
        with refused("identity.locked"):
            await thief.renew()
        again = await plane.administration.reenroll("acme", "prod", Terms(), plane.door)
        with refused("outpost.audit_key"):
            await Machine.enroll(plane, token=again.token)
        fresh = await Machine.enroll(plane, token=again.token, log=original.log)
        assert fresh.id == original.id
        assert fresh.sequence == 3
        await fresh.use()
        with refused("identity.superseded"):
            await thief.use()
        with refused("identity.superseded"):
            await thief.recover()
        row = await fresh.row()
        assert (row.state.value, row.alert, row.locked_ms) == ("active", "", 0)


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
        call = replace(call, nonce=plane.recovery.challenge(call.org, call.outpost_id, "s")[0])
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


async def test_certificates_of_an_outpost_are_bounded_in_a_day(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        for _ in range(19):
            machine = await machine.renew()
            await machine.use()
        with refused("certificate.quota"):
            await machine.renew()
        plane.clock.ms += DAY_MS + 1000
        await machine.recover()


async def test_an_order_to_wipe_is_signed_sent_until_confirmed_and_names_the_identity(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        await machine.renew()
        ordered = await plane.locks.order("acme", "prod", "machine.stolen")
        assert (ordered.state.value, ordered.reason, ordered.is_order_out) == ("locked", "machine.stolen", True)
        signatures = {key: bytes.fromhex(value) for key, value in ordered.lock_signatures}
        async with plane.store.for_org("acme").read() as transaction:
            signer = (await transaction.role_keys.all())["access"][0]
        access = RoleKeys(1, dict.fromkeys(signatures, signer.public_key().public_bytes_raw()))  # type: ignore[union-attr]
        addressee = Addressee("acme", machine.id, 2)  # the waiting certificate is meant too
        order = verify_lock(ordered.lock_order.encode(), signatures, access, addressee)
        assert (order.reason, order.join_sequence) == ("machine.stolen", 2)
        await plane.locks.confirmed(Principal("acme", machine.id, machine.serial, 2**60))
        assert not (await machine.row()).is_order_out
        with refused("lock.reason"):
            await plane.locks.order("acme", "prod", "Because!")
        token = (await plane.administration.reenroll("acme", "prod", Terms(), plane.door)).token
        fresh = await Machine.enroll(plane, token=token, log=machine.log)
        assert fresh.sequence > order.join_sequence


async def test_a_whole_fleet_is_ordered_at_once(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        for name in ("one", "two"):
            await Machine.enroll(plane, name)
        await plane.token(name="never-enrolled")
        ordered = await plane.locks.order_all("acme")
        assert {each.name for each in ordered} == {"one", "two"}
        assert all(each.is_order_out for each in ordered)
