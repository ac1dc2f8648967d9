"""What befalls an honest outpost: answers that are lost, lines that are cut, starts that are cut short."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from bench.fleet.outposts import Outpost
from bench.fleet.wires import Wire

PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.01
MOST_LOST = 3  # answers in a row

Restart = Callable[[int], Awaitable[Outpost]]


class StuckError(Exception):
    """An outpost did not come back."""


async def renewal_answers_lost(outpost: Outpost, wire: Wire, restart: Callable[[], Awaitable[Outpost]]) -> None:
    """The control plane issues, and the outpost does not hear of it, up to three times."""
    wire.lose["renewal"] += random.randint(1, MOST_LOST)
    before = outpost.sequence
    outpost.rotate()
    await until(lambda: outpost.sequence > before and outpost.is_linked(), "renewed")


async def first_use_unanswered(outpost: Outpost, wire: Wire, restart: Callable[[], Awaitable[Outpost]]) -> None:
    """The control plane takes the new certificate for used, and the outpost does not know whether it did."""
    wire.lose["hello"] += 1
    before = outpost.sequence
    outpost.rotate()
    await until(lambda: outpost.sequence > before and wire.lose["hello"] == 0 and outpost.is_linked(), "renewed")


async def line_cut(outpost: Outpost, wire: Wire, restart: Callable[[], Awaitable[Outpost]]) -> None:
    """The line is gone, and the control plane holds its end."""
    await reconnected(outpost, wire.cut)


async def line_cut_in_a_renewal(outpost: Outpost, wire: Wire, restart: Callable[[], Awaitable[Outpost]]) -> None:
    """The same while a renewal is on its way."""
    before = outpost.sequence
    outpost.rotate()
    await asyncio.sleep(random.random() * 0.03)
    wire.cut()
    await until(lambda: outpost.sequence > before and outpost.is_linked(), "renewed")


async def restarted(outpost: Outpost, wire: Wire, restart: Callable[[], Awaitable[Outpost]]) -> None:
    """The process ends and starts again."""
    again = await restart()
    await until(again.is_linked, "linked")


async def restarted_behind_a_cut(outpost: Outpost, wire: Wire, restart: Callable[[], Awaitable[Outpost]]) -> None:
    """The machine dies: the control plane holds the line of the start before."""
    wire.cut()
    again = await restart()
    await until(again.is_linked, "linked")


async def killed_before_first_use(outpost: Outpost, wire: Wire, restart: Callable[[], Awaitable[Outpost]]) -> None:
    """The machine dies between saving a new certificate and using it, or nearly so."""
    before = outpost.sequence
    outpost.rotate()
    await until(lambda: outpost.sequence > before, "saved")
    wire.cut()
    again = await restart()
    await until(again.is_linked, "linked")


KINDS: Mapping[str, Callable[[Outpost, Wire, Callable[[], Awaitable[Outpost]]], Awaitable[None]]] = {
    "answers of renewals lost": renewal_answers_lost,
    "answer of the first use lost": first_use_unanswered,
    "line cut, half open": line_cut,
    "line cut in a renewal": line_cut_in_a_renewal,
    "restarted": restarted,
    "restarted, half open": restarted_behind_a_cut,
    "killed before the first use": killed_before_first_use,
}


async def suffer(number: int, events: int, find: Callable[[int], Outpost], restart: Restart) -> Counter[str]:
    """Let events befall an outpost, one after the other; it is linked again after each."""
    happened: Counter[str] = Counter()
    for _ in range(events):
        kind = random.choice(list(KINDS))
        outpost = find(number)
        assert outpost.wire is not None
        try:
            await KINDS[kind](outpost, outpost.wire, lambda: restart(number))
        except StuckError as error:
            known = find(number).agent.knowledge
            raise StuckError(f"{kind}: {error} ({known.functions})") from None
        happened[kind] += 1
    return happened


async def reconnected(outpost: Outpost, act: Callable[[], object]) -> None:
    """Do something that ends the connection, and wait for the next one."""
    before = len(outpost.notes.connected)
    act()
    await until(lambda: len(outpost.notes.connected) > before and outpost.is_linked(), "linked")


async def until(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise StuckError(f"an outpost was not {what} after {PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)
