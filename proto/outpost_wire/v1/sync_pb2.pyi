from outpost_wire.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SyncUp(_message.Message):
    __slots__ = ("hello", "ack", "nack", "status", "returned")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    ack: Ack
    nack: Nack
    status: Status
    returned: ReturnedPart
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., returned: _Optional[_Union[ReturnedPart, _Mapping]] = ...) -> None: ...

class SyncDown(_message.Message):
    __slots__ = ("offer", "lock", "rotate_now", "drain", "endpoints", "wanted")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    LOCK_FIELD_NUMBER: _ClassVar[int]
    ROTATE_NOW_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    offer: Offer
    lock: Lock
    rotate_now: RotateNow
    drain: Drain
    endpoints: Endpoints
    wanted: Wanted
    def __init__(self, offer: _Optional[_Union[Offer, _Mapping]] = ..., lock: _Optional[_Union[Lock, _Mapping]] = ..., rotate_now: _Optional[_Union[RotateNow, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., endpoints: _Optional[_Union[Endpoints, _Mapping]] = ..., wanted: _Optional[_Union[Wanted, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_min", "protocol_max", "software_version", "boot_id", "join_sequence", "held", "active_revision", "capabilities", "set_sha256", "trust_bundle_sha256", "refused_revision")
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    JOIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_REVISION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    SET_SHA256_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    REFUSED_REVISION_FIELD_NUMBER: _ClassVar[int]
    protocol_min: int
    protocol_max: int
    software_version: str
    boot_id: str
    join_sequence: int
    held: _containers.RepeatedCompositeFieldContainer[HeldFile]
    active_revision: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    set_sha256: bytes
    trust_bundle_sha256: bytes
    refused_revision: str
    def __init__(self, protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., software_version: _Optional[str] = ..., boot_id: _Optional[str] = ..., join_sequence: _Optional[int] = ..., held: _Optional[_Iterable[_Union[HeldFile, _Mapping]]] = ..., active_revision: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ..., set_sha256: _Optional[bytes] = ..., trust_bundle_sha256: _Optional[bytes] = ..., refused_revision: _Optional[str] = ...) -> None: ...

class HeldFile(_message.Message):
    __slots__ = ("name", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: bytes
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("nonce", "revision", "files", "now_ms", "base_sha256", "removed", "withheld")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    BASE_SHA256_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    revision: str
    files: _containers.RepeatedCompositeFieldContainer[OfferedFile]
    now_ms: int
    base_sha256: bytes
    removed: _containers.RepeatedScalarFieldContainer[str]
    withheld: str
    def __init__(self, nonce: _Optional[str] = ..., revision: _Optional[str] = ..., files: _Optional[_Iterable[_Union[OfferedFile, _Mapping]]] = ..., now_ms: _Optional[int] = ..., base_sha256: _Optional[bytes] = ..., removed: _Optional[_Iterable[str]] = ..., withheld: _Optional[str] = ...) -> None: ...

class OfferedFile(_message.Message):
    __slots__ = ("name", "sha256", "size", "metadata", "inline", "delta", "delta_sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    DELTA_SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: bytes
    size: int
    metadata: bool
    inline: bytes
    delta: bytes
    delta_sha256: bytes
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[bytes] = ..., size: _Optional[int] = ..., metadata: _Optional[bool] = ..., inline: _Optional[bytes] = ..., delta: _Optional[bytes] = ..., delta_sha256: _Optional[bytes] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("nonce", "revision", "activated_ms", "downloaded_ms", "release", "shadow")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ACTIVATED_MS_FIELD_NUMBER: _ClassVar[int]
    DOWNLOADED_MS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    revision: str
    activated_ms: int
    downloaded_ms: int
    release: int
    shadow: ShadowReport
    def __init__(self, nonce: _Optional[str] = ..., revision: _Optional[str] = ..., activated_ms: _Optional[int] = ..., downloaded_ms: _Optional[int] = ..., release: _Optional[int] = ..., shadow: _Optional[_Union[ShadowReport, _Mapping]] = ...) -> None: ...

class ShadowReport(_message.Message):
    __slots__ = ("release", "compared", "changes")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    release: int
    compared: int
    changes: _containers.RepeatedCompositeFieldContainer[ShadowChange]
    def __init__(self, release: _Optional[int] = ..., compared: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[ShadowChange, _Mapping]]] = ...) -> None: ...

class ShadowChange(_message.Message):
    __slots__ = ("direction", "before", "after", "count")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    direction: str
    before: str
    after: str
    count: int
    def __init__(self, direction: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("nonce", "error", "resource", "downloaded", "release")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    DOWNLOADED_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    error: _types_pb2.ErrorDetail
    resource: str
    downloaded: bool
    release: int
    def __init__(self, nonce: _Optional[str] = ..., error: _Optional[_Union[_types_pb2.ErrorDetail, _Mapping]] = ..., resource: _Optional[str] = ..., downloaded: _Optional[bool] = ..., release: _Optional[int] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("now_ms", "health", "state", "active_revision", "certificate_expires_ms", "audit_size", "audit_cosigned", "tiers", "workers_ready", "workers", "software_version", "release", "downloaded_revision", "requests", "failed", "trust_bundle_sha256", "shadow")
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_REVISION_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_SIZE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_COSIGNED_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_READY_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    DOWNLOADED_REVISION_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    now_ms: int
    health: _containers.RepeatedCompositeFieldContainer[_types_pb2.FunctionHealth]
    state: str
    active_revision: str
    certificate_expires_ms: int
    audit_size: int
    audit_cosigned: int
    tiers: _containers.RepeatedScalarFieldContainer[int]
    workers_ready: int
    workers: int
    software_version: str
    release: int
    downloaded_revision: str
    requests: int
    failed: int
    trust_bundle_sha256: bytes
    shadow: ShadowReport
    def __init__(self, now_ms: _Optional[int] = ..., health: _Optional[_Iterable[_Union[_types_pb2.FunctionHealth, _Mapping]]] = ..., state: _Optional[str] = ..., active_revision: _Optional[str] = ..., certificate_expires_ms: _Optional[int] = ..., audit_size: _Optional[int] = ..., audit_cosigned: _Optional[int] = ..., tiers: _Optional[_Iterable[int]] = ..., workers_ready: _Optional[int] = ..., workers: _Optional[int] = ..., software_version: _Optional[str] = ..., release: _Optional[int] = ..., downloaded_revision: _Optional[str] = ..., requests: _Optional[int] = ..., failed: _Optional[int] = ..., trust_bundle_sha256: _Optional[bytes] = ..., shadow: _Optional[_Union[ShadowReport, _Mapping]] = ...) -> None: ...

class Lock(_message.Message):
    __slots__ = ("reason", "order", "signatures")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    reason: str
    order: bytes
    signatures: _containers.RepeatedCompositeFieldContainer[LockSignature]
    def __init__(self, reason: _Optional[str] = ..., order: _Optional[bytes] = ..., signatures: _Optional[_Iterable[_Union[LockSignature, _Mapping]]] = ...) -> None: ...

class LockSignature(_message.Message):
    __slots__ = ("key_id", "signature")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    signature: bytes
    def __init__(self, key_id: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class RotateNow(_message.Message):
    __slots__ = ("spread_seconds",)
    SPREAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    spread_seconds: int
    def __init__(self, spread_seconds: _Optional[int] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("spread_seconds",)
    SPREAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    spread_seconds: int
    def __init__(self, spread_seconds: _Optional[int] = ...) -> None: ...

class Endpoints(_message.Message):
    __slots__ = ("sync",)
    SYNC_FIELD_NUMBER: _ClassVar[int]
    sync: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sync: _Optional[_Iterable[str]] = ...) -> None: ...

class Wanted(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, sha256: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ReturnedPart(_message.Message):
    __slots__ = ("sha256", "size", "offset", "data")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    size: int
    offset: int
    data: bytes
    def __init__(self, sha256: _Optional[bytes] = ..., size: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("sha256", "offset", "zstd")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ZSTD_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    offset: int
    zstd: bool
    def __init__(self, sha256: _Optional[bytes] = ..., offset: _Optional[int] = ..., zstd: _Optional[bool] = ...) -> None: ...

class FetchChunk(_message.Message):
    __slots__ = ("data", "plain_bytes")
    DATA_FIELD_NUMBER: _ClassVar[int]
    PLAIN_BYTES_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    plain_bytes: int
    def __init__(self, data: _Optional[bytes] = ..., plain_bytes: _Optional[int] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr_der", "join_sequence", "boot_id")
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    JOIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    csr_der: bytes
    join_sequence: int
    boot_id: str
    def __init__(self, csr_der: _Optional[bytes] = ..., join_sequence: _Optional[int] = ..., boot_id: _Optional[str] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("chain_der", "trust_bundle_der", "join_sequence", "issuer_der")
    CHAIN_DER_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLE_DER_FIELD_NUMBER: _ClassVar[int]
    JOIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ISSUER_DER_FIELD_NUMBER: _ClassVar[int]
    chain_der: _containers.RepeatedScalarFieldContainer[bytes]
    trust_bundle_der: _containers.RepeatedScalarFieldContainer[bytes]
    join_sequence: int
    issuer_der: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chain_der: _Optional[_Iterable[bytes]] = ..., trust_bundle_der: _Optional[_Iterable[bytes]] = ..., join_sequence: _Optional[int] = ..., issuer_der: _Optional[_Iterable[bytes]] = ...) -> None: ...
