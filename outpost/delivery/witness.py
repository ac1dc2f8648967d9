"""Delivery of an org's audit log to the control plane, its witness: ranges within a tile, exact bytes, the checkpoint.

Rules
- Nothing is given up: a failed call is tried again with the next connection; what the witness has already does no harm.
- The witness's size decides. When it knows less than we delivered (it was restored), we go back to its size.
- When it knows more than we have, or another history, our log was cut, rolled back or rewritten: the last common size
  is searched by comparing roots, reported by name, and nothing is sent until the cause is gone.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from outpost import ports
from outpost.core.errors import PeerError, StoreError

TILE = 256  # records; C2SP tlog-tiles
IDLE_SECONDS = 0.5  # between two looks at the newest checkpoint, which is written each second
REFUSED_SECONDS = 30.0  # between two attempts while the witness refuses

ACCEPTED = 200
BAD_SIGNATURE = 403
UNKNOWN_ORIGIN = 404
WRONG_SIZE = 409
INCONSISTENT = 422


class LogRefusedError(StoreError):
    """The witness refuses our log; `code` says which way."""

    code = "delivery.refused"


class LogForkedError(LogRefusedError):
    """Our log and the witness's differ after the last common size."""

    code = "delivery.forked"


class LogRolledBackError(LogRefusedError):
    """Our log is an older copy, or its tail was cut: the witness has seen more."""

    code = "delivery.rolled_back"


class LogUnknownError(LogRefusedError):
    """The witness does not know this log or its key."""

    code = "delivery.unknown_log"


class DeliveryDiskError(StoreError):
    """The disk did not give a record, or did not take the cursor."""

    code = "audit.disk"
    fatal = False


class WitnessAnswerError(PeerError):
    """The witness's answer makes no sense."""

    code = "delivery.answer"


class Reader(Protocol):
    """The log as it is on disk."""

    def checkpoint(self) -> bytes | None:
        """Newest signed head."""
        ...

    def tree_size(self) -> int:
        """Records below it."""
        ...

    def entries(self, first: int, count: int) -> tuple[bytes, ...]:
        """Exact records."""
        ...

    def root(self, size: int) -> bytes:
        """Root at a size."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Where delivery stands; the callbacks keep it durable."""

    uploaded: Callable[[], int]
    set_uploaded: Callable[[int], None]
    store_cosigned: Callable[[bytes, bytes], None]  # checkpoint, witness's line


class Delivery:
    """Delivers one log over one connection.

    Args:
        origin: of the log.
        reader: the log.
        progress: the cursor.
        report: called with (log size, cosigned size, error or None) after each step.
    """

    def __init__(
        self,
        origin: str,
        reader: Reader,
        progress: Progress,
        report: Callable[[int, int, StoreError | None], None],
    ) -> None:
        self._origin = origin
        self._reader = reader
        self._progress = progress
        self._report = report
        self._cosigned = 0

    async def run(self, plane: ports.ControlPlane) -> None:
        """Deliver until cancelled.

        Raises:
            PeerError: the connection broke.
        """
        while True:
            try:
                moved = await self.step(plane)
                self._report(self._reader.tree_size(), self._cosigned, None)
                wait = 0.0 if moved else IDLE_SECONDS
            except StoreError as error:  # refused, or our own disk: told, and no reason to give up the sync stream
                self._report(self._reader.tree_size(), self._cosigned, error)
                wait = REFUSED_SECONDS
            except OSError as error:
                broken = DeliveryDiskError(
                    f"the audit log or its cursor cannot be read or written: {error.strerror}",
                    next_step="free space or replace the disk; the delivery tries again by itself",
                )
                self._report(self._reader.tree_size(), self._cosigned, broken)
                wait = REFUSED_SECONDS
            await asyncio.sleep(wait)

    async def step(self, plane: ports.ControlPlane) -> bool:
        """Deliver everything below the newest checkpoint.

        Returns:
            Whether anything was delivered.

        Raises:
            LogRefusedError: a leaf of this module.
            PeerError: the connection broke or the answer makes no sense.
        """
        checkpoint, size = await asyncio.to_thread(self._head)
        if checkpoint is None or size == self._cosigned:
            return False
        first = min(self._progress.uploaded(), size)
        while True:
            count = min(TILE - first % TILE, size - first)
            entries = await asyncio.to_thread(self._reader.entries, first, count)
            last = first + count == size
            answer = await plane.append(self._origin, first, entries, checkpoint if last else b"")
            if answer.status != ACCEPTED:
                first = await self._refused(plane, answer, first, size)
                continue
            await self._accepted(answer, checkpoint if last else b"", entries, first)
            first += count
            if last:
                self._cosigned = size
                return True

    def _head(self) -> tuple[bytes | None, int]:
        """Newest checkpoint and its size, read together."""
        checkpoint = self._reader.checkpoint()
        return (checkpoint, int(checkpoint.split(b"\n", 2)[1])) if checkpoint is not None else (None, 0)

    async def _accepted(
        self, answer: ports.AppendAnswer, checkpoint: bytes, entries: Sequence[bytes], first: int
    ) -> None:
        if answer.known_size < first + len(entries):
            raise WitnessAnswerError("the witness accepted records but does not count them")
        if not checkpoint:
            await asyncio.to_thread(self._progress.set_uploaded, first + len(entries))
            return
        if not answer.cosigned_checkpoint.startswith(checkpoint):
            raise WitnessAnswerError("the witness cosigned another checkpoint than ours")
        line = answer.cosigned_checkpoint[len(checkpoint) :]
        await asyncio.to_thread(self._progress.store_cosigned, checkpoint, line)

    async def _refused(self, plane: ports.ControlPlane, answer: ports.AppendAnswer, first: int, size: int) -> int:
        """Where to go on after a refusal, or an error that says how our log differs."""
        if answer.status in {UNKNOWN_ORIGIN, BAD_SIGNATURE}:
            raise LogUnknownError(
                f"the witness does not know this log ({answer.status})",
                field=self._origin,
                next_step="check with `controlplane outpost show` that this outpost is registered",
            )
        known = answer.known_size
        if answer.status == WRONG_SIZE and known < first:
            return known  # it was restored from a copy: it gets again what it lost
        if answer.status == WRONG_SIZE and known <= size:
            common = await self.last_common(plane, known)
            if common == known and known > first:
                return known  # our cursor was behind, the history is the same
        common = await self.last_common(plane, min(known, size))
        if known > size and common == size:
            raise LogRolledBackError(
                f"the witness has seen {known} records, this log has {size}: it was cut or is an older copy;"
                f" the last common size is {common}",
                field=str(common),
                next_step="find out who changed the state folder; `outpost verify-audit` shows this log",
            )
        raise LogForkedError(
            f"this log and the witness's differ after size {common}; the witness knows {known} records, we have {size}",
            field=str(common),
            next_step="keep both copies as evidence; `outpost verify-audit` shows this log",
        )

    async def last_common(self, plane: ports.ControlPlane, upper: int) -> int:
        """Largest size up to ``upper`` at which both trees have one root: binary search, since trees only grow."""
        low, high = 0, upper
        while low < high:
            middle = (low + high + 1) // 2
            _, theirs = await plane.root(self._origin, middle)
            ours = await asyncio.to_thread(self._reader.root, middle)
            if theirs == ours:
                low = middle
            else:
                high = middle - 1
        return low
