"""Faults of our own and of the ledger: nothing is sent, the record tells, the client learns a code and no more."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from outpost.core.errors import OutpostError, StoreError
from outpost.ports import Ledger
from outpost.simulator.script import Script
from tests.unit.gateway.harness import AWS_KEY, CARD, KEYS, ORG, Stack, stack

AUTH = {"Content-Type": "application/json", "Authorization": f"Bearer {KEYS['main']}"}


@pytest.fixture
async def outpost(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        yield made


class BrokenScanner:
    """A detector with a fault, whose exception carries what it read."""

    def scan(self, text: str, **_options: Any) -> list[Any]:
        raise ValueError(text)


class FailingLedger:
    """The real ledger, but one append fails."""

    def __init__(self, inner: Ledger, fails_at: int, error: Exception) -> None:
        self.inner, self.fails_at, self.error, self.asked = inner, fails_at, error, 0

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        self.asked += 1
        if self.asked == self.fails_at:
            raise self.error
        return await self.inner.append(org, records)


async def post(outpost: Stack, *, stream: bool = False) -> tuple[int, bytes]:
    body = orjson.dumps({"model": "gpt-x", "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
    url = f"{outpost.url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=AUTH) as got:
        return got.status, await got.read()


async def test_a_fault_while_judging_sends_nothing_and_is_on_record(outpost: Stack) -> None:
    program = outpost.gateway.programs.get(ORG)
    assert program is not None
    broken: Any = BrokenScanner()
    outpost.gateway.programs.put(replace(program, inspector=replace(program.inspector, scanner=broken)))
    status, data = await post(outpost)
    assert (status, orjson.loads(data)["error"]["code"]) == (500, "internal")
    assert outpost.seen() == []
    record = (await outpost.records())[-1]
    assert (record["event"], record["error_code"], record["status"]) == ("request.refused", "internal", 500)


FAULTS: dict[str, Exception] = {
    "an error of the store": StoreError("no room"),
    "an error of the system": OSError(5, f"input/output error near {CARD}"),
    "a fault of ours": ValueError(CARD),
    "another error of ours": OutpostError("odd"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", FAULTS)
async def test_without_a_record_of_the_decision_nothing_is_sent(outpost: Stack, case: str, stream: bool) -> None:
    ledger = FailingLedger(outpost.gateway.ports.ledger, 1, FAULTS[case])
    outpost.gateway.ports = replace(outpost.gateway.ports, ledger=ledger)
    status, data = await post(outpost, stream=stream)
    assert (status, orjson.loads(data)["error"]["code"]) == (503, "audit.unavailable")
    assert CARD.encode() not in data
    assert outpost.seen() == []
    assert await outpost.events() == []


@pytest.mark.parametrize("case", FAULTS)
async def test_a_block_that_is_not_on_record_is_a_failure_on_record(outpost: Stack, case: str) -> None:
    outpost.simulator.play(Script(reply=f"use {AWS_KEY}"))
    ledger = FailingLedger(outpost.gateway.ports.ledger, 2, FAULTS[case])
    outpost.gateway.ports = replace(outpost.gateway.ports, ledger=ledger)
    status, data = await post(outpost)
    assert (status, orjson.loads(data)["error"]["code"]) == (503, "audit.unavailable")
    records = await outpost.records()
    assert [record["event"] for record in records] == ["request.decided", "request.finished"]
    assert (records[-1]["outcome"], records[-1]["status"]) == ("failed", 503)


@pytest.mark.parametrize("case", FAULTS)
async def test_a_stream_that_is_stopped_without_a_record_ends_with_one_error(outpost: Stack, case: str) -> None:
    outpost.simulator.play(Script(reply=f"use {AWS_KEY}"))
    ledger = FailingLedger(outpost.gateway.ports.ledger, 2, FAULTS[case])
    outpost.gateway.ports = replace(outpost.gateway.ports, ledger=ledger)
    status, data = await post(outpost, stream=True)
    assert status == 200
    assert data.endswith(b"\n\ndata: [DONE]\n\n")
    assert data.count(b'"audit.unavailable"') == 1
    assert AWS_KEY[:4].encode() not in data
    assert (await outpost.events())[-1] == "request.finished"
