"""The two-person rule: an act waits until another person approves exactly it.

An approval holds the whole act, not a reference to it: operation, parameters and body. Its digest is over these, and
whoever approves says which digest he saw; so nothing can be exchanged between seeing and approving. It ends in one of
five ways: executed, rejected, withdrawn (its author, or a newer act on the same subject, took it back), expired, or
failed (it was approved, and could not be done any more).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from controlplane.domain.errors import ConflictError, NotFoundError, RefusedError
from controlplane.domain.rbac import Principal, PrincipalKind, Verb

LIFE_MS: Final = 7 * 24 * 3_600_000  # after a week nobody remembers what was meant
ID_BYTES: Final = 6  # 12 hex digits behind "ap-"


class ApprovalUnknownError(NotFoundError):
    """The org has no such approval."""

    code = "approval.unknown"


class ApprovalOverError(ConflictError):
    """It was decided, withdrawn or has expired."""

    code = "approval.over"


class ApprovalContentError(ConflictError):
    """What is stored is not what the approver saw."""

    code = "approval.content"


class SamePersonError(RefusedError):
    """The author of an act, or who knows a secret or a sign-in code of him, would approve it himself."""

    code = "approval.same_person"


class NotAPersonError(RefusedError):
    """A machine client would approve."""

    code = "approval.not_a_person"


class ApprovalState(StrEnum):
    """How far an approval got."""

    PENDING = "pending"
    EXECUTED = "executed"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Approval:
    """An act that waits for a second person, or did.

    Attributes:
        id: ``ap-`` and 12 hex digits.
        operation: name of the operation.
        verb: that it takes, of author and approver both.
        subject: what it is about; a newer act on the same subject withdraws this one.
        content: canonical JSON of parameters and body, and of the validator that the act was made from.
        digest: of operation and content, 64 hex digits.
        author: id of the principal who asked for it.
        author_name: for people.
        behind: ids of the persons behind the author: who saw the secret of a machine client, or his sign-in code.
        created_ms, expires_ms: Unix milliseconds.
        decided_by: id of who decided, empty before; so are decided_ms (0) and reason.
    """

    id: str
    operation: str
    verb: Verb
    subject: str
    content: str
    digest: str
    author: str
    author_name: str
    behind: tuple[str, ...]
    created_ms: int
    expires_ms: int
    state: ApprovalState = ApprovalState.PENDING
    decided_by: str = ""
    decided_ms: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """An act that is to wait.

    Attributes:
        content: parameters and body, plain JSON without a secret.
    """

    operation: str
    verb: Verb
    subject: str
    content: Mapping[str, object]


def canonical(content: Mapping[str, object]) -> str:
    """The one text of a content."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(operation: str, text: str) -> str:
    """Digest of an act: what an approval binds to."""
    return hashlib.sha256(f"outpost.approval/1\n{operation}\n{text}".encode()).hexdigest()


def propose(proposal: Proposal, author: Principal, chance: bytes, now_ms: int) -> Approval:
    """Make a pending approval.

    Args:
        proposal: the act.
        author: holds the right now.
        chance: ID_BYTES random bytes.
        now_ms: Unix milliseconds.
    """
    text = canonical(proposal.content)
    return Approval(
        id=f"ap-{chance.hex()}",
        operation=proposal.operation,
        verb=proposal.verb,
        subject=proposal.subject,
        content=text,
        digest=digest_of(proposal.operation, text),
        author=author.id,
        author_name=author.name,
        behind=author.behind,
        created_ms=now_ms,
        expires_ms=now_ms + LIFE_MS,
    )


def seen_at(approval: Approval, now_ms: int) -> Approval:
    """The approval as it stands at a time: a pending one expires by itself."""
    if approval.state is ApprovalState.PENDING and now_ms >= approval.expires_ms:
        return replace(approval, state=ApprovalState.EXPIRED)
    return approval


def approve(approval: Approval, approver: Principal, digest: str, now_ms: int) -> Approval:
    """Judge an approval. That author and approver both have the verb now is judged beside this, by ``rbac``.

    Args:
        approval: as stored.
        approver: who approves.
        digest: of what he saw.
        now_ms: Unix milliseconds.

    Raises:
        ApprovalOverError: it is not pending any more.
        ApprovalContentError: he saw something else, or the stored act was changed.
        NotAPersonError: a machine client.
        SamePersonError: the author himself.
    """
    _require_pending(approval, now_ms)
    if approver.kind is PrincipalKind.CLIENT:
        raise NotAPersonError(
            "a machine client cannot be the second person", field="approver", next_step="sign in: controlplane login"
        )
    if {approver.id, *approver.behind} & {approval.author, *approval.behind}:
        raise SamePersonError(
            "who asked for an act cannot approve it, nor who saw the secret or the sign-in code of one of the two",
            field="approver",
            next_step=f"let another person run: controlplane approval approve {approval.id} --org ORG",
        )
    if digest != approval.digest or digest_of(approval.operation, approval.content) != digest:
        raise ApprovalContentError(
            "the digest is not that of the stored act",
            field="digest",
            next_step=f"look at it again: controlplane approval show {approval.id} --org ORG",
        )
    return _decided(approval, ApprovalState.EXECUTED, approver, now_ms)


def reject(approval: Approval, decider: Principal, reason: str, now_ms: int) -> Approval:
    """End an approval without the act; its author may do so too, and then it is withdrawn. Raises ApprovalOverError."""
    _require_pending(approval, now_ms)
    own = decider.id in (approval.author, *approval.behind)
    state = ApprovalState.WITHDRAWN if own else ApprovalState.REJECTED
    return replace(_decided(approval, state, decider, now_ms), reason=reason)


def superseded(approval: Approval, newer: Approval) -> Approval:
    """The approval after a newer act on the same subject: what was meant has changed."""
    reason = f"replaced by {newer.id}"
    return replace(
        approval,
        state=ApprovalState.WITHDRAWN,
        decided_by=newer.author,
        decided_ms=newer.created_ms,
        reason=reason,
    )


def failed(approval: Approval, decider: Principal, code: str, now_ms: int) -> Approval:
    """The approval after its act was refused: it cannot be done as it was approved."""
    return replace(_decided(approval, ApprovalState.FAILED, decider, now_ms), reason=code)


def _decided(approval: Approval, state: ApprovalState, decider: Principal, now_ms: int) -> Approval:
    return replace(approval, state=state, decided_by=decider.id, decided_ms=now_ms)


def _require_pending(approval: Approval, now_ms: int) -> None:
    state = seen_at(approval, now_ms).state
    if state is not ApprovalState.PENDING:
        raise ApprovalOverError(
            f"this approval is {state.value}",
            field="approval",
            next_step="ask for the act again; then there is a new approval",
        )
