"""The admin socket answers its owner; metrics and health answer on their own port."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from outpost.admin import server
from outpost.bootstrap.state import NotEnrolledError
from outpost.cli import status
from outpost.paths import StatePaths

STATUS: dict[str, Any] = {"schema": "outpost.status/1", "orgs": {}, "processes": []}


async def metrics_text() -> bytes:
    return b"outpost_requests_total 1.0\n"


VIEWS = server.Views(status=lambda: STATUS, metrics=metrics_text)


async def test_the_command_line_asks_the_admin_socket(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    runner = await server.serve_admin(tmp_path / "run" / "admin.sock", VIEWS)
    try:
        assert await asyncio.to_thread(status.ask, tmp_path) == STATUS
    finally:
        await runner.cleanup()


def test_a_state_folder_that_is_not_enrolled_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotEnrolledError) as refused:
        status.ask(tmp_path)
    assert refused.value.next_step.startswith("outpost enroll")


def test_an_enrolled_state_folder_without_an_outpost_says_so(tmp_path: Path) -> None:
    identity = StatePaths(tmp_path).org("acme").identity
    identity.mkdir(parents=True)
    (identity / "enrollment.json").write_bytes(b"{}")
    with pytest.raises(status.AdminUnreachableError) as refused:
        status.ask(tmp_path)
    assert refused.value.next_step.startswith("outpost run")


ANSWERS = {"/metrics": b"outpost_requests_total 1.0\n", "/healthz": b'{"status": "ok"}'}


@pytest.mark.parametrize("path", ANSWERS)
async def test_the_metrics_listener_serves(path: str) -> None:
    runner, port = await server.serve_metrics("127.0.0.1", 0, VIEWS)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            assert (answer.status, await answer.read()) == (200, ANSWERS[path])
    finally:
        await runner.cleanup()
