"""What outposts say, on its way into the store: hellos, heartbeats and answers to offers, many in one transaction.

Rules. Each org has a box. What is put into it is committed together after 50 ms, or at once when 256 items wait or one
is urgent (a refusal). Of one outpost the newest heartbeat and the newest answer count; a hello waits for its verdict.
When a commit fails, heartbeats and answers go back into the box, beneath what came meanwhile, and the commit is tried
again with growing waits: nothing is lost while this process lives, and every failure is logged and counted. Hellos are
told of the failure at once: the outpost comes back by itself. When commits go on failing, items are tried one by one,
so that one that the store will never take cannot hold up the others; only such a one is dropped, and that is logged.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from controlplane import telemetry
from controlplane.domain import boots, outposts
from controlplane.domain.boots import Hello, Start
from controlplane.domain.changes import Change, ChangeKind
from controlplane.domain.clones import CloneTrace, cloned
from controlplane.domain.errors import ControlPlaneError, NotFoundError
from controlplane.domain.outposts import OutpostState
from controlplane.domain.records import Delivery, DeliveryState, Heartbeat
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal
from controlplane.services.renew import log_clone

SCOPE = "words"
WINDOW_SECONDS = 0.05  # longest wait of an item for others
MAX_ITEMS = 256  # of one transaction; as many rows are written in 10 ms
RETRY_SECONDS = 0.2  # wait after the first failure; it doubles
MAX_RETRY_SECONDS = 5.0
FAILURES_BEFORE_SINGLES = 3  # from the third failure on, items are tried one by one
TRIALS = 3  # an item is dropped when it failed so often with a success of another in between
PROBES = 8  # items that are tried one by one before it is held for certain that the store takes none
CLOSING_SECONDS = 3.0  # for the last commits at a stop


@dataclass(frozen=True, slots=True)
class _Hello:
    principal: Principal
    said: Hello
    verdict: "asyncio.Future[ControlPlaneError | None]"


@dataclass(slots=True)
class _Box:
    """What waits to be written for one org."""

    hellos: list[_Hello] = field(default_factory=list)
    beats: dict[str, Heartbeat] = field(default_factory=dict)
    answers: dict[str, Delivery] = field(default_factory=dict)
    failures: int = 0  # in a row
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    writer: "asyncio.Task[None] | None" = None

    def __len__(self) -> int:
        return len(self.hellos) + len(self.beats) + len(self.answers)

    def take(self) -> "_Batch":
        """Take out what fits into one transaction, the oldest first."""
        hellos, self.hellos = self.hellos[:MAX_ITEMS], self.hellos[MAX_ITEMS:]
        left = MAX_ITEMS - len(hellos)
        beats = [self.beats.pop(key) for key in list(self.beats)[:left]]
        left -= len(beats)
        return _Batch(hellos, beats, [self.answers.pop(key) for key in list(self.answers)[:left]])

    def put_back(self, batch: "_Batch") -> None:
        """What was not written, beneath what is newer, and before all else."""
        self.beats = {beat.outpost_id: beat for beat in batch.beats} | self.beats
        self.answers = {answer.outpost_id: answer for answer in batch.answers} | self.answers


@dataclass(frozen=True, slots=True)
class _Batch:
    hellos: Sequence[_Hello] = ()
    beats: Sequence[Heartbeat] = ()
    answers: Sequence[Delivery] = ()

    def __len__(self) -> int:
        return len(self.hellos) + len(self.beats) + len(self.answers)

    def names(self) -> list[str]:
        """Outposts whose words these are."""
        return [beat.outpost_id for beat in self.beats] + [answer.outpost_id for answer in self.answers]

    def singles(self) -> "list[_Batch]":
        """The same, one item in each."""
        return [
            *(_Batch(beats=(beat,)) for beat in self.beats),
            *(_Batch(answers=(answer,)) for answer in self.answers),
        ]


def _joined(batches: Sequence[_Batch]) -> _Batch:
    beats = [beat for each in batches for beat in each.beats]
    return _Batch((), beats, [answer for each in batches for answer in each.answers])


class Words:
    """Boxes of all orgs.

    Attributes:
        written: items that are in the store.
        failed: commits that failed.
        dropped: items that the store refuses for ever.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._boxes: dict[str, _Box] = {}
        self._settling = 0  # who waits for all to be written
        self.written = 0
        self.failed = 0
        self.dropped = 0

    async def hello(self, principal: Principal, said: Hello) -> None:
        """An outpost opened its stream; returns when that is in the store.

        Raises:
            IdentitySupersededError: a later start of the outpost has spoken; whether this one lives is not known.
            OutpostLockedError: two starts with one counter: a clone's trace, the identity is locked.
            StateError: the store failed.
        """
        verdict: asyncio.Future[ControlPlaneError | None] = asyncio.get_running_loop().create_future()
        box = self._box(principal.org)
        box.hellos.append(_Hello(principal, said, verdict))
        self._written_soon(principal.org, box)
        refusal = await verdict
        if refusal is not None:
            raise refusal

    def beat(self, org: str, beat: Heartbeat, *, urgent: bool = False) -> None:
        """Keep a heartbeat."""
        box = self._box(org)
        box.beats.pop(beat.outpost_id, None)  # the newest goes last
        box.beats[beat.outpost_id] = beat
        self._written_soon(org, box, urgent=urgent)

    def answer(self, org: str, answer: Delivery, *, urgent: bool = False) -> None:
        """Keep what an outpost answered to an offer, or that it was made one."""
        box = self._box(org)
        box.answers.pop(answer.outpost_id, None)
        box.answers[answer.outpost_id] = answer
        self._written_soon(org, box, urgent=urgent)

    async def settle(self) -> None:
        """Wait until everything that was said is in the store, or its writer gave up for now."""
        self._settling += 1
        try:
            while writers := [box.writer for box in self._boxes.values() if box.writer is not None]:
                for box in self._boxes.values():
                    box.hurry.set()
                await asyncio.wait(writers)
        finally:
            self._settling -= 1

    async def close(self) -> None:
        """Write what waits, within bounds; what cannot be written is counted in the log."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self.settle()
        for org, box in self._boxes.items():
            if box.writer is not None:
                box.writer.cancel()
                await asyncio.gather(box.writer, return_exceptions=True)
            if len(box):
                telemetry.log(telemetry.Event.WORDS_DROPPED, level=40, org=org, number=len(box))
        self._boxes.clear()

    def _box(self, org: str) -> _Box:
        found = self._boxes.get(org)
        if found is None:
            found = self._boxes[org] = _Box()
        return found

    def _written_soon(self, org: str, box: _Box, *, urgent: bool = False) -> None:
        if box.writer is None:
            box.hurry.clear()
            box.writer = asyncio.create_task(self._write(org, box))
        if urgent or len(box) >= MAX_ITEMS:
            box.hurry.set()

    async def _write(self, org: str, box: _Box) -> None:
        """Write until the box is empty."""
        try:
            while len(box):
                await self._pause(box)
                batch = box.take()
                try:
                    if await self._commit(org, batch):
                        box.failures = 0
                        continue
                    box.failures += 1
                    if box.failures >= FAILURES_BEFORE_SINGLES:
                        batch = await self._one_by_one(org, batch)
                except asyncio.CancelledError:
                    box.put_back(batch)
                    raise
                box.put_back(batch)
        finally:
            box.writer = None

    async def _pause(self, box: _Box) -> None:
        if box.failures:
            await asyncio.sleep(min(RETRY_SECONDS * 2.0 ** (box.failures - 1), MAX_RETRY_SECONDS))
        elif len(box) < MAX_ITEMS and not self._settling:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WINDOW_SECONDS):
                    await box.hurry.wait()
        box.hurry.clear()

    async def _commit(self, org: str, batch: _Batch) -> bool:
        """One transaction; hellos get their verdict after it. Returns whether it was committed."""
        try:
            # Rows of outposts are everybody's; words wait for nothing but each other.
            async with self._store.for_org(org).write("" if batch.hellos else SCOPE) as transaction:
                verdicts = [await self._judge(transaction, hello) for hello in batch.hellos]
                if batch.beats:
                    await transaction.outposts.keep_statuses(batch.beats)
                if batch.answers:
                    await transaction.releases.keep_deliveries(batch.answers)
                for answer in batch.answers:
                    if answer.state is DeliveryState.REFUSED:
                        transaction.changes.note(Change(ChangeKind.REFUSAL, answer.outpost_id))
        except Exception as error:
            self.failed += 1
            code = str(getattr(error, "code", type(error).__name__))
            telemetry.log(telemetry.Event.WORDS_FAILED, level=40, org=org, number=len(batch), code=code)
            for hello in batch.hellos:
                if not hello.verdict.done():
                    hello.verdict.set_exception(error)
            return False
        self.written += len(batch)
        for hello, verdict in zip(batch.hellos, verdicts, strict=True):
            if not hello.verdict.done():  # its stream may have ended meanwhile
                hello.verdict.set_result(verdict)
        return True

    async def _one_by_one(self, org: str, batch: _Batch) -> _Batch:
        """Write each item alone; returns what is to be tried again.

        When not one of the first ``PROBES`` is taken, it is the store that fails and no item: all go back, and others
        are probed next time. Else each one that was refused is held against one that was taken.
        """
        singles, refused = batch.singles(), []
        good: _Batch | None = None
        for at, single in enumerate(singles, start=1):
            if await self._commit(org, single):
                good = single
            else:
                refused.append(single)
            if good is None and at == min(PROBES, len(singles)):
                return _joined([*singles[at:], *refused])
        again = []
        for single in refused:
            verdict = await self._is_refused_for_ever(org, single, good or single)
            if verdict:
                self.dropped += 1
                telemetry.log(telemetry.Event.WORDS_DROPPED, level=40, org=org, outpost=single.names()[0], number=1)
            elif verdict is None:
                again.append(single)
        return _joined(again)

    async def _is_refused_for_ever(self, org: str, single: _Batch, good: _Batch) -> bool | None:
        """Whether an item is refused again and again by a store that takes another in between.

        Returns:
            False when it was taken after all; None when the store took neither.
        """
        for _ in range(TRIALS):
            if await self._commit(org, single):
                return False
            if not await self._commit(org, good):  # written once more, it changes nothing
                return None
        return True

    async def _judge(self, transaction: OrgTransaction, hello: _Hello) -> ControlPlaneError | None:
        try:
            outpost = await transaction.outposts.get(hello.principal.outpost_id)
        except NotFoundError as error:
            return error  # one outpost's trouble, not the batch's
        if outpost.state is not OutpostState.ACTIVE:
            return outposts.ended_error(outpost)  # it was locked or revoked while this hello waited
        start = boots.judge(outpost, hello.said.boot_id)
        if start is Start.EARLIER:
            return boots.earlier_error()
        now_ms = self._clock.now_ms()
        if start is Start.COPIED:
            sources = (outpost.boot_source, hello.said.source)
            after = cloned(outpost, CloneTrace.COPIED_START, hello.principal.serial, sources, now_ms)
            log_clone(hello.principal.org, after)
        else:
            after = boots.started(outpost, hello.said, now_ms)
        if after != replace(outpost, last_seen_ms=after.last_seen_ms):
            await transaction.outposts.save(after)
        if after.boot_id != outpost.boot_id and await transaction.releases.forgive(outpost.id):
            transaction.changes.note(Change(ChangeKind.REFUSAL, outpost.id))
        return outposts.locked_error(after) if start is Start.COPIED else None
