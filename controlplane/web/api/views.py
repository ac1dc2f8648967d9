"""Results that more than one operation answers with."""

from typing import Final

from controlplane.domain.approvals import Approval, seen_at
from controlplane.web.api.operation import Model

APPROVAL_SCHEMA: Final = "controlplane.approval/1"


class ApprovalView(Model):
    """An act that waits for a second person, or did."""

    org: str
    id: str
    state: str
    operation: str
    verb: str
    subject: str
    digest: str
    author: str
    author_name: str
    created_ms: int
    expires_ms: int
    decided_by: str
    decided_ms: int
    reason: str


def approval_view(approval: Approval, org: str, now_ms: int) -> ApprovalView:
    """As it stands now."""
    shown = seen_at(approval, now_ms)
    return ApprovalView(
        org=org,
        id=shown.id,
        state=shown.state.value,
        operation=shown.operation,
        verb=shown.verb.value,
        subject=shown.subject,
        digest=shown.digest,
        author=shown.author,
        author_name=shown.author_name,
        created_ms=shown.created_ms,
        expires_ms=shown.expires_ms,
        decided_by=shown.decided_by,
        decided_ms=shown.decided_ms,
        reason=shown.reason,
    )
