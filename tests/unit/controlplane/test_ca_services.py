"""CAs that change, on the real store: steps, crashes in the middle of them, uptake, keys kept elsewhere, lists."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certs import keys
from certs.adoption import adopt_roots, trust_bundle_digest
from certs.csr import build_request
from certs.errors import TrustError
from certs.shell.signers import generate_tls_key
from certs.signer import KeySigner
from certs.verify import TrustAnchors, verify_server_chain
from controlplane.bootstrap.key_places import VaultKeys
from controlplane.domain.authorities import ABSENT_MS, AuthorityKind
from controlplane.domain.errors import ControlPlaneError, StateError
from controlplane.domain.outposts import Act
from controlplane.domain.records import Heartbeat
from controlplane.services.administer import Terms
from controlplane.services.authorities import Authorities
from controlplane.services.certification import Certifier
from controlplane.services.ingresses import IngressDesk
from controlplane.services.issuance import OutpostIssuer
from controlplane.services.trust import TrustBoard
from controlplane.store.store import DatabaseStore
from tests.unit.controlplane.bed import TRUST_DOMAIN, Bed, Chance, bed
from tests.unit.controlplane.machines import DAY_MS, Machine, refused

ROOT, OUTPOSTS, SERVERS = AuthorityKind.ROOT, AuthorityKind.OUTPOSTS, AuthorityKind.SERVERS
HOSTS = ("127.0.0.1",)


def another_process(plane: Bed, store: Any = None) -> Authorities:
    """The same control plane, as another process has it: nothing is shared but the database and its key."""
    own = store or DatabaseStore(plane.engine, plane.keyring)
    board = TrustBoard(own, plane.clock, TRUST_DOMAIN)
    return Authorities(own, board, Certifier(own, plane.clock, Chance(), TRUST_DOMAIN), VaultKeys())


async def states(plane: Bed) -> dict[str, str]:
    return {each.label: each.state.value for each in await plane.authorities.all()}


async def seen(plane: Bed, machine: Machine, bundle: bytes) -> None:
    """A heartbeat of an outpost that believes these roots."""
    async with plane.store.for_org("acme").write() as transaction:
        beat = Heartbeat(machine.id, {"trust_bundle": bundle.hex()}, plane.clock.ms)
        await transaction.outposts.keep_statuses([beat])


async def serves(plane: Bed, machine: Machine) -> None:
    """Whoever holds a certificate is known by it."""
    await plane.gatekeeper.identify(machine.chain, Act.SYNC)


async def test_a_root_goes_from_one_generation_to_the_next_under_an_outpost(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        first = plane.board.current
        await plane.authorities.prepare(ROOT, None)
        both = plane.board.current
        assert len(both.roots) == 2
        assert (both.signing.key_id, both.pin) == (first.signing.key_id, first.pin)  # nothing signs with it yet
        assert both.bundle_sha256 == trust_bundle_digest(both.roots) != first.bundle_sha256

        machine = await machine.renew()  # and takes up both roots
        await seen(plane, machine, both.bundle_sha256)
        await plane.authorities.activate(ROOT)
        second = plane.board.current
        assert (second.signing.key_id != first.signing.key_id, second.pin != first.pin) == (True, True)
        await serves(plane, machine)
        await plane.authorities.taint(ROOT)
        with refused("authority.in_use"):
            await plane.authorities.retire(ROOT)
        machine = await machine.renew()
        await serves(plane, machine)
        await seen(plane, machine, both.bundle_sha256)
        await plane.authorities.retire(ROOT)
        assert plane.board.current.roots == (second.roots[0],)
        await serves(plane, machine)
        assert await states(plane) == {
            **{f"{kind.value} 1": "retired" for kind in AuthorityKind},
            **{f"{kind.value} 2": "active" for kind in AuthorityKind},
        }


async def test_whoever_slept_through_it_finds_the_old_root_behind_the_new_one(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        believed = plane.board.current.roots
        for _ in range(2):  # the chain of a server holds the cross-certificates of the last two rotations
            await plane.authorities.prepare(ROOT, None)
            await plane.authorities.activate(ROOT)
            await plane.authorities.taint(ROOT)
            await plane.authorities.retire(ROOT)
        shown = await plane.setup.server_identity(HOSTS, plane.board.current)
        chain = [keys.certificate_der(each) for each in x509.load_pem_x509_certificates(shown.chain_pem)]
        now_s = plane.clock.ms // 1000
        with pytest.raises(TrustError):
            verify_server_chain(chain[:2], TrustAnchors(TRUST_DOMAIN, believed), now_s)
        adopted = adopt_roots(chain, believed, now_s, TRUST_DOMAIN)
        verify_server_chain(chain[:2], TrustAnchors(TRUST_DOMAIN, adopted), now_s)


Step = Callable[[Authorities], Awaitable[object]]
STEPS: tuple[tuple[str, Step], ...] = (
    ("prepare", lambda cas: cas.prepare(ROOT, None)),
    ("activate", lambda cas: cas.activate(ROOT, force=True)),
    ("taint", lambda cas: cas.taint(ROOT)),
    ("retire", lambda cas: cas.retire(ROOT, force=True)),
    ("prepare", lambda cas: cas.prepare(OUTPOSTS, None)),
    ("activate", lambda cas: cas.activate(OUTPOSTS)),
    ("taint", lambda cas: cas.taint(OUTPOSTS)),
    ("retire", lambda cas: cas.retire(OUTPOSTS, force=True)),
    ("prepare", lambda cas: cas.prepare(SERVERS, None)),
    ("activate", lambda cas: cas.activate(SERVERS)),
    ("taint", lambda cas: cas.taint(SERVERS)),
    ("retire", lambda cas: cas.retire(SERVERS)),
)


class CrashError(StateError):
    code = "test.crash"


class Crashing:
    """A store whose process dies just before, or just after, CAs are changed."""

    def __init__(self, store: DatabaseStore, *, after: bool) -> None:
        self._store, self._after = store, after
        self.authorities = self

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store.authorities, name, None)
        return found if found is not None else getattr(self._store, name)

    async def add(self, *given: Any) -> bool:
        if self._after:
            await self._store.authorities.add(*given)
        raise CrashError("the process died")

    async def change(self, *given: Any) -> bool:
        if self._after:
            await self._store.authorities.change(*given)
        raise CrashError("the process died")


@pytest.mark.parametrize("after", [False, True])
async def test_a_process_may_die_in_the_middle_of_every_step(tmp_path: Path, *, after: bool) -> None:
    """What another process finds is the step as a whole or nothing of it, and every outpost is served throughout."""
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        for name, step in STEPS:
            before = await states(plane)
            dying = another_process(plane, Crashing(DatabaseStore(plane.engine, plane.keyring), after=after))
            with refused("test.crash"):
                await step(dying)
            await plane.board.refresh()  # as a server does that was started again
            assert (await states(plane) != before) == after, name
            if not after:
                await step(another_process(plane))
                await plane.board.refresh()
            server = await plane.setup.server_identity(HOSTS, plane.board.current)
            leaf, issuing = x509.load_pem_x509_certificates(server.chain_pem)[:2]
            leaf.verify_directly_issued_by(issuing)
            if name != "retire":
                machine = await machine.renew()
            await serves(plane, machine)


async def test_of_two_processes_that_do_the_same_one_does_it(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        one, other = another_process(plane), another_process(plane)
        known = await other.all()
        await one.prepare(ROOT, None)
        stale = Crashing(DatabaseStore(plane.engine, plane.keyring), after=False)
        stale.all = lambda: _given(known)  # type: ignore[attr-defined]  # it read before the other one wrote
        stale.add = plane.store.authorities.add  # type: ignore[method-assign]
        late = another_process(plane, stale)
        with refused("authority.order"):
            await late.prepare(ROOT, None)
        assert len(await plane.authorities.all()) == 6


async def _given(value: Any) -> Any:
    return value


async def test_a_root_key_may_be_kept_elsewhere_over_every_rotation(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        made = await plane.authorities.prepare(ROOT, None, root_stays=False)
        key = KeySigner(keys.private_key_from_pem(made.root_key_pem))
        await plane.authorities.activate(ROOT, force=True)
        for step in (
            lambda: plane.authorities.prepare(OUTPOSTS, None),
            plane.authorities.revocation_lists,
        ):
            with refused("authority.root_key"):
                await step()
        with refused("authority.order"):
            await plane.authorities.prepare(OUTPOSTS, KeySigner(generate_tls_key()))
        await plane.authorities.prepare(OUTPOSTS, key)
        await plane.authorities.activate(OUTPOSTS)
        assert len(x509_lists(await plane.authorities.revocation_lists(key))) == 2
        machine = await Machine.enroll(plane)
        await serves(plane, await machine.renew())


def x509_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    end = b"-----END X509 CRL-----\n"
    return [x509.load_pem_x509_crl(part + end) for part in pem.split(end)[:-1]]


async def test_who_is_in_contact_holds_a_step_up_and_who_is_away_does_not(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        here = await Machine.enroll(plane, "here")
        gone = await Machine.enroll(plane, "gone")
        old = plane.board.current.bundle_sha256
        await plane.authorities.prepare(ROOT, None)
        for machine in (here, gone):
            await seen(plane, machine, old)
        with refused("authority.in_use"):
            await plane.authorities.activate(ROOT)
        plane.clock.ms += ABSENT_MS + 1
        here = replace(here, chain=(await here.recover()).chain)
        await seen(plane, here, plane.board.current.bundle_sha256)
        uptake = await plane.authorities.uptake()
        assert (uptake.active, uptake.current, uptake.away) == (1, 1, 1)
        await plane.authorities.activate(ROOT)


def full_chain(plane: Bed, chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A chain with the root behind it, as nobody has to send it."""
    return (*chain, *(keys.certificate_der(root) for root in plane.board.current.roots))


@pytest.mark.parametrize("kind", [OUTPOSTS, ROOT])
async def test_an_ingress_holds_the_end_of_its_ca_up_until_it_has_another_certificate(
    kind: AuthorityKind, tmp_path: Path
) -> None:
    async with bed(tmp_path) as plane:
        desk = IngressDesk(plane.store, plane.board, plane.authorities._certifier)
        first = plane.board.current.signing.key_id
        for name in ("edge", "lost", "gone"):
            await desk.issue(name, build_request(generate_tls_key()))
        await desk.revoke("lost")
        assert (await plane.authorities.uptake()).ingresses == {"edge": first, "gone": first}
        await plane.authorities.prepare(kind, None)
        await plane.authorities.activate(kind)
        await plane.authorities.taint(kind)
        with pytest.raises(ControlPlaneError) as caught:
            await plane.authorities.retire(kind)
        assert (caught.value.code, "edge, gone" in caught.value.message) == ("authority.in_use", True)
        await desk.revoke("gone")
        with refused("authority.in_use"):
            await plane.authorities.retire(kind)
        plane.clock.ms += 1
        await desk.issue("edge", build_request(generate_tls_key()))
        assert (await plane.authorities.uptake()).ingresses == {"edge": plane.board.current.signing.key_id}
        await plane.authorities.retire(kind)


async def test_an_ingress_whose_certificate_is_over_holds_nothing_up_and_force_leaves_the_others(
    tmp_path: Path,
) -> None:
    async with bed(tmp_path) as plane:
        desk = IngressDesk(plane.store, plane.board, plane.authorities._certifier)
        await desk.issue("edge", build_request(generate_tls_key()))
        await plane.authorities.prepare(OUTPOSTS, None)
        await plane.authorities.activate(OUTPOSTS)
        await plane.authorities.taint(OUTPOSTS)
        await plane.authorities.retire(OUTPOSTS, force=True)
        await desk.issue("edge", build_request(generate_tls_key()))
        plane.clock.ms += 91 * DAY_MS
        await plane.authorities.prepare(OUTPOSTS, None)
        await plane.authorities.activate(OUTPOSTS)
        await plane.authorities.taint(OUTPOSTS)
        await plane.authorities.retire(OUTPOSTS)


async def test_below_a_retired_issuing_ca_nobody_counts_whatever_he_sends(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        desk = IngressDesk(plane.store, plane.board, plane.authorities._certifier)
        pem = (await desk.issue("edge", build_request(generate_tls_key())))[1]
        edge = tuple(keys.certificate_der(each) for each in x509.load_pem_x509_certificates(pem))
        shown = (machine.chain, full_chain(plane, machine.chain))
        edges = (edge, full_chain(plane, edge))
        for chain in shown:
            await plane.gatekeeper.identify(chain, Act.SYNC)
        for number, chain in enumerate(edges):
            plane.gatekeeper.prove_ingress(chain, bytes([number]))
        await plane.authorities.prepare(OUTPOSTS, None)
        await plane.authorities.activate(OUTPOSTS)
        fresh = await machine.renew()
        await plane.authorities.taint(OUTPOSTS)
        await plane.authorities.retire(OUTPOSTS, force=True)
        for chain in (*shown, *(each[:1] for each in shown)):
            for act in Act:
                with refused("identity.refused"):
                    await plane.gatekeeper.identify(chain, act)
        for number, chain in enumerate(edges):
            with refused("identity.refused"):
                plane.gatekeeper.prove_ingress(chain, bytes([number]))
        for chain in (fresh.chain, full_chain(plane, fresh.chain)):
            await plane.gatekeeper.identify(chain, Act.SYNC)


async def test_leaves_are_finished_by_the_ca_that_they_were_recorded_for(tmp_path: Path) -> None:
    """A crash between the record and the signature, and a rotation before the outpost asks again."""
    async with bed(tmp_path) as plane:
        token = await plane.token()
        call = plane.call(token)
        issuing = plane.board.current.signing.key_id

        async def dies(*_: object) -> object:
            raise CrashError("the process died")

        finish, OutpostIssuer.finish = OutpostIssuer.finish, dies  # type: ignore[method-assign, assignment]
        try:
            with refused("test.crash"):
                await plane.enrollment.enroll(call)
        finally:
            OutpostIssuer.finish = finish  # type: ignore[method-assign]
        await plane.authorities.prepare(OUTPOSTS, None)
        await plane.authorities.activate(OUTPOSTS)
        enrolled = await plane.enrollment.enroll(call)
        chain = [x509.load_der_x509_certificate(each) for each in enrolled.chain.leaf_and_issuers]
        assert keys.key_id(keys.require_tls_key(chain[1].public_key())) == issuing
        chain[0].verify_directly_issued_by(chain[1])


async def test_lists_name_revoked_outposts_and_ingresses_and_rise(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine, other = await Machine.enroll(plane, "lost"), await Machine.enroll(plane, "kept")
        await plane.administration.revoke("acme", "lost", "stolen")
        first, root = x509_lists(await plane.authorities.revocation_lists())
        assert [f"{each.serial_number:x}" for each in first] == [machine.serial]
        assert first.get_revoked_certificate_by_serial_number(int(other.serial, 16)) is None
        assert list(root) == []
        second, _ = x509_lists(await plane.authorities.revocation_lists())
        numbers = [each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in (first, second)]
        assert numbers[0] < numbers[1]


async def test_lists_name_locked_outposts_and_what_a_new_enrollment_replaced(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        kept = await (await Machine.enroll(plane, "kept")).renew()
        await kept.use()  # what it replaced is left to the judgement of clones
        first = await Machine.enroll(plane, "stolen")
        waiting = await first.renew()
        plane.clock.ms += 5_000
        locked_s = plane.clock.ms // 1000
        await plane.locks.order("acme", "stolen", "machine.stolen")
        assert await listed(plane) == {first.serial: locked_s, waiting.serial: locked_s}
        plane.clock.ms += 5_000
        token = (await plane.administration.reenroll("acme", "stolen", Terms(), plane.door)).token
        await Machine.enroll(plane, token=token, log=first.log)
        enrolled_s = plane.clock.ms // 1000
        assert await listed(plane) == {first.serial: enrolled_s, waiting.serial: enrolled_s}


async def listed(plane: Bed) -> dict[str, int]:
    """Serials on the list of the issuing CA, and since when."""
    issuing, _ = x509_lists(await plane.authorities.revocation_lists())
    return {f"{each.serial_number:x}": int(each.revocation_date_utc.timestamp()) for each in issuing}


async def test_errors_say_what_is_next(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        for step in (plane.authorities.activate, plane.authorities.taint, plane.authorities.retire):
            with pytest.raises(ControlPlaneError) as caught:
                await step(ROOT)
            assert (caught.value.code, bool(caught.value.next_step)) == ("authority.order", True)
