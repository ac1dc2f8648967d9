"""Places for the store's contract: each test gets a fresh one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.stores import ENGINES, Place


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Both engines, one after the other."""
    if request.param == "sqlite":
        yield Place(tmp_path)
        return
    yield from on_postgres(request, tmp_path)


@pytest.fixture
def postgres_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """PostgreSQL alone."""
    yield from on_postgres(request, tmp_path)


def on_postgres(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place on the server of this test process."""
    made = Place(tmp_path, request.getfixturevalue("postgres"))
    yield made
    if made.database and made.server is not None:
        asyncio.run(made.server.drop(made.database))
