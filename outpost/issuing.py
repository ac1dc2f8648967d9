"""What an outpost and the control plane tell each other about its certificates: enrollment, renewal, recovery."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentRequest:
    """What an outpost shows for an identity. The private keys stay where they were born."""

    token_org: str
    token_secret: bytes = field(repr=False)
    csr_der: bytes
    audit_log_public_key: bytes
    now_ms: int
    software_version: str


@dataclass(frozen=True, slots=True)
class EnrollmentAnswer:
    """What the control plane gives for a spent join token. DER and exact bytes, not yet trusted."""

    org: str
    outpost_id: str
    name: str
    trust_domain: str
    chain: tuple[bytes, ...]
    trust_bundle: tuple[bytes, ...]
    tuf_root: bytes
    witness_public_key: bytes
    witness_name: str
    sync_endpoint: str
    join_sequence: int
    now_ms: int
    sync_endpoints: tuple[str, ...] = ()  # of every replica, when there are several
    issuers: tuple[bytes, ...] = ()  # issuing CAs that the control plane knows, so that a leaf may travel alone
    logical: str = ""  # logical outpost of which this one is a replica; empty when it was not said


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """A request for the next certificate, stored before it is sent."""

    csr_der: bytes
    join_sequence: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class RenewalAnswer:
    """A certificate and whom to believe from now on. DER, not yet trusted.

    Attributes:
        chain: leaf first.
        trust_bundle: root CAs.
        join_sequence: that holds once the certificate is used.
        issuers: issuing CAs that the control plane knows, so that a leaf may travel alone.
        sync_endpoints: of every replica; empty when it was not said.
    """

    chain: tuple[bytes, ...]
    trust_bundle: tuple[bytes, ...]
    join_sequence: int
    issuers: tuple[bytes, ...] = ()
    sync_endpoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce of the control plane, and its clock."""

    nonce: bytes
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryRequest:
    """What an outpost shows for a certificate when its own has expired.

    Attributes:
        serial: of the certificate whose key signed ``proof``, hex.
        proof: of certs/recover.py.
        now_ms: our clock.
        leaf_der: the certificate of ``serial``.
    """

    org: str
    outpost_id: str
    nonce: bytes
    csr_der: bytes
    join_sequence: int
    serial: str
    proof: bytes
    boot_id: str
    now_ms: int
    software_version: str
    leaf_der: bytes = b""
