"""What a worker holds while it serves: ports, programs, counters. Passed around, never global."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from outpost.core.audit.record import RecordHead
from outpost.core.bundle.trust import OrgState
from outpost.core.errors import InternalError, OutpostError
from outpost.core.program import OrgProgram
from outpost.gateway.errors import AuditUnavailableError, StoppingError
from outpost.gateway.limits import MAX_IN_FLIGHT, REPLY_SECONDS, InFlight, RequestRate
from outpost.gateway.metrics import GatewayMetrics
from outpost.gateway.watch import Watch
from outpost.ports import Chance, Clock, Ledger, Secrets, Upstream
from outpost.telemetry import Event, emit

ENDING_SECONDS = 0.4  # for last events and last records while stopping; below the supervisor's patience


@dataclass(frozen=True, slots=True)
class GatewayPorts:
    """The world outside, as far as the data path needs it."""

    ledger: Ledger
    upstream: Upstream
    secrets: Secrets
    clock: Clock
    chance: Chance


@dataclass(frozen=True, slots=True)
class OrgFunctions:
    """What the host of a worker knows about orgs; plain callables, asked anew for each request.

    Attributes:
        state_of: the org's state by signed facts and the clock.
        outpost_of: id of the outpost as which the org is enrolled.
        certificate_expires_ms: end of the org's certificate, 0 when there is none.
    """

    state_of: Callable[[str], OrgState]
    outpost_of: Callable[[str], str]
    certificate_expires_ms: Callable[[str], int]


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Values from settings.

    Attributes:
        version: of the build, shown in health.
        workers: gateway processes that share the port.
        max_in_flight: requests at one time in this worker.
        reply_seconds: longest time of one whole answer.
    """

    version: str = ""
    workers: int = 1
    max_in_flight: int = MAX_IN_FLIGHT
    reply_seconds: float = REPLY_SECONDS


class Programs:
    """The active program of each org. Swapping is one assignment; requests keep the program that they began with."""

    def __init__(self) -> None:
        self._by_org: dict[str, OrgProgram] = {}

    def get(self, org: str) -> OrgProgram | None:
        """The org's program, or None before its first configuration."""
        return self._by_org.get(org)

    def put(self, program: OrgProgram) -> None:
        """Activate."""
        self._by_org = {**self._by_org, program.org: program}

    def drop(self, org: str) -> None:
        """Stop serving an org."""
        self._by_org = {name: program for name, program in self._by_org.items() if name != org}

    def all(self) -> Sequence[OrgProgram]:
        """Every active program."""
        return tuple(self._by_org.values())


@dataclass(slots=True)
class Gateway:
    """One worker's data path.

    Attributes:
        audit_error: code of the last failure of the ledger, empty while it works.
        canary_errors: org to the code with which its canary failed, empty string while it is stopped as it must be.
        stopping: no new requests.
    """

    ports: GatewayPorts
    functions: OrgFunctions
    orgs: Callable[[], Sequence[str]]
    options: GatewayOptions = field(default_factory=GatewayOptions)
    programs: Programs = field(default_factory=Programs)
    metrics: GatewayMetrics = field(default_factory=GatewayMetrics)
    watch: Watch = field(default_factory=Watch)
    audit_error: str = ""
    canary_errors: dict[str, str] = field(default_factory=dict)
    stopping: bool = False
    rate: RequestRate = field(init=False)
    in_flight: InFlight = field(init=False)
    background: set[asyncio.Task[None]] = field(default_factory=set)
    requests: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rate = RequestRate(self.options.workers)
        self.in_flight = InFlight(self.options.max_in_flight)

    def head(self, org: str) -> RecordHead:
        """What every record of the org says first."""
        return RecordHead(self.ports.clock.now_ms(), org, self.functions.outpost_of(org))

    def request_id(self) -> str:
        """A fresh id, unguessable and short enough for a log line."""
        return f"req_{self.ports.chance.token_bytes(12).hex()}"

    async def record(self, org: str, record: bytes) -> None:
        """Make a record durable; returns when it is on disk.

        Raises:
            AuditUnavailableError: it is not, so that no effect may follow.
        """
        began = self.ports.clock.monotonic()
        try:
            await self.ports.ledger.append(org, [record])
        except Exception as error:  # whatever broke: the record is not known to be durable, so nothing may follow
            self.audit_error = error.code if isinstance(error, OutpostError) else InternalError.code
            raise AuditUnavailableError(
                "the audit log does not take records, so nothing is served", next_step="run `outpost doctor`"
            ) from error
        self.audit_error = ""
        self.metrics.committed(self.ports.clock.monotonic() - began)

    def record_later(self, org: str, record: bytes) -> None:
        """Record what needs no waiting: the clean end of a request."""
        self.spawn(self._record_quietly(org, record))

    async def _record_quietly(self, org: str, record: bytes) -> None:
        try:
            await self.record(org, record)
        except OutpostError as error:
            emit(Event.REQUEST_FAILED, logging.ERROR, org=org, code=error.code)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the requests; ``drain`` waits for it."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def drain(self, grace_seconds: float) -> None:
        """Take no new requests, let running ones end, then end them: streams by an error event, others by 503.

        Args:
            grace_seconds: time that running requests get; ENDING_SECONDS twice may come on top.
        """
        self.stopping = True
        if self.requests:
            await asyncio.wait(set(self.requests), timeout=grace_seconds)
        ending = set(self.requests)
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=ENDING_SECONDS)
        if self.background:
            await asyncio.wait(set(self.background), timeout=ENDING_SECONDS)

    def check_open(self) -> None:
        """Refuse new requests while stopping.

        Raises:
            StoppingError: the outpost is shutting down.
        """
        if self.stopping:
            raise StoppingError("the outpost is shutting down", next_step="try again shortly")
