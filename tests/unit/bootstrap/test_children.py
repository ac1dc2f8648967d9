"""What the agent hears of the workers through the supervisor."""

from types import SimpleNamespace
from typing import Any

import pytest

from outpost.bootstrap.children import ActivationLateError, RemoteWorkers


class Silent:
    """A link whose other end does not answer."""

    async def call(self, frame: dict[str, Any], timeout_seconds: float) -> None:
        raise TimeoutError


async def test_workers_that_are_late_may_be_asked_again() -> None:
    workers = RemoteWorkers(SimpleNamespace(link=Silent()))  # type: ignore[arg-type]
    for step in (workers.prepare("acme", "a"), workers.commit("acme"), workers.lock("acme")):
        with pytest.raises(ActivationLateError) as late:
            await step
        assert not late.value.fatal
