"""Every method of the store, called in one org's space with everything that is known of another org.

The victim's rows are full of ``MARK`` wherever a row has room for it; what an attempt brings itself never is. So a mark
in an answer is a leak, and a row of the victim that differs afterwards is one too.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from certs.keys import key_id
from controlplane.domain.changes import Change, ChangeKind
from controlplane.domain.offers import SignedRelease
from controlplane.domain.quotas import Quotas
from controlplane.domain.records import Delivery, DeliveryState, Heartbeat, LogHead
from controlplane.domain.restorations import RestoredOrg
from controlplane.store.store import DatabaseStore, Transaction
from tests.contract import attempts_admin, attempts_plans
from tests.contract.stores import a_certificate, a_client_key, a_release, a_token, an_active_outpost, an_outpost

MARK = "VICTIMS-CONTENT"
MARKED = MARK.encode().ljust(32, b".")
OUTPOSTS = 12
FIRST_RELEASE = 101
QUOTA = 7_777_777
TABLES = (
    *("changes", "outposts", "tokens", "certificates", "keys", "releases", "role_keys", "audit", "quotas"),
    "restored",
    *attempts_admin.TABLES,
    *attempts_plans.TABLES,
)
ALONE = (
    attempts_admin.ALONE
    | attempts_plans.ALONE
    | {*("tokens.add", "certificates.intend", "audit.save_head", "audit.append", "audit.add_tile")}
)
"""May contradict rows, and then end their transaction: each has one of its own."""


@dataclass(frozen=True, slots=True)
class Victim:
    """What is known of an org: every name, number and digest by which its rows are found."""

    outposts: tuple[str, ...]
    names: tuple[str, ...]
    digests: tuple[str, ...]
    serials: tuple[str, ...]
    keys: tuple[str, ...]
    files: tuple[bytes, ...]
    releases: tuple[SignedRelease, ...]
    role_keys: frozenset[str]


async def fill(store: DatabaseStore, org: str) -> Victim:
    """Give an org a row in every table, marked, and tell all its names."""
    everyone = [
        an_active_outpost(1000 + at, name=f"victim-{at}", reason=MARK, software_version=MARK, alert=MARK)
        for at in range(OUTPOSTS)
    ]
    digests = tuple(sha256(b"token %d" % at).hexdigest() for at in range(OUTPOSTS))
    releases = [a_release(FIRST_RELEASE + at, secret=MARKED * 9 + b"%d" % at) for at in range(3)]
    async with store.for_org(org).write() as t:
        for at, outpost in enumerate(everyone):
            await t.outposts.add(outpost)
            await t.tokens.add(replace(a_token(outpost.id, digests[at]), serial=MARK))
            await t.certificates.intend(replace(a_certificate(outpost.id, f"ee{at:02x}"), csr_sha256=MARK))
            await t.keys.add(replace(a_client_key(f"victim-{at}", f"key-v{at}", f"{at:064x}"), user=MARK))
            await t.audit.save_head(LogHead(outpost.id, f"log-{at}-{MARK}", 2, (MARKED,), 2, MARKED))
            await t.audit.append(outpost.id, 0, [MARKED, MARKED + b"2"], [MARKED, MARKED])
            await t.audit.add_tile(outpost.id, 0, MARKED)
            await t.audit.keep_checkpoint(outpost.id, 2, MARKED, 5)
            await t.audit.keep_refusal(outpost.id, QUOTA, QUOTA, 5)
        await t.outposts.keep_statuses([Heartbeat(each.id, {"state": MARK}, 5) for each in everyone])
        for release, contents in releases:
            await t.releases.add(replace(release, revision=MARK), contents)
        await t.releases.keep_deliveries(
            [Delivery(each.id, FIRST_RELEASE, MARK, DeliveryState.REFUSED, 5, MARK, MARK, MARK) for each in everyone]
        )
        signer = await t.role_keys.create("policy", 1)
        await t.quotas.put(Quotas(QUOTA, QUOTA, QUOTA, QUOTA))
        await t.restored.put(RestoredOrg(QUOTA, QUOTA, MARK, QUOTA, QUOTA, MARK))
        await attempts_admin.fill(t)
        await attempts_plans.fill(t)
    files = tuple(sha256(body).digest() for _, contents in releases for body in contents.values())
    return Victim(
        outposts=tuple(each.id for each in everyone),
        names=tuple(each.name for each in everyone),
        digests=digests,
        serials=tuple(f"ee{at:02x}" for at in range(OUTPOSTS)),
        keys=tuple(f"key-v{at}" for at in range(OUTPOSTS)),
        files=files,
        releases=tuple(release for release, _ in releases),
        role_keys=frozenset({key_id(signer.public_key())}),
    )


Attempt = Callable[[Transaction, Victim, random.Random], Awaitable[object]]


def _delivery(outpost_id: str) -> Delivery:
    return Delivery(outpost_id, 1, "1.1", DeliveryState.ACTIVE, 9_999)


async def _note(t: Transaction, v: Victim, r: random.Random) -> None:
    t.changes.note(Change(ChangeKind.OUTPOST, r.choice(v.outposts)))


async def _add_key(t: Transaction, v: Victim, r: random.Random) -> None:
    number = r.getrandbits(60)
    await t.keys.add(a_client_key(f"own-{number}", f"key-{number}", f"{number:064x}"))


async def _add_outpost(t: Transaction, v: Victim, r: random.Random) -> None:
    await t.outposts.add(replace(an_outpost(1), id=f"op-{r.getrandbits(64):016x}", name=f"own-{r.getrandbits(60)}"))


async def _add_release(t: Transaction, v: Victim, r: random.Random) -> None:
    release, contents = a_release(10_000 + r.getrandbits(50), own=b"own")
    await t.releases.add(release, contents)


async def _roles(t: Transaction, v: Victim, r: random.Random) -> object:
    held = await t.role_keys.all()
    found = {key_id(each.public_key()) for signers in held.values() for each in signers}
    return MARK if found & v.role_keys else None


async def _create_role(t: Transaction, v: Victim, r: random.Random) -> object:
    return MARK if key_id((await t.role_keys.create("policy", 1)).public_key()) in v.role_keys else None


def _admin(attempt: attempts_admin.Attempt) -> Attempt:
    return lambda t, v, r: attempt(t, r)


async def _seen(count: Awaitable[int]) -> object:
    """A number above zero is a number of the victim's."""
    return MARK if await count else None


ATTEMPTS: dict[str, Attempt] = {
    "changes.newest": lambda t, v, r: t.changes.newest(),
    "changes.since": lambda t, v, r: t.changes.since(r.choice((0, 1, 5, 40))),
    "changes.note": _note,
    "changes.store": lambda t, v, r: t.changes.store(),
    "outposts.add": _add_outpost,
    "outposts.save": lambda t, v, r: t.outposts.save(replace(an_outpost(1), id=r.choice(v.outposts), name="stolen")),
    "outposts.get": lambda t, v, r: t.outposts.get(r.choice(v.outposts)),
    "outposts.named": lambda t, v, r: t.outposts.named(r.choice(v.names)),
    "outposts.find": lambda t, v, r: t.outposts.find(r.choice(v.names + v.outposts)),
    "outposts.some": lambda t, v, r: t.outposts.some(v.outposts),
    "outposts.ended": lambda t, v, r: t.outposts.ended(),
    "outposts.all": lambda t, v, r: t.outposts.all(),
    "outposts.status": lambda t, v, r: t.outposts.status(r.choice(v.outposts)),
    "outposts.statuses": lambda t, v, r: t.outposts.statuses(),
    "outposts.keep_statuses": lambda t, v, r: t.outposts.keep_statuses(
        [Heartbeat(each, {"state": "stolen"}, 9_999) for each in v.outposts]
    ),
    "tokens.add": lambda t, v, r: t.tokens.add(a_token(r.choice(v.outposts), r.choice(v.digests))),
    "tokens.match": lambda t, v, r: t.tokens.match(r.choice(v.digests)),
    "tokens.spend": lambda t, v, r: t.tokens.spend(a_token("op-x", r.choice(v.digests)), "c" * 64, "1", 1_500),
    "tokens.void_all": lambda t, v, r: t.tokens.void_all(),
    "restored.get": lambda t, v, r: t.restored.get(),
    "restored.put": lambda t, v, r: t.restored.put(RestoredOrg(1, 2)),
    "tokens.void": lambda t, v, r: t.tokens.void(r.choice(v.outposts)),
    "certificates.intend": lambda t, v, r: t.certificates.intend(
        a_certificate(r.choice(v.outposts), r.choice(v.serials))
    ),
    "certificates.complete": lambda t, v, r: t.certificates.complete(r.choice(v.serials), b"stolen"),
    "certificates.get": lambda t, v, r: t.certificates.get(r.choice(v.serials)),
    "certificates.answered": lambda t, v, r: t.certificates.answered(r.choice(v.outposts), MARK),
    "certificates.count_since": lambda t, v, r: _seen(t.certificates.count_since(r.choice(v.outposts), 0)),
    "certificates.alive": lambda t, v, r: t.certificates.alive(0),
    "certificates.of_outpost": lambda t, v, r: t.certificates.of_outpost(r.choice(v.outposts)),
    "keys.add": _add_key,
    "keys.revoke": lambda t, v, r: t.keys.revoke(r.choice(v.keys + v.names)),
    "keys.all": lambda t, v, r: t.keys.all(),
    "releases.add": _add_release,
    "releases.newest": lambda t, v, r: t.releases.newest(),
    "releases.holding": lambda t, v, r: t.releases.holding("policy/secret"),
    "releases.contents": lambda t, v, r: t.releases.contents(r.choice(v.releases)),
    "releases.size_of": lambda t, v, r: t.releases.size_of(r.choice(v.files)),
    "releases.part": lambda t, v, r: t.releases.part(r.choice(v.files), 0, 1000),
    "releases.keep_deliveries": lambda t, v, r: t.releases.keep_deliveries([_delivery(each) for each in v.outposts]),
    "releases.deliveries": lambda t, v, r: t.releases.deliveries(),
    "releases.forgive": lambda t, v, r: t.releases.forgive(r.choice(v.outposts)),
    "releases.refusals": lambda t, v, r: t.releases.refusals(FIRST_RELEASE),
    "role_keys.create": _create_role,
    "role_keys.all": _roles,
    "audit.head": lambda t, v, r: t.audit.head(r.choice(v.outposts)),
    "audit.save_head": lambda t, v, r: t.audit.save_head(LogHead(r.choice(v.outposts), "own", 0, ())),
    "audit.append": lambda t, v, r: t.audit.append(r.choice(v.outposts), r.choice((0, 2)), [b"own"], [b"o" * 32]),
    "audit.add_tile": lambda t, v, r: t.audit.add_tile(r.choice(v.outposts), r.choice((0, 1)), b"o" * 32),
    "audit.tiles": lambda t, v, r: t.audit.tiles(r.choice(v.outposts), 5),
    "audit.leaves": lambda t, v, r: t.audit.leaves(r.choice(v.outposts), 0, 5),
    "audit.entries": lambda t, v, r: t.audit.entries(r.choice(v.outposts), 0, 5),
    "audit.keep_checkpoint": lambda t, v, r: t.audit.keep_checkpoint(r.choice(v.outposts), 2, b"own", 1),
    "audit.checkpoints": lambda t, v, r: t.audit.checkpoints(r.choice(v.outposts)),
    "audit.keep_refusal": lambda t, v, r: t.audit.keep_refusal(r.choice(v.outposts), 409, 1, 1),
    "audit.refusals": lambda t, v, r: t.audit.refusals(r.choice(v.outposts)),
    "quotas.get": lambda t, v, r: t.quotas.get(),
    "quotas.put": lambda t, v, r: t.quotas.put(Quotas(r.randint(1, 9), 2, 3, 4)),
    **{name: _admin(attempt) for name, attempt in attempts_admin.ATTEMPTS.items()},
    **{name: _admin(attempt) for name, attempt in attempts_plans.ATTEMPTS.items()},
}


def leaked(name: str, answer: object) -> bool:
    """Whether an answer holds something of the victim."""
    if name == "releases.size_of":
        return answer is not None
    if attempts_admin.leaked(name, answer) or attempts_plans.leaked(name, answer):
        return True
    return MARK in repr(answer) or str(QUOTA) in repr(answer)


def methods() -> set[str]:
    """Every method of every table of a transaction."""
    session: Any = type("Nobody", (), {"org": ""})()
    transaction = Transaction(session, session)
    return {
        f"{table}.{name}"
        for table in vars(transaction)
        if table != "org"
        for name in dir(getattr(transaction, table))
        if not name.startswith("_") and callable(getattr(getattr(transaction, table), name))
    }
