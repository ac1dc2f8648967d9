"""The PostgreSQL server of the tests comes up whoever was faster at its port."""

import asyncio
import socket

import pytest

from tests.fakes import postgres_server


@pytest.mark.skipif(postgres_server.binaries() is None, reason="PostgreSQL's server is not installed")
def test_a_port_that_is_taken_meanwhile_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free, ports = postgres_server.free_port, [int(taken.getsockname()[1])]
        monkeypatch.setattr(postgres_server, "free_port", lambda: ports.pop() if ports else free())
        monkeypatch.setattr(postgres_server.Server, "prepare", _nothing)
        with postgres_server.running_server() as server:
            assert server.port != taken.getsockname()[1]
            asyncio.run(server.run("SELECT 1"))
        assert not server.folder.exists()


async def _nothing(server: object) -> None:
    """No roles and no template are needed here."""
