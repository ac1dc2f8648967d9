"""The schema: every event, with the fields that the design names."""

import dataclasses
import json
from typing import Protocol

import pytest

from outpost.core.audit import canonical, record
from outpost.core.decision import Action, Decision, Direction, EntityCount, Features

HEAD = record.RecordHead(1_700_000_000_000, "acme", "op-0123456789abcdef")
ACTOR = record.Actor("key-1", ("staff", "finance"))
DECISION = Decision(Action.BLOCK, ("email",), "pack", "rule", 3, "No cards.", "policy.blocked", "", ("pack/rule",))
FEATURES = Features(
    Direction.INPUT, "u1", ("staff",), entities=(EntityCount("credit_card", 2, 95),), content_matches=("p1",)
)


class Event(Protocol):
    def to_bytes(self) -> bytes: ...


EVENTS: dict[str, Event] = {
    "request.decided": record.RequestDecided(
        HEAD, "r1", ACTOR, "/v1/chat/completions", "gpt-4o", "openai", True, DECISION, FEATURES, (1,), "3.9", 10, 8
    ),
    "request.finished": record.RequestFinished(
        HEAD, "r1", 200, record.Outcome.RELEASED, 200, DECISION, FEATURES, 5, 6, 70, 71, 72, 8
    ),
    "request.refused": record.RequestRefused(HEAD, "r1", ACTOR, "/v1/models", 400, "request.invalid", 3),
    "stream.finding": record.StreamFinding(HEAD, "r1", DECISION, FEATURES, 44),
    "outpost.started": record.OutpostStarted(HEAD, "0.1.0", "3.9", "ACTIVE", ("torn_tail",)),
    "outpost.enrolled": record.OutpostEnrolled(HEAD, "spiffe://t/org/acme/outpost/op-1", "0a", 1_700_000_100),
    "bundle.activated": record.BundleActivated(HEAD, "3.9", "3.8"),
    "bundle.refused": record.BundleRefused(HEAD, "3.7", "bundle.rollback", "older than the active one"),
    "state.changed": record.StateChanged(HEAD, "ACTIVE", "OFFLINE", "no contact"),
    "certificate.renewed": record.CertificateRenewed(HEAD, "0b", 1_700_000_200),
    "canary.failed": record.CanaryFailed(HEAD, "canary.passed", "the card was not blocked"),
}


@pytest.mark.parametrize(("name", "event"), EVENTS.items(), ids=EVENTS)
def test_each_event_is_a_canonical_record_with_its_head(name: str, event: Event) -> None:
    body = event.to_bytes()
    canonical.check_body(body)
    read = canonical.read(canonical.with_sequence(body, 5))
    assert (read.event, read.org, read.outpost, read.time_ms) == (
        name,
        HEAD.org,
        HEAD.outpost,
        HEAD.time_ms,
    )


@pytest.mark.parametrize(("name", "event"), EVENTS.items(), ids=EVENTS)
def test_no_field_of_an_event_is_lost(name: str, event: Event) -> None:
    names = {field.name for field in dataclasses.fields(event)} - {"head"}  # type: ignore[arg-type]
    assert set(json.loads(event.to_bytes())) == names | {"schema", "event", "time_ms", "org", "outpost"}


def test_decision_and_features_are_recorded_whole_so_that_a_decision_can_be_replayed() -> None:
    fields = json.loads(EVENTS["request.decided"].to_bytes())
    assert fields["features"] == json.loads(json.dumps(dataclasses.asdict(FEATURES)))
    assert fields["decision"] == json.loads(json.dumps(dataclasses.asdict(DECISION)))
    assert fields["actor"] == {"kind": "client", "key_id": "key-1", "groups": ["staff", "finance"]}


def test_an_answer_that_was_not_inspected_has_no_decision() -> None:
    fields = json.loads(record.RequestFinished(HEAD, "r1", 502, record.Outcome.PROVIDER_ERROR).to_bytes())
    assert "decision" not in fields
    assert "features" not in fields


def test_a_wrong_type_is_refused_and_not_written() -> None:
    with pytest.raises(canonical.RecordError):
        record.RequestFinished(HEAD, "r1", 200, record.Outcome.RELEASED, duration_ms=1.5).to_bytes()  # type: ignore[arg-type]
