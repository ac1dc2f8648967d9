"""The act log: what was asked of the control plane, by whom, from where, and how it ended.

One log per org and one for the operator, in the formats of the outposts' logs (docs/audit.md): canonical JSON records,
RFC 9162 leaf hashes, C2SP checkpoints. A record names what was done and a digest of its parameters, never a secret,
a password or the text of a key.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controlplane.domain.approvals import canonical
from controlplane.domain.errors import NotFoundError
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.rbac import Principal
from outpost.core.audit.canonical import Value, encode

EVENT: Final = "admin.act"
CHECKPOINT_ACTS: Final = 1_000  # a head is signed after so many records, or after a second
CHECKPOINT_SECONDS: Final = 1.0
MAX_TARGET_CHARS: Final = 200


class ActUnknownError(NotFoundError):
    """The log has no record of this number, or no signed head covers it yet."""

    code = "act.unknown"


class Outcome(StrEnum):
    """How an act ended."""

    DONE = "done"
    INTENDED = "intended"  # an act that touches more than one space is recorded before its first effect, too
    PENDING = "pending"  # it waits for a second person
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Endorsement:
    """The two persons of an act that took two."""

    approval: str
    digest: str
    author: str
    approver: str


@dataclass(frozen=True, slots=True)
class Act:
    """One record of the log.

    Attributes:
        time_ms: Unix milliseconds.
        org: whose log it is.
        principal: who; a local one carries the name of his account on this machine.
        source: address of the caller; ``local`` for a command on the state directory.
        request_id: also in the answer and in the access log.
        operation, verb: what.
        target: on what, in a few words such as ``outpost/prod``.
        parameters: digest of parameters and body without their secrets, 64 hex digits.
        outcome: how it ended.
        code: of the error, empty when there was none.
        endorsement: of an act that two persons did.
    """

    time_ms: int
    org: str
    principal: Principal
    source: str
    request_id: str
    operation: str
    verb: str
    target: str
    parameters: str
    outcome: Outcome
    code: str = ""
    endorsement: Endorsement | None = None

    def to_bytes(self) -> bytes:
        """The canonical record, without its sequence number."""
        who: dict[str, Value] = {
            "kind": self.principal.kind.value,
            "id": self.principal.id,
            "name": self.principal.name,
            "role": self.principal.role.value,
        }
        fields: dict[str, Value] = {
            "principal": who,
            "source": self.source,
            "request_id": self.request_id,
            "operation": self.operation,
            "verb": self.verb,
            "target": self.target[:MAX_TARGET_CHARS],
            "parameters_sha256": self.parameters,
            "outcome": self.outcome.value,
            "code": self.code,
        }
        if self.endorsement is not None:
            fields["approval"] = {
                "id": self.endorsement.approval,
                "digest": self.endorsement.digest,
                "author": self.endorsement.author,
                "approver": self.endorsement.approver,
            }
        return encode(EVENT, {"time_ms": self.time_ms, "org": self.org, "outpost": ""}, fields)


@dataclass(frozen=True, slots=True)
class ActRow:
    """A stored record, as lists need it.

    Attributes:
        entry: exact bytes, with their sequence number.
    """

    sequence: int
    entry: bytes


@dataclass(frozen=True, slots=True)
class ActHead:
    """What stands in a log.

    Attributes:
        size: records.
        frontier: roots of the full subtrees, largest first.
        signed_size: records below the newest signed head.
        note: that head, exact bytes; empty before the first.
    """

    size: int = 0
    frontier: tuple[bytes, ...] = ()
    signed_size: int = 0
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class ActFilter:
    """Which records a list shows; empty texts choose all."""

    operation: str = ""
    principal: str = ""
    outcome: str = ""


def origin_of(trust_domain: str, org: str) -> str:
    """Name of an org's act log, and of the operator's."""
    return f"{trust_domain}/operator/admin" if org == OPERATOR else f"{trust_domain}/org/{org}/admin"


def parameters_digest(content: Mapping[str, object]) -> str:
    """Digest of parameters and body. The caller has put marks in the place of secrets."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()
