"""Puts the agents together: one per org, over one shared way to the ledger and to the workers."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from certs.errors import TrustError
from certs.shell import tls
from outpost import ports
from outpost.bootstrap import programs
from outpost.bootstrap.state import require_orgs
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
from outpost.rpc.client import GrpcControlPlane, GrpcRecoveryDesk
from outpost.settings import Settings
from outpost.sync import agent
from outpost.sync import identity as identities
from outpost.sync.files import IdentityFiles
from outpost.sync.inbox import Inbox
from outpost.sync.install import Activator, Installer
from outpost.sync.knowledge import OK, Knowledge, Parts, Strangers, Timing
from outpost.sync.obey import CODE, StateLocker, is_locked, read_mark
from outpost.telemetry import Event, emit

VERSION = metadata.version("ai-outpost")
HANDSHAKE_SECONDS = 10.0  # of a look at what a server shows
WHOLE_CHAIN_ATTEMPTS = 5  # in a row, with the leaf alone
INBOX_LOOK_SECONDS = 1.0  # between two looks for what was brought by hand
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
        running: how the release that runs does, as a worker says; empty while none says anything.
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
    running: Callable[[str], Mapping[str, Any]] = lambda org: {}


class Agents:
    """The agents of all orgs."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._trying = threading.Lock()
        self._known: dict[str, Knowledge] = {}
        self._agents: dict[str, agent.OrgAgent] = {}
        for org in require_orgs(shared.paths):
            try:
                self._start(org)
            except (OutpostError, TrustError) as error:  # what is wrong with one org stops no other
                self._unusable(org, error)

    def _start(self, org: str) -> None:
        """Make the agent of an org; one that a signed order wiped has none, and says so."""
        files = self._shared.paths.org(org)
        mark = read_mark(files)
        if mark is None or not is_locked(files):
            self._agents[org] = self._make(org)
            return
        functions, notes = {"control_link": CODE}, {"control_link": f"wiped by a signed order ({mark.reason})"}
        self._changed(Knowledge(org, outpost=mark.outpost_id, functions=functions, notes=notes))

    async def run(self) -> None:
        """Run all until cancelled."""
        work = [
            job
            for org, one in self._agents.items()
            for job in (self._record_start(org, one.knowledge), one.run(), self._watch_files(org, one))
        ]
        await asyncio.gather(*work, asyncio.Event().wait())

    async def _record_start(self, org: str, known: Knowledge) -> None:
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
            known.functions["audit"], known.notes["audit"] = OK, ""
            self._changed(known)

    async def _watch_files(self, org: str, one: agent.OrgAgent) -> None:
        """Take up what is brought by hand, until cancelled: bundles, and receipts for the audit log."""
        files = self._shared.paths.org(org)
        inbox, reader, cursor = Inbox(files.inbox), LogReader(files.audit), Cursor(files.audit)
        while True:
            await asyncio.sleep(INBOX_LOOK_SECONDS)
            try:
                data = await asyncio.to_thread(inbox.read)
                if data:
                    await one.bring(data)
                    await asyncio.to_thread(inbox.clear, data)
                if "control_link" not in one.knowledge.functions:
                    sizes = await asyncio.to_thread(lambda: (reader.tree_size(), cursor.load().cosigned))
                    if sizes != (one.knowledge.audit_size, one.knowledge.audit_cosigned):
                        self._report(one.knowledge, sizes, None)
            except (OutpostError, OSError) as error:  # the disk: it is tried again, and told
                code = error.code if isinstance(error, OutpostError) else "audit.disk"
                emit(Event.BUNDLE_REFUSED, 40, org=org, code=code, message=type(error).__name__)

    def _unusable(self, org: str, error: OutpostError | TrustError) -> None:
        emit(Event.SYNC_LOST, 40, org=org, code=error.code, message=error.message)
        self._changed(Knowledge(org, functions={"identity": error.code}, notes={"identity": error.message}))

    def _make(self, org: str) -> agent.OrgAgent:
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
        parts = Parts(
            identity=IdentityFiles(files.identity, shared.chance),
            connect=Dialer(shared.chance).connect,
            strangers=Strangers(recovery_desk, presented_chain),
            installer=installer,
            deliver=self._deliverer(org),
            ledger=shared.ledger,
            heartbeat=self._heartbeat,
            changed=self._changed,
            clock=shared.clock,
            chance=shared.chance,
            settings=Timing(shared.settings.heartbeat_seconds, shared.settings.reconnect_cap_seconds),
            locker=StateLocker(shared.paths, org, shared.activator.lock, shared.clock),
        )
        one = agent.OrgAgent(org, parts, VERSION)
        one.knowledge.outpost = identities.load(files.identity).enrollment.outpost_id
        verified = programs.load_verified(verifier, cache, shared.clock.now_ms())
        if verified is not None:
            one.adopt(verified)
        return one

    def _attempt(self, verified: VerifiedSet) -> object:
        with self._trying:  # called from threads, and a scanner serves one scan at a time
            return build(verified, self._shared.scanner)

    def _deliverer(self, org: str) -> Callable[[ports.ControlPlane, Knowledge], Awaitable[None]]:
        folder = self._shared.paths.org(org).audit
        identity = identities.load(self._shared.paths.org(org).identity)
        log = load_identity(folder)
        told = identity.enrollment
        verifier = NoteVerifier(told.witness_name, bytes.fromhex(told.witness_public_key), SignatureType.COSIGNATURE_V1)
        cursor = Cursor(folder)

        def store(checkpoint: bytes, line: bytes) -> None:
            cursor.store_cosigned(checkpoint, line, log.signer.verifier, verifier)

        async def deliver(plane: ports.ControlPlane, known: Knowledge) -> None:
            known.audit_cosigned = cursor.load().cosigned

            def report(size: int, cosigned: int, error: StoreError | None) -> None:
                self._report(known, (size, cosigned), error)

            progress = witness.Progress(lambda: cursor.load().uploaded, cursor.set_uploaded, store)
            await witness.Delivery(log.origin, LogReader(folder), progress, report).run(plane)

        return deliver

    def _report(self, known: Knowledge, sizes: tuple[int, int], error: StoreError | None) -> None:
        known.audit_size, known.audit_cosigned = sizes[0], max(sizes[1], known.audit_cosigned)
        code = error.code if error is not None else OK
        if known.functions.get("audit") != code:
            known.functions["audit"] = code
            known.notes["audit"] = error.message if error is not None else ""
            if error is not None:
                emit(Event.AUDIT_REFUSED, 40, org=known.org, code=code, message=error.message)
            else:
                emit(Event.AUDIT_COSIGNED, org=known.org, size=known.audit_cosigned)
        self._changed(known)

    def _heartbeat(self, known: Knowledge) -> ports.Heartbeat:
        workers, ready = self._shared.fleet()
        running = current(self._shared.running(known.org), known.revision)
        return ports.Heartbeat(
            now_ms=self._shared.clock.now_ms(),
            state=self._shared.state(known.org),
            functions={**known.functions, **functions_of(running)},
            active_revision=known.revision,
            certificate_expires_ms=known.certificate_expires_ms,
            audit_size=known.audit_size,
            audit_cosigned=known.audit_cosigned,
            tiers=TIERS,
            workers=workers,
            workers_ready=ready,
            software_version=VERSION,
            trust_bundle_sha256=known.trust_bundle_sha256,
            release=int(running.get("release", 0)),
            requests=int(running.get("requests", 0)),
            failed=int(running.get("failed", 0)),
            shadow=running.get("shadow"),
        )

    def _changed(self, known: Knowledge) -> None:
        self._known[known.org] = known
        self._shared.publish({org: view(item) for org, item in self._known.items()})


def current(running: Mapping[str, Any], revision: str) -> Mapping[str, Any]:
    """What a worker says of the release that runs, if it says that of the set that is active by now; else nothing.

    Its word comes a moment after the activation: until then it is about the release of before, and would read as if
    the new one had been left.
    """
    of = str(running.get("revision", ""))
    return running if of.rpartition(".")[2] == revision.rpartition(".")[2] else {}


def functions_of(running: Mapping[str, Any]) -> dict[str, str]:
    """Functions of a heartbeat that follow from what a worker says: inspection, and why a release was left."""
    if not running:
        return {}
    found = {"inspection": str(running["inspection"] or OK)}
    return {**found, "release": str(running["left"])} if running["left"] else found


def view(known: Knowledge) -> dict[str, Any]:
    """What others may know: names, codes and totals."""
    return {
        "outpost": known.outpost,
        "revision": known.revision,
        "last_contact_ms": known.last_contact_ms,
        "certificate_expires_ms": known.certificate_expires_ms,
        "withdrawn": known.withdrawn,
        "recoveries": known.recoveries,
        "failed_recoveries": dict(known.failed_recoveries),
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


def recovery_desk(identity: identities.Identity) -> GrpcRecoveryDesk:
    """The listener for strangers, below the roots that are believed."""
    return GrpcRecoveryDesk(identity.enrollment.enroll_endpoint, tls.channel_credentials(identity.trust_bundle_pem))


async def presented_chain(host: str, port: int) -> tuple[bytes, ...]:
    """The chain that a server shows, not believed."""
    return await asyncio.to_thread(tls.fetch_server_chain, host, port, HANDSHAKE_SECONDS)
