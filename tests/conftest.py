"""Servers that tests of several folders share."""

from collections.abc import Iterator

import pytest

from tests.fakes.postgres_server import Server, binaries, running_server


def started() -> Iterator[Server]:
    """A PostgreSQL server, or the reason why there is none."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql-15")
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server of this test process."""
    yield from started()


@pytest.fixture(scope="module")
def mortal() -> Iterator[Server]:
    """One that the tests of a file may stop."""
    yield from started()
