"""A release that does not decide, judged on what others decided: at the edge on the newest decisions, upstream on the
audit log. One function for both, and the evaluator is the gateway's own.

Theory. A decision looks at features alone, and features are remembered without any text. So another release can be
asked what it would have said. Three parts of the features depend on the release that was in force, and are treated so:

- **content matches** are ids of the deciding policy's patterns. A rule with the same id and the same expressions in
  both policies is answered by the memory. For the others it is not known whether they match. They are taken to match:
  if then none of them fires, the verdict does not depend on them (what stands before them ended the evaluation, or
  their other conditions fail); if one does, the decision is **undecided**, and counted apart.
- **findings** come from the detectors in force. Where a release switches a detector off, decisions that rest on its
  entity type are undecided; where it switches one on, all are: nobody knows what it would have found.
- **the provider** follows from the model that was asked for, by the routes of the release that is tried; a model that
  no provider serves any more has no route. A model whose name was hidden keeps the provider it had.

Where a value stood (in a text, or in a key, where nothing can be replaced) is not remembered. A decision that was a
block for that reason stays one when the other release would replace all the same types; when it would replace some of
them, it is undecided. A type that newly would be replaced is taken to stand where it can be.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from outpost.core.bundle.content import ReleaseContent
from outpost.core.bundle.documents import Provider
from outpost.core.bundle.kill import KillList
from outpost.core.decision import Action, Decision, Direction, Features
from outpost.core.detect.rules import RULES
from outpost.core.errors import DeniedError
from outpost.core.inspection import PolicyUnredactableError, is_denial, judge, unredactable, unroutable
from outpost.core.policy.compile import Program, compile_document, reference
from outpost.core.policy.document import PolicyDocument, parse_document
from outpost.core.policy.evaluate import MAX_MATCHED
from outpost.core.program import OrgProgram, find_route

UNDECIDED = "UNDECIDED"
"""In the place of an action: it depends on what is not remembered."""
NO_ROUTE = "NO_ROUTE"
"""In the place of an action: no provider would serve the model."""
HIDDEN_MODEL = "*"  # inspection: the name of the model held a finding
MAX_CHANGES = 64  # kinds of changes that one report tells; sync.proto, ShadowReport.changes


@dataclass(frozen=True, slots=True)
class Past:
    """A decision that was made.

    Attributes:
        features: what it looked at.
        action: what was done.
        code: of the decision.
        redact: entity types that were replaced, or were to be.
        release: version of the release that decided.
    """

    features: Features
    action: str
    code: str
    redact: tuple[str, ...]
    release: int


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A release as a judgement in the shadow needs it.

    Attributes:
        version: of the release.
        policy: compiled.
        disabled: ids of detectors that it switches off.
        route: model to the name of the provider that would serve it, None when none would.
    """

    version: int
    policy: Program
    disabled: frozenset[str]
    route: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Gap:
    """What decisions under one release do not tell about another.

    Attributes:
        known: content rules of the other whose matches are remembered.
        unknown: its other content rules.
        doubtful: entity types whose findings would be fewer.
        blind: findings could be more, so nothing can be told.
    """

    known: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a release would have said.

    Attributes:
        action: an action, UNDECIDED or NO_ROUTE.
        decision: of the policy; None when it was not asked.
    """

    action: str
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Decisions that would come out otherwise.

    Attributes:
        direction: input or output.
        before: an action, or UNDECIDED.
        after: an action, UNDECIDED or NO_ROUTE.
    """

    direction: str
    before: str
    after: str
    count: int


@dataclass(frozen=True, slots=True)
class ShadowTotals:
    """A candidate held against the stable release.

    Attributes:
        release: version of the candidate.
        compared: decisions looked at.
        changes: those that differ or cannot be told, the most frequent first.
    """

    release: int
    compared: int = 0
    changes: tuple[Change, ...] = field(default=())


def trial_of(program: OrgProgram) -> Trial:
    """A program as it is judged in the shadow."""
    route = partial(_provider, program.providers, program.killed)
    return Trial(program.release.version, program.inspector.policy, program.inspector.disabled, route)


def trial_from(content: ReleaseContent, killed: KillList) -> Trial:
    """A release that was read and is not run.

    Args:
        content: the release with what it names.
        killed: providers and models that are switched off under its routes.

    Raises:
        BundleError: its policy does not compile.
    """
    policy = compile_document(parse_document(content.packs))
    route = partial(_provider, content.routes.providers, killed)
    return Trial(content.version, policy, frozenset(content.detectors.disabled), route)


def gap(decided: Program, decided_disabled: frozenset[str], trial: Trial) -> Gap:
    """What decisions of one policy do not tell about a trial.

    Args:
        decided: the policy that decided.
        decided_disabled: detectors that were off.
        trial: the release that is asked.
    """
    before, after = _expressions(decided.document), _expressions(trial.policy.document)
    known = frozenset(rule for rule, expressions in after.items() if before.get(rule) == expressions)
    fewer = trial.disabled - decided_disabled
    return Gap(
        known=known,
        unknown=frozenset(after) - known,
        doubtful=frozenset(rule.entity_type for rule in RULES if rule.id in fewer),
        blind=bool(decided_disabled - trial.disabled),
    )


def judge_again(trial: Trial, past: Past, gap: Gap) -> Verdict:
    """What a release would have said to a decision of another one.

    Args:
        trial: the release that is asked.
        past: the decision.
        gap: between the release that decided and this one.
    """
    features = past.features
    if features.model != HIDDEN_MODEL:
        provider = trial.route(features.model)
        if provider is None:
            return Verdict(NO_ROUTE)
        features = replace(features, provider=provider)
    if gap.blind or any(entity.entity_type in gap.doubtful for entity in features.entities):
        return Verdict(UNDECIDED)
    asked = (gap.known & frozenset(features.content_matches)) | gap.unknown
    decision = judge(trial.policy, replace(features, content_matches=tuple(asked)))
    crowded = len(decision.matched) >= MAX_MATCHED
    if gap.unknown and (crowded or not gap.unknown.isdisjoint(decision.matched)):
        return Verdict(UNDECIDED)
    return _placed(trial, past, decision)


def compare(candidate: Trial, stable: Trial, pasts: Iterable[Past]) -> ShadowTotals:
    """Hold a candidate against the stable release, whichever of the two decided; decisions of others are left out.

    Args:
        candidate: the release on trial.
        stable: the other one of the set.
        pasts: decisions that were made.
    """
    forward = gap(stable.policy, stable.disabled, candidate)
    backward = gap(candidate.policy, candidate.disabled, stable)
    tally = Tally(candidate.version)
    for past in pasts:
        direction = past.features.direction.value
        if past.release == stable.version:
            tally.add(direction, past.action, judge_again(candidate, past, forward).action)
        elif past.release == candidate.version:
            tally.add(direction, judge_again(stable, past, backward).action, past.action)
    return tally.totals()


class Tally:
    """Counts what differs."""

    def __init__(self, release: int) -> None:
        self._release = release
        self._compared = 0
        self._changes: Counter[tuple[str, str, str]] = Counter()

    def add(self, direction: str, before: str, after: str) -> None:
        """Count one decision."""
        self._compared += 1
        if before != after:
            self._changes[direction, before, after] += 1

    def totals(self) -> ShadowTotals:
        """What was counted."""
        return ShadowTotals(self._release, self._compared, _changes(self._changes))


def add_up(reports: Iterable[ShadowTotals]) -> ShadowTotals | None:
    """One report of several about the newest candidate among them; None without any."""
    told = list(reports)
    if not told:
        return None
    release = max(report.release for report in told)
    same = [report for report in told if report.release == release]
    changes: Counter[tuple[str, str, str]] = Counter()
    for report in same:
        for change in report.changes:
            changes[change.direction, change.before, change.after] += change.count
    return ShadowTotals(release, sum(report.compared for report in same), _changes(changes))


def plain(totals: ShadowTotals) -> dict[str, object]:
    """As plain JSON."""
    changes = [
        {"direction": each.direction, "before": each.before, "after": each.after, "count": each.count}
        for each in totals.changes
    ]
    return {"release": totals.release, "compared": totals.compared, "changes": changes}


def totals_of(value: Mapping[str, object]) -> ShadowTotals:
    """From plain JSON that ``plain`` made. Raises KeyError, TypeError, ValueError: it is none."""
    listed = value["changes"]
    if not isinstance(listed, list):
        raise TypeError("changes is a list")
    changes = tuple(
        Change(str(each["direction"]), str(each["before"]), str(each["after"]), int(each["count"])) for each in listed
    )
    return ShadowTotals(int(str(value["release"])), int(str(value["compared"])), changes)


def _provider(providers: tuple[Provider, ...], killed: KillList, model: str) -> str | None:
    """Name of the provider that would serve a model."""
    try:
        provider = find_route(providers, killed, model)
    except DeniedError:
        return None
    return provider.name if provider is not None else None


def _changes(counted: Mapping[tuple[str, str, str], int]) -> tuple[Change, ...]:
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:MAX_CHANGES]
    return tuple(Change(*kind, count) for kind, count in ordered)


def _expressions(document: PolicyDocument) -> dict[str, tuple[str, ...]]:
    """Expressions of each content rule, by the id under which its matches are told."""
    return {
        reference(pack, rule): tuple(sorted(rule.conditions.content_regex))
        for pack in document.packs
        for rule in pack.rules
        if rule.conditions.content_regex
    }


def _placed(trial: Trial, past: Past, decision: Decision) -> Verdict:
    """The verdict with what the gateway makes of it where a value or a route stands in the way."""
    if decision.action is Action.ROUTE_TO and past.features.direction is Direction.INPUT:
        if trial.route(decision.route_to) is None:
            decision = unroutable(decision)
    elif past.code == PolicyUnredactableError.code and decision.redact and not is_denial(decision):
        if frozenset(decision.redact) >= frozenset(past.redact):
            decision = unredactable(decision)
        elif not frozenset(decision.redact).isdisjoint(past.redact):
            return Verdict(UNDECIDED, decision)
    return Verdict(decision.action.value, decision)
