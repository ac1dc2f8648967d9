from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EnrollRequest(_message.Message):
    __slots__ = ("token_org", "token_secret", "csr_der", "audit_log_public_key", "now_ms", "software_version")
    TOKEN_ORG_FIELD_NUMBER: _ClassVar[int]
    TOKEN_SECRET_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    AUDIT_LOG_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    token_org: str
    token_secret: bytes
    csr_der: bytes
    audit_log_public_key: bytes
    now_ms: int
    software_version: str
    def __init__(self, token_org: _Optional[str] = ..., token_secret: _Optional[bytes] = ..., csr_der: _Optional[bytes] = ..., audit_log_public_key: _Optional[bytes] = ..., now_ms: _Optional[int] = ..., software_version: _Optional[str] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("org", "outpost_id", "name", "trust_domain", "chain_der", "trust_bundle_der", "tuf_root", "witness_public_key", "witness_name", "sync_endpoint", "join_sequence", "now_ms", "logical", "sync_endpoints", "issuer_der")
    ORG_FIELD_NUMBER: _ClassVar[int]
    OUTPOST_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    CHAIN_DER_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLE_DER_FIELD_NUMBER: _ClassVar[int]
    TUF_ROOT_FIELD_NUMBER: _ClassVar[int]
    WITNESS_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    WITNESS_NAME_FIELD_NUMBER: _ClassVar[int]
    SYNC_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    JOIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    LOGICAL_FIELD_NUMBER: _ClassVar[int]
    SYNC_ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    ISSUER_DER_FIELD_NUMBER: _ClassVar[int]
    org: str
    outpost_id: str
    name: str
    trust_domain: str
    chain_der: _containers.RepeatedScalarFieldContainer[bytes]
    trust_bundle_der: _containers.RepeatedScalarFieldContainer[bytes]
    tuf_root: bytes
    witness_public_key: bytes
    witness_name: str
    sync_endpoint: str
    join_sequence: int
    now_ms: int
    logical: str
    sync_endpoints: _containers.RepeatedScalarFieldContainer[str]
    issuer_der: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, org: _Optional[str] = ..., outpost_id: _Optional[str] = ..., name: _Optional[str] = ..., trust_domain: _Optional[str] = ..., chain_der: _Optional[_Iterable[bytes]] = ..., trust_bundle_der: _Optional[_Iterable[bytes]] = ..., tuf_root: _Optional[bytes] = ..., witness_public_key: _Optional[bytes] = ..., witness_name: _Optional[str] = ..., sync_endpoint: _Optional[str] = ..., join_sequence: _Optional[int] = ..., now_ms: _Optional[int] = ..., logical: _Optional[str] = ..., sync_endpoints: _Optional[_Iterable[str]] = ..., issuer_der: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ChallengeRequest(_message.Message):
    __slots__ = ("org", "outpost_id")
    ORG_FIELD_NUMBER: _ClassVar[int]
    OUTPOST_ID_FIELD_NUMBER: _ClassVar[int]
    org: str
    outpost_id: str
    def __init__(self, org: _Optional[str] = ..., outpost_id: _Optional[str] = ...) -> None: ...

class ChallengeResponse(_message.Message):
    __slots__ = ("nonce", "now_ms")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    now_ms: int
    def __init__(self, nonce: _Optional[bytes] = ..., now_ms: _Optional[int] = ...) -> None: ...

class RecoverRequest(_message.Message):
    __slots__ = ("org", "outpost_id", "nonce", "csr_der", "join_sequence", "serial", "proof", "boot_id", "now_ms", "software_version", "leaf_der")
    ORG_FIELD_NUMBER: _ClassVar[int]
    OUTPOST_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    JOIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEAF_DER_FIELD_NUMBER: _ClassVar[int]
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
    leaf_der: bytes
    def __init__(self, org: _Optional[str] = ..., outpost_id: _Optional[str] = ..., nonce: _Optional[bytes] = ..., csr_der: _Optional[bytes] = ..., join_sequence: _Optional[int] = ..., serial: _Optional[str] = ..., proof: _Optional[bytes] = ..., boot_id: _Optional[str] = ..., now_ms: _Optional[int] = ..., software_version: _Optional[str] = ..., leaf_der: _Optional[bytes] = ...) -> None: ...

class RecoverResponse(_message.Message):
    __slots__ = ("chain_der", "trust_bundle_der", "join_sequence", "now_ms", "sync_endpoints", "issuer_der")
    CHAIN_DER_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLE_DER_FIELD_NUMBER: _ClassVar[int]
    JOIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    SYNC_ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    ISSUER_DER_FIELD_NUMBER: _ClassVar[int]
    chain_der: _containers.RepeatedScalarFieldContainer[bytes]
    trust_bundle_der: _containers.RepeatedScalarFieldContainer[bytes]
    join_sequence: int
    now_ms: int
    sync_endpoints: _containers.RepeatedScalarFieldContainer[str]
    issuer_der: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chain_der: _Optional[_Iterable[bytes]] = ..., trust_bundle_der: _Optional[_Iterable[bytes]] = ..., join_sequence: _Optional[int] = ..., now_ms: _Optional[int] = ..., sync_endpoints: _Optional[_Iterable[str]] = ..., issuer_der: _Optional[_Iterable[bytes]] = ...) -> None: ...
