"""What a draft would do, before anybody signs it: to sample prompts, and to decisions that outposts made lately.

The evaluator is the gateway's own. Prompts are judged in memory and forgotten; decisions are read as features out of
the audit records, which hold no text. Nothing is written.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.domain import releases
from controlplane.domain.decisions import pasts_in
from controlplane.domain.errors import InputError
from controlplane.domain.plan_drafts import read_draft
from controlplane.domain.plans import Plan
from controlplane.ports.store import OrgTransaction, Store
from controlplane.services import staging
from controlplane.services.plans import next_version
from controlplane.services.publishable import merged
from controlplane.services.sets import current_set
from outpost.core.bundle import names
from outpost.core.bundle.content import ReleaseContent, SetContent
from outpost.core.bundle.documents import parse_detectors
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release_document import parse_release
from outpost.core.bundle.rollout import RolloutDocument
from outpost.core.decision import Direction, Features
from outpost.core.detect.pattern import Scanner, compile_rules
from outpost.core.detect.rules import RULES
from outpost.core.errors import OutpostError
from outpost.core.inspection import Inspector, count_entities, inspect_request
from outpost.core.policy.compile import Program, compile_document
from outpost.core.policy.document import parse_document
from outpost.core.shadow import Gap, Past, ShadowTotals, Tally, Trial, gap, judge_again, trial_from

MAX_SAMPLES = 100  # of one call
MAX_SAMPLE_CHARS = 20_000  # of one prompt
MAX_DECISIONS = 20_000  # records that are looked at; each is judged in 20 µs
RECORDS_AT_ONCE = 1_000  # read from the store
SAMPLE_MODEL = "sample"  # where a sample names none, and the org has no route that would tell


PLAIN: Final = Features(Direction.INPUT)
"""Nothing is known of whoever asks."""


class SampleError(InputError):
    """A prompt that cannot be inspected."""

    code = "release.sample"


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt as somebody would send it.

    Attributes:
        prompt: its text.
        facts: what is known besides: groups, channel, data class, model ...
    """

    prompt: str
    facts: Features = PLAIN


@dataclass(frozen=True, slots=True)
class SampleVerdict:
    """What two releases say to a prompt.

    Attributes:
        before: action of the stable release.
        after: action of the draft, by ``rule`` with ``code``; ``redact`` are the entity types that it replaces.
        found: entity types in the prompt, with their numbers.
    """

    before: str
    after: str
    rule: str
    code: str
    redact: tuple[str, ...]
    found: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a draft would do.

    Attributes:
        samples: in the order of the prompts.
        decisions: recorded decisions held against the draft.
        unknown: recorded decisions of releases that are not kept any more.
    """

    samples: tuple[SampleVerdict, ...]
    decisions: ShadowTotals
    unknown: int


class Simulation:
    """The use case."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self, org: str, number: int, samples: Sequence[Sample], decisions: int) -> Simulated:
        """Judge a plan.

        Args:
            org: org id.
            number: of the plan.
            samples: prompts.
            decisions: newest records to look at, over all outposts.

        Raises:
            PlanUnknownError: no such plan.
            SampleError: a prompt that cannot be inspected.
            BundleError: the draft does not compile.
        """
        async with self._store.for_org(org).read() as transaction:
            plan = await transaction.plans.get(number)
            stable, drafted = await _contents(transaction, plan)
            pasts = await _pasts(transaction, decisions)
            deciders = {each: await _decider(transaction, each) for each in {past.release for past in pasts}}
        trial = trial_from(drafted[0], drafted[1].kill.under(drafted[0].routes_sha256))
        totals, unknown = await asyncio.to_thread(_held_against, trial, pasts, deciders)
        judged = await asyncio.to_thread(_judged, stable, drafted[0], samples) if samples else ()
        return Simulated(judged, totals, unknown)


async def _contents(
    transaction: OrgTransaction, plan: Plan
) -> tuple[ReleaseContent, tuple[ReleaseContent, SetContent]]:
    """The stable release, and the one of the plan with the set that it would be in."""
    _, current = await current_set(transaction)
    content = read_documents(current.targets, transaction.org)
    if plan.release in content.releases:
        return content.stable, (content.releases[plan.release], content)
    version = await next_version(transaction, content)
    files = releases.with_release(current.targets, content, read_draft(plan.draft), version, beside=True)
    rollout = RolloutDocument(transaction.org, content.rollout.stable, version)
    drafted = read_documents(merged(current.targets, {**files, **releases.rolled_out(rollout)}), transaction.org)
    return content.stable, (drafted.releases[version], drafted)


async def _pasts(transaction: OrgTransaction, most: int) -> list[Past]:
    """The newest decisions, as many of each outpost as of any other."""
    everyone = await transaction.outposts.all()
    share = -(-most // len(everyone)) if everyone else 0
    found: list[Past] = []
    for outpost in everyone:
        head = await transaction.audit.head(outpost.id)
        size = head.size if head is not None else 0
        for first in range(max(0, size - share), size, RECORDS_AT_ONCE):
            count = min(RECORDS_AT_ONCE, size - first)
            found += pasts_in(await transaction.audit.entries(outpost.id, first, count))
    return found[:most]


async def _decider(transaction: OrgTransaction, version: int) -> tuple[Program, frozenset[str]] | None:
    """Policy and detectors of a release that decided; None when no set holds it any more."""
    path = names.release_path(version)
    held = await transaction.releases.holding(path)
    if held is None:
        return None
    release = parse_release(await staging.read_file(transaction, held, path), transaction.org, path)
    packs = await staging.read_file(transaction, held, release.resources[names.PACKS].path)
    detectors = await staging.read_file(transaction, held, release.resources[names.DETECTORS].path)
    off = parse_detectors(detectors, transaction.org, release.resources[names.DETECTORS].path).disabled
    return compile_document(parse_document(packs)), frozenset(off)


def _held_against(
    trial: Trial, pasts: Sequence[Past], deciders: dict[int, tuple[Program, frozenset[str]] | None]
) -> tuple[ShadowTotals, int]:
    gaps: dict[int, Gap] = {
        version: gap(decider[0], decider[1], trial) for version, decider in deciders.items() if decider is not None
    }
    tally, unknown = Tally(trial.version), 0
    for past in pasts:
        between = gaps.get(past.release)
        if between is None:
            unknown += 1
            continue
        tally.add(past.features.direction.value, past.action, judge_again(trial, past, between).action)
    return tally.totals(), unknown


def _judged(stable: ReleaseContent, drafted: ReleaseContent, samples: Sequence[Sample]) -> tuple[SampleVerdict, ...]:
    scanner = Scanner(compile_rules(RULES), RULES)
    before, after = (
        Inspector(compile_document(parse_document(each.packs)), scanner, frozenset(each.detectors.disabled))
        for each in (stable, drafted)
    )
    return tuple(_verdict(before, after, sample, at) for at, sample in enumerate(samples))


def _verdict(before: Inspector, after: Inspector, sample: Sample, at: int) -> SampleVerdict:
    model = sample.facts.model or SAMPLE_MODEL
    tree = {"model": model, "messages": [{"role": "user", "content": sample.prompt}]}
    try:
        was, would = inspect_request(before, tree, sample.facts), inspect_request(after, tree, sample.facts)  # type: ignore[arg-type]
    except OutpostError as error:
        raise SampleError(f"sample {at} cannot be inspected: {error.code}", field="samples") from None
    found = count_entities(finding for item in would.findings for finding in item.findings)
    return SampleVerdict(
        before=was.decision.action.value,
        after=would.decision.action.value,
        rule=f"{would.decision.pack}/{would.decision.rule}".lstrip("/"),
        code=would.decision.code,
        redact=would.decision.redact,
        found=tuple((each.entity_type, each.count) for each in found),
    )
