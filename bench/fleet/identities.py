"""Enrolled outposts by the thousand, made at once: by the product's own rules and issuer, many in one transaction.

Used where enrollment itself is not what is measured. Rows, certificates and folders are those that an enrollment over
the wire leaves behind.
"""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certs import csr, keys
from certs.issue import sign
from certs.shell.private_files import replace_private_file
from certs.shell.signers import generate_signing_key
from certs.spiffe import OutpostIdentity
from controlplane.bootstrap.plane import Plane
from controlplane.domain import outposts
from controlplane.domain.enrolling import Joining, enrolled
from controlplane.domain.outposts import OUTPOST_ID_BYTES, Outpost
from controlplane.services.issuance import OutpostIssuer
from outpost.core.bundle import names
from outpost.paths import StatePaths
from outpost.sync import identity as identities

BATCH = 200  # outposts of one transaction


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An outpost of the fleet."""

    id: str
    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class _Told:
    """What every outpost of a fleet is told alike."""

    trust_domain: str
    endpoints: tuple[str, ...]
    enroll_endpoint: str
    witness_name: str
    witness_key: str
    tuf_root: bytes


async def enroll_many(
    plane: Plane, whose: tuple[str, str], folder: Path, count: int, endpoints: tuple[str, ...]
) -> list[Enrolled]:
    """Make ``count`` enrolled outposts with their folders, for an org at an address of enrollment."""
    org, enroll_endpoint = whose
    settings = plane.settings
    trust = await plane.trust()
    issuer = OutpostIssuer(settings.trust_domain, lambda: trust, plane.chance)
    witness = (await plane.ingest()).witness
    told = _Told(
        trust_domain=settings.trust_domain,
        endpoints=endpoints,
        enroll_endpoint=enroll_endpoint,
        witness_name=witness.name,
        witness_key=witness.public_key.hex(),
        tuf_root=await _root(plane, org),
    )
    made: list[Enrolled] = []
    while len(made) < count:
        made += await _batch(plane, org, issuer, told, (folder, len(made), min(BATCH, count - len(made))))
    return made


async def _root(plane: Plane, org: str) -> bytes:
    async with plane.store.for_org(org).read() as transaction:
        newest = await transaction.releases.newest()
        assert newest is not None
        contents = await transaction.releases.contents(newest)
    return bytes(contents[max((names.root_version(name), name) for name in contents)[1]])


async def _batch(
    plane: Plane, org: str, issuer: OutpostIssuer, told: _Told, span: tuple[Path, int, int]
) -> list[Enrolled]:
    folder, first, count = span
    made = []
    now_ms = plane.clock.now_ms()
    async with plane.store.for_org(org).write() as transaction:
        for number in range(first, first + count):
            pending = outposts.register(f"sim-{number}", plane.chance.token_bytes(OUTPOST_ID_BYTES), now_ms)
            key, key_pem = identities.new_key()
            request = csr.read_request(csr.build_request(key))
            identity = OutpostIdentity(told.trust_domain, org, pending.id)
            issuance = issuer.prepare(identity, request, now_ms // 1000)
            record = replace(issuance.record, sequence=1)
            leaf = sign(issuance.token, issuance.issuing.signer).der
            log_key = generate_signing_key().public_key().public_bytes_raw()
            active = enrolled(pending, Joining(record.serial, log_key), now_ms)
            await transaction.outposts.add(pending)
            await transaction.outposts.save(active)
            await transaction.certificates.intend(record)
            await transaction.certificates.complete(record.serial, leaf)
            made.append(_write(folder / str(number), org, active, told, (key_pem, issuer.chain(leaf, record.issuer))))
    return made


def _write(folder: Path, org: str, outpost: Outpost, told: _Told, leaf: tuple[bytes, Any]) -> Enrolled:
    paths = StatePaths(folder)
    files = paths.org(org)
    files.identity.mkdir(parents=True, mode=0o700)
    enrollment = identities.Enrollment(
        org=org,
        outpost_id=outpost.id,
        name=outpost.name,
        trust_domain=told.trust_domain,
        sync_endpoint=told.endpoints[0],
        sync_endpoints=told.endpoints,
        witness_name=told.witness_name,
        witness_public_key=told.witness_key,
        join_sequence=outpost.join_sequence,
        enrolled_ms=int(time.time() * 1000),
        leaf_alone=True,
        enroll_endpoint=told.enroll_endpoint,
    )
    key_pem, chain = leaf
    pems = [
        keys.certificates_pem(map(keys.certificate_from_der, ders)) for ders in (chain.leaf_and_issuers, chain.roots)
    ]
    identities.save(files.identity, identities.Identity(enrollment, key_pem, pems[0], pems[1]))
    replace_private_file(files.tuf_root, told.tuf_root)
    replace_private_file(paths.wrap_key, os.urandom(32))
    return Enrolled(outpost.id, outpost.name, folder)
