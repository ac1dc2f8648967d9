"""The schema of audit records: one frozen dataclass per event, each with ``to_bytes()``.

Bytes are the canonical form of ``canonical``. Names of fields are part of the format: they may be added,
never renamed. No record holds a prompt, an answer or a matched value: entity types and counts stand for
them.
"""

from dataclasses import dataclass
from enum import StrEnum

from outpost.core.audit.canonical import Value, encode
from outpost.core.decision import Decision, EntityCount, Features


class Outcome(StrEnum):
    """How a request ended."""

    RELEASED = "released"
    BLOCKED = "blocked"
    REFUSED = "refused"
    PROVIDER_ERROR = "provider_error"
    CLIENT_GONE = "client_gone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RecordHead:
    """What every record says first.

    Attributes:
        time_ms: Unix time in milliseconds, as the outpost's clock said.
        org: the org whose log this is.
        outpost: id of the outpost.
    """

    time_ms: int
    org: str
    outpost: str


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asked: for now always the holder of a client key."""

    key_id: str
    groups: tuple[str, ...] = ()
    kind: str = "client"


def _encode(event: str, head: RecordHead, fields: dict[str, Value]) -> bytes:
    return encode(event, {"time_ms": head.time_ms, "org": head.org, "outpost": head.outpost}, fields)


def _actor(actor: Actor) -> Value:
    return {"kind": actor.kind, "key_id": actor.key_id, "groups": list(actor.groups)}


def _decision(decision: Decision) -> Value:
    return {
        "action": decision.action.value,
        "redact": list(decision.redact),
        "pack": decision.pack,
        "rule": decision.rule,
        "sequence": decision.sequence,
        "reason": decision.reason,
        "code": decision.code,
        "route_to": decision.route_to,
        "matched": list(decision.matched),
    }


def _entity(entity: EntityCount) -> Value:
    return {"entity_type": entity.entity_type, "count": entity.count, "confidence": entity.confidence}


def _features(features: Features) -> Value:
    return {
        "direction": features.direction.value,
        "user": features.user,
        "user_groups": list(features.user_groups),
        "agent": features.agent,
        "entities": [_entity(entity) for entity in features.entities],
        "content_matches": list(features.content_matches),
        "provider": features.provider,
        "model": features.model,
        "channel": features.channel,
        "risk": features.risk,
        "intent": features.intent,
        "country": features.country,
        "anonymous_ip": features.anonymous_ip,
        "data_class": features.data_class,
        "tokens": features.tokens,
    }


@dataclass(frozen=True, slots=True)
class RequestDecided:
    """The verdict on a prompt; durable before the provider is called.

    Attributes:
        endpoint: path that the client called.
        stream: whether it asked for a stream.
        tiers: inspection tiers that really ran.
        revision: "<release version>.<snapshot version>".
        bytes_received: bytes of the body as received.
        bytes_inspected: bytes of the body that were inspected.
    """

    head: RecordHead
    request_id: str
    actor: Actor
    endpoint: str
    model: str
    provider: str
    stream: bool
    decision: Decision
    features: Features
    tiers: tuple[int, ...]
    revision: str
    bytes_received: int
    bytes_inspected: int

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        return _encode(
            "request.decided",
            self.head,
            {
                "request_id": self.request_id,
                "actor": _actor(self.actor),
                "endpoint": self.endpoint,
                "model": self.model,
                "provider": self.provider,
                "stream": self.stream,
                "decision": _decision(self.decision),
                "features": _features(self.features),
                "tiers": list(self.tiers),
                "revision": self.revision,
                "bytes_received": self.bytes_received,
                "bytes_inspected": self.bytes_inspected,
            },
        )


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """How a decided request ended.

    Attributes:
        status: HTTP status that the client saw.
        outcome: how it ended.
        provider_status: HTTP status of the provider, 0 when it was not reached.
        decision: verdict on the answer, absent when none was inspected.
        features: what that verdict looked at.
        bytes_from_provider: bytes of the answer as received.
        bytes_inspected: bytes of the answer that were inspected.
        bytes_released: bytes of the answer that the client was sent.
    """

    head: RecordHead
    request_id: str
    status: int
    outcome: Outcome
    provider_status: int = 0
    decision: Decision | None = None
    features: Features | None = None
    tokens_prompt: int = 0
    tokens_completion: int = 0
    bytes_from_provider: int = 0
    bytes_inspected: int = 0
    bytes_released: int = 0
    duration_ms: int = 0

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {
            "request_id": self.request_id,
            "status": self.status,
            "outcome": self.outcome.value,
            "provider_status": self.provider_status,
            "tokens_prompt": self.tokens_prompt,
            "tokens_completion": self.tokens_completion,
            "bytes_from_provider": self.bytes_from_provider,
            "bytes_inspected": self.bytes_inspected,
            "bytes_released": self.bytes_released,
            "duration_ms": self.duration_ms,
        }
        if self.decision is not None:
            fields["decision"] = _decision(self.decision)
        if self.features is not None:
            fields["features"] = _features(self.features)
        return _encode("request.finished", self.head, fields)


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """An authenticated request that was never decided: a bad body, a limit, a sealed org.

    Attributes:
        status: HTTP status of the answer.
        error_code: code of the error that the client saw.
        bytes_received: bytes read of the body.
    """

    head: RecordHead
    request_id: str
    actor: Actor
    endpoint: str
    status: int
    error_code: str
    bytes_received: int = 0

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        return _encode(
            "request.refused",
            self.head,
            {
                "request_id": self.request_id,
                "actor": _actor(self.actor),
                "endpoint": self.endpoint,
                "status": self.status,
                "error_code": self.error_code,
                "bytes_received": self.bytes_received,
            },
        )


@dataclass(frozen=True, slots=True)
class StreamFinding:
    """A verdict that stops a stream; durable before the error event is sent.

    Attributes:
        bytes_released: bytes of the answer that had been sent before.
    """

    head: RecordHead
    request_id: str
    decision: Decision
    features: Features
    bytes_released: int

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        return _encode(
            "stream.finding",
            self.head,
            {
                "request_id": self.request_id,
                "decision": _decision(self.decision),
                "features": _features(self.features),
                "bytes_released": self.bytes_released,
            },
        )


@dataclass(frozen=True, slots=True)
class OutpostStarted:
    """The processes came up.

    Attributes:
        version: version of the build.
        revision: active revision, empty without configuration.
        state: state of the org ("ACTIVE", "SEALED" ...).
        log_recovery: codes of what the ledger found when it opened this log, empty when all was well.
    """

    head: RecordHead
    version: str
    revision: str
    state: str
    log_recovery: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        return _encode(
            "outpost.started",
            self.head,
            {
                "version": self.version,
                "revision": self.revision,
                "state": self.state,
                "log_recovery": list(self.log_recovery),
            },
        )


@dataclass(frozen=True, slots=True)
class OutpostEnrolled:
    """The outpost got its identity.

    Attributes:
        not_after: end of the first certificate, Unix seconds.
    """

    head: RecordHead
    spiffe_id: str
    certificate_serial: str
    not_after: int

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {
            "spiffe_id": self.spiffe_id,
            "certificate_serial": self.certificate_serial,
            "not_after": self.not_after,
        }
        return _encode("outpost.enrolled", self.head, fields)


@dataclass(frozen=True, slots=True)
class BundleActivated:
    """A signed configuration became the one that decides."""

    head: RecordHead
    revision: str
    previous_revision: str = ""

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {"revision": self.revision, "previous_revision": self.previous_revision}
        return _encode("bundle.activated", self.head, fields)


@dataclass(frozen=True, slots=True)
class BundleRefused:
    """A configuration was offered and not taken; the last good one stays.

    Attributes:
        revision: revision that was offered, empty when it cannot be known.
        error_code: code of the error.
        reason: its message.
    """

    head: RecordHead
    revision: str
    error_code: str
    reason: str

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {
            "revision": self.revision,
            "error_code": self.error_code,
            "reason": self.reason,
        }
        return _encode("bundle.refused", self.head, fields)


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The org went from one state to another."""

    head: RecordHead
    before: str
    after: str
    reason: str

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {"before": self.before, "after": self.after, "reason": self.reason}
        return _encode("state.changed", self.head, fields)


@dataclass(frozen=True, slots=True)
class CertificateRenewed:
    """The outpost's certificate was replaced.

    Attributes:
        not_after: end of the new certificate, Unix seconds.
    """

    head: RecordHead
    certificate_serial: str
    not_after: int

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {
            "certificate_serial": self.certificate_serial,
            "not_after": self.not_after,
        }
        return _encode("certificate.renewed", self.head, fields)


@dataclass(frozen=True, slots=True)
class CanaryFailed:
    """The continuous canary was not blocked as it must be."""

    head: RecordHead
    error_code: str
    reason: str

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        fields: dict[str, Value] = {"error_code": self.error_code, "reason": self.reason}
        return _encode("canary.failed", self.head, fields)
