"""One transaction for each task at a time.

A transaction inside another one waits for a connection while it holds one: with as many such tasks as there are
connections, nobody ever gets on. So it is refused where it is written, on both engines, and not found out under load.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class NestedTransactionError(RuntimeError):
    """A transaction was opened inside another one of the same task: a fault of the caller."""


class Guard:
    """Tasks that are inside a transaction of one engine."""

    def __init__(self) -> None:
        self._inside: set[asyncio.Task[object] | None] = set()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside. Raises NestedTransactionError."""
        task = asyncio.current_task()
        if task in self._inside:
            raise NestedTransactionError("end the outer transaction first, or hand it on")
        self._inside.add(task)
        try:
            yield
        finally:
            self._inside.discard(task)
