"""What every way to the audit log promises: durable when it returns, gap-free, in order, typed when it refuses."""

import asyncio
from pathlib import Path

import pytest

from outpost.core.errors import StoreError
from outpost.ledger.door import LedgerClient, LedgerUnavailableError
from tests.contract.ledgers import GROUP_BYTES, ORGS, WAYS, LedgerProcess, body, make_orgs
from tests.unit.ledger.support import EIO

PATIENCE = 10.0  # the client itself gives up after 2 s

pytestmark = pytest.mark.parametrize("way", WAYS)


def cause(error: StoreError) -> str:
    """The ledger's own code; the client carries it as the field."""
    return error.field if isinstance(error, LedgerUnavailableError) and error.field else error.code


async def test_what_is_acknowledged_was_synced_and_stands_on_disk(way: str, tmp_path: Path) -> None:
    async with WAYS[way](tmp_path) as ledger:
        before = ledger.disk.calls
        assert list(await ledger.port.append("acme", [body("one"), body("two")])) == [0, 1]
        assert ledger.disk.calls > before
        segments = (ledger.folder / "acme" / "audit" / "segments").glob("*.segment")
        stored = b"".join(path.read_bytes() for path in segments)
        assert all(body(text)[1:] in stored for text in ("one", "two"))
        assert ledger.on_disk() == ["one", "two"]


async def test_numbers_are_gap_free_across_callers_and_each_caller_keeps_its_order(way: str, tmp_path: Path) -> None:
    async with WAYS[way](tmp_path) as ledger:

        async def caller(name: int) -> list[tuple[str, int]]:
            texts = [[f"{name}.{turn}.{part}" for part in range(1 + turn % 3)] for turn in range(20)]
            spans = await asyncio.gather(*(ledger.port.append("acme", [body(t) for t in group]) for group in texts))
            return [pair for group, span in zip(texts, spans, strict=True) for pair in zip(group, span, strict=True)]

        told = await asyncio.gather(*(caller(name) for name in range(8)))
        for pairs in told:
            numbers = [number for _, number in pairs]
            assert numbers == sorted(numbers)
        everything = dict(sorted((number, text) for pairs in told for text, number in pairs))
        assert list(everything) == list(range(len(everything)))
        assert ledger.on_disk() == list(everything.values())


async def test_the_logs_of_orgs_are_apart(way: str, tmp_path: Path) -> None:
    async with WAYS[way](tmp_path) as ledger:
        for turn in range(3):
            for org in ORGS:
                assert list(await ledger.port.append(org, [body(f"{org}-{turn}", org)])) == [turn]
        for org in ORGS:
            assert ledger.on_disk(org) == [f"{org}-{turn}" for turn in range(3)]


REFUSED: dict[str, tuple[str, list[bytes], str]] = {
    "an org that is not enrolled": ("initech", [body("x")], "ledger.identity"),
    "an org id that would leave the folder": ("../acme", [body("x")], "ledger.identity"),
    "more than a group holds": ("acme", [body("x" * 1000)] * (GROUP_BYTES // 1000), "ledger.append_too_large"),
    "a record that has a number already": ("acme", [body("x"), b'{"_seq":3,"x":1}'], "audit.record_invalid"),
    "a record of two lines": ("acme", [body("x"), b'{"x":"\n"}'], "audit.record_invalid"),
    "a record over the bound": ("acme", [b'{"x":"' + b"x" * 65_536 + b'"}'], "audit.record_too_large"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_refusal_is_typed_and_the_log_goes_on(what: str, way: str, tmp_path: Path) -> None:
    org, records, code = REFUSED[what]
    async with WAYS[way](tmp_path) as ledger:
        assert list(await ledger.port.append("acme", [body("before")])) == [0]
        with pytest.raises(StoreError) as refused:
            await asyncio.wait_for(ledger.port.append(org, records), PATIENCE)
        assert cause(refused.value) == code
        assert list(await ledger.port.append("acme", [body("after")])) == [1]
        assert ledger.on_disk() == ["before", "after"]


async def test_nothing_to_append_asks_whether_the_disk_takes_records(way: str, tmp_path: Path) -> None:
    async with WAYS[way](tmp_path) as ledger:
        await ledger.port.append("acme", [body("one")])
        before = ledger.disk.calls
        assert list(await ledger.port.append("acme", [])) == []
        assert ledger.disk.calls > before
        ledger.disk.fail(EIO, EIO)
        with pytest.raises(StoreError) as refused:
            await ledger.port.append("acme", [])
        assert cause(refused.value) == "ledger.write_failed"
        assert list(await ledger.port.append("acme", [])) == []
        assert list(await ledger.port.append("acme", [body("two")])) == [1]
        assert ledger.on_disk() == ["one", "two"]


async def test_what_the_disk_did_not_take_is_refused_and_leaves_no_gap(way: str, tmp_path: Path) -> None:
    async with WAYS[way](tmp_path) as ledger:
        await ledger.port.append("acme", [body("one")])
        ledger.disk.fail(EIO, EIO)  # in the segment, and in the new one
        with pytest.raises(StoreError) as refused:
            await ledger.port.append("acme", [body("lost")])
        assert cause(refused.value) == "ledger.write_failed"
        assert list(await ledger.port.append("acme", [body("two")])) == [1]
        assert ledger.on_disk() == ["one", "two"]


async def test_a_closed_ledger_refuses(way: str, tmp_path: Path) -> None:
    async with WAYS[way](tmp_path) as ledger:
        await ledger.port.append("acme", [body("one")])
        ledger.ledger.close()
        with pytest.raises(StoreError) as refused:
            await asyncio.wait_for(ledger.port.append("acme", [body("two")]), PATIENCE)
        assert cause(refused.value) == "ledger.closed"


async def test_a_ledger_that_was_killed_between_two_appends_serves_again(way: str, tmp_path: Path) -> None:
    """The socket's client outlives the ledger; a caller in the same process dies with it and starts anew."""
    process = LedgerProcess(tmp_path)
    make_orgs(process.folder)
    if way == "in this process":
        for turn in range(3):
            async with WAYS[way](tmp_path) as ledger:
                assert list(await ledger.port.append("acme", [body(f"{turn}")])) == [turn]
        return
    client = LedgerClient(process.socket)
    acknowledged = 0
    for _ in range(3):
        await process.start()
        for _ in range(5):
            try:
                (number,) = await asyncio.wait_for(client.append("acme", [body("x")]), PATIENCE)
            except LedgerUnavailableError:
                continue  # the connection to the one that died; nothing was promised
            assert number >= acknowledged
            acknowledged = number + 1
        await process.kill()
    assert acknowledged >= 12  # at most the first of a life may fail
    await client.close()
