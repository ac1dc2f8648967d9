"""Every log event, log field and metric name of the outpost.

Operational log, audit record and metric are three streams and never mixed. A log line is one JSON object: an event
name and fields of the list below; the type checker refuses any other field, so nothing that came from a prompt has a
place to stand.
"""

import logging
import sys
from enum import StrEnum
from typing import TypedDict, Unpack

import orjson

LOGGER = logging.getLogger("outpost")


class Event(StrEnum):
    """Names of log events, documented in docs/operations.md."""

    STARTED = "outpost.started"
    STOPPING = "outpost.stopping"
    STOPPED = "outpost.stopped"
    CHILD_STARTED = "child.started"
    CHILD_EXITED = "child.exited"
    CHILD_REPLACED = "child.replaced"
    SYNC_CONNECTED = "sync.connected"
    SYNC_LOST = "sync.lost"
    SYNC_REFUSED = "sync.refused"
    BUNDLE_ACTIVATED = "bundle.activated"
    BUNDLE_REFUSED = "bundle.refused"
    RELEASE_LEFT = "release.left"
    STATE_CHANGED = "state.changed"
    CERTIFICATE_RENEWED = "certificate.renewed"
    CERTIFICATE_FAILED = "certificate.failed"
    CERTIFICATE_RECOVERED = "certificate.recovered"
    TRUST_ADOPTED = "trust.adopted"
    IDENTITY_WITHDRAWN = "identity.withdrawn"
    OUTPOST_LOCKED = "outpost.locked"
    LOCK_REFUSED = "lock.refused"
    AUDIT_COSIGNED = "audit.cosigned"
    AUDIT_REFUSED = "audit.refused"
    AUDIT_RECOVERED = "audit.recovered"
    CANARY_FAILED = "canary.failed"
    REQUEST_FAILED = "request.failed"
    PROVIDER_FAILED = "provider.failed"
    CONFIGURATION_MISSING = "configuration.missing"


class Fields(TypedDict, total=False):
    """Names and types of log fields. No field can hold text of a prompt, an answer or a secret."""

    org: str
    outpost: str
    revision: str
    release: int
    state: str
    code: str
    message: str
    next: str
    provider: str
    host: str
    role: str
    index: int
    pid: int
    exit_code: int
    endpoint: str
    port: int
    metrics_port: int
    workers: int
    size: int
    known_size: int
    common_size: int
    attempts: int
    wait_ms: int
    duration_ms: int
    expires_ms: int
    request_id: str
    version: str
    tls: bool


class JSONFormatter(logging.Formatter):
    """One JSON object a line; exceptions are named by class only, since their texts may carry what a peer sent."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = getattr(record, "fields", {})
        line: dict[str, object] = {
            "time_ms": int(record.created * 1000),
            "level": record.levelname,
            "event": record.getMessage() if record.name == LOGGER.name else f"library.{record.name}",
            **fields,
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return orjson.dumps(line).decode()


def configure(level: str) -> None:
    """Send log lines to standard error as JSON; libraries only from WARNING on, and without their message text."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level)


def emit(event: Event, level: int = logging.INFO, **fields: Unpack[Fields]) -> None:
    """Write one log line."""
    LOGGER.log(level, event.value, extra={"fields": fields})


class Metric(StrEnum):
    """Names of metrics, documented in docs/operations.md. Labels are few and bounded: org, action, code, type."""

    REQUESTS = "outpost_requests"
    REFUSED_UNAUTHENTICATED = "outpost_unauthenticated_requests"
    DECISIONS = "outpost_decisions"
    FINDINGS = "outpost_findings"
    IN_FLIGHT = "outpost_requests_in_flight"
    DURATION = "outpost_request_duration_seconds"
    COMMIT = "outpost_audit_commit_seconds"
    PROVIDER_ERRORS = "outpost_provider_errors"
    BYTES = "outpost_bytes"
    CANARY = "outpost_canary_blocked"
    STATE = "outpost_org_state"
