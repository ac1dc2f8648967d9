"""Audit records about the outpost's identity: what the agent did with its certificate, its roots and itself.

Form and rules are those of ``record``.
"""

from dataclasses import dataclass

from outpost.core.audit.canonical import Value, encode
from outpost.core.audit.record import RecordHead


@dataclass(frozen=True, slots=True)
class CertificateRecovered:
    """The certificate had expired, and another one was got by a proof of its key.

    Attributes:
        certificate_serial: of the new certificate.
        not_after: its end, Unix seconds.
        expired: end of the certificate before, Unix seconds.
        join_sequence: that holds once the new one is used.
    """

    head: RecordHead
    certificate_serial: str
    not_after: int
    expired: int
    join_sequence: int

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {
            "certificate_serial": self.certificate_serial,
            "not_after": self.not_after,
            "expired": self.expired,
            "join_sequence": self.join_sequence,
        }
        return _encode("certificate.recovered", self.head, fields)


@dataclass(frozen=True, slots=True)
class RootsAdopted:
    """A new root CA is believed, because a root that was believed vouched for it.

    Attributes:
        added: key ids of the roots that are new.
        trust_bundle_sha256: digest of all roots that are believed now, hex.
    """

    head: RecordHead
    added: tuple[str, ...]
    trust_bundle_sha256: str

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {"added": list(self.added), "trust_bundle_sha256": self.trust_bundle_sha256}
        return _encode("trust.adopted", self.head, fields)


@dataclass(frozen=True, slots=True)
class IdentityWithdrawn:
    """The control plane refuses this identity for good: it was revoked, or locked.

    Attributes:
        error_code: as it said.
    """

    head: RecordHead
    error_code: str

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        return _encode("identity.withdrawn", self.head, {"error_code": self.error_code})


@dataclass(frozen=True, slots=True)
class OutpostLocked:
    """A signed order to wipe keys and configuration was obeyed.

    Attributes:
        reason: of the order.
        issued_ms: when it was signed.
        order_sha256: digest of its exact bytes, hex.
    """

    head: RecordHead
    reason: str
    issued_ms: int
    order_sha256: str

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {
            "reason": self.reason,
            "issued_ms": self.issued_ms,
            "order_sha256": self.order_sha256,
        }
        return _encode("outpost.locked", self.head, fields)


@dataclass(frozen=True, slots=True)
class LockRefused:
    """An order to wipe came that is not one for this outpost, or not signed as it must be.

    Attributes:
        error_code: why.
    """

    head: RecordHead
    error_code: str

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        return _encode("lock.refused", self.head, {"error_code": self.error_code})


def _encode(event: str, head: RecordHead, fields: dict[str, Value]) -> bytes:
    return encode(event, {"time_ms": head.time_ms, "org": head.org, "outpost": head.outpost}, fields)
