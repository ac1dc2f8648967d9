"""A plan: one release on its way from somebody's draft to every outpost, or to its end.

    draft -> linted -> approved -> signed -> rolling -> complete
                                                     -> halted
    linted, approved                                 -> withdrawn
    linted, approved, rolling                        -> superseded

Rules. A draft that the linter refuses is no plan. Linted, it waits for a second person where the org has that rule;
approved, for the holders of the policy keys where these are elsewhere; signed and rolling in one transaction, so no
release is signed that does not run somewhere. Rolling, it goes from stage to stage (``stages``) as the judge says
(``rollout``). The four last states are final: what was halted comes back only as a new plan with a higher version, and
going back to what ran before is such a plan too. One plan of an org rolls at a time.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from controlplane.domain.errors import ConflictError, InputError, NotFoundError, RefusedError
from controlplane.domain.rollout_terms import RolloutTerms
from controlplane.domain.stages import ALL

MAX_REASON_CHARS: Final = 512  # of a halt: what an outpost said is at most so long on the wire (types.proto)


class PlanUnknownError(NotFoundError):
    """The org has no such plan."""

    code = "release.unknown"


class PlanStateError(ConflictError):
    """The plan is not where this act begins."""

    code = "release.state"


class PlanAuthorError(RefusedError):
    """Author and approver are one person, and the org asks for two."""

    code = "release.same_person"


class RollingError(ConflictError):
    """Another release is on its way."""

    code = "release.rolling"


class NothingToRollBackError(InputError):
    """No such release was ever signed here, or it runs everywhere already."""

    code = "release.rollback"


class PlanState(StrEnum):
    """How far a plan got."""

    DRAFT = "draft"
    LINTED = "linted"
    APPROVED = "approved"
    SIGNED = "signed"
    ROLLING = "rolling"
    COMPLETE = "complete"
    HALTED = "halted"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"


_S = PlanState
MOVES: Final[Mapping[PlanState, frozenset[PlanState]]] = {
    _S.DRAFT: frozenset({_S.LINTED}),
    _S.LINTED: frozenset({_S.APPROVED, _S.WITHDRAWN, _S.SUPERSEDED}),
    _S.APPROVED: frozenset({_S.SIGNED, _S.WITHDRAWN, _S.SUPERSEDED}),
    _S.SIGNED: frozenset({_S.ROLLING}),
    _S.ROLLING: frozenset({_S.ROLLING, _S.COMPLETE, _S.HALTED, _S.SUPERSEDED}),
    _S.COMPLETE: frozenset(),
    _S.HALTED: frozenset(),
    _S.WITHDRAWN: frozenset(),
    _S.SUPERSEDED: frozenset(),
}
"""From each state to those that may follow."""


class PlanKind(StrEnum):
    """What a plan changes."""

    POLICY = "policy"
    ROUTES = "routes"
    TERMS = "terms"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts.

    Attributes:
        id: of the principal; what author and approver are compared by.
        name: for people.
    """

    id: str
    name: str


NOBODY: Final = Author("", "")
"""The control plane itself."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One step of a plan's history.

    Attributes:
        state: after it.
        stage: percent, 0 before the first.
        by: who did it; empty for the control plane itself.
    """

    at_ms: int
    state: PlanState
    stage: int = 0
    code: str = ""
    reason: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A release on its way.

    Attributes:
        number: counts the plans of the org.
        kind: what it changes.
        title: one line for people.
        author: who asked for it.
        created_ms: Unix milliseconds; so are the other ``_ms``, 0 = not yet.
        digest: SHA-256 of the draft, 64 hex digits: what an approver saw is what is signed.
        terms: how careful the roll-out is.
        at_once: one stage, everybody.
        approver: who approved it; empty where one person is enough.
        draft: the changes, as ``plan_drafts`` writes them; empty once they are signed.
        ceremony: the file that waits for signatures made elsewhere, or empty.
        release: version of the signed release, 0 before.
        fallback: version of the release to which outposts return.
        stage: percent, 0 before the first.
        first_set: number of the first signed set that holds the candidate; ``stage_set`` of the present stage's first.
        began_ms: when the present stage began.
        settled_ms: since when every connected member has it.
        ended_ms: when it came to its end.
        code: why it was halted, or empty; so are ``reason`` and ``culprit``, the outpost that is the cause.
        shadow: totals of the judgement in the shadow at its end, plain JSON, or empty.
    """

    number: int
    kind: PlanKind
    title: str
    author: Author
    created_ms: int
    digest: str
    terms: RolloutTerms = field(default_factory=RolloutTerms)
    state: PlanState = PlanState.DRAFT
    at_once: bool = False
    approver: Author = NOBODY
    draft: bytes = b""
    ceremony: bytes = b""
    release: int = 0
    fallback: int = 0
    stage: int = 0
    first_set: int = 0
    stage_set: int = 0
    began_ms: int = 0
    settled_ms: int = 0
    ended_ms: int = 0
    code: str = ""
    reason: str = ""
    culprit: str = ""
    shadow: str = ""

    @property
    def id(self) -> str:
        """Name under which commands know it."""
        return f"plan-{self.number}"

    @property
    def is_over(self) -> bool:
        """No move follows."""
        return not MOVES[self.state]

    @property
    def is_everywhere(self) -> bool:
        """It rolls, and everybody has the candidate offered."""
        return self.state is PlanState.ROLLING and self.stage == ALL


def number_of(text: str) -> int:
    """Number of a plan by its id or number. Raises PlanUnknownError: neither."""
    digits = text.removeprefix("plan-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 9:
        raise PlanUnknownError("no such plan", field="plan", next_step="see controlplane release list --org ORG")
    return int(digits)


def digest_of(draft: bytes) -> str:
    """What a plan's approval binds to."""
    return hashlib.sha256(b"outpost.plan/1\n" + draft).hexdigest()


def linted(plan: Plan) -> Plan:
    """The linter found no certain mistake."""
    return _moved(plan, PlanState.LINTED)


def approved(plan: Plan, approver: Author, *, two_persons: bool) -> Plan:
    """Enough persons want it.

    Args:
        plan: linted.
        approver: the second person; NOBODY where one is enough.
        two_persons: the org's rule.

    Raises:
        PlanAuthorError: the rule asks for two, and there is one.
        PlanStateError: it is not linted.
    """
    if two_persons and approver.id in ("", plan.author.id):
        raise PlanAuthorError(
            "this org releases nothing that one person alone wants",
            field="approver",
            next_step="ask for it; another person approves it: controlplane approval list --org ORG",
        )
    return replace(_moved(plan, PlanState.APPROVED), approver=approver)


def waiting(plan: Plan, ceremony: bytes) -> Plan:
    """An approved plan whose release others must sign. Raises PlanStateError."""
    _require(plan, PlanState.APPROVED)
    return replace(plan, ceremony=ceremony)


def signed(plan: Plan, release: int, fallback: int) -> Plan:
    """All who must have signed the release. Raises PlanStateError."""
    return replace(_moved(plan, PlanState.SIGNED), release=release, fallback=fallback, draft=b"", ceremony=b"")


def rolling(plan: Plan, stage: int, number: int, now_ms: int) -> Plan:
    """A stage begins.

    Args:
        plan: signed, or rolling.
        stage: percent.
        number: of the signed set with which it begins.
        now_ms: Unix milliseconds.

    Raises:
        PlanStateError: it is neither, or the stage is not a further one.
    """
    moved = _moved(plan, PlanState.ROLLING)
    if stage <= plan.stage:
        raise PlanStateError(f"{plan.id} is at {plan.stage} % already", field="plan")
    return replace(
        moved, stage=stage, first_set=plan.first_set or number, stage_set=number, began_ms=now_ms, settled_ms=0
    )


def settled(plan: Plan, now_ms: int) -> Plan:
    """Every connected member has the candidate: the soak time begins. Raises PlanStateError."""
    _require(plan, PlanState.ROLLING)
    return replace(plan, settled_ms=now_ms)


def completed(plan: Plan, now_ms: int) -> Plan:
    """The candidate is the stable release. Raises PlanStateError: it does not roll at the last stage."""
    if plan.state is PlanState.ROLLING and plan.stage != ALL:
        raise PlanStateError(f"{plan.id} is at {plan.stage} % only", field="plan")
    return replace(_moved(plan, PlanState.COMPLETE), ended_ms=now_ms)


def halted(plan: Plan, cause: Moved, culprit: str = "") -> Plan:
    """The stable release runs everywhere again. Raises PlanStateError: it does not roll."""
    moved = _moved(plan, PlanState.HALTED)
    reason = cause.reason[:MAX_REASON_CHARS]
    return replace(moved, ended_ms=cause.at_ms, code=cause.code, reason=reason, culprit=culprit)


def withdrawn(plan: Plan, reason: str, now_ms: int) -> Plan:
    """Nobody wants it any more. Raises PlanStateError: it rolls already, or is over."""
    if plan.state is PlanState.ROLLING:
        raise PlanStateError(
            f"{plan.id} rolls already", field="plan", next_step=f"end it: controlplane release halt {plan.id}"
        )
    moved = _moved(plan, PlanState.WITHDRAWN)
    return replace(moved, ended_ms=now_ms, reason=reason[:MAX_REASON_CHARS], draft=b"", ceremony=b"")


def superseded(plan: Plan, newer: Plan, now_ms: int) -> Plan:
    """Another plan takes its place. Raises PlanStateError: it is over."""
    moved = _moved(plan, PlanState.SUPERSEDED)
    return replace(moved, ended_ms=now_ms, reason=f"replaced by {newer.id}", draft=b"", ceremony=b"")


def require_free(present: Plan | None, *, at_once: bool, supersede: bool) -> None:
    """Refuse a second roll-out beside one that runs.

    A candidate that everybody has already may be replaced by another one for everybody: that is how an org of one
    outpost is configured, step by step. Whatever is on its way through stages is replaced only by who says so.

    Raises:
        RollingError: another plan rolls.
    """
    if present is None or supersede or (at_once and present.is_everywhere):
        return
    raise RollingError(
        f"release {present.release} ({present.id}) is on its way and runs on {present.stage} % of the outposts",
        field="release",
        next_step="wait for its end, halt it: controlplane release halt, or take its place: --supersede",
    )


def history(plan: Plan, now_ms: int, by: str = "") -> Moved:
    """What a plan's history says of where it stands now."""
    return Moved(now_ms, plan.state, plan.stage, plan.code, plan.reason, by)


def _moved(plan: Plan, state: PlanState) -> Plan:
    if state not in MOVES[plan.state]:
        raise PlanStateError(
            f"{plan.id} is {plan.state.value}, so it cannot become {state.value}",
            field="plan",
            next_step="see controlplane release show",
        )
    return replace(plan, state=state)


def _require(plan: Plan, state: PlanState) -> None:
    if plan.state is not state:
        raise PlanStateError(f"{plan.id} is {plan.state.value}, not {state.value}", field="plan")
