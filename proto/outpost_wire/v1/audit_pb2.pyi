from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WitnessStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WITNESS_STATUS_UNSPECIFIED: _ClassVar[WitnessStatus]
    WITNESS_STATUS_ACCEPTED: _ClassVar[WitnessStatus]
    WITNESS_STATUS_BAD_SIGNATURE: _ClassVar[WitnessStatus]
    WITNESS_STATUS_UNKNOWN_ORIGIN: _ClassVar[WitnessStatus]
    WITNESS_STATUS_WRONG_SIZE: _ClassVar[WitnessStatus]
    WITNESS_STATUS_INCONSISTENT: _ClassVar[WitnessStatus]
WITNESS_STATUS_UNSPECIFIED: WitnessStatus
WITNESS_STATUS_ACCEPTED: WitnessStatus
WITNESS_STATUS_BAD_SIGNATURE: WitnessStatus
WITNESS_STATUS_UNKNOWN_ORIGIN: WitnessStatus
WITNESS_STATUS_WRONG_SIZE: WitnessStatus
WITNESS_STATUS_INCONSISTENT: WitnessStatus

class AppendRequest(_message.Message):
    __slots__ = ("origin", "first", "entries", "checkpoint")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    origin: str
    first: int
    entries: _containers.RepeatedScalarFieldContainer[bytes]
    checkpoint: bytes
    def __init__(self, origin: _Optional[str] = ..., first: _Optional[int] = ..., entries: _Optional[_Iterable[bytes]] = ..., checkpoint: _Optional[bytes] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("status", "known_size", "cosigned_checkpoint")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_SIZE_FIELD_NUMBER: _ClassVar[int]
    COSIGNED_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    status: WitnessStatus
    known_size: int
    cosigned_checkpoint: bytes
    def __init__(self, status: _Optional[_Union[WitnessStatus, str]] = ..., known_size: _Optional[int] = ..., cosigned_checkpoint: _Optional[bytes] = ...) -> None: ...

class RootRequest(_message.Message):
    __slots__ = ("origin", "size")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    origin: str
    size: int
    def __init__(self, origin: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class RootResponse(_message.Message):
    __slots__ = ("known_size", "root")
    KNOWN_SIZE_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    known_size: int
    root: bytes
    def __init__(self, known_size: _Optional[int] = ..., root: _Optional[bytes] = ...) -> None: ...
