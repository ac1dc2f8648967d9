"""Before an outpost starts: its port is nobody else's, not even another outpost's that would share it."""

import asyncio
import socket

import pytest

from outpost import entry
from outpost.bootstrap import listener
from outpost.settings import ListenError


async def test_a_free_port_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    await asyncio.wait_for(entry.wait_free("127.0.0.1", port), 1)
    await entry.wait_free("127.0.0.1", 0)


async def test_a_port_that_another_outpost_would_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "LOCK_WAIT_SECONDS", 0.05)
    with listener.share("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match="already in use"):
            await entry.wait_free("127.0.0.1", port)


async def test_a_port_that_is_given_up_meanwhile_is_taken() -> None:
    other = listener.share("127.0.0.1", 0)
    waiting = asyncio.create_task(entry.wait_free("127.0.0.1", other.getsockname()[1]))
    await asyncio.sleep(0)
    assert not waiting.done()
    other.close()
    await asyncio.wait_for(waiting, 2)


async def test_connections_that_linger_do_not_count() -> None:
    with listener.share("127.0.0.1", 0) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.setblocking(True)
        accepted, _ = server.accept()
    with accepted, client:
        await asyncio.wait_for(entry.wait_free("127.0.0.1", port), 1)
