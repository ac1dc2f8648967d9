"""Two hundred machines spend one join token at the same moment, on two replicas: one becomes the outpost.

    make bench-token-race       # 50 rounds; QUICK=1: 4

Each of them is the product's own client with a key and a folder of its own, over TLS. Whoever loses is told that the
token was used, and has no identity on his disk.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.fleet import report
from bench.fleet.site import DATABASE, ORG, SHM, BenchError, Site, site
from certs import join_token
from controlplane.services.administer import Terms
from outpost.core.errors import OutpostError
from outpost.paths import StatePaths
from outpost.sync import identity as identities

KEYS = ("tasks", "rounds", "replicas", "certificates", "rounds_with_one", "refused", "identities", "attempts_per_s")
KEYS += ("database",)
TASKS = report.outposts(200, 200)
ROUNDS = 3 if report.TINY else 4 if report.QUICK else 50
REPLICAS = 2 if DATABASE == "postgres" else 1


async def race(fleet: Site, folder: Path, number: int) -> tuple[int, Counter[str], int]:
    """One token, everybody at once: certificates in the store, how the others were refused, identities on disks."""
    made = await fleet.plane.administration.register(ORG, f"raced-{number}", Terms(), await fleet.plane.door())
    folders = [folder / str(number) / str(task) for task in range(TASKS)]
    shares = [folders[k :: len(fleet.simulators)] for k in range(len(fleet.simulators))]
    answers = await asyncio.gather(
        *(
            each.order("race", token=token, folders=[str(path) for path in share])
            for each, token, share in zip(fleet.simulators, tokens_of(fleet, made.token), shares, strict=True)
        )
    )
    async with fleet.plane.store.for_org(ORG).read() as transaction:
        records = await transaction.certificates.of_outpost(made.outpost.id)
    issued = sum(bool(record.leaf_der) for record in records)
    refused = sum((Counter(answer["refused"]) for answer in answers), Counter[str]())
    held = sum(has_identity(path) for path in folders)
    if sum(answer["enrolled"] for answer in answers) != held:
        raise BenchError("an outpost says that it is enrolled, and holds no identity")
    return issued, refused, held


def has_identity(folder: Path) -> bool:
    """Whether there is a key with its certificate."""
    try:
        identities.load(StatePaths(folder).org(ORG).identity)
    except OutpostError:
        return False
    return True


def tokens_of(fleet: Site, text: str) -> list[str]:
    """The same token for each simulator, with the address of a replica of its own."""
    token = join_token.parse(text)
    endpoints = [str(each.ready["enroll"]) for each in fleet.replicas]
    chosen = [endpoints[number % len(endpoints)] for number in range(len(fleet.simulators))]
    return [replace(token, endpoint=each).encode() for each in chosen]


async def bench(result: dict[str, Any]) -> None:
    result |= {"tasks": TASKS, "replicas": REPLICAS, "database": DATABASE}
    async with site(0, replicas=REPLICAS) as fleet:
        report.remark(f"{report.load()}; {DATABASE}; {REPLICAS} replicas")
        began = time.monotonic()
        rounds = []
        with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as name:
            for number in range(ROUNDS):
                rounds.append(await race(fleet, Path(name), number))
        seconds = time.monotonic() - began
        await fleet.stop_agents()
    refused = sum((each[1] for each in rounds), Counter[str]())
    result |= {
        "rounds": len(rounds),
        "certificates": sum(each[0] for each in rounds),
        "rounds_with_one": sum(each[0] == 1 for each in rounds),
        "refused": dict(refused),
        "identities": sum(each[2] for each in rounds),
        "attempts_per_s": round(TASKS * len(rounds) / seconds, 1),
    }
    report.table(
        ("rounds", "tasks", "certificates", "rounds with one", "refused", "s"),
        [(ROUNDS, TASKS, result["certificates"], result["rounds_with_one"], refused.total(), f"{seconds:.0f}")],
    )


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
