"""``controlplane serve`` whose statements have lost every ``org = $1``: what is left is the database's own lock.

    python -m bench.orgs.mutant serve --state DIR

Every statement is changed on its last step to the database, whichever table it is for and whoever sent it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from controlplane.__main__ import main
from controlplane.store import postgres, sqlite_file
from controlplane.store.session import Row, Value

OWN_ORG = re.compile(r"\b(\w+\.)?org = \$1")


def broken(sql: str) -> str:
    """A statement without its WHERE on the org."""
    return OWN_ORG.sub("$1 = $1", sql)


class ForgetfulPostgres(postgres.PostgresSession):
    """A session on PostgreSQL that forgets the org."""

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        sql, *values = arguments
        return await super()._call(method, broken(sql), *values)


class ForgetfulSqlite(sqlite_file.SqliteSession):
    """The same on SQLite, where an org's rows are in a file of their own."""

    async def execute(self, sql: str, *values: Value) -> int:
        """Run a statement."""
        return await super().execute(broken(sql), *values)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement for each row."""
        await super().execute_many(broken(sql), rows)

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """All rows of a query."""
        return await super().fetch(broken(sql), *values)


if __name__ == "__main__":
    postgres.PostgresSession = ForgetfulPostgres  # type: ignore[misc]
    sqlite_file.SqliteSession = ForgetfulSqlite  # type: ignore[misc]
    main()
