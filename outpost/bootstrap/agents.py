"""Puts the agents together: one per org, over one shared way to the ledger and to the workers."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

from certs.errors import TrustError
from certs.shell import tls
from outpost import ports
from outpost.bootstrap import programs
from outpost.bootstrap.state import require_orgs
from outpost.cache.marker import UNREADABLE, Marker, clear_marker, read_marker, write_marker
from outpost.core.audit import record
from outpost.core.audit.note import NoteVerifier, SignatureType
from outpost.core.bundle.release import VerifiedSet
from outpost.core.detect.pattern import Scanner
from outpost.core.errors import OutpostError, StoreError
from outpost.core.inspection import TIERS
from outpost.core.program import build
from outpost.delivery import witness
from outpost.ledger.cursor import Cursor
from outpost.ledger.identity import load_identity
from outpost.ledger.reader import LogReader
from outpost.paths import StatePaths
from outpost.rpc.client import GrpcControlPlane
from outpost.settings import Settings
from outpost.sync import agent
from outpost.sync import identity as identities
from outpost.sync.install import Activator, Installer
from outpost.telemetry import Event, emit

VERSION = metadata.version("ai-outpost")
BOOT_ID_BYTES = 16
WHOLE_CHAIN_ATTEMPTS = 5  # in a row, with the leaf alone
LEDGER_RETRY_SECONDS = 1.0  # between two attempts to record our start


@dataclass(frozen=True, slots=True)
class Shared:
    """What all agents of one outpost use.

    Attributes:
        settings: of the outpost.
        paths: its state folder.
        wrap_key: seals the cache.
        ledger: the way to the audit logs.
        activator: the workers.
        scanner: tries new sets before they are offered to workers.
        publish: tells workers and `status` what the agents know.
        fleet: (workers, workers ready).
        state: state of an org as the workers judge it.
    """

    settings: Settings
    paths: StatePaths
    wrap_key: bytes
    ledger: ports.Ledger
    activator: Activator
    scanner: Scanner
    clock: ports.Clock
    chance: ports.Chance
    publish: Callable[[Mapping[str, Any]], None]
    fleet: Callable[[], tuple[int, int]]
    state: Callable[[str], str]


class Agents:
    """The agents of all orgs."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        boot_id = shared.chance.token_bytes(BOOT_ID_BYTES).hex()
        self._trying = threading.Lock()
        self._known: dict[str, agent.Knowledge] = {}
        self._agents: dict[str, agent.OrgAgent] = {}
        self._marked: dict[str, str] = {}  # org -> code of the mark on disk that its identity is withdrawn
        for org in shared.paths.locked_orgs():
            marker = read_marker(shared.paths.org(org).locked)
            self._changed(
                agent.Knowledge(org, functions={"identity": marker.code if marker is not None else UNREADABLE})
            )
        for org in require_orgs(shared.paths):
            try:
                self._agents[org] = self._make(org, boot_id)
            except (OutpostError, TrustError) as error:  # what is wrong with one org stops no other
                self._unusable(org, error)

    async def run(self) -> None:
        """Run all until cancelled."""
        work = [job for org, one in self._agents.items() for job in (self._record_start(org, one.knowledge), one.run())]
        await asyncio.gather(*work, asyncio.Event().wait())

    async def _record_start(self, org: str, known: agent.Knowledge) -> None:
        """Put our start on record, as soon as the org's log takes it."""
        head = record.RecordHead(self._shared.clock.now_ms(), org, known.outpost)
        started = record.OutpostStarted(head, VERSION, known.revision, "starting").to_bytes()
        refused = ""
        while True:
            try:
                await self._shared.ledger.append(org, [started])
                break
            except StoreError as error:
                refused = error.code
                self._report(known, (known.audit_size, known.audit_cosigned), error)
                await asyncio.sleep(LEDGER_RETRY_SECONDS)
        if refused and known.functions["audit"] == refused:
            known.functions["audit"], known.notes["audit"] = agent.OK, ""
            self._changed(known)

    def _unusable(self, org: str, error: OutpostError | TrustError) -> None:
        emit(Event.SYNC_LOST, 40, org=org, code=error.code, message=error.message)
        self._changed(agent.Knowledge(org, functions={"identity": error.code}, notes={"identity": error.message}))

    def _make(self, org: str, boot_id: str) -> agent.OrgAgent:
        shared = self._shared
        files = shared.paths.org(org)
        cache = programs.open_cache(shared.paths, org, shared.wrap_key, shared.chance)
        verifier = programs.open_verifier(shared.paths, org)
        installer = Installer(
            org=org,
            cache=cache,
            activator=shared.activator,
            verify=verifier.verify,
            attempt=self._attempt,
            clock=shared.clock,
        )
        parts = agent.Parts(
            load_identity=partial(identities.load, files.identity),
            save_identity=partial(identities.save, files.identity),
            connect=Dialer(shared.chance).connect,
            installer=installer,
            deliver=self._deliverer(org),
            ledger=shared.ledger,
            heartbeat=self._heartbeat,
            changed=self._changed,
            clock=shared.clock,
            chance=shared.chance,
            settings=agent.Timing(shared.settings.heartbeat_seconds, shared.settings.reconnect_cap_seconds),
        )
        one = agent.OrgAgent(org, parts, boot_id, VERSION)
        marker = read_marker(files.revoked)
        one.knowledge.revoked = self._marked[org] = marker.code if marker is not None else ""
        one.knowledge.outpost = identities.load(files.identity).enrollment.outpost_id
        verified = programs.load_verified(verifier, cache, shared.clock.now_ms())
        if verified is not None:
            one.adopt(verified)
        return one

    def _attempt(self, verified: VerifiedSet) -> object:
        with self._trying:  # called from threads, and a scanner serves one scan at a time
            return build(verified, self._shared.scanner)

    def _deliverer(self, org: str) -> Callable[[ports.ControlPlane, agent.Knowledge], Awaitable[None]]:
        folder = self._shared.paths.org(org).audit
        identity = identities.load(self._shared.paths.org(org).identity)
        log = load_identity(folder)
        told = identity.enrollment
        verifier = NoteVerifier(told.witness_name, bytes.fromhex(told.witness_public_key), SignatureType.COSIGNATURE_V1)
        cursor = Cursor(folder)

        def store(checkpoint: bytes, line: bytes) -> None:
            cursor.store_cosigned(checkpoint, line, log.signer.verifier, verifier)

        async def deliver(plane: ports.ControlPlane, known: agent.Knowledge) -> None:
            known.audit_cosigned = cursor.load().cosigned

            def report(size: int, cosigned: int, error: StoreError | None) -> None:
                self._report(known, (size, cosigned), error)

            progress = witness.Progress(lambda: cursor.load().uploaded, cursor.set_uploaded, store)
            await witness.Delivery(log.origin, LogReader(folder), progress, report).run(plane)

        return deliver

    def _report(self, known: agent.Knowledge, sizes: tuple[int, int], error: StoreError | None) -> None:
        known.audit_size, known.audit_cosigned = sizes[0], max(sizes[1], known.audit_cosigned)
        code = error.code if error is not None else agent.OK
        if known.functions.get("audit") != code:
            known.functions["audit"] = code
            known.notes["audit"] = error.message if error is not None else ""
            if error is not None:
                emit(Event.AUDIT_REFUSED, 40, org=known.org, code=code, message=error.message)
            else:
                emit(Event.AUDIT_COSIGNED, org=known.org, size=known.audit_cosigned)
        self._changed(known)

    def _heartbeat(self, known: agent.Knowledge) -> ports.Heartbeat:
        workers, ready = self._shared.fleet()
        return ports.Heartbeat(
            now_ms=self._shared.clock.now_ms(),
            state=self._shared.state(known.org),
            functions=dict(known.functions),
            active_revision=known.revision,
            certificate_expires_ms=known.certificate_expires_ms,
            audit_size=known.audit_size,
            audit_cosigned=known.audit_cosigned,
            tiers=TIERS,
            workers=workers,
            workers_ready=ready,
            software_version=VERSION,
        )

    def _changed(self, known: agent.Knowledge) -> None:
        self._known[known.org] = known
        if known.revoked != self._marked.get(known.org, known.revoked):
            self._mark(known)
        self._shared.publish({org: view(item) for org, item in self._known.items()})

    def _mark(self, known: agent.Knowledge) -> None:
        """Keep on disk that the identity is withdrawn, or that it is not: a restart must not forget it."""
        path = self._shared.paths.org(known.org).revoked
        self._marked[known.org] = known.revoked
        try:
            if known.revoked:
                write_marker(path, Marker(known.outpost, known.revoked, self._shared.clock.now_ms()))
            else:
                clear_marker(path)
        except StoreError as error:
            emit(Event.SYNC_LOST, 40, org=known.org, code=error.code, message=error.message)


def view(known: agent.Knowledge) -> dict[str, Any]:
    """What others may know: names, codes and totals."""
    return {
        "outpost": known.outpost,
        "revision": known.revision,
        "revoked": known.revoked,
        "last_contact_ms": known.last_contact_ms,
        "certificate_expires_ms": known.certificate_expires_ms,
        "audit_size": known.audit_size,
        "audit_cosigned": known.audit_cosigned,
        "functions": dict(known.functions),
        "notes": {function: note for function, note in known.notes.items() if note},
    }


class Dialer:
    """Ways to the control plane, at one of its addresses: one by chance, and none twice before all were tried."""

    def __init__(self, chance: ports.Chance) -> None:
        self._chance = chance
        self._tried: set[str] = set()  # since somebody answered
        self._attempts = 0

    def connect(self, identity: identities.Identity, attempts: int) -> GrpcControlPlane:
        """The control plane of an identity, over mTLS.

        Args:
            identity: whose.
            attempts: connections since somebody answered; it starts anew then.
        """
        if attempts <= self._attempts:
            self._tried.clear()
        self._attempts = attempts
        endpoints = identity.enrollment.endpoints
        left = [each for each in endpoints if each not in self._tried] or list(endpoints)
        if len(left) == len(endpoints):
            self._tried.clear()
        endpoint = left[int(self._chance.uniform() * len(left))]
        self._tried.add(endpoint)
        credentials = tls.channel_credentials(identity.trust_bundle_pem, shown(identity, attempts))
        return GrpcControlPlane(endpoint, credentials)


def shown(identity: identities.Identity, attempts: int) -> tls.TLSIdentity:
    """What the control plane is shown: the leaf alone where it knows our issuing CA, which spares it 6 KiB.

    Args:
        identity: whose.
        attempts: connections that failed since somebody answered. After some of them the whole chain is shown: a
            control plane that went back to an older version may have forgotten what it knew.
    """
    alone = identity.enrollment.leaf_alone and attempts < WHOLE_CHAIN_ATTEMPTS
    return tls.TLSIdentity(identity.key_pem, identities.leaf_of(identity.chain_pem) if alone else identity.chain_pem)
