"""Live sync streams of this replica: who they are, what they are owed, and how they end.

A stream is one coroutine that reads. Writing is nobody's task: when something is to be said to a stream (the org has a
new set, the list of replicas changed, the server stops), it is put into line, and a bounded number of writers, which
live only while somebody is in line, say it. A slow peer gives its writer's place back after a second. An end comes from
outside too: the reader is woken, and raises what the stream ends with.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

import grpc.aio

from controlplane import telemetry
from controlplane.domain.errors import ControlPlaneError, StateError
from controlplane.domain.outposts import (
    Act,
    IdentityRefusedError,
    IdentitySupersededError,
    OutpostLockedError,
    OutpostRevokedError,
)
from controlplane.domain.throttle import MESSAGES, Pace
from controlplane.rpc import codec
from controlplane.rpc.headstart import HeadStart
from controlplane.services.delivery import Holding, OfferPlan
from controlplane.services.identity import Gatekeeper, Principal
from controlplane.services.views import OrgView

WRITERS = 64  # streams that are written to at the same time: 64 offers of 64 KiB inline are 4 MiB in flight
PLACE_SECONDS = 1.0  # a peer that reads so slowly keeps its writer, but not the writer's place
PAUSE_SECONDS = 2.0  # until a stream for which the store failed is written to again
ORDER_SECONDS = 20.0  # a locked stream stays open for the order to wipe, and for the word that it is obeyed
EXPIRY_LOOK_SECONDS = 1.0  # between two looks for streams whose certificate ended
NEVER = -1  # number of no set: whoever was offered it is offered the newest
NO_HOLDING = Holding(b"", {}, partial=False)


class StreamReplacedError(StateError):
    """The same start of the outpost opened another stream: this one is half-open."""

    code = "sync.replaced"


class Call:
    """A call that goes on for a while, and that may be ended from outside."""

    __slots__ = ("end", "left", "principal", "task")

    def __init__(self, principal: Principal, task: "asyncio.Task[Any]") -> None:
        self.principal = principal
        self.task = task
        self.end: ControlPlaneError | None = None
        self.left = False  # it ends in order

    def finish(self, error: ControlPlaneError) -> None:
        """End with an error; the first one counts."""
        if self.end is None and not self.left:
            self.end = error
            self.task.cancel()

    def leave(self) -> None:
        """End in order."""
        if self.end is None and not self.left:
            self.left = True
            self.task.cancel()

    @property
    def is_ending(self) -> bool:
        """Whether its end was decided here."""
        return self.end is not None or self.left

    def ended(self) -> None:
        """To be called by its task when it was cancelled: raises what the call ends with, or lets it end in order.

        Raises:
            CancelledError: somebody else wants the task to end.
            ControlPlaneError: what it ends with.
        """
        if not self.is_ending:
            raise asyncio.CancelledError
        self.task.uncancel()
        if self.end is not None:
            raise self.end from None


class Stream(Call):
    """One sync stream. Thousands are held, so it has no task, no event and no dictionary of its own."""

    __slots__ = (
        "boot_id",
        "context",
        "failed",
        "failures",
        "held",
        "offered",
        "order_out",
        "outbox",
        "pace",
        "partial",
        "plans",
        "retry",
        "trust_bundle",
        "withheld",
        "writing",
    )

    def __init__(self, principal: Principal, context: Any, task: "asyncio.Task[Any]") -> None:
        super().__init__(principal, task)
        self.boot_id = ""
        self.context = context
        self.held = NO_HOLDING
        self.partial = False  # it understands offers of changes, and names what it holds as we do
        self.offered = 0  # number of the newest set offered on this stream
        self.failed = 0  # number of the set that failed last there
        self.failures = 0  # how often it did
        self.retry: asyncio.TimerHandle | None = None  # until it is offered again
        self.plans: tuple[tuple[str, OfferPlan], ...] = ()  # nonce and plan of unanswered offers, oldest first
        self.outbox: tuple[bytes, ...] = ()  # messages to be written before the next offer
        self.writing = False
        self.order_out = False  # an order to wipe is the last that is said
        self.trust_bundle = b""  # digest of the roots that the outpost believes, or was asked to take up
        self.withheld = False  # nothing is offered, since it refused the newest set
        self.pace = Pace(MESSAGES)


class Line:
    """Streams that something is to be said to, and their writers.

    Args:
        write: says to a stream what it is owed; returns when all of it is written.
        writers: how many streams are written to at the same time.
    """

    def __init__(self, write: Callable[[Stream], Awaitable[None]], writers: int = WRITERS) -> None:
        self._write = write
        self._free = writers
        self._waiting: deque[Stream] = deque()
        self._in_line: set[Stream] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused: dict[Stream, asyncio.TimerHandle] = {}  # what is owed to them could not be made up

    def add(self, stream: Stream) -> None:
        """Put a stream into line, once."""
        if stream in self._in_line or stream.is_ending:
            return
        self._in_line.add(stream)
        self._waiting.append(stream)
        self._call()

    def drop(self, stream: Stream) -> None:
        """The stream ended."""
        self._in_line.discard(stream)
        if (timer := self._paused.pop(stream, None)) is not None:
            timer.cancel()

    async def empty(self) -> None:
        """Wait until nobody is in line any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _pause(self, stream: Stream, error: StateError) -> None:
        """The store failed: thousands of streams that ended for that would only come back to it, all at once."""
        telemetry.log(
            telemetry.Event.RPC_FAILED,
            level=logging.DEBUG,  # the store's failures are told elsewhere, once
            org=stream.principal.org,
            outpost=stream.principal.outpost_id,
            code=error.code,
        )
        if stream not in self._paused and not stream.is_ending:
            self._paused[stream] = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._resume, stream)

    def _resume(self, stream: Stream) -> None:
        del self._paused[stream]
        self.add(stream)

    def _call(self) -> None:
        while self._free and self._waiting:
            stream = self._waiting.popleft()
            if stream not in self._in_line:
                continue  # it ended while it waited
            self._free -= 1
            task = asyncio.create_task(self._serve(stream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: Stream) -> None:
        kept = [True]

        def give_back() -> None:
            if kept.pop() if kept else False:
                self._free += 1
                self._call()

        timer = asyncio.get_running_loop().call_later(PLACE_SECONDS, give_back)
        try:
            if stream in self._in_line:
                self._in_line.discard(stream)  # what comes up from now on puts it into line again
                await self._write(stream)
        except grpc.aio.BaseError:
            pass  # the peer is gone: its reader sees that too, and ends the stream
        except StateError as error:
            self._pause(stream, error)
        except ControlPlaneError as error:
            stream.finish(error)
        except Exception as error:
            telemetry.log(
                telemetry.Event.RPC_FAILED, level=logging.ERROR, kind=type(error).__name__, code=ControlPlaneError.code
            )
            stream.finish(ControlPlaneError("the control plane failed; its log says why"))
        finally:
            timer.cancel()
            give_back()


class Streams:
    """Live streams, at most one for each outpost; the newest wins.

    Args:
        gatekeeper: judges who may go on.
    """

    def __init__(self, gatekeeper: Gatekeeper) -> None:
        self._gatekeeper = gatekeeper
        self._live: dict[str, dict[str, Stream]] = {}
        self._calls: dict[str, set[Call]] = {}  # beside the streams, by org: few at any time
        self._head_start = HeadStart(self._offer)
        self.line: Line | None = None
        self.stopping = False

    def orgs(self) -> Collection[str]:
        """Orgs with live streams or calls."""
        return self._live.keys() | self._calls.keys() if self._calls else self._live.keys()

    def count(self) -> int:
        """Live streams."""
        return sum(map(len, self._live.values()))

    @contextlib.contextmanager
    def beside(self, call: Call) -> Iterator[None]:
        """While this is entered, a call beside the streams ends when its outpost may not go on."""
        calls = self._calls.setdefault(call.principal.org, set())
        calls.add(call)
        try:
            yield
        except asyncio.CancelledError:
            call.ended()
        finally:
            calls.discard(call)
            if not calls and self._calls.get(call.principal.org) is calls:
                del self._calls[call.principal.org]

    def enter(self, stream: Stream) -> None:
        """Take the place of an older stream of the outpost."""
        org = self._live.setdefault(stream.principal.org, {})
        older = org.get(stream.principal.outpost_id)
        org[stream.principal.outpost_id] = stream
        if older is not None:
            older.finish(_replaced() if older.boot_id == stream.boot_id else _superseded())

    def leave(self, stream: Stream) -> None:
        """The stream ended."""
        if self.line is not None:
            self.line.drop(stream)
        if stream.retry is not None:
            stream.retry.cancel()
        org = self._live.get(stream.principal.org)
        if org is not None and org.get(stream.principal.outpost_id) is stream:
            del org[stream.principal.outpost_id]
            if not org:
                del self._live[stream.principal.org]

    def changed(self, view: OrgView, outposts: frozenset[str]) -> None:
        """Something of an org changed: end whose outpost may not go on, and offer what is new to the others.

        What was just read counts, however long that took: of a change that was passed over nobody would tell again.
        """
        for call in list(self._calls.get(view.org, ())):
            if call.principal.outpost_id in outposts:
                self._judge_call(call, view)
        live = self._live.get(view.org)
        if live is None:
            return
        for outpost_id in outposts:
            stream = live.get(outpost_id)
            if stream is not None:
                self._judge(stream, view)
        if not self._head_start.is_given(view, outposts):
            self._offer(view)

    def _offer(self, view: OrgView) -> None:
        """Put into line who lacks what is new."""
        if self.line is None:
            return
        for stream in self._live.get(view.org, {}).values():
            if stream.withheld and stream.principal.outpost_id not in view.refused:
                stream.withheld, stream.offered = False, NEVER
            if 0 != stream.offered < view.number and not stream.order_out:
                self.line.add(stream)

    def end_expired(self, now_ms: int) -> None:
        """End the streams whose certificate's time is over."""
        for call in (*self._all(), *itertools.chain.from_iterable(self._calls.values())):
            if call.principal.not_after_ms <= now_ms:
                call.finish(
                    IdentityRefusedError(
                        "the certificate of this outpost expired", field="certificate", next_step="connect again"
                    )
                )

    def tell(self, message: bytes) -> None:
        """Write a message to every stream."""
        for stream in self._all():
            self.tell_one(stream, (message,))

    async def stop(self, goodbye: bytes, seconds: float) -> None:
        """Say goodbye to every stream and end it in order."""
        self.stopping = True
        self.tell(goodbye)
        if self.line is not None:
            try:
                async with asyncio.timeout(seconds):
                    await self.line.empty()
            except TimeoutError:
                pass  # whoever does not read in time finds the stream closed
        for stream in list(self._all()):
            stream.leave()

    def everyone(self) -> Iterator[Stream]:
        """Every live stream, as they are now."""
        return iter(list(self._all()))

    def tell_one(self, stream: Stream, messages: tuple[bytes, ...]) -> None:
        """Write messages to a stream, before the next offer; after an order to wipe there are none."""
        if messages and not stream.order_out:
            stream.outbox = (*stream.outbox, *messages)
            if self.line is not None:
                self.line.add(stream)

    def offer_again(self, stream: Stream) -> None:
        """Offer the newest set once more."""
        stream.offered = NEVER
        if self.line is not None:
            self.line.add(stream)

    def offer_later(self, stream: Stream, seconds: float) -> None:
        """Offer the newest set once more after a while, if the stream lives then and no newer one was offered."""
        number = stream.offered

        def again() -> None:
            if stream.offered == number:
                self.offer_again(stream)

        if stream.retry is not None:
            stream.retry.cancel()
        stream.retry = asyncio.get_running_loop().call_later(seconds, again)

    def _judge_call(self, call: Call, view: OrgView) -> None:
        try:
            self._gatekeeper.authorise(call.principal, Act.SYNC, view)
        except ControlPlaneError as error:
            call.finish(error)

    def _judge(self, stream: Stream, view: OrgView) -> None:
        outpost = view.outposts[stream.principal.outpost_id]
        try:
            self._gatekeeper.authorise(stream.principal, Act.SYNC, view)
        except (OutpostLockedError, OutpostRevokedError) as error:
            if outpost.is_order_out and not stream.order_out and stream.principal.serial in outpost.draining:
                # It stays open for the order, and for the word that it is obeyed.
                stream.outbox = ()
                self.tell_one(stream, (codec.lock(outpost),))
                stream.order_out = True
                asyncio.get_running_loop().call_later(ORDER_SECONDS, stream.finish, error)
            elif not stream.order_out:
                stream.finish(error)
            return
        except ControlPlaneError as error:
            stream.finish(error)
            return
        if stream.boot_id in outpost.superseded_boots:
            stream.finish(_superseded())

    def _all(self) -> Iterator[Stream]:
        for org in self._live.values():
            yield from org.values()


def _replaced() -> StreamReplacedError:
    return StreamReplacedError("another stream of this start took the place of this one")


def _superseded() -> IdentitySupersededError:
    return IdentitySupersededError("another start of this outpost took the place of this one")
