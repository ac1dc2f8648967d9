"""A control plane that is nothing but the rules of ``controlplane.domain``, and outposts that keep their promises.

An outpost is a machine with a disk and a process. What is on the disk survives a crash, and can be copied; what was
sent may arrive at any time, twice, or never, whether its sender still lives or not. Its promises: the counter of
starts and the request for a certificate are on the disk before they are used, and key, certificate and join sequence
change together.
"""

from __future__ import annotations

import itertools
from copy import deepcopy
from dataclasses import dataclass, field, replace

from certs.recover import NONCE_LIFE_MS
from controlplane.domain import boots, renewals
from controlplane.domain.boots import Hello, Start
from controlplane.domain.clones import CloneTrace, cloned
from controlplane.domain.enrolling import Joining, enrolled
from controlplane.domain.errors import RefusedError
from controlplane.domain.outposts import (
    Act,
    IdentitySupersededError,
    Outpost,
    OutpostState,
    advanced,
    authorise,
    register,
    renewed,
)
from controlplane.domain.records import CertificateRecord
from controlplane.domain.renewals import Ask, Facts, Granted

START_MS = 1_795_000_000_000
LEAF_S = 24 * 3600
AUDIT_KEY = bytes(32)
_numbers = itertools.count(1)


def fresh(kind: str) -> str:
    """Something that was never seen before."""
    return f"{kind}-{next(_numbers)}"


@dataclass
class Disk:
    """State folder: what a copy of the machine gets."""

    serial: str
    sequence: int
    counter: int = 0
    request: tuple[int, str] | None = None  # sequence for which it is, and the request
    counter_is_full: bool = False


@dataclass
class Machine:
    """An outpost that keeps its promises; at most one process of it lives."""

    disk: Disk
    source: str
    boot_id: str = ""  # of the living process, empty when none lives
    refusals: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start the process: the counter is durable before anything is said. A full disk keeps it down."""
        if self.boot_id or self.disk.counter_is_full:
            return
        self.disk.counter += 1
        self.boot_id = f"{self.disk.counter:08x}{next(_numbers):024x}"

    def crash(self) -> None:
        """SIGKILL: what was sent is still on its way."""
        self.boot_id = ""

    def prepare(self) -> None:
        """Store key and request for the next certificate, unless they are there."""
        if self.disk.request is None or self.disk.request[0] != self.disk.sequence:
            self.disk.request = (self.disk.sequence, fresh("csr"))

    def hello(self) -> Packet | None:
        """A new connection says hello."""
        return Packet("hello", self, self.boot_id, self.disk.serial) if self.boot_id else None

    def ask(self, nonce_ms: int) -> Packet | None:
        """Ask for the next certificate: by recovery, with a nonce of this moment, or by renewal, without one."""
        if not self.boot_id or self.disk.request is None or self.disk.request[0] != self.disk.sequence:
            return None
        disk = self.disk
        assert disk.request is not None
        return Packet("ask", self, self.boot_id, disk.serial, disk.sequence, disk.request[1], nonce_ms)

    def take(self, answer: Answer) -> None:
        """A new certificate: one atomic change, if it is for the request that is out and its asker still lives."""
        if self.boot_id == answer.boot_id and self.disk.request == (answer.sequence - 1, answer.request):
            self.disk.serial, self.disk.sequence = answer.serial, answer.sequence


@dataclass
class Packet:
    """Something that was sent, with what its sender held at that moment."""

    kind: str
    sender: Machine
    boot_id: str
    serial: str
    sequence: int = 0
    request: str = ""
    nonce_ms: int = 0

    @property
    def is_attended(self) -> bool:
        """Whether somebody answers a nonce on the connection that it came over: the very process that sent it, unless
        that has changed to another certificate, which it does only after it let the connection go.
        """
        return self.sender.boot_id == self.boot_id and self.sender.disk.serial == self.serial


@dataclass
class Answer:
    """A certificate on its way to whoever asked."""

    to: Machine
    boot_id: str
    request: str
    serial: str
    sequence: int


class Plane:
    """The control plane's side for one outpost."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.outpost: Outpost = register("prod", bytes(8), START_MS)
        self.certificates: dict[str, CertificateRecord] = {}
        serial = fresh("serial")
        self.outpost = enrolled(self.outpost, Joining(serial, AUDIT_KEY, "192.0.2.1"), self.now_ms)
        self._record(serial, "enrollment", 1, "192.0.2.1")
        self.first = Machine(Disk(serial, 1), "192.0.2.1")

    @property
    def is_locked(self) -> bool:
        """Whether a clone was found."""
        return self.outpost.state is OutpostState.LOCKED

    def nonce_for(self, machine: Machine) -> int:
        """A machine whose certificate expired recovers, and asks for a nonce first."""
        return 0 if self.is_alive(machine.disk.serial) else self.now_ms

    def copy_of(self, machine: Machine, source: str) -> Machine:
        """Another machine with a copy of the state folder, not started yet."""
        return Machine(deepcopy(machine.disk), source)

    def hear(self, packet: Packet) -> Answer | None:
        """A packet arrives."""
        try:
            return self._hello(packet) if packet.kind == "hello" else self._ask(packet)
        except RefusedError as error:
            packet.sender.refusals.append(error.code)
            return None

    def _hello(self, packet: Packet) -> None:
        if not self._is_admitted(packet):
            return
        match boots.judge(self.outpost, packet.boot_id):
            case Start.CURRENT | Start.LATER:
                hello = Hello(packet.boot_id, "1", packet.sender.source)
                self.outpost = boots.started(self.outpost, hello, self.now_ms)
            case Start.COPIED:
                self._lock(CloneTrace.COPIED_START, packet)
            case Start.EARLIER if packet.is_attended:  # it answered the nonce
                self._lock(CloneTrace.EARLIER_START, packet)
            case Start.EARLIER:
                raise boots.earlier_error()

    def _ask(self, packet: Packet) -> Answer | None:
        is_good = self.now_ms - packet.nonce_ms <= NONCE_LIFE_MS if packet.nonce_ms else self.is_alive(packet.serial)
        if not is_good:
            return None
        asked = (packet.serial, packet.sequence, packet.request, packet.boot_id, packet.sender.source)
        ask = Ask(*asked, alive_ms=packet.nonce_ms)
        same = [each for each in self.certificates.values() if each.csr_sha256 == packet.request]
        facts = Facts(
            held=self.certificates.get(packet.serial),
            waiting=self.certificates.get(self.outpost.next_serial),
            answered=same[-1] if same else None,
        )
        verdict = renewals.judge(self.outpost, ask, facts, self.now_ms)
        self.outpost = verdict.outpost
        if not isinstance(verdict, Granted):
            return None
        record = verdict.again
        if record is None:
            serial = fresh("serial")
            record = self._record(serial, packet.request, self.outpost.join_sequence + 1, packet.sender.source)
            self.outpost = renewed(self.outpost, serial)
        return Answer(packet.sender, packet.boot_id, packet.request, record.serial, record.sequence)

    def is_alive(self, serial: str) -> bool:
        """Whether a certificate is still good for a handshake."""
        return self.now_ms < self.certificates[serial].not_after_s * 1000

    def _is_admitted(self, packet: Packet) -> bool:
        if not self.is_alive(packet.serial):
            return False
        try:
            if authorise(self.outpost, packet.serial, Act.SYNC, self.now_ms):
                self.outpost = advanced(self.outpost, packet.serial, self.now_ms)
            return True
        except IdentitySupersededError:
            if not packet.is_attended or not renewals.is_retired(self.outpost, self.certificates.get(packet.serial)):
                raise
        self._lock(CloneTrace.RETIRED_CERTIFICATE, packet)
        return False

    def _lock(self, trace: CloneTrace, packet: Packet) -> None:
        sources = (self.outpost.boot_source, packet.sender.source)
        self.outpost = cloned(self.outpost, trace, packet.serial, sources, self.now_ms)

    def _record(self, serial: str, request: str, sequence: int, source: str) -> CertificateRecord:
        now_s = self.now_ms // 1000
        record = CertificateRecord(serial, "op", request, "", "", now_s, now_s + LEAF_S, b"leaf")
        self.certificates[serial] = replace(record, sequence=sequence, source=source)
        return self.certificates[serial]
