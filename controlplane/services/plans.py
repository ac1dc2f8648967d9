"""Releases on their way: drafted, wanted by enough persons, signed, begun, ended by hand.

One place makes releases, whoever asks: ``policy publish``, ``routes set``, a draft, a rollback. Signing and the first
stage are one transaction. From then on the roll-out goes on by itself (``rollouts``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from controlplane.domain import plans, releases
from controlplane.domain.approvals import Approval
from controlplane.domain.plan_drafts import draft_bytes, read_draft, terms_of
from controlplane.domain.plans import (
    NOBODY,
    Author,
    Moved,
    NothingToRollBackError,
    Plan,
    PlanKind,
    PlanState,
    PlanStateError,
)
from controlplane.domain.releases import Draft
from controlplane.domain.rollout_terms import overridden
from controlplane.domain.stages import ALL
from controlplane.domain.summary import summarise
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services import staging
from controlplane.services.payloads import layout_of
from controlplane.services.sets import Published, current_set, keep_set, repository_of, revision_of
from outpost.core.bundle import names
from outpost.core.bundle.content import SetContent
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.release_document import parse_release
from outpost.core.bundle.rollout import RolloutDocument

BY_HAND = "rollout.by_hand"
"""Code of a halt that a person asked for."""
PUBLISH = "releases.publish"
"""The operation for which a plan waits; its approvals are about ``releases.publish plan-N``."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How somebody wants a release.

    Attributes:
        author: who asks for it.
        approver: the second person; NOBODY where one is enough.
        title: one line for people.
        at_once: everybody in one stage.
        supersede: it may take the place of a release that is on its way.
        terms: fields of ``RolloutTerms`` that differ from those of the org.
    """

    author: Author = NOBODY
    approver: Author = NOBODY
    title: str = ""
    at_once: bool = False
    supersede: bool = False
    terms: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanShown:
    """A plan with what happened to it.

    Attributes:
        approval: the newest act that waits to release it, or None.
    """

    plan: Plan
    history: tuple[Moved, ...]
    approval: Approval | None


class Planner:
    """The use case."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def draft(self, org: str, kind: PlanKind, draft: Draft, wish: Wish) -> Plan:
        """Keep what the linter let pass as a plan; nothing is signed.

        Raises:
            RolloutTermsError: terms out of their bounds.
            UnpublishableError: an outpost would refuse the documents; so are LooseningError, ReleaseVersionError.
        """
        async with self._store.for_org(org).write() as transaction:
            plan = await self._new(transaction, kind, draft, wish)
            await self._check(transaction, draft)
        return plan

    async def release(self, transaction: OrgTransaction, kind: PlanKind, draft: Draft, wish: Wish) -> Published:
        """Draft and publish in one act.

        Raises:
            RollingError: another release is on its way; else as ``publish``.
        """
        plan = await self._new(transaction, kind, draft, wish)
        return await self._roll(transaction, plan, wish)

    async def publish(self, org: str, number: int, wish: Wish) -> Published:
        """Sign a plan that waits, and begin its first stage.

        Raises:
            PlanUnknownError: no such plan.
            PlanStateError: it is not a draft any more.
            RollingError: another release is on its way.
            PlanAuthorError: the second person is the first.
        """
        async with self._store.for_org(org).write() as transaction:
            plan = await transaction.plans.get(number)
            return await self._roll(transaction, replace(plan, author=wish.author), wish)

    async def check(self, org: str, number: int, wish: Wish) -> None:
        """Refuse what ``publish`` would refuse now; nothing is done."""
        async with self._store.for_org(org).read() as transaction:
            plan = await transaction.plans.get(number)
            plans.approved(plan, NOBODY, two_persons=False)
            await self._check(transaction, read_draft(plan.draft))
            _, seen = await staging.scene(transaction)
            stage = staging.following_stage(replace(plan, at_once=wish.at_once), seen.fleet)
            present = await transaction.plans.rolling()
            plans.require_free(present, at_once=stage.is_last, supersede=wish.supersede)

    async def rollback(self, org: str, version: int, wish: Wish) -> Plan:
        """Draft what a release said, under a version to come.

        Raises:
            NothingToRollBackError: no such release was ever signed, or its content runs everywhere.
        """
        async with self._store.for_org(org).write() as transaction:
            draft = await _repeated(transaction, version)
            title = wish.title or f"as release {version}"
            plan = await self._new(transaction, PlanKind.ROLLBACK, draft, replace(wish, title=title))
            await self._check(transaction, draft)
        return plan

    async def check_rollback(self, org: str, version: int) -> None:
        """Refuse what ``rollback`` would refuse now; nothing is done."""
        async with self._store.for_org(org).read() as transaction:
            await self._check(transaction, await _repeated(transaction, version))

    async def withdraw(self, org: str, number: int, reason: str, by: str) -> Plan:
        """End a plan that does not roll. Raises PlanUnknownError, PlanStateError."""
        now_ms = self._clock.now_ms()
        async with self._store.for_org(org).write() as transaction:
            ended = plans.withdrawn(await transaction.plans.get(number), reason, now_ms)
            await keep(transaction, ended, now_ms, by)
        return ended

    async def halt(self, org: str, number: int, reason: str, by: str) -> Plan:
        """End a roll-out by hand: the stable release everywhere, one online signature.

        Raises:
            PlanUnknownError: no such plan.
            PlanStateError: it does not roll.
        """
        async with self._store.for_org(org).write() as transaction:
            plan = await transaction.plans.get(number)
            cause = Moved(self._clock.now_ms(), PlanState.HALTED, plan.stage, BY_HAND, reason, by)
            return await halt(transaction, plan, cause)

    async def imported(self, transaction: OrgTransaction, version: int) -> tuple[Plan, Wish]:
        """The plan whose release comes back signed; a new one when nobody knows it any more."""
        plan = await transaction.plans.waiting()
        if plan is None:
            plan = plans.approved(
                await self._new(
                    transaction, PlanKind.POLICY, Draft(), Wish(title=f"release {version}, brought signed")
                ),
                NOBODY,
                two_persons=False,
            )
        return plan, Wish(at_once=plan.at_once)

    async def begin(self, transaction: OrgTransaction, plan: Plan, version: int, wish: Wish) -> RolloutDocument:
        """The roll-out of a plan's first stage. Raises RollingError."""
        _, seen = await staging.scene(transaction)
        stage = staging.following_stage(plan, seen.fleet)
        present = await transaction.plans.rolling()
        plans.require_free(present, at_once=stage.is_last, supersede=wish.supersede)
        now_ms = self._clock.now_ms()
        if present is not None:
            await keep(transaction, plans.superseded(present, plan, now_ms), now_ms)
        if not seen.fleet.standing:
            return RolloutDocument(transaction.org, version)
        return staging.staged(seen, version, stage)

    async def begun(self, transaction: OrgTransaction, plan: Plan, document: RolloutDocument, number: int) -> Plan:
        """Keep that a plan's release is signed and rolls; without any outpost it is at its end."""
        now_ms, version = self._clock.now_ms(), document.newest
        plan = plans.signed(plan, version, document.stable if document.candidate is not None else 0)
        await keep(transaction, plan, now_ms)
        everywhere = document.candidate is None
        plan = plans.rolling(plan, ALL if everywhere else document.stage, number, now_ms)
        await keep(transaction, plan, now_ms)
        if everywhere:
            plan = plans.completed(plan, now_ms)
            await keep(transaction, plan, now_ms)
        return plan

    async def _new(self, transaction: OrgTransaction, kind: PlanKind, draft: Draft, wish: Wish) -> Plan:
        terms = overridden(await transaction.plans.terms(), wish.terms)
        data, now_ms = draft_bytes(draft), self._clock.now_ms()
        plan = Plan(
            number=await transaction.plans.next_number(),
            kind=kind,
            title=wish.title or kind.value,
            author=wish.author,
            created_ms=now_ms,
            digest=plans.digest_of(data),
            terms=terms,
            at_once=wish.at_once,
            draft=data,
        )
        plan = plans.linted(plan)
        await transaction.plans.add(plan)
        await transaction.plans.note(plan.number, plans.history(plan, now_ms, wish.author.name))
        return plan

    async def _check(self, transaction: OrgTransaction, draft: Draft) -> None:
        """Refuse what outposts would refuse."""
        _, current = await current_set(transaction)
        content = read_documents(current.targets, transaction.org)
        repository = await repository_of(transaction)
        version = await next_version(transaction, content)
        files = releases.with_release(current.targets, content, draft, version, beside=True)
        repository.propose_release(current, files, self._clock.now_ms())

    async def _roll(self, transaction: OrgTransaction, plan: Plan, wish: Wish) -> Published:
        """From a plan that the linter let pass to its first stage, or to those whose keys are elsewhere."""
        now_ms = self._clock.now_ms()
        plan = replace(plan, at_once=plan.at_once or wish.at_once)
        plan = plans.approved(plan, wish.approver, two_persons=wish.approver != NOBODY)
        await keep(transaction, plan, now_ms, wish.author.name)
        number, current = await current_set(transaction)
        content = read_documents(current.targets, transaction.org)
        repository = await repository_of(transaction)
        draft, version = read_draft(plan.draft), await next_version(transaction, content)
        if not repository.can_sign(layout_of(current.metadata)[names.POLICY]):
            files = releases.with_release(current.targets, content, draft, version, beside=True)
            proposal = repository.propose_release(current, files, now_ms)
            await self._replace_waiting(transaction, plan)
            plan = plans.waiting(plan, replace(proposal, summary=summarise(proposal)).to_bytes())
            await transaction.plans.save(plan)
            return Published(number, revision_of(transaction.org, current), changed=False, waiting=True, plan=plan.id)
        document = await self.begin(transaction, plan, version, wish)
        beside = document.candidate is not None
        files = releases.with_release(current.targets, content, draft, version, beside=beside)
        signed = repository.publish(current, {**files, **releases.rolled_out(document)}, now_ms)
        return await self._kept(transaction, (plan, document), (signed, number + 1))

    async def _kept(
        self, transaction: OrgTransaction, what: tuple[Plan, RolloutDocument], made: tuple[SignedSet, int]
    ) -> Published:
        (plan, document), (signed, number) = what, made
        await keep_set(transaction, transaction.org, signed, number, self._clock.now_ms())
        plan = await self.begun(transaction, plan, document, number)
        revision = revision_of(transaction.org, signed)
        return Published(number, revision, changed=True, plan=plan.id, stage=plan.stage)

    async def _replace_waiting(self, transaction: OrgTransaction, newer: Plan) -> None:
        """One release of an org waits for signatures: the newest."""
        older = await transaction.plans.waiting()
        if older is not None:
            now_ms = self._clock.now_ms()
            await keep(transaction, plans.superseded(older, newer, now_ms), now_ms)

    async def shown(self, org: str, number: int) -> PlanShown:
        """A plan as it stands now. Raises PlanUnknownError."""
        async with self._store.for_org(org).read() as transaction:
            plan = await transaction.plans.get(number)
            pending = await transaction.approvals.pending_on(f"{PUBLISH} {plan.id}")
            return PlanShown(plan, await transaction.plans.history(number), pending[-1] if pending else None)


async def keep(transaction: OrgTransaction, plan: Plan, now_ms: int, by: str = "") -> None:
    """Store where a plan stands, and that it came there."""
    await transaction.plans.save(plan)
    await transaction.plans.note(plan.number, plans.history(plan, now_ms, by))


async def next_version(transaction: OrgTransaction, content: SetContent) -> int:
    """Version of the next release: above all that ever were, those too whose files are gone."""
    return max(*content.releases, await transaction.plans.highest_release()) + 1


async def halt(transaction: OrgTransaction, plan: Plan, cause: Moved, culprit: str = "") -> Plan:
    """Let the stable release run everywhere again. Raises PlanStateError: it does not roll."""
    ended = plans.halted(plan, cause, culprit)
    _, current = await current_set(transaction)
    content = read_documents(current.targets, transaction.org)
    if content.rollout.candidate != plan.release:
        raise PlanStateError(f"{plan.id} is not what rolls", field="plan", next_step="see controlplane release list")
    repository = await repository_of(transaction)
    layout = layout_of(current.metadata)
    clean = all(repository.can_sign(layout[role]) for role in (names.POLICY, names.VENDOR))
    await staging.publish(transaction, staging.back_to_stable(content, current.targets, clean=clean), cause.at_ms)
    await keep(transaction, ended, cause.at_ms, cause.by)
    return ended


async def _repeated(transaction: OrgTransaction, version: int) -> Draft:
    """What a release said, out of the newest set that holds it."""
    path = names.release_path(version)
    held = await transaction.releases.holding(path)
    if held is None:
        raise NothingToRollBackError(
            f"release {version} was never signed for this org",
            field="release",
            next_step="see what was: controlplane release list --org ORG",
        )
    release = parse_release(await staging.read_file(transaction, held, path), transaction.org, path)
    resources = {
        name: await staging.read_file(transaction, held, each.path) for name, each in release.resources.items()
    }
    draft = Draft(resources, terms_of(release))
    _, current = await current_set(transaction)
    if releases.is_in_force(current.targets, read_documents(current.targets, transaction.org), draft):
        raise NothingToRollBackError(f"what release {version} says is in force", field="release")
    return draft
