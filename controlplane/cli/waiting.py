"""``--wait``: stay until the enrolled outposts of an org have said that a signed set is active."""

import asyncio
from typing import Any

import click

from controlplane.cli import output as out

WAIT_SECONDS = 30.0  # an outpost that starts or reconnects has heard of a set long before
LOOK_SECONDS = 0.1


async def wait_active(plane: Any, org: str, number: int) -> tuple[str, ...]:
    """Wait for outposts.

    Returns:
        Names with a cause, of those that have not activated the set or a newer one in time or have refused it; none
        when all have.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_SECONDS
    while True:
        behind, refused = [], []
        for outpost, word in await plane.administration.outposts(org):
            if outpost.state.value != "active":
                continue
            if word is not None and word.number >= number and word.state.value == "refused":
                refused.append(f"{outpost.name}: refused, {word.code}")
            elif word is None or word.number < number or word.state.value != "active":
                behind.append(f"{outpost.name}: has not answered")
        if not behind or loop.time() >= deadline:
            return (*refused, *behind)
        await asyncio.sleep(LOOK_SECONDS)


def tell(missing: tuple[str, ...]) -> None:
    """Say who is behind, and end with 7 then."""
    if not missing:
        out.note("active on every enrolled outpost")
        return
    for line in missing:
        click.echo(f"not active on {line}", err=True)
    raise SystemExit(out.DEGRADED)
