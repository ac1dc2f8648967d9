"""How an outpost does, from what is stored: what its newest heartbeat said, what it answered, and how long ago."""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.domain.outposts import Outpost, OutpostState
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.domain.sources import COURIER

WELL = "ACTIVE"  # the one state of a heartbeat that needs nobody
SEALED = "SEALED"
OK = "ok"
COMPLAINTS = {DeliveryState.REFUSED: "refused", DeliveryState.FAILED: "could not take"}
ENROLLED = "ENROLLED"  # active here, and never seen
CARRIED = "COURIER"  # enrolled by files, and no network leads to it: its heartbeats are not missed
SILENT_MS = 30_000  # three heartbeats (docs/design.md 3: OFFLINE after 30 s without contact)
HEARTBEAT_MS = 10_000  # outposts send one this often


@dataclass(frozen=True, slots=True)
class Condition:
    """One outpost, as operators want to see it.

    Attributes:
        outpost: the registered outpost.
        delivery: its newest word on an offer.
        state: of its newest heartbeat (ACTIVE, OFFLINE, STALE, SEALED); ENROLLED before the first one, COURIER where no
            network leads to it; pending and revoked are said in lower case.
        revision: configuration that it runs, empty when it never said so; never one that was only offered.
        failed: functions that do not work, with their codes.
        attention: sentences on what is wrong, worst first; empty when all is well.
    """

    outpost: Outpost
    delivery: Delivery | None
    state: str
    revision: str
    failed: Mapping[str, str]
    attention: tuple[str, ...]


def silent_after_ms(status_write_ms: int) -> int:
    """How old a stored heartbeat of a connected outpost can hardly be.

    Args:
        status_write_ms: heartbeats of an outpost are stored this often.
    """
    return max(SILENT_MS, 2 * status_write_ms + HEARTBEAT_MS)


def condition(
    outpost: Outpost, status: Mapping[str, object], delivery: Delivery | None, now_ms: int, silent_ms: int = SILENT_MS
) -> Condition:
    """Judge an outpost.

    Args:
        outpost: as stored, with the time of its newest heartbeat.
        status: the newest heartbeat; empty when there was none.
        delivery: newest word on an offer.
        now_ms: Unix milliseconds.
        silent_ms: an outpost not seen for longer is silent.
    """
    if outpost.state is not OutpostState.ACTIVE:
        return Condition(outpost, delivery, outpost.state.value, "", {}, _alert(outpost))
    by_courier = outpost.boot_source == COURIER and not outpost.last_seen_ms
    state = str(status.get("state") or (CARRIED if by_courier else ENROLLED))
    health = status.get("health")
    failed = {str(k): str(v) for k, v in health.items() if v != OK} if isinstance(health, Mapping) else {}
    attention = [] if by_courier else [*_silence(outpost, now_ms, silent_ms)]
    if state not in (WELL, ENROLLED, CARRIED):
        attention.append(f"is {state}")
    attention += [f"{function} failed: {code}" for function, code in sorted(failed.items())]
    if delivery is not None and delivery.state in COMPLAINTS:
        attention.append(f"{COMPLAINTS[delivery.state]} configuration {delivery.revision}: {delivery.code}")
    revision = _revision(outpost, status, delivery)
    return Condition(outpost, delivery, state, revision, failed, (*attention, *_alert(outpost)))


def age(milliseconds: int) -> str:
    """A span of time for people: its largest unit."""
    seconds = max(0, milliseconds) // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _silence(outpost: Outpost, now_ms: int, silent_ms: int) -> tuple[str, ...]:
    since_ms = now_ms - (outpost.last_seen_ms or outpost.activated_ms)
    if since_ms <= silent_ms:
        return ()
    return (f"not seen for {age(since_ms)}" if outpost.last_seen_ms else "never seen",)


def _alert(outpost: Outpost) -> tuple[str, ...]:
    said = []
    if outpost.alert:
        sources = " and ".join(dict.fromkeys(outpost.alert_sources))
        said.append(f"alert {outpost.alert}" + (f", from {sources}" if sources else ""))
    if outpost.is_order_out:
        said.append("the order to wipe is not confirmed yet")
    return tuple(said)


def _revision(outpost: Outpost, status: Mapping[str, object], delivery: Delivery | None) -> str:
    """The newer of a heartbeat and an activation counts."""
    if delivery is not None and delivery.state is DeliveryState.ACTIVE and delivery.at_ms >= outpost.last_seen_ms:
        return delivery.revision
    return str(status.get("active_revision") or "")
