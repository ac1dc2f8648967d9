"""Plain rows that services write and stores keep: issuance, deliveries, heartbeats, the audit log of an outpost."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """An issuance: recorded as an intent before anything is signed, completed with the leaf.

    Attributes:
        serial: hex.
        outpost_id: whose.
        csr_sha256: the request behind it, 64 hex digits.
        spki_sha256: key id, 64 hex digits.
        tbs_sha256: the exact to-be-signed certificate, 64 hex digits.
        issued_s: moment of issuance, Unix seconds; with the serial it makes the same certificate again.
        not_after_s: Unix seconds.
        leaf_der: the signed leaf, empty while it is only intended.
        sequence: join sequence of the outpost once this certificate is used.
        source: address that asked for it.
        issuer: key id of the CA that signs it, 64 hex digits.
    """

    serial: str
    outpost_id: str
    csr_sha256: str
    spki_sha256: str
    tbs_sha256: str
    issued_s: int
    not_after_s: int
    leaf_der: bytes = b""
    sequence: int = 0
    source: str = ""
    issuer: str = ""


class DeliveryState(StrEnum):
    """How far an outpost got with a signed set."""

    OFFERED = "offered"
    ACTIVE = "active"
    REFUSED = "refused"  # for good: it is not offered again to this start of the outpost
    FAILED = "failed"  # for a reason that passes, such as a full disk: it is offered again on the next stream


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an outpost said about the newest set that it was offered.

    Attributes:
        number: of the signed set.
        at_ms: when it came, by our clock.
        code: error code of a refusal, else empty; so are message and resource.
        release: version of the release that it runs or refused, 0 while it did not say.
        downloaded_ms: when every byte was there, by its own clock; 0 when it never said so.
        activated_ms: when it became active, by its own clock; 0 when it did not.
    """

    outpost_id: str
    number: int
    revision: str
    state: DeliveryState
    at_ms: int
    code: str = ""
    message: str = ""
    resource: str = ""
    release: int = 0
    downloaded_ms: int = 0
    activated_ms: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What an outpost said of itself.

    Attributes:
        status: plain JSON.
        seen_ms: when it came, Unix milliseconds.
    """

    outpost_id: str
    status: Mapping[str, object]
    seen_ms: int


@dataclass(frozen=True, slots=True)
class LogHead:
    """What the control plane holds of one outpost's audit log.

    Attributes:
        origin: "<trust-domain>/org/<org>/outpost/<id>".
        size: leaves held durably.
        frontier: roots of the full subtrees of the held leaves, largest first: enough to go on and to know
        the root.
        cosigned_size: leaves under the newest cosigned checkpoint.
        cosigned: that checkpoint with all its signature lines, exact bytes.
    """

    outpost_id: str
    origin: str
    size: int
    frontier: tuple[bytes, ...]
    cosigned_size: int = 0
    cosigned: bytes = b""
