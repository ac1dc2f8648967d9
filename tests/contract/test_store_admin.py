"""Users, clients, approvals, acts and kept answers on both engines: the same words, the same answers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from controlplane.domain.acts import Act, ActFilter, ActHead, ActRow, Outcome
from controlplane.domain.approvals import Approval, ApprovalState, Proposal, propose
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.rbac import Principal, PrincipalKind, Role, Verb
from controlplane.domain.replies import Reply
from controlplane.domain.signing_keys import SigningKey
from controlplane.domain.users import UserState
from controlplane.ports.store import OrgTransaction
from controlplane.store.store import DatabaseStore
from controlplane.store.token_keys import StoredTokenKeys
from outpost.core.audit.canonical import with_sequence
from outpost.core.audit.merkle import CompactRange, leaf_hash
from tests.contract.attempts_admin import a_client, a_user
from tests.contract.stores import ORG, OTHER, Place
from tests.unit.controlplane.admin_bed import admin_bed

ALICE = Principal(PrincipalKind.PERSON, "user-1", "alice", ORG, Role.OWNER, None, ("user-2",))


def an_approval(number: int = 1, subject: str = "policy.publish policy") -> Approval:
    """A pending approval."""
    proposal = Proposal("policy.publish", Verb.POLICY_PUBLISH, subject, {"params": {"org": ORG}, "body": {"ü": "☃"}})
    return propose(proposal, ALICE, number.to_bytes(6, "big"), number)


def an_act(number: int, outcome: Outcome = Outcome.DONE) -> Act:
    """A record."""
    return Act(number, ORG, ALICE, "192.0.2.1", "r", f"op.{number % 2}", "v", "t", "0" * 64, outcome)


async def add_acts(transaction: OrgTransaction, *acts: Act) -> None:
    """Records at the end."""
    for act in acts:
        head = await transaction.acts.head()
        entry = with_sequence(act.to_bytes(), head.size)
        leaf = leaf_hash(entry)
        tree = CompactRange(head.size, head.frontier).extend([leaf])
        await transaction.acts.append(act, ActRow(head.size, entry), leaf, tree.hashes)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[DatabaseStore]:
    """Two orgs and the operator."""
    async with place.opened(ORG, OTHER, OPERATOR) as opened:
        yield opened


async def test_a_user_comes_back_as_it_was(store: DatabaseStore) -> None:
    one, two = a_user(1, "one"), a_user(2, "two")
    async with store.for_org(ORG).write() as transaction:
        await transaction.users.add(two)
        await transaction.users.add(one)
        with pytest.raises(ControlPlaneError):
            await transaction.users.add(replace(a_user(3, "three"), name="one"))
    changed = replace(one, state=UserState.DISABLED, totp=b"", version=99)
    async with store.for_org(ORG).write() as transaction:
        await transaction.users.save(changed)
    async with store.for_org(ORG).read() as transaction:
        assert await transaction.users.all() == (changed, two)
        assert await transaction.users.find(two.id) == await transaction.users.named("two") == two
        assert await transaction.users.named(two.id) is None
        with pytest.raises(ControlPlaneError):
            await transaction.users.find("nobody")
    async with store.for_org(OTHER).read() as transaction:
        assert await transaction.users.all() == ()


async def test_a_client_comes_back_as_it_was(store: DatabaseStore) -> None:
    first, second = a_client(1, "ci"), replace(a_client(2, "ci"), id="cl_second")
    async with store.for_org(ORG).write() as transaction:
        await transaction.clients.add(first)
        with pytest.raises(ControlPlaneError):
            await transaction.clients.add(second)
    revoked = replace(first, revoked_ms=5, scopes=(), seen_by=())
    async with store.for_org(ORG).write() as transaction:
        await transaction.clients.save(revoked)
        await transaction.clients.add(second)
        assert await transaction.clients.find("ci") == second
        with pytest.raises(ControlPlaneError):
            await transaction.clients.find(first.id)
        assert await transaction.clients.get(first.id) == revoked
        assert await transaction.clients.all() == (revoked, second)


async def test_approvals_are_paged_newest_first(store: DatabaseStore) -> None:
    made = [an_approval(number) for number in (1, 2, 3)]
    made.append(replace(an_approval(4), created_ms=3))
    async with store.for_org(ORG).write() as transaction:
        for each in made:
            await transaction.approvals.add(each)
        newest = (made[3], made[2], made[1], made[0])
        assert await transaction.approvals.newest("", 10) == newest
        assert await transaction.approvals.newest(made[2].id, 10) == newest[2:]
        assert await transaction.approvals.newest("", 1) == newest[:1]
        assert await transaction.approvals.get(made[0].id) == made[0]
        assert await transaction.approvals.pending_count(made[0].expires_ms) == 3
        await transaction.approvals.save(replace(made[0], state=ApprovalState.EXECUTED, decided_by="user-2"))
        assert [each.id for each in await transaction.approvals.pending_on(made[0].subject)] == [
            made[1].id,
            made[2].id,
            made[3].id,
        ]
        with pytest.raises(ControlPlaneError):
            await transaction.approvals.get("ap-none")


async def test_acts_are_kept_in_order_and_heads_for_ever(store: DatabaseStore) -> None:
    async with store.for_org(ORG).write() as transaction:
        assert await transaction.acts.head() == ActHead()
        await add_acts(transaction, *(an_act(number) for number in range(5)), an_act(5, Outcome.REFUSED))
        await transaction.acts.sign(6, b"note", 1)
    async with store.for_org(ORG).write() as transaction:
        head = await transaction.acts.head()
        assert (head.size, head.signed_size, head.note) == (6, 6, b"note")
        await add_acts(transaction, an_act(6))
        assert (await transaction.acts.head()).note == b"note"
        assert await transaction.acts.checkpoints() == ((6, b"note"),)
        assert (await transaction.acts.checkpoint(6), await transaction.acts.checkpoint(5)) == (b"note", None)
        entries = await transaction.acts.entries(0, 10)
        assert [leaf_hash(each) for each in entries] == list(await transaction.acts.leaves(0, 10))
        assert await transaction.acts.entries(2, 2) == entries[2:4]

        async def numbers(chosen: ActFilter, before: int = 100, limit: int = 10) -> list[int]:
            return [row.sequence for row in await transaction.acts.newest(chosen, before, limit)]

        assert await numbers(ActFilter()) == [6, 5, 4, 3, 2, 1, 0]
        assert await numbers(ActFilter(), 3, 2) == [2, 1]
        assert await numbers(ActFilter("op.1")) == [5, 3, 1]
        assert await numbers(ActFilter("op.1", ALICE.id, "refused")) == [5]
        assert await numbers(ActFilter(principal="nobody")) == []


async def test_a_sequence_number_is_never_written_twice(store: DatabaseStore) -> None:
    async with store.for_org(ORG).write() as transaction:
        await add_acts(transaction, an_act(0))
    with pytest.raises(ControlPlaneError):
        async with store.for_org(ORG).write() as transaction:
            await transaction.acts.append(an_act(1), ActRow(0, b"x"), b"y" * 32, ())


async def test_replies_are_kept_replaced_and_forgotten(store: DatabaseStore) -> None:
    busy = Reply("user-1", "k", "d" * 64, 10)
    done = replace(busy, status=201, answer=b"\x00\xff", at_ms=11)
    async with store.for_org(ORG).write() as transaction:
        for reply in (busy, done, replace(done, principal="user-2", at_ms=5)):
            await transaction.replies.keep(reply)
        assert await transaction.replies.find("user-1", "k", 11) == done
        assert await transaction.replies.find("user-1", "k", 12) is None
        assert await transaction.replies.find("user-1", "other", 0) is None
        assert await transaction.replies.prune(6) == 1
        await transaction.replies.drop("user-1", "k")
        assert await transaction.replies.find("user-1", "k", 0) is None


async def test_the_rule_is_on_for_customers_and_off_for_the_operator_until_switched(store: DatabaseStore) -> None:
    for org, before in ((ORG, True), (OPERATOR, False)):
        async with store.for_org(org).write() as transaction:
            assert await transaction.rules.two_person() is before
            await transaction.rules.set_two_person(on=not before)
            assert await transaction.rules.two_person() is not before


async def test_keys_of_access_tokens_are_made_once_by_many(place: Place) -> None:
    async with place.opened(OPERATOR) as first, place.opened() as second:
        stores = [first, second] * 3
        made = await asyncio.gather(*(StoredTokenKeys(each).add(5) for each in stores))
        kept = await StoredTokenKeys(first).all()
        assert {key.number for key in made} == {key.number for key in kept} == set(range(1, len(kept) + 1))
        for key in kept:
            signer = await StoredTokenKeys(second).signer(key)
            assert SigningKey(key.number, signer.public_key().public_bytes_raw(), 5) == key  # type: ignore[union-attr]


async def test_acts_of_many_at_once_make_one_log(place: Place) -> None:
    engine = await place.engine()
    async with admin_bed(place.folder, "acme", engine=engine) as bed:
        answers = await asyncio.gather(
            *(
                bed.call(
                    "keys.create",
                    {"org": "acme"},
                    {"name": f"k{number % 10}"},
                    local="root",
                    idempotency_key=str(number),
                )
                for number in range(30)
            )
        )
        assert sorted(each.status for each in answers) == [201] * 10 + [409] * 20
        await bed.bench.acts.sign_grown()
        report = await bed.ok("acts.verify", {"org": "acme"}, local="root")
        assert (report["fault"], report["size"]) == ("", 31)
