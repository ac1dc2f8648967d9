"""The control plane goes away and comes back (what the spine must show, 5); short form of `bench/outage.py`."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from outpost.cli.stack import wait_ready
from tests.e2e.conftest import CARD, ORG, Site

REQUESTS = 60
READY_BOUND_SECONDS = 3.0  # from process start to ready while the control plane is away
CAUGHT_UP_SECONDS = 60.0


async def half_blocked(site: Site, count: int) -> None:
    for number in range(count):
        status, _ = await site.chat(f"my card is {CARD}" if number % 2 else f"hello {number}")
        assert status == (403 if number % 2 else 200)


async def audited(site: Site) -> dict[str, int]:
    out = await site.stack.controlplane("audit", "verify", "--org", ORG, "--output", "json")
    return {log["outpost_id"]: log["size"] for log in json.loads(out)["logs"]}


async def test_enforcement_goes_on_and_the_audit_arrives_once(
    new_site: Callable[..., AbstractAsyncContextManager[Site]],
) -> None:
    async with new_site("--workers", "1") as site:
        await site.stack.programs["controlplane"].kill()
        await half_blocked(site, REQUESTS)
        await site.stack.programs["outpost"].stop()
        began = time.monotonic()
        await site.restart("--workers", "1")
        await wait_ready(site.url, READY_BOUND_SECONDS)
        assert time.monotonic() - began <= READY_BOUND_SECONDS
        await half_blocked(site, 10)
        await site.stack.start_controlplane()
        local = 0
        async with asyncio.timeout(CAUGHT_UP_SECONDS):
            while True:
                local = int((await site.verify_audit())["logs"][0]["records"])
                if list((await audited(site)).values()) == [local]:
                    break
                await asyncio.sleep(0.2)  # a probe of another process, bounded by the time-out
        assert local >= 2 * (REQUESTS + 10) * 3 // 4
