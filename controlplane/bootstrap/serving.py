"""The running control plane: both listeners, the watch over changes, and maintenance."""

import asyncio
import gc
import json
import os
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc.aio

from certs.errors import TrustError
from certs.keys import certificates_pem
from certs.shell.private_files import replace_private_file
from certs.shell.tls import TLSIdentity
from certs.verify import TrustAnchors
from controlplane import telemetry
from controlplane.bootstrap.api import ROOTS_FILE, ApiRole
from controlplane.bootstrap.plane import RUN_FILE, Plane, endpoint_of, opened, serve_lock
from controlplane.bootstrap.replica import ReplicaBeat
from controlplane.bootstrap.workbench import workbench
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.throttle import Admission
from controlplane.rpc.callers import Callers
from controlplane.rpc.calls import AuditService, EnrollmentService
from controlplane.rpc.desk import SyncDesk
from controlplane.rpc.returning import Returning
from controlplane.rpc.server import STOP_GRACE_SECONDS, start_enrollment, start_outposts
from controlplane.rpc.streams import EXPIRY_LOOK_SECONDS, Streams
from controlplane.rpc.sync import SyncService
from controlplane.services.adoption import Adoption
from controlplane.services.clones import Clones
from controlplane.services.delivery import DeliveryDesk
from controlplane.services.enroll import Enrollment
from controlplane.services.identity import Gatekeeper
from controlplane.services.ingest import Ingest
from controlplane.services.issuance import OutpostIssuer
from controlplane.services.presence import Presence
from controlplane.services.recover import Recovery
from controlplane.services.renew import Renewal
from controlplane.services.returned import Returns
from controlplane.services.rollouts import Rollouts, RolloutWatch
from controlplane.services.trust import Trust
from controlplane.services.views import Views
from controlplane.services.withdrawals import Withdrawals
from controlplane.services.words import Words

NONCE_INFO = b"outpost.controlplane recover nonce 1"
TRUST_LOOK_SECONDS = 0.5  # between two looks for new generations of CAs
GARBAGE = (20_000, 20, 50)  # new objects, and passes, between two looks of the garbage collector
MAINTENANCE_SECONDS = 60.0  # between two looks at what must be signed or issued again


class Server:
    """The running control plane."""

    def __init__(self, plane: Plane, api: ApiRole | None = None) -> None:
        self._plane = plane
        self._api = api
        self._views = Views(plane.store.beside(), plane.clock)
        self._words = Words(plane.store, plane.clock)
        self._rollouts = RolloutWatch(plane.store, Rollouts(plane.store, plane.clock, plane.silent_ms), plane.clock)
        self._adoption = Adoption(plane.store, self._views, self._trust, plane.clock)
        self._sync: SyncService | None = None
        self._identity: TLSIdentity | None = None
        self._applied: Trust | None = None  # what the listeners show
        self._revoked: frozenset[int] = frozenset()  # serials of ingresses
        self._roots_of: TrustAnchors | None = None
        self._roots_pem = b""
        self._listeners: list[grpc.aio.Server] = []
        self._lock = -1
        self._beat: ReplicaBeat | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Mapping[str, object]:
        """Listen. Returns what the ready line says. Raises ListenError."""
        plane, settings = self._plane, self._plane.settings
        self._lock = serve_lock(plane.folder)
        await plane.board.refresh()
        self._applied = plane.board.current
        self._identity = await plane.setup.server_identity(settings.hosts, self._applied)
        self._revoked = await plane.ingresses.revoked_serials()
        await self._refresh_all()
        issuer = OutpostIssuer(settings.trust_domain, self._trust, plane.chance)
        ingest = await plane.ingest()
        streams, sync_port = await self._listen_for_outposts(issuer, ingest)
        sync_endpoint = settings.sync_endpoint or endpoint_of(settings.hosts[0], sync_port)
        enroll_port = await self._listen_for_strangers(issuer, ingest, sync_endpoint)
        work = (
            plane.store.listen(self._changed),
            self._views.watch(),
            self._rollouts.run(),
            self._watch_trust(),
            self._end_expired(streams),
            self._maintain(),
        )
        ports = {"enroll_port": enroll_port, "grpc_port": sync_port, "api_port": await self._start_api()}
        self._tasks += [asyncio.create_task(each) for each in work]
        self._write_run_file(ports)
        telemetry.log(telemetry.Event.STARTED, enroll_port=enroll_port, sync_port=sync_port, api_port=ports["api_port"])
        return self._told(ports, sync_endpoint)

    def _told(self, ports: Mapping[str, int], sync_endpoint: str) -> Mapping[str, object]:
        """The ready line."""
        plane, settings = self._plane, self._plane.settings
        host, api = settings.hosts[0], {}
        if self._api is not None:
            api["api"] = f"https://{endpoint_of(host, ports['api_port'])}"
        if self._api is not None and not settings.api_certificate_file:
            api["api_ca"] = str(plane.folder / ROOTS_FILE)
        return {
            **api,
            "event": "controlplane.ready",
            "enroll": settings.enroll_endpoint or endpoint_of(host, ports["enroll_port"]),
            "grpc": sync_endpoint,
            "listen": [endpoint_of(settings.listen, ports[name]) for name in ("enroll_port", "grpc_port")],
            "pid": os.getpid(),
            "pin": self._trust().pin,
            "trust_domain": settings.trust_domain,
        }

    async def _listen_for_outposts(self, issuer: OutpostIssuer, ingest: Ingest) -> tuple[Streams, int]:
        plane, settings = self._plane, self._plane.settings
        gatekeeper = Gatekeeper(
            plane.store, self._views, lambda: self._trust().anchors, plane.clock, lambda: self._revoked
        )
        callers = Callers(gatekeeper, lambda: settings.ingress)
        streams = Streams(gatekeeper)
        self._sync = SyncService(self._desk(gatekeeper, callers, issuer), streams)
        address = endpoint_of(settings.listen, settings.grpc_port)
        services = self._sync, AuditService(callers, ingest)
        listener, port = await start_outposts(services, self._current, self._client_roots, address)
        self._listeners.append(listener)
        return streams, port

    async def _listen_for_strangers(self, issuer: OutpostIssuer, ingest: Ingest, sync_endpoint: str) -> int:
        plane, settings = self._plane, self._plane.settings
        if self._sync is None:
            raise RuntimeError("outposts are listened for before strangers")
        self._beat = beat = ReplicaBeat(plane, sync_endpoint, self._sync.tell_endpoints)
        await beat.start()
        self._tasks.append(asyncio.create_task(beat.run()))
        enrollment = EnrollmentService(
            Enrollment(plane.store, issuer, plane.keyring.pepper(), plane.clock),
            Recovery(plane.store, issuer, plane.keyring.derive(NONCE_INFO), plane.clock, self._adoption),
            settings.trust_domain,
            (ingest.witness.name, ingest.witness.public_key),
            lambda: (sync_endpoint, *beat.endpoints),
        )
        address = endpoint_of(settings.listen, settings.enroll_port)
        listener, port = await start_enrollment(enrollment, self._current, address)
        self._listeners.append(listener)
        return port

    async def run(self, stopping: asyncio.Event) -> None:
        """Wait for the signal. A background task that fails ends the server: whoever supervises it starts it again."""
        signalled = asyncio.create_task(stopping.wait())
        try:
            done, _ = await asyncio.wait({signalled, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {signalled}:
                await task
        finally:
            signalled.cancel()

    async def stop(self) -> None:
        """Tell streams to go elsewhere, end calls, leave nothing behind."""
        started = bool(self._tasks)
        if started:
            telemetry.log(telemetry.Event.STOPPING)
        if self._sync is not None:
            await self._sync.stop(self._plane.settings.connect_rate)
        await asyncio.gather(*(listener.stop(STOP_GRACE_SECONDS) for listener in self._listeners))
        if self._api is not None:
            await self._api.stop()
        await self._words.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._beat is not None:
            await self._beat.leave()
        if self._lock >= 0:
            self._forget()
        if started:
            telemetry.log(telemetry.Event.STOPPED)

    def _desk(self, gatekeeper: Gatekeeper, callers: Callers, issuer: OutpostIssuer) -> SyncDesk:
        plane, settings = self._plane, self._plane.settings
        return SyncDesk(
            gatekeeper=gatekeeper,
            admission=Admission(settings.connect_rate, self._views.connects_per_second),
            views=self._views,
            delivery=DeliveryDesk(plane.store, self._views, self._words, plane.clock),
            renewal=Renewal(plane.store, issuer, plane.clock),
            presence=Presence(self._words, plane.clock, settings.status_write_seconds * 1000),
            clock=plane.clock,
            chance=plane.chance,
            callers=callers,
            clones=Clones(plane.store, plane.clock),
            locks=plane.locks,
            trust=self._trust,
            returning=Returning(Returns(plane.store, plane.clock)),
            adoption=self._adoption,
        )

    def _changed(self, org: str) -> None:
        """Some process changed an org; any of them when it is empty."""
        self._views.poke(org)
        self._rollouts.poke(org)

    async def _watch_trust(self) -> None:
        """Take up what changed with CAs and ingresses, whatever process changed it, until cancelled."""
        plane, settings = self._plane, self._plane.settings
        while True:
            await asyncio.sleep(TRUST_LOOK_SECONDS)
            try:
                if settings.ingress:
                    self._revoked = await plane.ingresses.revoked_serials()
                await plane.board.refresh()
                trust = self._trust()
                if trust is self._applied:
                    continue
                self._show(await plane.setup.server_identity(settings.hosts, trust))
                self._applied = trust
            except (ControlPlaneError, TrustError, OSError) as error:
                code = getattr(error, "code", type(error).__name__)
                telemetry.log(telemetry.Event.MAINTENANCE_FAILED, level=40, kind="trust", code=code)
                continue
            telemetry.log(telemetry.Event.AUTHORITIES_CHANGED, number=len(self._trust().roots))
            if self._sync is not None:
                self._sync.rotate()

    def _trust(self) -> Trust:
        return self._plane.board.current

    def _client_roots(self) -> bytes:
        """PEM of what clients must be under: gRPC believes each certificate of it by itself."""
        anchors = self._trust().anchors
        if self._roots_of is not anchors:
            self._roots_of = anchors
            self._roots_pem = certificates_pem((*anchors.roots, *anchors.intermediates))
        return self._roots_pem

    async def _end_expired(self, streams: Streams) -> None:
        """End streams whose certificate's time is over, until cancelled."""
        while True:
            await asyncio.sleep(EXPIRY_LOOK_SECONDS)
            streams.end_expired(self._plane.clock.now_ms())

    def _current(self) -> TLSIdentity:
        if self._identity is None:
            raise RuntimeError("the server's certificate is read before listening")
        return self._identity

    def _show(self, identity: TLSIdentity) -> None:
        """Show another server certificate from the next handshake on."""
        self._identity = identity
        if self._api is not None:
            self._api.renewed(identity)

    def _forget(self) -> None:
        (self._plane.folder / RUN_FILE).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1

    async def _start_api(self) -> int:
        """Port of the admin API, 0 without one."""
        if self._api is None:
            return 0
        port = await self._api.start(self._current())
        self._tasks += [asyncio.create_task(each) for each in (self._api.sign_heads(), self._api.rotate_keys())]
        return port

    def _write_run_file(self, ports: Mapping[str, int]) -> None:
        written = {**ports, "pid": os.getpid()}
        replace_private_file(self._plane.folder / RUN_FILE, json.dumps(written).encode())

    async def _maintain(self) -> None:
        """Sign and issue again what grows old, until cancelled."""
        while True:
            await asyncio.sleep(MAINTENANCE_SECONDS)
            settings = self._plane.settings
            try:
                fresh = await self._plane.setup.server_identity(settings.hosts, self._trust())
            except (ControlPlaneError, TrustError, OSError) as error:
                telemetry.log(telemetry.Event.MAINTENANCE_FAILED, kind="server", message=type(error).__name__)
            else:
                if fresh.chain_pem != self._current().chain_pem:
                    self._show(fresh)
            await self._refresh_all()

    async def _refresh_all(self) -> None:
        """Sign timestamps again before they are old; one org's trouble is not another's, and the store's is the next
        look's.
        """
        try:
            orgs = await self._plane.store.orgs()
        except ControlPlaneError as error:
            telemetry.log(telemetry.Event.MAINTENANCE_FAILED, level=40, kind="orgs", code=error.code)
            return
        withdrawals = Withdrawals(self._plane.store, self._plane.clock)
        for org in orgs:
            if not org.ready:
                continue
            try:
                if await withdrawals.reconcile(org.id):
                    telemetry.log(telemetry.Event.MAINTAINED, org=org.id, kind="revocations")
                published = await self._plane.publisher.refresh(org.id)
            except Exception as error:
                telemetry.log(
                    telemetry.Event.MAINTENANCE_FAILED, org=org.id, kind="refresh", message=type(error).__name__
                )
                continue
            if published is not None:
                self._views.poke()
                telemetry.log(telemetry.Event.MAINTAINED, org=org.id, revision=published.revision)


def allow_open_files() -> None:
    """Each connection is an open file, and the usual limit of 1,024 is less than a fleet."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def look_less_for_garbage() -> None:
    """Streams live for days: the collector need not look through thousands of them each time a few hundred objects
    came, nor ever through what was there before the first.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


async def serve(folder: Path, ready: Callable[[Mapping[str, object]], None]) -> None:
    """Run until SIGTERM or SIGINT.

    Args:
        folder: the state directory.
        ready: called once, when both listeners accept connections.

    Raises:
        SettingsError: no control plane here; so is ListenError for an address.
    """
    allow_open_files()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with opened(folder) as plane:
        telemetry.start(plane.settings.log_level)
        async with workbench(plane) as bench:
            server = Server(plane, ApiRole(plane, bench) if plane.settings.api else None)
            try:
                facts = await server.start()
                look_less_for_garbage()
                ready(facts)
                await server.run(stopping)
            finally:
                await server.stop()
