"""What programs of each revision say to the store, recorded, so that it can be said again to every later schema.

``statements-<revision>.json`` below ``tests/vectors/store`` holds every statement of the programs that were written for
that revision, with values and with what came back. The files of earlier revisions never change: they are the programs
that may still run, or be run again, while a newer schema is there already. The file of the newest revision is written
anew whenever statements change:

    python -m tests.contract.recorded
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from certs.issue import IssuanceIntent
from certs.profiles import CertificateKind
from certs.shell.dev import create_hierarchy
from certs.shell.signers import generate_signing_key, generate_tls_key
from controlplane.domain.acts import ActFilter, ActRow
from controlplane.domain.authorities import Authority, AuthorityKind, AuthorityState
from controlplane.domain.changes import PRUNE_EVERY, Change, ChangeKind
from controlplane.domain.ingress import IngressCertificate
from controlplane.domain.plans import Moved
from controlplane.domain.quotas import Quotas
from controlplane.domain.records import Delivery, DeliveryState, Heartbeat, LogHead
from controlplane.domain.replicas import Replica
from controlplane.domain.replies import Reply
from controlplane.domain.restorations import Restoration, RestoredOrg
from controlplane.domain.rollout_terms import RolloutTerms
from controlplane.domain.signing_keys import SigningKey
from controlplane.domain.vault import VaultEntry
from controlplane.store import statements
from controlplane.store.migrations.listing import HEAD
from controlplane.store.session import Engine, PerEngine, Row, Session, Value
from controlplane.store.sqlite import SqliteEngine
from controlplane.store.store import DatabaseStore
from tests.contract.attempts_admin import a_client, a_user, an_act, an_approval
from tests.contract.attempts_plans import a_plan
from tests.contract.stores import (
    ORG,
    Place,
    a_certificate,
    a_client_key,
    a_release,
    a_token,
    an_active_outpost,
    an_outpost,
)

FOLDER = Path(__file__).parents[1] / "vectors" / "store"
NAMED = {id(text): name for name, text in vars(statements).items() if isinstance(text, PerEngine)}
Record = dict[str, Any]
Scenario = Callable[[DatabaseStore], Awaitable[None]]


class Recorder:
    """An engine that writes down what it is told and what it answers."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.transactions: list[Record] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @asynccontextmanager
    async def org(self, org: str, *, write: bool, scope: str = "") -> AsyncIterator[Session]:
        async with self.inner.org(org, write=write, scope=scope) as session:
            yield self._begun(session, {"space": "org", "org": org, "write": write, "scope": scope})

    @asynccontextmanager
    async def registry(self, *, write: bool, org: str = "") -> AsyncIterator[Session]:
        async with self.inner.registry(write=write, org=org) as session:
            yield self._begun(session, {"space": "registry", "org": org, "write": write})

    def _begun(self, session: Session, place: Record) -> "RecordingSession":
        self.transactions.append({**place, "statements": []})
        return RecordingSession(session, self.transactions[-1]["statements"])


class RecordingSession:
    """A session that writes down statements; parts that differ between engines by their name."""

    def __init__(self, inner: Session, lines: list[Record]) -> None:
        self.org = inner.org
        self._inner = inner
        self._lines = lines

    def choose(self, text: PerEngine) -> str:
        return "{" + NAMED[id(text)] + "}"

    async def execute(self, sql: str, *values: Value) -> int:
        line = {"act": "execute", **written(sql), "values": packed(values)}
        line["changed"] = changed = await self._inner.execute(spoken(line, self._inner), *values)
        self._lines.append(line)
        return changed

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        batch = list(rows)
        line = {"act": "execute_many", **written(sql), "batch": [packed(row) for row in batch]}
        await self._inner.execute_many(spoken(line, self._inner), batch)
        self._lines.append(line)

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        line = {"act": "fetch", **written(sql), "values": packed(values)}
        rows = await self._inner.fetch(spoken(line, self._inner), *values)
        self._lines.append({**line, "rows": [packed(row) for row in rows]})
        return rows

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None

    async def announce(self) -> None:
        await self._inner.announce()


def written(sql: str) -> Record:
    """A statement for the recording, with the words of both engines for the parts that it names."""
    named = {name: getattr(statements, name) for name in NAMED.values() if "{" + name + "}" in sql}
    return {"sql": sql, "parts": {name: [text.sqlite, text.postgres] for name, text in named.items()}}


def spoken(line: Record, session: Session) -> str:
    """A recorded statement in the words of an engine."""
    sql = str(line["sql"])
    for name, (sqlite, postgres) in line["parts"].items():
        sql = sql.replace("{" + name + "}", session.choose(PerEngine(sqlite, postgres)))
    return sql


def packed(values: Sequence[Value]) -> list[Any]:
    """Values for JSON: bytes as hex digits."""
    return [{"hex": value.hex()} if isinstance(value, bytes) else value for value in values]


def unpacked(values: Sequence[Any]) -> tuple[Value, ...]:
    """Values from JSON."""
    return tuple(bytes.fromhex(value["hex"]) if isinstance(value, dict) else value for value in values)


async def replay(engine: Engine, transactions: Sequence[Record]) -> list[str]:
    """Say everything again; the statements that were answered in another way."""
    differing = []
    for each in transactions:
        if each["space"] == "org":
            await engine.make_space(each["org"])
            entered = engine.org(each["org"], write=each["write"], scope=each["scope"])
        else:
            entered = engine.registry(write=each["write"], org=each["org"])
        async with entered as session:
            differing += [line["sql"] for line in each["statements"] if not await same(session, line)]
    return differing


async def same(session: Session, line: Record) -> bool:
    """Whether a statement is answered as it was."""
    sql = spoken(line, session)
    if line["act"] == "execute_many":
        await session.execute_many(sql, [unpacked(row) for row in line["batch"]])
        return True
    if line["act"] == "execute":
        return await session.execute(sql, *unpacked(line["values"])) == int(line["changed"])
    rows = await session.fetch(sql, *unpacked(line["values"]))
    if "SHARED_CLOCK" in line["parts"]:
        return len(rows) == 1  # it is another moment
    return [packed(row) for row in rows] == line["rows"]


async def registry_scenario(store: DatabaseStore) -> None:
    """Every statement of the registry."""
    await store.add_org(ORG, 1)
    await store.make_ready(ORG)
    await store.orgs()
    intent = IssuanceIntent(CertificateKind.ROOT_CA, 255, "spiffe://x", "1" * 64, "2" * 64, 3, 4, "5" * 64)
    await store.record_issuance(intent)
    hierarchy = create_hierarchy(1_795_000_000)
    root, other = (hierarchy.root.certificate,), (hierarchy.outposts.certificate,)
    await store.vault.lay([VaultEntry("ca/root", None, root)])
    await store.vault.keep(VaultEntry("witness", generate_signing_key()))
    await store.vault.replace(VaultEntry("server/1", generate_tls_key(), root), ())
    await store.vault.replace(VaultEntry("server/1", generate_tls_key(), other), root)
    await store.vault.find_certificates("server/1")
    await store.vault.signer("witness")


async def org_scenario(store: DatabaseStore) -> None:
    """Every statement of an org's space."""
    outpost, pending = an_active_outpost(1), an_outpost(2)
    release, contents = a_release(1, packs=b"packs")
    async with store.for_org(ORG).write() as t:
        await t.outposts.add(outpost)
        await t.outposts.add(pending)
        await t.outposts.save(replace(outpost, alert=""))
        await t.tokens.add(a_token(pending.id))
        await t.tokens.spend(a_token(pending.id), "c" * 64, "5a", 1_500)
        await t.tokens.void(outpost.id)
        await t.certificates.intend(a_certificate(outpost.id))
        await t.certificates.complete("5a", b"leaf")
        await t.keys.add(a_client_key())
        await t.keys.revoke("alice")
        for role in ("policy", "policy"):  # made, then found
            await t.role_keys.create(role, 1)
        await t.releases.add(release, contents)
        await t.outposts.keep_statuses([Heartbeat(outpost.id, {"state": "ACTIVE"}, 5)])
        await t.releases.keep_deliveries([Delivery(outpost.id, 1, "1.1", DeliveryState.ACTIVE, 6)])
        await t.releases.forgive(outpost.id)
        await t.audit.save_head(LogHead(outpost.id, "origin", 1, (b"f" * 32,), 1, b"note"))
        await t.audit.append(outpost.id, 0, [b"entry"], [b"l" * 32])
        await t.audit.add_tile(outpost.id, 0, b"r" * 32)
        await t.audit.keep_checkpoint(outpost.id, 1, b"note", 7)
        await t.audit.keep_refusal(outpost.id, 409, 1, 8)
    async with store.for_org(ORG).read() as t:
        await t.changes.since(0)
        await t.outposts.get(outpost.id)
        await t.outposts.named(outpost.name)
        await t.outposts.find(outpost.name)
        await t.outposts.some([outpost.id])
        await t.outposts.all()
        await t.outposts.ended()
        await t.outposts.status(outpost.id)
        await t.outposts.statuses()
        await t.tokens.match("1" * 64)
        await t.certificates.get("5a")
        await t.certificates.of_outpost(outpost.id)
        await t.keys.all()
        newest = await t.releases.newest()
        assert newest is not None
        await t.releases.contents(newest)
        await t.releases.size_of(newest.files[0].sha256)
        await t.releases.part(newest.files[0].sha256, 0, 3)
        await t.releases.deliveries()
        await t.releases.refusals(1)
        await t.role_keys.all()
        await t.audit.head(outpost.id)
        await t.audit.tiles(outpost.id, 1)
        await t.audit.leaves(outpost.id, 0, 1)
        await t.audit.entries(outpost.id, 0, 1)
        await t.audit.checkpoints(outpost.id)
        await t.audit.refusals(outpost.id)
    async with store.for_org(ORG).write() as t:
        for number in range(PRUNE_EVERY):  # enough for old changes to be pruned
            t.changes.note(Change(ChangeKind.OUTPOST, f"op-{number}"))


async def scenario_0002(store: DatabaseStore) -> None:
    """What revision 0002 added."""
    async with store.for_org(ORG).write() as t:
        await t.quotas.put(Quotas(1, 2, 3, 4))
        await t.quotas.get()
    await store.replicas.register(Replica("a", "a:1", 10))
    await store.replicas.now_ms(5)
    await store.replicas.live(5)
    await store.replicas.expire(5)
    await store.replicas.remove("a")


async def scenario_0005(store: DatabaseStore) -> None:
    """What revision 0005 added."""
    user, client, approval = a_user(1, "u"), a_client(1, "c"), an_approval("a")
    reply, key = Reply("user-1", "key", "d", 5, 201, b"answer"), SigningKey(1, b"k" * 32, 5)
    async with store.for_org(ORG).write() as t:
        await t.users.add(user)
        await t.users.save(user)
        await t.users.named(user.name)
        await t.users.find(user.id)
        await t.users.all()
        await t.clients.add(client)
        await t.clients.save(client)
        await t.clients.get(client.id)
        await t.clients.find(client.name)
        await t.clients.all()
        await t.approvals.add(approval)
        await t.approvals.save(approval)
        await t.approvals.get(approval.id)
        await t.approvals.pending_on(approval.subject)
        await t.approvals.pending_count(5)
        await t.approvals.newest("", 5)
        await t.acts.append(an_act(), ActRow(0, b"entry"), b"l" * 32, (b"f" * 32,))
        await t.acts.sign(1, b"note", 5)
        await t.acts.head()
        await t.acts.entries(0, 1)
        await t.acts.leaves(0, 1)
        await t.acts.newest(ActFilter(), 5, 5)
        await t.acts.checkpoints()
        await t.acts.checkpoint(1)
        await t.replies.keep(reply)
        await t.replies.find("user-1", "key", 0)
        await t.replies.prune(1)
        await t.replies.drop("user-1", "key")
        await t.rules.set_two_person(on=False)
        await t.rules.two_person()
        await t.token_keys.add(key)
        await t.token_keys.all()


async def scenario_0004(store: DatabaseStore) -> None:
    """What revision 0004 added."""
    root = Authority(AuthorityKind.ROOT, 1, AuthorityState.ACTIVE, 1, "ca/root/1", b"der", b"", 1, 2)
    await store.authorities.add([root], [], known=0)
    await store.authorities.change([root], [replace(root, state=AuthorityState.TAINTED)])
    await store.authorities.next_list(root, 7)
    await store.authorities.all()
    await store.ingresses.add(IngressCertificate("5a", "edge", "6" * 64, 1, 2))
    await store.ingresses.revoke("edge", 3)
    await store.ingresses.all()
    outpost = an_active_outpost(1)
    async with store.for_org(ORG).write() as t:
        await t.certificates.answered(outpost.id, "2" * 64)
        await t.certificates.count_since(outpost.id, 5)
        await t.certificates.alive(5)


async def scenario_0006(store: DatabaseStore) -> None:
    """What revision 0006 added."""
    plan = a_plan()
    async with store.for_org(ORG).write() as t:
        await t.plans.add(plan)
        await t.plans.save(plan)
        await t.plans.note(1, Moved(1, plan.state, 5, "code", "reason", "who"))
        await t.plans.put_terms(RolloutTerms(soak_seconds=5))
    async with store.for_org(ORG).read() as t:
        await t.plans.next_number()
        await t.plans.get(1)
        await t.plans.rolling()
        await t.plans.waiting()
        await t.plans.newest(0, 5)
        await t.plans.highest_release()
        await t.plans.history(1)
        await t.plans.terms()
        await t.releases.holding("policy/packs")


async def scenario_0007(store: DatabaseStore) -> None:
    """What revision 0007 added."""
    await store.restorations.add(Restoration("r", 1, 2, "1.2.3"))
    await store.restorations.all()
    await store.vault.in_modules()
    async with store.for_org(ORG).write() as t:
        await t.restored.put(RestoredOrg(1, 2, "d" * 64, 3, 4, "code"))
        await t.restored.get()
        await t.tokens.void_all()
        await t.approvals.withdraw_all("why", 5)


SCENARIOS = (registry_scenario, org_scenario, scenario_0002, scenario_0004, scenario_0005, scenario_0006, scenario_0007)


async def record(scenarios: Sequence[Scenario] = SCENARIOS) -> list[Record]:
    """Everything that this program says."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        recorder = Recorder(SqliteEngine(place.folder))
        store = DatabaseStore(recorder, place.keyring)  # type: ignore[arg-type]
        for scenario in scenarios:
            await scenario(store)
        await store.close()
    return recorder.transactions


def texts(transactions: Sequence[Record]) -> set[str]:
    """The statements of a recording."""
    return {
        json.dumps([line["sql"], line["parts"]], sort_keys=True) for each in transactions for line in each["statements"]
    }


def path_of(revision: str) -> Path:
    """Where a revision's recording is."""
    return FOLDER / f"statements-{revision}.json"


def rendered(revision: str, transactions: Sequence[Record]) -> str:
    """JSON with one statement on each line."""
    blocks = []
    for each in transactions:
        lines = ",\n".join("    " + json.dumps(line, sort_keys=True) for line in each["statements"])
        head = json.dumps({name: value for name, value in each.items() if name != "statements"}, sort_keys=True)
        blocks.append(f'  {head[:-1]}, "statements": [\n{lines}\n  ]}}')
    body = ",\n".join(blocks)
    return f'{{"revision": "{revision}", "transactions": [\n{body}\n]}}\n'


def main() -> None:
    """Write the recording of the newest revision."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    transactions = asyncio.run(record())
    path_of(HEAD).write_text(rendered(HEAD, transactions))
    print(f"{path_of(HEAD).name}: {len(texts(transactions))} statements")


if __name__ == "__main__":
    main()
