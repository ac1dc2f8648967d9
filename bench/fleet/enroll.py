"""How many outposts may join in a second: certificates at the service, and whole enrollments over TLS.

    make bench-enroll           # 400 outposts; QUICK=1: 80

A certificate is: request read and its possession proved, lint, signature; a stored one has its intent in the database
before it is signed, and its leaf afterwards, in a transaction each. An enrollment is: outpost registered and its
join token made; the product's own client takes the server's chain, checks the pin, and spends the token over TLS; the
leaf is stored and the identity is on the outpost's disk.
"""

import asyncio
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from bench.fleet import meters, report
from bench.fleet.site import DATABASE, ORG, SHM, Site, site
from certs import csr
from certs.issue import sign
from certs.shell.signers import generate_tls_key
from certs.spiffe import OutpostIdentity
from controlplane.services.administer import Terms
from controlplane.services.issuance import OutpostIssuer
from outpost.paths import StatePaths
from outpost.sync import identity as identities

KEYS = (
    "certificates_per_s",
    "certificates_stored_per_s",
    "enrollments_per_s",
    "enrolled",
    "control_plane_cpu_ms_each",
    "database",
)
COUNT = report.outposts(80, 400)
CERTIFICATES = 500 if report.QUICK else 3000
STORED = 100 if report.QUICK else 1000
ROUNDS = 3
CHUNK = 10  # tokens that are given to a simulator at once
PARALLEL = 4  # chunks that are under way


async def certificates(fleet: Site) -> float:
    """Certificates in a second of one core, without the store."""
    plane = fleet.plane
    trust = await plane.trust()
    issuer = OutpostIssuer(plane.settings.trust_domain, lambda: trust, plane.chance)
    identity = OutpostIdentity(plane.settings.trust_domain, ORG, "op-0123456789abcdef")
    requests = [csr.build_request(generate_tls_key()) for _ in range(CERTIFICATES // ROUNDS)]
    rates = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for request in requests:
            issuance = issuer.prepare(identity, csr.read_request(request), plane.clock.now_ms() // 1000)
            sign(issuance.token, issuance.issuing.signer)
        rates.append(len(requests) / (time.process_time() - began))
    return sorted(rates)[ROUNDS // 2]


async def stored_certificates(fleet: Site) -> float:
    """Certificates in a second on the clock, each with its intent stored before and its leaf after it was signed."""
    plane, space = fleet.plane, fleet.plane.store.for_org(ORG)
    trust, door = await plane.trust(), await plane.door()
    issuer = OutpostIssuer(plane.settings.trust_domain, lambda: trust, plane.chance)
    whose = [
        (await plane.administration.register(ORG, f"issued-{lane}", Terms(), door)).outpost.id
        for lane in range(PARALLEL)
    ]
    requests = iter([csr.build_request(generate_tls_key()) for _ in range(STORED)])

    async def one_after_the_other(outpost_id: str) -> None:
        identity = OutpostIdentity(plane.settings.trust_domain, ORG, outpost_id)
        for request in requests:
            issuance = issuer.prepare(identity, csr.read_request(request), plane.clock.now_ms() // 1000)
            async with space.write() as transaction:
                await transaction.certificates.intend(issuance.record)
            await issuer.finish(space, issuance)

    began = time.monotonic()
    await asyncio.gather(*map(one_after_the_other, whose))
    return STORED / (time.monotonic() - began)


async def enrollments(fleet: Site, folder: Path) -> tuple[float, dict[str, float]]:
    """Seconds for all outposts, and CPU by what spent it."""
    door = await fleet.plane.door()
    numbers = iter(range(COUNT))
    before, began = fleet.reading(), time.monotonic()

    async def one_after_the_other(lane: int) -> None:
        simulator = fleet.simulators[lane % len(fleet.simulators)]
        while chunk := list(islice(numbers, CHUNK)):
            tokens = {}
            for number in chunk:
                made = await fleet.plane.administration.register(ORG, f"new-{number}", Terms(), door)
                tokens[str(folder / str(number))] = made.token
            await simulator.order("enroll", tokens=tokens)

    await asyncio.gather(*(one_after_the_other(lane) for lane in range(PARALLEL)))
    seconds = time.monotonic() - began
    return seconds, meters.spent(before, fleet.reading())


async def check(fleet: Site, folder: Path) -> None:
    """Every outpost has an identity on its disk, and the store has the same leaf."""
    async with fleet.plane.store.for_org(ORG).read() as transaction:
        everyone = {each.id: each for each in await transaction.outposts.all()}
        for number in range(COUNT):
            identity = identities.load(StatePaths(folder / str(number)).org(ORG).identity)
            peer = identity.verify(int(time.time()))
            record = await transaction.certificates.get(f"{peer.serial:x}")
            if record is None or not record.leaf_der or everyone[peer.spiffe_id.outpost].serial != record.serial:
                raise ValueError(f"outpost {number} is not enrolled as the store says")


async def bench(result: dict[str, Any]) -> None:
    async with site(0) as fleet:
        report.remark(f"{report.load()}; {DATABASE}")
        rate = await certificates(fleet)
        stored = await stored_certificates(fleet)
        result.update(certificates_per_s=round(rate), certificates_stored_per_s=round(stored), database=DATABASE)
        with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as name:
            seconds, spent = await enrollments(fleet, Path(name))
            await check(fleet, Path(name))
        await fleet.stop_agents()
    result.update(
        enrollments_per_s=meters.rounded(COUNT / seconds),
        enrolled=COUNT,
        control_plane_cpu_ms_each=meters.rounded(spent["control plane"] / COUNT * 1000, 2),
    )
    cpu = [f"{spent[name] / COUNT * 1000:.1f}" for name in ("control plane", "database", "simulators")]
    report.table(
        (
            "",
            "certificates/s",
            "stored/s",
            "enrolled",
            "enrollments/s",
            "CPU ms each: control plane",
            "database",
            "outpost",
        ),
        [("", f"{rate:.0f}", f"{stored:.0f}", COUNT, f"{COUNT / seconds:.0f}", *cpu)],
    )


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
