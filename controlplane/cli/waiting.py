"""``--wait``: stay until the connected outposts of an org have said that a signed set is active."""

import asyncio
from dataclasses import dataclass
from typing import Any

import click

from controlplane.cli import output as out

WAIT_SECONDS = 30.0  # an outpost that starts or reconnects has heard of a set long before
LOOK_SECONDS = 0.1
CONNECTED_MS = 60_000  # one that was seen no longer ago is waited for
ENROLLED_MS = 300_000  # so is one that enrolled no longer ago, seen or not: it is being started


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


async def wait_active(plane: Any, org: str, number: int) -> Waited:
    """Wait for the connected outposts of an org."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_SECONDS
    while True:
        now_ms = plane.clock.now_ms()
        enrolled = [each for each in await plane.administration.outposts(org) if each.outpost.state.value == "active"]
        connected = [each for each in enrolled if _is_connected(each.outpost, now_ms)]
        lacks = [(each, lack(each, number)) for each in connected]
        missing = tuple(f"{each.outpost.name}: {cause}" for each, cause in lacks if cause)
        final = all(cause.startswith("refused") for _, cause in lacks if cause)
        if final or loop.time() >= deadline:
            return Waited(missing, tuple(each.outpost.name for each in enrolled if each not in connected))
        await asyncio.sleep(LOOK_SECONDS)


def lack(condition: Any, number: int) -> str:
    """Why a set is not in force on an outpost; empty when it is."""
    from controlplane.domain.condition import SEALED
    from controlplane.domain.records import DeliveryState

    word = condition.delivery
    if word is None or word.number < number or word.state is DeliveryState.OFFERED:
        return "has not answered"
    if word.state in (DeliveryState.REFUSED, DeliveryState.FAILED):
        return f"{word.state.value}, {word.code}"
    if condition.state == SEALED:
        return ", ".join(("is SEALED", *(f"{name} {code}" for name, code in condition.failed.items())))
    return ""


def _is_connected(outpost: Any, now_ms: int) -> bool:
    return bool(now_ms - outpost.last_seen_ms <= CONNECTED_MS or now_ms - outpost.activated_ms <= ENROLLED_MS)


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
