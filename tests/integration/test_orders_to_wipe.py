"""Orders to wipe on live streams: what follows one, and what does not."""

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from outpost_wire.v1 import sync_pb2

from controlplane.domain.throttle import Rate
from controlplane.rpc import greeting, streams
from controlplane.services.defaults import default_policy
from tests.integration.controlplane_client import SECONDS, Client, detail, ended, read, read_offer, running

BOOT = f"{1:08x}" + "0" * 24


async def rest(call: Any) -> tuple[list[str], str]:
    """What else is said on a stream, and the code with which it ends."""
    said: list[str] = []
    async with asyncio.timeout(SECONDS):
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                said.append(message.WhichOneof("message"))
        except grpc.aio.AioRpcError as error:
            return said, detail(error)[1].code
    return said, ""


@pytest.mark.parametrize("when", ["live", "later"])
async def test_whoever_floods_its_stream_after_an_order_to_wipe_is_cut_off(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (streams, greeting):
        monkeypatch.setattr(module, "MESSAGES", Rate(3_600_000.0, 3))
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        if when == "live":
            call = await client.hello(boot=BOOT)
            await read(call)
            await cp.plane.locks.order("acme", "prod")
        else:
            await cp.plane.locks.order("acme", "prod")
            call = await client.hello(boot=BOOT)
        assert (await read(call)).WhichOneof("message") == "lock"
        for _ in range(4):
            await call.write(sync_pb2.SyncUp(status=sync_pb2.Status(state="ACTIVE")))
        assert (await ended(call))[1].code == "throttled"
        await client.channel.close()


async def test_after_an_order_to_wipe_nothing_else_is_said(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        live = await client.hello(boot=BOOT)
        await read(live)
        other = await Client.enroll(await cp.token(name="other"))
        stays = await other.hello(boot=BOOT)
        await read(stays)
        await cp.plane.locks.order("acme", "prod")
        assert (await read(live)).WhichOneof("message") == "lock"
        policy = default_policy("acme").replace(b"found.", b"seen.")
        await cp.plane.publisher.publish_policy("acme", policy)
        assert (await read_offer(stays)).revision  # it was told to others
        assert cp.server._sync is not None
        cp.server._sync.tell_endpoints(("z.example:1",))
        cp.server._sync.rotate()
        await live.write(sync_pb2.SyncUp(status=sync_pb2.Status(state="LOCKED")))
        assert await rest(live) == ([], "identity.locked")
        for each in (client, other):
            await each.channel.close()
