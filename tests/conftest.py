"""Servers that tests of several folders share."""

from collections.abc import Iterator

import pytest

from tests.fakes.postgres_server import Server, binaries, running_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of this test process."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql-15")
    with running_server() as server:
        yield server
