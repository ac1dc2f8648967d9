"""Three orgs on one control plane, each full of things that no other org may ever see.

Every thing of an org bears one of two marks. The names that attackers type bear the first; the second is on things that
nobody ever types, so that it cannot come back as an echo.
"""

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg

from bench.fleet import postgres
from bench.fleet.site import BenchError
from certs import join_token
from certs.csr import build_request
from certs.shell.private_files import create_private_file
from certs.shell.signers import generate_tls_key
from controlplane.bootstrap.local import LocalApi, local_api
from controlplane.bootstrap.plane import initialise
from controlplane.domain.quotas import Quotas
from controlplane.domain.rbac import Role
from controlplane.settings import Settings
from controlplane.store.migrations.listing import STEPS
from outpost.core.bundle import delta
from tests.integration.controlplane_client import Client
from tests.unit.controlplane.bed import Log

ORGS = ("acme", "globex", "initech")
OWNERS = 8  # machines with the role of an owner: one may ask 20 times a second
TABLES = tuple(table.name for step in STEPS for table in step.tables() if table.of_org)
RECORDS = 3  # in the audit log of the outpost that nobody attacks with


@dataclass
class Known:
    """What an attacker knows of an org's things and puts into his calls; also of an org that does not exist."""

    org: str
    outpost_id: str
    origin: str
    serial: str
    leaf_der: bytes
    digests: tuple[bytes, ...]
    set_sha256: bytes
    secret: bytes
    csr_der: bytes
    boot_tail: str
    entries: tuple[bytes, ...]
    checkpoint: bytes
    sequence: int


@dataclass
class Org:
    """An org, what is known of it, and who attacks with its rights.

    Attributes:
        names: values of path parameters.
        typed: traces of things whose names are typed by attackers.
        silent: traces of what nobody types.
        machines: role, id and secret of its clients.
    """

    name: str
    names: dict[str, list[str]] = field(default_factory=dict)
    typed: set[bytes] = field(default_factory=set)
    silent: set[bytes] = field(default_factory=set)
    machines: list[tuple[Role, str, str]] = field(default_factory=list)
    marks: tuple[str, str] = ("", "")
    known: Any = None
    attacker: Any = None
    join_secret: bytes = b""


async def initialised(folder: Path, database: postgres.Postgres | None) -> Path:
    """The state folder of a control plane on fixed ports, so that it can be started again where it was."""
    state = folder / "controlplane"
    ports = {name: postgres.free_port() for name in ("enroll_port", "grpc_port", "api_port")}
    settings = Settings(**ports, connect_rate=10_000)
    owner = None
    if database is not None:
        await database.create_database()
        urls = folder / "app.url", folder / "owner.url"
        for path, role in zip(urls, (postgres.APP, postgres.OWNER), strict=True):
            create_private_file(path, database.url(role).encode())
        settings, owner = settings.model_copy(update={"database_url_file": str(urls[0])}), urls[1]
    await initialise(state, settings, None, owner)
    return state


async def ok(api: LocalApi, name: str, params: Mapping[str, object], body: Mapping[str, object] | None = None) -> Any:
    """An operation by whoever owns the files, which must succeed."""
    answer = await api.call(name, params, body)
    if answer.status >= 300:
        raise BenchError(f"{name}: {answer.document}")
    return answer.document


async def filled(state: Path) -> dict[str, Org]:
    """Make the orgs with everything in them, beside the running server."""
    made: dict[str, Org] = {}
    async with local_api(state) as api:
        for number, name in enumerate(ORGS):
            made[name] = await _org(api, name, number)
    _tell_apart(made)
    return made


async def _org(api: LocalApi, name: str, number: int) -> Org:
    org = Org(name, marks=(f"zt{secrets.token_hex(5)}", f"zs{secrets.token_hex(5)}"))
    first = {"org": name, "provider_urls": [f"https://{org.marks[1]}.example/v1"], "two_person": False}
    await ok(api, "orgs.create", {}, first)
    async with api.plane.store.for_org(name).write() as transaction:
        await transaction.quotas.put(replace(Quotas(), connects_per_second=100_000, outposts=1_000))
    await _things(api, org, number)
    await _outposts(api, org)
    for role in (*(Role.OWNER for _ in range(OWNERS)), *Role):
        label = f"machine-{len(org.machines)}"
        client = await ok(api, "clients.create", {"org": name}, {"name": label, "role": role.value})
        org.machines.append((role, client["id"], client["secret"]))
    await ok(api, "orgs.set_two_person", {"org": name}, {"on": True})
    waiting = (await api.call("routes.publish", {"org": name}, {"providers": []})).document
    org.names["approval"] = [waiting["id"]]
    org.typed |= {mark.encode() for mark in (org.marks[0], *(each for each in org.names["approval"]))}
    org.silent.add(org.marks[1].encode())
    return org


async def _things(api: LocalApi, org: Org, number: int) -> None:
    """Two of everything: one whose name is typed, and one that nobody types."""
    own: dict[str, object] = {"org": org.name}
    names: dict[str, list[str]] = {"org": [org.name], "provider": ["default"], "role": ["policy", "timestamp"]}
    names["sequence"] = ["0", "1", "99999"]
    for mark, is_typed in ((org.marks[0], True), (org.marks[1], False)):
        outpost = await ok(api, "outposts.register", own, {"name": f"{mark}-outpost"})
        key = await ok(api, "keys.create", own, {"name": f"{mark}-key", "groups": [org.marks[1]]})
        user = await ok(api, "users.create", own, {"name": f"{mark}-user", "role": "auditor"})
        client = await ok(api, "clients.create", own, {"name": f"{mark}-client", "role": "read_only"})
        found = {
            "outpost": [outpost["outpost"], f"{mark}-outpost"],
            "logical": [f"{mark}-outpost"],
            "key": [key["id"], f"{mark}-key"],
            "user": [user["id"], f"{mark}-user"],
            "client": [client["id"], f"{mark}-client"],
        }
        ids = {values[0].encode() for values in found.values()}
        if is_typed:
            names |= found
            org.join_secret = join_token.parse(outpost["token"]).secret
            org.typed |= ids
        else:
            org.silent |= ids
    drafts = [{"title": f"{org.marks[1]} {at}", "terms": {"on_revoked": "seal"}} for at in range(number + 1)]
    names["plan"] = [(await ok(api, "releases.draft", own, draft))["id"] for draft in drafts]
    org.names = names


async def _outposts(api: LocalApi, org: Org) -> None:
    """Two outposts enrolled over the wire: one that is known to all with its log, and one that attacks."""
    victim, org.attacker = [await _enrolled(api, org, name) for name in (f"{org.marks[0]}-prod", "attacker")]
    victim.log.grow(RECORDS, org.marks[1])
    await victim.append(0, victim.log.records, victim.log.checkpoint())
    async with api.plane.store.for_org(org.name).read() as transaction:
        newest = await transaction.releases.newest()
        if newest is None:
            raise BenchError("an org begins with a release")
        contents = await transaction.releases.contents(newest)
        outpost = await transaction.outposts.get(victim.answer.outpost_id)
    await victim.channel.close()
    digests = {name: _digest(body) for name, body in contents.items()}
    leaf = bytes(victim.answer.chain_der[0])
    org.known = Known(
        org=org.name,
        outpost_id=victim.answer.outpost_id,
        origin=victim.log.origin,
        serial=outpost.serial,
        leaf_der=leaf,
        digests=tuple(digests.values()),
        set_sha256=delta.set_identity(digests),
        secret=org.join_secret,
        csr_der=build_request(generate_tls_key()),
        boot_tail=secrets.token_hex(12),
        entries=tuple(victim.log.records),
        checkpoint=victim.log.checkpoint(),
        sequence=2,
    )
    org.typed |= {victim.answer.outpost_id.encode(), outpost.serial.encode(), leaf, *digests.values()}
    org.silent |= set(contents.values()) - {b""}


async def _enrolled(api: LocalApi, org: Org, name: str) -> Client:
    made = await ok(api, "outposts.register", {"org": org.name}, {"name": name})
    return await Client.enroll(join_token.parse(made["token"]))


def _digest(body: bytes) -> bytes:
    return sha256(body).digest()


def nobody() -> Known:
    """An org that does not exist, with the same things."""
    origin = f"outpost.internal/org/nobody/outpost/op-{secrets.token_hex(8)}"
    log = Log(origin, "op-nobody")
    log.grow(RECORDS)
    return Known(
        org="nobody",
        outpost_id=f"op-{secrets.token_hex(8)}",
        origin=origin,
        serial=secrets.token_hex(20),
        leaf_der=secrets.token_bytes(600),
        digests=(secrets.token_bytes(32),),
        set_sha256=secrets.token_bytes(32),
        secret=secrets.token_bytes(32),
        csr_der=build_request(generate_tls_key()),
        boot_tail=secrets.token_hex(12),
        entries=tuple(log.records),
        checkpoint=log.checkpoint(),
        sequence=2,
    )


def _tell_apart(orgs: dict[str, Org]) -> None:
    """What all orgs have alike, such as a file that is the same for everybody, is no trace of any of them."""
    digests = Counter(digest for org in orgs.values() for digest in set(org.known.digests))
    silent = Counter(trace for org in orgs.values() for trace in org.silent)
    alike = {trace for found in (digests, silent) for trace, count in found.items() if count > 1}
    for org in orgs.values():
        org.known.digests = tuple(digest for digest in org.known.digests if digest not in alike)
        org.typed -= alike
        org.silent -= alike


async def marked_rows(database: postgres.Postgres, orgs: dict[str, Org]) -> dict[tuple[str, str], str]:
    """Digest of every org's marked rows by table, as nobody's lock hides them."""
    connection = await asyncpg.connect(database.url(postgres.SUPERUSER))
    try:
        found = {}
        for table in TABLES:
            for org in orgs.values():
                marks = "|".join(org.marks)
                sql = (
                    f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} t"
                    " WHERE t.org = $1 AND t::text ~ $2"
                )
                found[table, org.name] = str(await connection.fetchval(sql, org.name, marks))
        return found
    finally:
        await connection.close()


async def unlock(database: postgres.Postgres) -> None:
    """Take row level security off every table, as no role of the product may."""
    connection = await asyncpg.connect(database.url(postgres.SUPERUSER))
    try:
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    finally:
        await connection.close()
