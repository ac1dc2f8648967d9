"""Identities over real loopback gRPC after a restore: certificates that were issued after the backup."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from outpost_wire.v1 import sync_pb2

from certs.shell.signers import generate_tls_key
from controlplane.bootstrap import backups, restores
from controlplane.domain.backup_frames import MIN_SCRYPT_N
from controlplane.settings import FILE_NAME
from tests.integration.controlplane_client import Client, Running, read, running, serving
from tests.integration.test_identity_wire import after, boot, code_of, dead, lively, recovered, renewed, row

PASSPHRASE = b"correct horse battery staple"


async def taken(folder: Path) -> Path:
    file = folder / "cp.backup"
    await backups.take(folder / "cp", file, PASSPHRASE, MIN_SCRYPT_N)
    return file


@asynccontextmanager
async def again(folder: Path) -> AsyncIterator[Running]:
    """The control plane out of its backup, in another directory and on other ports."""
    await restores.restore(folder / "cp.backup", PASSPHRASE, folder / "new", restores.Database())
    assert (folder / "new" / FILE_NAME).exists()
    async with serving(folder / "new") as cp:
        yield cp


def moved(client: Client, cp: Running) -> Client:
    """The same outpost, calling the new control plane."""
    return Client(client.answer, client.key_pem, client.log, cp.ready["grpc"])


async def hello(client: Client, sequence: int, counter: int = 1) -> Any:
    call = client.sync.Sync()
    values = {"protocol_min": 1, "protocol_max": 1, "boot_id": boot(counter), "join_sequence": sequence}
    await call.write(sync_pb2.SyncUp(hello=sync_pb2.Hello(software_version="0.1.0", **values)))
    return call


async def later_life(folder: Path) -> tuple[Client, Client, Client]:
    """An outpost that is enrolled before the backup, and renewed twice after it: its three certificates."""
    async with running(folder / "cp") as cp:
        first = await Client.enroll(await cp.token())
        await read(await first.hello(boot=boot(1)))
        await taken(folder)
        second = await renewed(first)
        await read(await second.hello(boot=boot(1)))
        third = await renewed(second, 2)
        await read(await third.hello(boot=boot(1)))
        for each in (first, second, third):
            await each.channel.close()
    return first, second, third


async def test_a_certificate_of_after_the_backup_counts(tmp_path: Path) -> None:
    _, _, third = await later_life(tmp_path)
    async with again(tmp_path) as cp:
        client = moved(third, cp)
        await read(await hello(client, 3))
        outpost = await row(cp)
        assert (outpost.state.value, outpost.join_sequence) == ("active", 3)
        assert outpost.adopted_ms > 0
        fourth = moved(await renewed(client, 3), cp)
        await read(await hello(fourth, 3))
        assert (await row(cp)).join_sequence == 4
        for each in (client, fourth):
            await each.channel.close()


async def test_a_renewal_counts_without_a_stream_before_it(tmp_path: Path) -> None:
    _, _, third = await later_life(tmp_path)
    async with again(tmp_path) as cp:
        client = moved(third, cp)
        fourth = moved(await renewed(client, 3), cp)
        await read(await hello(fourth, 3))
        assert (await row(cp)).join_sequence == 4
        for each in (client, fourth):
            await each.channel.close()


async def test_a_copy_of_an_earlier_certificate_locks_both(tmp_path: Path) -> None:
    _, second, third = await later_life(tmp_path)
    async with again(tmp_path) as cp:
        live = moved(third, cp)
        await read(await hello(live, 3))
        copy = moved(second, cp)
        assert await code_of(await dead(await hello(copy, 2))) == "identity.superseded"
        assert (await row(cp)).state.value == "active"
        assert await code_of(await lively(await hello(copy, 2))) == "identity.locked"
        assert (await row(cp)).state.value == "locked"
        for each in (live, copy):
            await each.channel.close()


async def test_the_certificate_on_record_is_retired_by_a_newer_one(tmp_path: Path) -> None:
    first, _, third = await later_life(tmp_path)
    async with again(tmp_path) as cp:
        old, new = moved(first, cp), moved(third, cp)
        await read(await hello(old, 1))
        assert await code_of(await dead(await hello(new, 1))) == "identity.superseded"  # it cannot be at that sequence
        await read(await hello(new, 3))
        assert (await row(cp)).join_sequence == 3
        assert await code_of(await dead(await hello(old, 1))) == "identity.superseded"
        for each in (old, new):
            await each.channel.close()


async def test_an_expired_certificate_of_after_the_backup_is_recovered(tmp_path: Path) -> None:
    _, _, third = await later_life(tmp_path)
    async with again(tmp_path) as cp:
        key, leaf = generate_tls_key(), third.answer.chain_der[0]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await recovered(cp, third, key)
        assert caught.value.details() == "recover.refused"  # nobody knows the certificate, and it was not shown
        claimed = await recovered_at(cp, third, key, leaf)
        fresh = moved(after(third, key, claimed), cp)
        await read(await hello(fresh, claimed.join_sequence))
        assert (await row(cp)).state.value == "active"
        await fresh.channel.close()


async def recovered_at(cp: Running, client: Client, key: Any, leaf: bytes) -> Any:
    """Recover at the join sequence of the third certificate, showing it."""
    return await recovered(cp, client, key, sequence=3, leaf_der=leaf)


async def test_a_foreign_certificate_never_counts(tmp_path: Path) -> None:
    """Genuine certificates of another control plane, and one that its holder made himself."""
    _, _, third = await later_life(tmp_path)
    async with running(tmp_path / "foreign") as foreign:
        stranger = await Client.enroll(await foreign.token())
    async with again(tmp_path) as cp:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await recovered_at(cp, third, generate_tls_key(), stranger.answer.chain_der[0])
        assert caught.value.details() == "recover.refused"
        assert (await row(cp)).join_sequence == 1
    await stranger.channel.close()


async def test_who_enrolled_after_the_backup_is_not_known(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        await taken(tmp_path)
        late = await Client.enroll(await cp.token(name="late"))
        await late.channel.close()
    async with again(tmp_path) as cp:
        client = moved(late, cp)
        assert await code_of(await dead(await hello(client, 1))) == "identity.refused"
        await client.channel.close()


async def test_tokens_of_before_the_restore_are_void(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        token = await cp.token()
        await taken(tmp_path)
    async with again(tmp_path) as cp:
        endpoint = cp.ready["enroll"]
        from dataclasses import replace

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await Client.enroll(replace(token, endpoint=endpoint))
        assert caught.value.details().startswith("token.")
