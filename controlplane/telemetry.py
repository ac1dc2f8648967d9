"""Every log event and field name of the control plane. One JSON object for each line, on stderr.

No field can hold a prompt, a token, a key or a client's payload: only the fields below exist.
"""

import logging
import sys
from enum import StrEnum
from typing import TypedDict, Unpack

import orjson

LOGGER = logging.getLogger("controlplane")


class Event(StrEnum):
    """Names of log events."""

    STARTED = "controlplane.started"
    STOPPING = "controlplane.stopping"
    STOPPED = "controlplane.stopped"
    ENROLLED = "outpost.enrolled"
    ENROLL_REFUSED = "outpost.enroll_refused"
    CONNECTED = "sync.connected"
    DISCONNECTED = "sync.disconnected"
    OFFERED = "sync.offered"
    ACKNOWLEDGED = "sync.acknowledged"
    NOT_ACKNOWLEDGED = "sync.refused"
    RENEWED = "certificate.renewed"
    FIRST_USE = "certificate.first_use"
    RECOVERED = "certificate.recovered"
    RECOVER_REFUSED = "certificate.recover_refused"
    CLONE_FOUND = "identity.cloned"
    LOCK_ORDERED = "outpost.lock_ordered"
    LOCK_CONFIRMED = "outpost.lock_confirmed"
    AUTHORITIES_CHANGED = "authorities.changed"
    ADOPTED = "identity.adopted"
    RETURNED_TAKEN = "returned.taken"
    RETURNED_REFUSED = "returned.refused"
    AUDIT_COSIGNED = "audit.cosigned"
    AUDIT_REFUSED = "audit.refused"
    RPC_FAILED = "rpc.failed"
    ACCESS_REFUSED = "access.refused"
    API_REQUEST = "api.request"
    API_FAILED = "api.failed"
    ACT_UNRECORDED = "act.unrecorded"
    WORDS_FAILED = "words.failed"
    WORDS_DROPPED = "words.dropped"
    ROLLOUT_MOVED = "rollout.moved"
    ROLLOUT_FAILED = "rollout.failed"
    MAINTAINED = "maintenance.done"
    MAINTENANCE_FAILED = "maintenance.failed"
    STORE_LOST = "store.lost"


class Fields(TypedDict, total=False):
    """Names and types of log fields."""

    org: str
    outpost: str
    revision: str
    serial: str
    source: str
    boot: str
    code: str
    message: str
    method: str
    kind: str
    number: int
    release: int
    size: int
    status: int
    admitted_ms: int
    enroll_port: int
    sync_port: int
    api_port: int
    route: str
    request_id: str
    duration_ms: int


def log(event: Event, *, level: int = logging.INFO, **fields: Unpack[Fields]) -> None:
    """Write one line; where in the code it comes from is not looked up, its event says that."""
    if LOGGER.isEnabledFor(level):
        extra = {"fields": fields}
        LOGGER.handle(LOGGER.makeRecord(LOGGER.name, level, "", 0, event.value, (), None, extra=extra))


class JSONFormatter(logging.Formatter):
    """One JSON object for a record: time, level, event, fields; an exception as its type only."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time_ms": int(record.created * 1000),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
        return orjson.dumps(line, default=str).decode()


def start(level: str) -> None:
    """Send our log to stderr as JSON lines, without what no line shows: a fleet of thousands writes many."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
