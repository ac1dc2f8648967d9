"""Heartbeats: what is stored at once, what now and then, and what is left of an outpost that went."""

from controlplane.domain.records import Heartbeat
from controlplane.services.identity import Principal
from controlplane.services.presence import Presence
from tests.unit.controlplane.bed import HandClock

ONE, TWO = (Principal("acme", f"op-{number}", "1", 0) for number in (1, 2))
EVERY_MS = 30_000


class Kept:
    """Where the words would go."""

    def __init__(self) -> None:
        self.beats: list[tuple[str, Heartbeat]] = []

    def beat(self, org: str, beat: Heartbeat) -> None:
        self.beats.append((org, beat))


def presence() -> tuple[Presence, Kept, HandClock]:
    words, clock = Kept(), HandClock()
    return Presence(words, clock, EVERY_MS), words, clock  # type: ignore[arg-type]


def status(**changes: object) -> dict[str, object]:
    return {"state": "ACTIVE", "health": {"policy": "ok"}, "active_revision": "1.1", "audit_size": 7, **changes}


def test_the_first_heartbeat_is_stored_and_then_one_every_so_often() -> None:
    known, words, clock = presence()
    for _ in range(7):
        known.heard(ONE, status())
        clock.ms += 10_000
    assert [beat.seen_ms - words.beats[0][1].seen_ms for _, beat in words.beats] == [0, 30_000, 60_000]


CHANGES = {
    "another state": {"state": "SEALED"},
    "a function that fails": {"health": {"policy": "bundle.hash"}},
    "another revision": {"active_revision": "1.2"},
}


def test_a_change_of_state_is_stored_at_once_and_a_number_that_grew_is_not() -> None:
    for name, change in CHANGES.items():
        known, words, clock = presence()
        known.heard(ONE, status())
        clock.ms += 1
        known.heard(ONE, status(audit_size=8))
        assert len(words.beats) == 1, name
        known.heard(ONE, status(**change))
        known.heard(ONE, status(**change))
        assert [beat.status for _, beat in words.beats] == [status(), status(**change)], name


def test_what_was_not_stored_is_when_the_stream_ends_and_nothing_is_held_then() -> None:
    known, words, clock = presence()
    known.heard(ONE, status())
    known.heard(TWO, status())
    clock.ms += 5
    known.heard(ONE, status(audit_size=9))
    assert known.count() == 2
    known.left(ONE)
    known.left(ONE)  # a stream that never said anything leaves too
    known.left(TWO)
    assert known.count() == 0
    assert [(beat.outpost_id, beat.status["audit_size"]) for _, beat in words.beats] == [
        ("op-1", 7),
        ("op-2", 7),
        ("op-1", 9),
    ]
