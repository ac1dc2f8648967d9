"""What PostgreSQL and the way to it may answer, as our own errors.

Source: PostgreSQL 15, Appendix A: error codes; the first two characters are the class.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from controlplane.domain.errors import ControlPlaneError
from controlplane.store.errors import DatabaseAddressError, DatabaseError, refused, unreachable

GONE = frozenset({"08", "57"})  # connection exception; operator intervention: shutdown, cancelled, too slow
BUSY = frozenset({"40", "53", "55"})  # rolled back (deadlock); out of resources; locked for too long
BROKEN = frozenset({"58", "XX"})  # system error; internal error
WRONG_LOGIN = frozenset({"28", "3D"})  # invalid authorization; no such database
LOST = ("08", "57P")  # beginnings of codes after which the connection is no more
STALE_PLAN = "0A000"  # a migration changed a table under a prepared statement; asyncpg prepares it anew
IDLE_TIMEOUT = "25P03"  # the transaction was idle for too long, and the server ended it
DEAD = (OSError, EOFError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
CAUGHT = (asyncpg.PostgresError, *DEAD)
"""Everything that a call of asyncpg may raise for the database's sake."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise our own errors for what one call of asyncpg raises."""
    try:
        yield
    except CAUGHT as error:
        raise translate(error) from error


def translate(error: BaseException) -> ControlPlaneError:
    """Our own error for one of ``CAUGHT``."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return wrong_address("asyncpg cannot use it: a wrong option, or a file of TLS that is not there")
    if isinstance(error, asyncpg.PostgresError):
        return _of_state(str(getattr(error, "sqlstate", "") or ""))
    if isinstance(error, asyncpg.InterfaceError) and not _says_closed(error):
        return refused(type(error).__name__)  # a fault of ours: wrong values, or two statements at once
    return unreachable(type(error).__name__)


def is_closed(connection: Any) -> bool:
    """Whether a connection of the pool is gone; one that died was taken back by the pool already, and says so."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


def is_lost(error: BaseException, connection: Any) -> bool:
    """Whether a call failed because its connection is gone.

    A server that ends an idle connection says so first; until its end arrives, asyncpg has the connection in a state in
    which it can send nothing (InternalClientError).
    """
    state = str(getattr(error, "sqlstate", "") or "")
    torn = isinstance(error, OSError | EOFError | asyncpg.InternalClientError) and not isinstance(error, TimeoutError)
    return bool(is_closed(connection) or torn or state.startswith(LOST))


def wrong_address(cause: str) -> DatabaseAddressError:
    """The address of the database is not usable."""
    return DatabaseAddressError(
        f"the address of the database is not usable: {cause}",
        field="database_url_file",
        next_step="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE into it",
    )


def _of_state(state: str) -> ControlPlaneError:
    kind = state[:2]
    if kind in WRONG_LOGIN:
        return wrong_address(f"the server refused the login ({state})")
    if kind in BUSY or state in {STALE_PLAN, IDLE_TIMEOUT}:
        return DatabaseError(
            f"the database did not do it ({state})", field="database", next_step="try again; it was busy"
        )
    if kind in GONE or kind in BROKEN:
        return unreachable(state)
    return refused(state)


def _says_closed(error: asyncpg.InterfaceError) -> bool:
    text = str(error)
    return any(word in text for word in ("closed", "closing", "terminated", "lost", "released back to the pool"))
