from outpost_wire.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SyncUp(_message.Message):
    __slots__ = ("hello", "ack", "nack", "status")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    ack: Ack
    nack: Nack
    status: Status
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class SyncDown(_message.Message):
    __slots__ = ("offer", "lock", "rotate_now", "drain", "endpoints")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    LOCK_FIELD_NUMBER: _ClassVar[int]
    ROTATE_NOW_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    offer: Offer
    lock: Lock
    rotate_now: RotateNow
    drain: Drain
    endpoints: Endpoints
    def __init__(self, offer: _Optional[_Union[Offer, _Mapping]] = ..., lock: _Optional[_Union[Lock, _Mapping]] = ..., rotate_now: _Optional[_Union[RotateNow, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., endpoints: _Optional[_Union[Endpoints, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_min", "protocol_max", "software_version", "boot_id", "join_sequence", "held", "active_revision", "capabilities")
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    JOIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_REVISION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    protocol_min: int
    protocol_max: int
    software_version: str
    boot_id: str
    join_sequence: int
    held: _containers.RepeatedCompositeFieldContainer[HeldFile]
    active_revision: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., software_version: _Optional[str] = ..., boot_id: _Optional[str] = ..., join_sequence: _Optional[int] = ..., held: _Optional[_Iterable[_Union[HeldFile, _Mapping]]] = ..., active_revision: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class HeldFile(_message.Message):
    __slots__ = ("name", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: bytes
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("nonce", "revision", "files", "now_ms")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    revision: str
    files: _containers.RepeatedCompositeFieldContainer[OfferedFile]
    now_ms: int
    def __init__(self, nonce: _Optional[str] = ..., revision: _Optional[str] = ..., files: _Optional[_Iterable[_Union[OfferedFile, _Mapping]]] = ..., now_ms: _Optional[int] = ...) -> None: ...

class OfferedFile(_message.Message):
    __slots__ = ("name", "sha256", "size", "metadata", "inline")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: bytes
    size: int
    metadata: bool
    inline: bytes
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[bytes] = ..., size: _Optional[int] = ..., metadata: _Optional[bool] = ..., inline: _Optional[bytes] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("nonce", "revision", "activated_ms")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ACTIVATED_MS_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    revision: str
    activated_ms: int
    def __init__(self, nonce: _Optional[str] = ..., revision: _Optional[str] = ..., activated_ms: _Optional[int] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("nonce", "error", "resource")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    error: _types_pb2.ErrorDetail
    resource: str
    def __init__(self, nonce: _Optional[str] = ..., error: _Optional[_Union[_types_pb2.ErrorDetail, _Mapping]] = ..., resource: _Optional[str] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("now_ms", "health", "state", "active_revision", "certificate_expires_ms", "audit_size", "audit_cosigned", "tiers", "workers_ready", "workers", "software_version")
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
    def __init__(self, now_ms: _Optional[int] = ..., health: _Optional[_Iterable[_Union[_types_pb2.FunctionHealth, _Mapping]]] = ..., state: _Optional[str] = ..., active_revision: _Optional[str] = ..., certificate_expires_ms: _Optional[int] = ..., audit_size: _Optional[int] = ..., audit_cosigned: _Optional[int] = ..., tiers: _Optional[_Iterable[int]] = ..., workers_ready: _Optional[int] = ..., workers: _Optional[int] = ..., software_version: _Optional[str] = ...) -> None: ...

class Lock(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class RotateNow(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

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

class FetchRequest(_message.Message):
    __slots__ = ("sha256", "offset")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    offset: int
    def __init__(self, sha256: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...

class FetchChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr_der", "join_sequence")
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    JOIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    csr_der: bytes
    join_sequence: int
    def __init__(self, csr_der: _Optional[bytes] = ..., join_sequence: _Optional[int] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("chain_der", "trust_bundle_der", "join_sequence")
    CHAIN_DER_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLE_DER_FIELD_NUMBER: _ClassVar[int]
    JOIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    chain_der: _containers.RepeatedScalarFieldContainer[bytes]
    trust_bundle_der: _containers.RepeatedScalarFieldContainer[bytes]
    join_sequence: int
    def __init__(self, chain_der: _Optional[_Iterable[bytes]] = ..., trust_bundle_der: _Optional[_Iterable[bytes]] = ..., join_sequence: _Optional[int] = ...) -> None: ...
