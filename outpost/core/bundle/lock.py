"""Lock orders: the control plane tells one outpost to wipe its keys, its configuration and its vault.

An order travels on the sync stream, but the stream proves only that the control plane sent it. So it is signed by the
access role's keys, which the outpost knows from its active set, and it names the identity that is meant: org, outpost
and the join sequence up to which it holds. An order for an identity of before means nothing to the one after it.

LockOrderError
├── lock.malformed       not an order of our form
├── lock.other_outpost   for another outpost
└── lock.sequence        for an identity that this outpost has no more

Signatures fail with the codes of ``errors.SignatureError``, another org with ``bundle.other_org``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.documents import require_org
from outpost.core.bundle.errors import ContentError
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.release import RoleKeys
from outpost.core.bundle.revocations import OUTPOST_ID
from outpost.core.bundle.signatures import require_signed
from outpost.core.errors import BundleError

LOCK_SCHEMA = "outpost.lock/1"
_REASON = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_NAME = "lock"


class LockOrderError(BundleError):
    """A lock order that is not for us, or no order at all."""

    code = "lock"


class LockMalformedError(LockOrderError):
    """Not an order of our form."""

    code = "lock.malformed"


class LockOtherOutpostError(LockOrderError):
    """For another outpost."""

    code = "lock.other_outpost"


class LockSequenceError(LockOrderError):
    """For an identity that this outpost has no more: it enrolled again since."""

    code = "lock.sequence"


@dataclass(frozen=True, slots=True)
class LockOrder:
    """What an order says.

    Attributes:
        org: org id.
        outpost: id of the outpost.
        join_sequence: identities of the outpost up to this join sequence are meant.
        issued_ms: Unix milliseconds.
        reason: a code, such as "operator.lock".
    """

    org: str
    outpost: str
    join_sequence: int
    issued_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Addressee:
    """Who an outpost is when an order arrives."""

    org: str
    outpost: str
    join_sequence: int


def build_lock(order: LockOrder) -> bytes:
    """Canonical bytes of an order, to be signed by keys of the access role.

    Raises:
        LockMalformedError: a value that ``read_lock`` would refuse.
    """
    data = encode(
        {
            "schema": LOCK_SCHEMA,
            "org": order.org,
            "outpost": order.outpost,
            "join_sequence": order.join_sequence,
            "issued_ms": order.issued_ms,
            "reason": order.reason,
        }
    )
    read_lock(data)
    return data


def read_lock(data: bytes) -> LockOrder:
    """Read an order from untrusted bytes; nothing is verified.

    Raises:
        LockMalformedError: not an order of our form.
    """
    if len(data) > limits.MAX_LOCK_BYTES:
        raise LockMalformedError(f"A lock order has at most {limits.MAX_LOCK_BYTES} bytes.", field=_NAME)
    try:
        fields = Fields(decode(data, _NAME), _NAME)
        fields.choice("schema", (LOCK_SCHEMA,))
        order = LockOrder(
            org=fields.match("org", names.ORG_PATTERN),
            outpost=fields.match("outpost", OUTPOST_ID),
            join_sequence=fields.integer("join_sequence", 0, limits.MAX_INTEGER),
            issued_ms=fields.integer("issued_ms", 0, limits.MAX_INTEGER),
            reason=fields.match("reason", _REASON),
        )
        fields.done()
    except ContentError as error:
        raise LockMalformedError(error.message, field=error.field) from None
    return order


def verify_lock(data: bytes, signatures: Mapping[str, bytes], access: RoleKeys, addressee: Addressee) -> LockOrder:
    """Verify an order as the outpost that shall obey it.

    Args:
        data: exact signed bytes, untrusted.
        signatures: TUF key id to signature, untrusted.
        access: keys and threshold of the access role, of the active set (``VerifiedSet.role_keys``).
        addressee: this outpost.

    Raises:
        SignatureError: not signed by those who must.
        LockMalformedError: not an order of our form.
        OtherOrgError: for another org; LockOtherOutpostError: for another outpost.
        LockSequenceError: for an identity that this outpost has no more.
    """
    order = read_lock(data)
    require_signed(data, signatures, (access,), _NAME)
    require_org(order.org, addressee.org, _NAME)
    if order.outpost != addressee.outpost:
        raise LockOtherOutpostError("The order is for another outpost.", field=f"{_NAME}/outpost")
    if order.join_sequence < addressee.join_sequence:
        raise LockSequenceError("The order is for an identity of before.", field=f"{_NAME}/join_sequence")
    return order
