"""``--wait``: stay until the connected outposts of an org have said that a signed set is active."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from controlplane.cli import output as out
from controlplane.cli.client import Api
from controlplane.cli.target import Target

WAIT_SECONDS = 30.0  # an outpost that starts or reconnects has heard of a set long before
LOOK_SECONDS = 0.1
LOOK_REMOTE_SECONDS = 0.5  # over HTTPS: ten times below the rate of one caller
CONNECTED_MS = 60_000  # one that was seen no longer ago is waited for
ENROLLED_MS = 300_000  # so is one that enrolled no longer ago, seen or not: it is being started
SEALED = "SEALED"  # controlplane.domain.condition.SEALED


@dataclass(frozen=True, slots=True)
class Waited:
    """What became of a wait.

    Attributes:
        missing: connected outposts that have not activated the set or a newer one in time, have refused it or are
            sealed; names with a cause.
        absent: outposts that are not connected, and so were not waited for.
    """

    missing: tuple[str, ...]
    absent: tuple[str, ...]


async def require_running(api: Api, target: Target) -> None:
    """Refuse to wait for what nobody will tell. Raises ServerNotRunningError."""
    plane = getattr(api.caller, "plane", None)  # an API that answers runs
    if plane is not None and not target.api:
        await plane.require_running()


async def wait_active(api: Api, org: str, number: int) -> Waited:
    """Wait for the connected outposts of an org."""
    look_seconds = LOOK_SECONDS if hasattr(api.caller, "plane") else LOOK_REMOTE_SECONDS
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        document = await api.all("outposts.list", "outposts", {"org": org})
        listed, now_ms = document["outposts"], document["now_ms"]  # times by the control plane's clock
        enrolled = [each for each in listed if each["state"] == "active"]
        connected = [each for each in enrolled if _is_connected(each, now_ms)]
        lacks = [(each, lack(each, number)) for each in connected]
        missing = tuple(f"{each['name']}: {cause}" for each, cause in lacks if cause)
        final = all(cause.startswith("refused") for _, cause in lacks if cause)
        if final or time.monotonic() >= deadline:
            return Waited(missing, tuple(each["name"] for each in enrolled if each not in connected))
        await asyncio.sleep(look_seconds)


def lack(outpost: Mapping[str, Any], number: int) -> str:
    """Why a set is not in force on an outpost; empty when it is."""
    word = outpost["delivery"]
    if word is None or word["number"] < number or word["state"] == "offered":
        return "has not answered"
    if word["state"] in ("refused", "failed"):
        return f"{word['state']}, {word['code']}"
    if outpost["reported_state"] == SEALED:
        return ", ".join(("is SEALED", *(f"{name} {code}" for name, code in outpost["failed"].items())))
    return ""


def _is_connected(outpost: Mapping[str, Any], now_ms: int) -> bool:
    seen, activated = outpost["last_seen_ms"], outpost["activated_ms"]
    return bool(now_ms - seen <= CONNECTED_MS or now_ms - activated <= ENROLLED_MS)


def tell(waited: Waited) -> None:
    """Say who is behind, and end with 7 then."""
    for name in waited.absent:
        out.note(f"not connected, and not waited for: {name}")
    if not waited.missing:
        out.note("active on every connected outpost")
        return
    for line in waited.missing:
        click.echo(f"not active on {line}", err=True)
    raise SystemExit(out.DEGRADED)
