"""The attempts of ``attempts`` on the tables of those who administer."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

from controlplane.domain.acts import Act, ActFilter, ActRow, Outcome
from controlplane.domain.approvals import Approval, ApprovalState
from controlplane.domain.clients import MachineClient
from controlplane.domain.rbac import Principal, PrincipalKind, Role, Verb
from controlplane.domain.replies import Reply
from controlplane.domain.signing_keys import SigningKey
from controlplane.domain.users import User, UserState
from controlplane.store.store import Transaction

MARK = "VICTIMS-CONTENT"
MARKED = MARK.encode().ljust(32, b".")
COUNT = 12
SIZE = 6_666_666  # of the victim's act log
TABLES = ("users", "clients", "approvals", "acts", "replies", "rules", "token_keys")
ALONE = frozenset({"acts.append", "acts.sign", "token_keys.add"})
"""May contradict rows of their own."""

USERS = tuple(f"user-v{at}" for at in range(COUNT))
CLIENTS = tuple(f"cl_v{at}" for at in range(COUNT))
APPROVALS = tuple(f"ap-v{at}" for at in range(COUNT))
WHO = Principal(PrincipalKind.PERSON, MARK, MARK, "x", Role.OWNER)
Attempt = Callable[[Transaction, random.Random], Awaitable[object]]


def a_user(number: int, name: str, mark: str = "own") -> User:
    """A user with every column filled."""
    text, sealed = mark, mark.encode()
    return User(
        f"user-{name}",
        name,
        Role.AUDITOR,
        UserState.ACTIVE,
        number,
        text,
        sealed,
        7,
        sealed,
        text,
        text,
        8,
        9,
        10,
        ("user-1", mark),
        11,
        12,
    )


def a_client(number: int, name: str, mark: str = "own") -> MachineClient:
    """A client with every column filled."""
    scopes, seen_by = (Verb.KEYS_READ, Verb.OUTPOSTS_READ), ("user-1", "local/root", mark)
    return MachineClient(f"cl_{name}", name, Role.OPERATOR, scopes, seen_by, number, 2, mark, 4, mark, 6, 0, 8)


def an_approval(name: str, mark: str = "own", state: ApprovalState = ApprovalState.EXECUTED) -> Approval:
    """An approval with every column filled."""
    verb = Verb.POLICY_PUBLISH
    return Approval(
        f"ap-{name}", "policy.publish", verb, mark, mark, "d" * 64, mark, mark, (mark,), 1, 99, state, mark, 3, mark
    )


def an_act(mark: str = "own", number: int = 1) -> Act:
    """A record."""
    return Act(number, "acme", replace(WHO, id=mark, name=mark), "s", "r", mark, "v", "t", "0" * 64, Outcome.DONE)


async def fill(t: Transaction) -> None:
    """Rows in every table, marked."""
    for at in range(COUNT):
        await t.users.add(a_user(at, f"v{at}", MARK))
        await t.clients.add(a_client(at, f"v{at}", MARK))
        await t.approvals.add(an_approval(f"v{at}", MARK, ApprovalState.PENDING))
        await t.replies.keep(Reply(f"user-v{at}", "key", MARK, 5, 201, MARKED))
        await t.token_keys.add(SigningKey(at + 1, MARKED, 5))
    for at in (0, 1, SIZE - 1):
        await t.acts.append(an_act(MARK), ActRow(at, MARKED), MARKED, (MARKED,))
    await t.acts.sign(SIZE, MARKED, 5)
    await t.rules.set_two_person(on=False)


def _new(r: random.Random) -> str:
    return f"own-{r.getrandbits(60)}"


def _append(t: Transaction, r: random.Random) -> Awaitable[object]:
    return t.acts.append(an_act(), ActRow(r.choice((0, 1, 2)), b"own"), b"o" * 32, (b"o" * 32,))


ATTEMPTS: dict[str, Attempt] = {
    "users.add": lambda t, r: t.users.add(a_user(1, _new(r))),
    "users.save": lambda t, r: t.users.save(replace(a_user(1, _new(r)), id=r.choice(USERS))),
    "users.named": lambda t, r: t.users.named(f"v{r.randrange(COUNT)}"),
    "users.find": lambda t, r: t.users.find(r.choice(USERS)),
    "users.all": lambda t, r: t.users.all(),
    "clients.add": lambda t, r: t.clients.add(a_client(1, _new(r))),
    "clients.save": lambda t, r: t.clients.save(replace(a_client(1, _new(r)), id=r.choice(CLIENTS))),
    "clients.get": lambda t, r: t.clients.get(r.choice(CLIENTS)),
    "clients.find": lambda t, r: t.clients.find(f"v{r.randrange(COUNT)}"),
    "clients.all": lambda t, r: t.clients.all(),
    "approvals.add": lambda t, r: t.approvals.add(an_approval(_new(r))),
    "approvals.save": lambda t, r: t.approvals.save(replace(an_approval("x"), id=r.choice(APPROVALS))),
    "approvals.get": lambda t, r: t.approvals.get(r.choice(APPROVALS)),
    "approvals.pending_on": lambda t, r: t.approvals.pending_on(MARK),
    "approvals.withdraw_all": lambda t, r: t.approvals.withdraw_all("own", 5),
    "approvals.pending_count": lambda t, r: t.approvals.pending_count(5),
    "approvals.newest": lambda t, r: t.approvals.newest(r.choice(("", *APPROVALS)), 50),
    "acts.head": lambda t, r: t.acts.head(),
    "acts.append": _append,
    "acts.sign": lambda t, r: t.acts.sign(r.choice((1, SIZE)), b"own", 1),
    "acts.entries": lambda t, r: t.acts.entries(0, 5),
    "acts.leaves": lambda t, r: t.acts.leaves(0, 5),
    "acts.newest": lambda t, r: t.acts.newest(ActFilter(r.choice(("", MARK))), SIZE + 1, 50),
    "acts.checkpoints": lambda t, r: t.acts.checkpoints(),
    "acts.checkpoint": lambda t, r: t.acts.checkpoint(SIZE),
    "replies.find": lambda t, r: t.replies.find(r.choice(USERS), "key", 0),
    "replies.keep": lambda t, r: t.replies.keep(Reply(r.choice(USERS), "key", "own", 9, 200, b"own")),
    "replies.drop": lambda t, r: t.replies.drop(r.choice(USERS), "key"),
    "replies.prune": lambda t, r: t.replies.prune(6),
    "rules.two_person": lambda t, r: t.rules.two_person(),
    "rules.set_two_person": lambda t, r: t.rules.set_two_person(on=True),
    "token_keys.all": lambda t, r: t.token_keys.all(),
    "token_keys.add": lambda t, r: t.token_keys.add(SigningKey(r.randrange(1, COUNT), b"o" * 32, 1)),
}


def leaked(name: str, answer: object) -> bool:
    """Whether an answer that has no room for a mark holds something of the victim."""
    if name == "approvals.pending_count":
        return answer != 0  # nobody else has one that waits
    return name == "rules.two_person" and answer is False
