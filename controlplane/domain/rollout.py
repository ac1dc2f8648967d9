"""The judge of a roll-out: from what outposts said to what happens next. Plain facts in, a verdict out.

Theory. Every question is about the *members*, the outposts on which the candidate runs by the signed numbers. What they
say comes in two ways: an answer to each signed set (active with which release, or refused and why), and heartbeats with
state, functions and figures. Both carry the time at which they were heard, so the judge can be asked at any moment, by
any replica and after any restart, and says the same.

Rules, the first that applies:

 1. a member refused a set that holds the candidate                                → halt, with the code of the refusal
 2. a member runs another release than the candidate that it was given: its own
    test of the candidate failed there, and it went back by itself                 → halt, with the code that it tells
 3. a member is SEALED with the candidate                                          → halt
 4. inspection of a member fails its own test with the candidate                   → halt
 5. failures of our own among the candidate's requests, over all members, are more
    than the budget, and there were enough requests to tell                        → halt
 6. others refuse sets that hold the candidate, and blame a file of the candidate,
    or are more than one in twenty of the fleet                                    → halt
 7. a connected member was made an offer, or the stage began, and it has not
    answered for too long                                                          → halt
 8. a connected member has not answered yet, or no member has                      → wait
 9. all connected members have it for the first time                               → settle: the soak time begins
10. the soak time is not over                                                      → wait
11. this is the last stage                                                         → complete
12. else                                                                           → advance

Nobody waits for members that are not connected: they get the release when they come. But a stage in which not one
member answered proves nothing, so it is not left by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.condition import OK, SEALED
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.domain.rollout_terms import RolloutTerms
from controlplane.domain.stages import stage_size

INSPECTION = "inspection"  # function of a heartbeat: whether inspection passes its own test
RELEASE = "release"  # function of a heartbeat: why a release was left by the outpost itself
OTHERS_PERCENT = 5  # as many outposts outside of the cohort may refuse for reasons of their own
REFUSED = "rollout.refused"
FELL_BACK = "rollout.fell_back"
MEMBER_SEALED = "rollout.sealed"
INSPECTION_FAILED = "rollout.inspection"
FAILURES = "rollout.failures"
OTHERS_REFUSED = "rollout.others_refused"
NO_ANSWER = "rollout.no_answer"


@dataclass(frozen=True, slots=True)
class Standing:
    """What an outpost's newest heartbeat says, as far as a roll-out asks.

    Attributes:
        release: version of the release that it runs, 0 when it does not say.
        state: ACTIVE, SEALED ...
        failed: functions that do not work, with their codes.
        requests: decided since that release became active; so is ``failures``, of those, by our own fault.
        at_ms: when it was heard.
    """

    release: int
    state: str
    failed: Mapping[str, str]
    requests: int = 0
    failures: int = 0
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Participant:
    """One enrolled outpost.

    Attributes:
        id, name: of the outpost.
        site: its logical outpost.
        seen_ms: when it was heard last.
        word: its newest answer to a set.
        standing: its newest heartbeat.
    """

    id: str
    name: str
    site: str
    seen_ms: int = 0
    word: Delivery | None = None
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A candidate on its way.

    Attributes:
        release: its version.
        paths: files that only the candidate names.
        first_set: number of the first signed set that holds it.
        stage_set: number of the set with which the present stage began.
        began_ms: when that was.
        settled_ms: since when all connected members have it; 0 = not yet.
        is_last: the present stage is everybody.
        terms: how careful it is.
        connected_ms: an outpost that was heard no longer ago is connected.
    """

    release: int
    paths: frozenset[str]
    first_set: int
    stage_set: int
    began_ms: int
    settled_ms: int
    is_last: bool
    terms: RolloutTerms
    connected_ms: int


class Step(StrEnum):
    """What happens next."""

    WAIT = "wait"
    SETTLE = "settle"
    ADVANCE = "advance"
    COMPLETE = "complete"
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens next, and why.

    Attributes:
        step: what.
        reason: one sentence for people.
        code: of a halt; that of the outpost where it named one.
        culprit: name of the outpost that is the cause of a halt, or empty.
    """

    step: Step
    reason: str
    code: str = ""
    culprit: str = ""


def judge(running: Running, members: Sequence[Participant], others: Sequence[Participant], now_ms: int) -> Verdict:
    """Judge a roll-out.

    Args:
        running: the candidate.
        members: enrolled outposts of the cohort.
        others: all other enrolled outposts.
        now_ms: Unix milliseconds.
    """
    for rule in (_refused, _fell_back, _sealed, _inspection):
        for member in sorted(members, key=lambda each: each.name):
            halted = rule(running, member)
            if halted is not None:
                return halted
    halted = (
        _failures(running, members)
        or _others(running, others, len(members) + len(others))
        or _silent(running, members, now_ms)
    )
    return halted or _progress(running, members, now_ms)


def has_it(running: Running, member: Participant) -> bool:
    """Whether a member said of a set of the present stage that the candidate is active."""
    word = member.word
    return (
        word is not None
        and word.state is DeliveryState.ACTIVE
        and word.number >= running.stage_set
        and word.release in (0, running.release)  # an older outpost does not say which one it runs
    )


def _refused(running: Running, member: Participant) -> Verdict | None:
    word = member.word
    if word is None or word.state is not DeliveryState.REFUSED or word.number < running.first_set:
        return None
    why = f"{member.name} refused release {running.release}: {word.code}"
    return Verdict(Step.HALT, f"{why} {word.message}".strip(), word.code or REFUSED, member.name)


def _fell_back(running: Running, member: Participant) -> Verdict | None:
    word, standing = member.word, member.standing
    if word is None or word.state is not DeliveryState.ACTIVE or word.number < running.stage_set or not word.release:
        return None
    told = standing.failed.get(RELEASE, "") if standing is not None else ""
    since = standing is not None and standing.at_ms > word.at_ms
    left = since and (told or (standing is not None and standing.release not in (0, running.release)))
    if word.release == running.release and not left:
        return None
    why = f"{member.name} left release {running.release} by itself" + (f": {told}" if told else "")
    return Verdict(Step.HALT, why, told or FELL_BACK, member.name)


def _sealed(running: Running, member: Participant) -> Verdict | None:
    standing = _with_it(running, member)
    if standing is None or standing.state != SEALED:
        return None
    causes = ", ".join(f"{function} {code}" for function, code in sorted(standing.failed.items()))
    why = f"{member.name} is SEALED with release {running.release}" + (f": {causes}" if causes else "")
    return Verdict(Step.HALT, why, standing.failed.get(INSPECTION) or MEMBER_SEALED, member.name)


def _inspection(running: Running, member: Participant) -> Verdict | None:
    standing = _with_it(running, member)
    code = standing.failed.get(INSPECTION, "") if standing is not None else ""
    if not code:
        return None
    why = f"inspection of {member.name} fails its own test with release {running.release}: {code}"
    return Verdict(Step.HALT, why, code or INSPECTION_FAILED, member.name)


def _failures(running: Running, members: Sequence[Participant]) -> Verdict | None:
    counted = [(each, standing) for each in members if (standing := _with_it(running, each)) is not None]
    requests = sum(standing.requests for _, standing in counted)
    failures = sum(standing.failures for _, standing in counted)
    budget = running.terms.failed_permille
    if requests < running.terms.least_requests or failures * 1000 <= requests * budget:
        return None
    worst = max(counted, key=lambda pair: (pair[1].failures, pair[0].name))[0]
    why = (
        f"{failures} of {requests} requests failed by the outposts' own fault with release {running.release}; the "
        f"budget is {budget} in a thousand"
    )
    return Verdict(Step.HALT, why, FAILURES, worst.name)


def _others(running: Running, others: Sequence[Participant], total: int) -> Verdict | None:
    refusals = [
        (each, each.word)
        for each in sorted(others, key=lambda each: each.name)
        if each.word is not None and each.word.state is DeliveryState.REFUSED and each.word.number >= running.first_set
    ]
    for each, word in refusals:
        if any(word.resource.startswith(path) for path in running.paths):
            why = f"{each.name} cannot read release {running.release}: {word.code} {word.message}".strip()
            return Verdict(Step.HALT, why, word.code or REFUSED, each.name)
    if len(refusals) > stage_size(total, OTHERS_PERCENT):
        each, word = refusals[0]
        why = f"{len(refusals)} outposts outside of the cohort refused sets with release {running.release}: {word.code}"
        return Verdict(Step.HALT, why, OTHERS_REFUSED, each.name)
    return None


def _silent(running: Running, members: Sequence[Participant], now_ms: int) -> Verdict | None:
    patience_ms = running.terms.answer_seconds * 1000
    for member in sorted(members, key=lambda each: each.name):
        if has_it(running, member) or not _is_connected(running, member, now_ms):
            continue
        offered = member.word is not None and member.word.number >= running.stage_set
        since_ms = max(running.began_ms, member.word.at_ms if member.word is not None and offered else 0)
        if now_ms - since_ms > patience_ms:
            why = f"{member.name} is connected and has not answered for {(now_ms - since_ms) // 1000} s"
            return Verdict(Step.HALT, why, NO_ANSWER, member.name)
    return None


def _progress(running: Running, members: Sequence[Participant], now_ms: int) -> Verdict:
    having = sum(has_it(running, member) for member in members)
    owing = [each for each in members if not has_it(running, each) and _is_connected(running, each, now_ms)]
    if owing:
        return Verdict(Step.WAIT, f"{len(owing)} connected members of {len(members)} have not answered yet")
    if not having and members:
        return Verdict(Step.WAIT, f"none of the {len(members)} members is connected")
    if not members and not running.is_last:
        return Verdict(Step.WAIT, "no outpost of this stage is left")
    if not running.settled_ms:
        return Verdict(Step.SETTLE, f"{having} of {len(members)} members have it; the others are not connected")
    over_ms = running.settled_ms + running.terms.soak_seconds * 1000
    if now_ms < over_ms:
        return Verdict(Step.WAIT, f"watched for {-(-(over_ms - now_ms) // 1000)} s more")
    said = f"{having} of {len(members)} members have it, and did well for {running.terms.soak_seconds} s"
    return Verdict(Step.COMPLETE if running.is_last else Step.ADVANCE, said)


def _with_it(running: Running, member: Participant) -> Standing | None:
    """The heartbeat of a member that runs the candidate."""
    standing = member.standing
    if standing is None or not has_it(running, member):
        return None
    word = member.word
    if standing.release == running.release:
        return standing
    newer = word is not None and standing.at_ms >= word.at_ms
    return standing if newer and not standing.release else None


def _is_connected(running: Running, member: Participant, now_ms: int) -> bool:
    return bool(member.seen_ms) and now_ms - member.seen_ms <= running.connected_ms


def standing_of(status: Mapping[str, object], at_ms: int) -> Standing | None:
    """A heartbeat as the judge reads it; None for an outpost that sent none.

    Args:
        status: plain JSON, as stored.
        at_ms: when it was heard.
    """
    if not status:
        return None
    health = status.get("health")
    failed = {str(k): str(v) for k, v in health.items() if v != OK} if isinstance(health, Mapping) else {}
    return Standing(
        release=_number(status.get("release")),
        state=str(status.get("state") or ""),
        failed=failed,
        requests=_number(status.get("requests")),
        failures=_number(status.get("failed")),
        at_ms=at_ms,
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
