"""Where a roll-out stands, and the roll-out document of its next stage; everything within a transaction of the caller.

A roll-out is what the newest signed set says. So every replica reads the same, and none of them remembers anything.
"""

from dataclasses import dataclass, replace

from controlplane.domain import releases
from controlplane.domain.offers import SignedRelease
from controlplane.domain.outposts import Outpost, OutpostState
from controlplane.domain.plans import Plan
from controlplane.domain.releases import Changes
from controlplane.domain.stages import ALL, Cohort, Fleet, Stage, members_of, next_stage, pick, sparing
from controlplane.ports.store import OrgTransaction
from controlplane.services.sets import ConfigurationMissingError, current_set, keep_set, repository_of
from outpost.core.bundle import names
from outpost.core.bundle.content import SetContent
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.release_document import parse_release
from outpost.core.bundle.rollout import RolloutDocument, parse_rollout


@dataclass(frozen=True, slots=True)
class Scene:
    """A roll-out as the newest set has it.

    Attributes:
        document: which release runs where.
        fleet: logical outposts of the org.
        outposts: those with an identity, neither locked nor revoked.
        members: logical outposts on which the candidate runs.
    """

    document: RolloutDocument
    fleet: Fleet
    outposts: tuple[Outpost, ...]
    members: frozenset[str]


async def scene(transaction: OrgTransaction) -> tuple[SignedRelease, Scene]:
    """The newest set, and the roll-out in it; of the set's files only that one is read."""
    newest = await transaction.releases.newest()
    if newest is None:
        raise ConfigurationMissingError("this org has no signed configuration", field="org")
    document = parse_rollout(await read_file(transaction, newest, names.ROLLOUT_PATH), transaction.org)
    everyone = await transaction.outposts.all()
    fleet = fleet_of(everyone)
    active = tuple(each for each in everyone if each.state is OutpostState.ACTIVE)
    return newest, Scene(document, fleet, active, members_of(document, fleet.standing))


async def read_file(transaction: OrgTransaction, release: SignedRelease, name: str) -> bytes:
    """One file of a set."""
    file = next(each for each in release.files if each.name == name)
    return await transaction.releases.part(file.sha256, 0, file.size)


async def own_files(transaction: OrgTransaction, newest: SignedRelease, document: RolloutDocument) -> frozenset[str]:
    """Files that only the candidate names."""
    if document.candidate is None:
        return frozenset()
    named = []
    for version in document.named:
        path = names.release_path(version)
        release = parse_release(await read_file(transaction, newest, path), transaction.org, path)
        named.append({path, *(each.path for each in release.resources.values())})
    return frozenset(named[1] - named[0])


def fleet_of(everyone: tuple[Outpost, ...]) -> Fleet:
    """The logical outposts; revoked ones are nobody."""
    standing = frozenset(each.site for each in everyone if each.state is OutpostState.ACTIVE)
    known = frozenset(each.site for each in everyone if each.state is not OutpostState.REVOKED)
    return Fleet(standing, known - standing)


def following_stage(plan: Plan, fleet: Fleet, members: frozenset[str] = frozenset()) -> Stage:
    """The stage that a plan begins next."""
    total = len(fleet.standing)
    if plan.at_once or not total:
        return Stage(ALL, total)
    reached = Stage(plan.stage, len(members)) if plan.stage else None
    return next_stage(plan.terms.percents, reached, total) or Stage(ALL, total)


def staged(scene_now: Scene, candidate: int, stage: Stage, before: frozenset[str] = frozenset()) -> RolloutDocument:
    """The roll-out in which a candidate runs on the members of a stage. Raises StageCrowdedError."""
    document = scene_now.document
    cohort: Cohort = pick(document.org, candidate, stage, scene_now.fleet, before)
    return RolloutDocument(
        document.org, document.stable, candidate, cohort.threshold, stage.percent, tuple(sorted(cohort.spared))
    )


async def publish(transaction: OrgTransaction, changes: Changes, now_ms: int) -> tuple[int, SignedSet]:
    """Sign and keep the set with some documents changed; returns its number."""
    repository = await repository_of(transaction)
    number, current = await current_set(transaction)
    signed = repository.publish(current, changes, now_ms)
    await keep_set(transaction, transaction.org, signed, number + 1, now_ms)
    return number + 1, signed


async def spare(transaction: OrgTransaction, site: str, now_ms: int) -> None:
    """Keep a logical outpost that is about to be registered out of the stage that runs, unless it is known.

    Raises:
        StageCrowdedError: as many are spared as a roll-out can name.
    """
    plan = await transaction.plans.rolling()
    if plan is None or plan.stage == ALL:
        return
    _, seen = await scene(transaction)
    changed = sparing(seen.document, site)
    if changed is not None and site not in seen.fleet.standing | seen.fleet.waiting:
        await publish(transaction, releases.rolled_out(changed), now_ms)


def back_to_stable(content: SetContent, documents: releases.Documents, *, clean: bool) -> Changes:
    """The stable release everywhere.

    Args:
        content: in force.
        documents: in force.
        clean: the candidate's files go too, because outposts may be unable to read them; that takes policy keys.
    """
    changes = releases.halted(content)
    if not clean:
        return changes
    alone = replace(content, rollout=RolloutDocument(content.org, content.rollout.stable))
    return {**releases.without_unnamed(documents, alone), **changes}
