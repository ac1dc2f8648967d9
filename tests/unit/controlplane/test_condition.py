"""What operators are told of an outpost, and whom ``--wait`` waits for."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.cli.client import Api
from controlplane.cli.outposts import member_row
from controlplane.cli.output import lines_of
from controlplane.cli.waiting import CONNECTED_MS, ENROLLED_MS, lack, wait_active
from controlplane.domain.condition import SILENT_MS, Condition, condition, silent_after_ms
from controlplane.domain.outposts import Outpost, OutpostState
from controlplane.domain.records import Delivery, DeliveryState, Heartbeat
from controlplane.web.api.operations.outposts import OutpostRow, facts, member
from tests.unit.controlplane.bed import START_MS, Bed, bed

NOW = START_MS
ACTIVE = Outpost("op-1", "prod", OutpostState.ACTIVE, NOW - 9_000_000, NOW - 8_000_000, last_seen_ms=NOW - 1000)
WELL: dict[str, object] = {"state": "ACTIVE", "active_revision": "2.4", "health": {"sync": "ok", "canary": "ok"}}
ANSWERED = Delivery("op-1", 5, "2.4", DeliveryState.ACTIVE, NOW - 5000)
REFUSED = replace(ANSWERED, number=6, revision="3.5", state=DeliveryState.REFUSED, code="bundle.expired")
OFFERED = replace(ANSWERED, number=6, revision="3.5", state=DeliveryState.OFFERED)

# outpost, heartbeat, newest answer -> state, active revision, what needs attention
CASES: dict[str, tuple[Outpost, dict[str, object], Delivery | None, tuple[str, str, tuple[str, ...]]]] = {
    "all is well": (ACTIVE, WELL, ANSWERED, ("ACTIVE", "2.4", ())),
    "a set that is only offered does not run": (ACTIVE, WELL, OFFERED, ("ACTIVE", "2.4", ())),
    "an activation after the heartbeat": (
        ACTIVE,
        WELL,
        replace(ANSWERED, revision="3.5", at_ms=NOW),
        ("ACTIVE", "3.5", ()),
    ),
    "sealed, with its cause": (
        ACTIVE,
        WELL | {"state": "SEALED", "health": {"sync": "ok", "canary": "canary.not_stopped"}},
        ANSWERED,
        ("SEALED", "2.4", ("is SEALED", "canary failed: canary.not_stopped")),
    ),
    "a refused set": (ACTIVE, WELL, REFUSED, ("ACTIVE", "2.4", ("refused configuration 3.5: bundle.expired",))),
    "silent": (
        replace(ACTIVE, last_seen_ms=NOW - SILENT_MS - 1),
        WELL,
        ANSWERED,
        ("ACTIVE", "2.4", ("not seen for 30 s",)),
    ),
    "as old as it may be": (replace(ACTIVE, last_seen_ms=NOW - SILENT_MS), WELL, None, ("ACTIVE", "2.4", ())),
    "never seen": (replace(ACTIVE, last_seen_ms=0), {}, None, ("ENROLLED", "", ("never seen",))),
    "enrolled by files": (
        replace(ACTIVE, last_seen_ms=0, boot_source="courier"),
        {},
        None,
        ("COURIER", "", ()),
    ),
    "enrolled by files, and a network leads to it now": (
        replace(ACTIVE, last_seen_ms=NOW - SILENT_MS - 1, boot_source="courier"),
        WELL,
        ANSWERED,
        ("ACTIVE", "2.4", ("not seen for 30 s",)),
    ),
    "enrolled a moment ago": (
        replace(ACTIVE, last_seen_ms=0, activated_ms=NOW - SILENT_MS),
        {},
        None,
        ("ENROLLED", "", ()),
    ),
    "registered only": (
        Outpost("op-1", "prod", OutpostState.PENDING, NOW - 9_000_000),
        {},
        None,
        ("pending", "", ()),
    ),
    "revoked": (replace(ACTIVE, state=OutpostState.REVOKED), WELL, ANSWERED, ("revoked", "", ())),
    "locked, for two machines hold it": (
        replace(ACTIVE, state=OutpostState.LOCKED, alert="identity.copied_start", alert_sources=("192.0.2.1", "::1")),
        WELL,
        ANSWERED,
        ("locked", "", ("alert identity.copied_start, from 192.0.2.1 and ::1",)),
    ),
    "locked by an order that nobody confirmed": (
        replace(ACTIVE, state=OutpostState.LOCKED, lock_order="{}"),
        WELL,
        ANSWERED,
        ("locked", "", ("the order to wipe is not confirmed yet",)),
    ),
    "locked by an order that is obeyed": (
        replace(ACTIVE, state=OutpostState.LOCKED, lock_order="{}", lock_confirmed_ms=1),
        WELL,
        ANSWERED,
        ("locked", "", ()),
    ),
    "two machines": (
        replace(ACTIVE, alert="identity.superseded"),
        WELL,
        None,
        ("ACTIVE", "2.4", ("alert identity.superseded",)),
    ),
}


def row(found: Condition) -> dict[str, Any]:
    """As the API lists it."""
    return OutpostRow(**(facts(found.outpost) | member(found))).model_dump(mode="json")


@pytest.mark.parametrize("name", CASES)
def test_what_is_told_of_an_outpost(name: str) -> None:
    outpost, status, word, expected = CASES[name]
    found = condition(outpost, status, word, NOW)
    assert (found.state, found.revision, found.attention) == expected
    shown = row(found)
    assert (shown["reported_state"], shown["active_revision"], tuple(shown["attention"])) == expected
    assert all(member_row(shown))


def test_heartbeats_that_are_stored_rarely_are_not_silence() -> None:
    assert (silent_after_ms(5000), silent_after_ms(30_000)) == (SILENT_MS, 70_000)


LACKS: dict[str, tuple[Condition, str]] = {
    "in force": (condition(ACTIVE, WELL, ANSWERED, NOW), ""),
    "a newer one in force": (condition(ACTIVE, WELL, replace(ANSWERED, number=9), NOW), ""),
    "no word": (condition(ACTIVE, WELL, None, NOW), "has not answered"),
    "an older set": (condition(ACTIVE, WELL, replace(ANSWERED, number=4), NOW), "has not answered"),
    "offered": (condition(ACTIVE, WELL, OFFERED, NOW), "has not answered"),
    "refused": (condition(ACTIVE, WELL, REFUSED, NOW), "refused, bundle.expired"),
    "sealed by it": (
        condition(ACTIVE, {"state": "SEALED", "health": {"canary": "canary.not_stopped"}}, ANSWERED, NOW),
        "is SEALED, canary canary.not_stopped",
    ),
}


@pytest.mark.parametrize("name", LACKS)
def test_what_an_outpost_lacks_of_a_set(name: str) -> None:
    found, expected = LACKS[name]
    assert lack(row(found), 5) == expected


async def heard(plane: Bed, outpost_id: str, status: dict[str, object]) -> None:
    async with plane.store.for_org("acme").write() as transaction:
        await transaction.outposts.keep_statuses([Heartbeat(outpost_id, status, plane.clock.ms)])
        await transaction.releases.keep_deliveries(
            [replace(ANSWERED, outpost_id=outpost_id, number=1, at_ms=plane.clock.ms)]
        )


async def test_only_connected_outposts_are_waited_for(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        ids = {name: (await plane.enrolled(name=name)).outpost.id for name in ("here", "gone", "never")}
        await heard(plane, ids["gone"], WELL)
        plane.clock.ms += max(ENROLLED_MS, CONNECTED_MS) + 1
        await heard(plane, ids["here"], WELL)

        async def call(name: str, params: object, body: object = None) -> SimpleNamespace:
            rows = [row(each) for each in await plane.administration.outposts("acme")]
            document = {"outposts": rows, "now_ms": plane.clock.ms, "next_cursor": ""}
            return SimpleNamespace(status=200, document=document)

        waited = await wait_active(Api(SimpleNamespace(call=call)), "acme", 1)  # type: ignore[arg-type]
        assert (waited.missing, sorted(waited.absent)) == ((), ["gone", "never"])
        states = {each.outpost.name: each.attention for each in await plane.administration.outposts("acme")}
        assert states == {"here": (), "gone": ("not seen for 5 min",), "never": ("never seen",)}


def test_facts_for_people_have_no_braces_and_utc_times() -> None:
    facts = {
        "reason": "",
        "created_ms": START_MS,
        "revoked_ms": 0,
        "status": {"clock_ms": START_MS, "health": {"sync": "ok"}, "tiers": [0, 1]},
        "delivery": None,
        "certificates": [{"serial": "1f", "issued_s": START_MS // 1000}],
    }
    assert lines_of(facts) == [
        ("reason", "-"),
        ("created", "2026-11-18 11:06:40 UTC"),
        ("revoked", "-"),
        ("status.clock", "2026-11-18 11:06:40 UTC"),
        ("status.health.sync", "ok"),
        ("status.tiers", "0 1"),
        ("delivery", "-"),
        ("certificates.1.serial", "1f"),
        ("certificates.1.issued", "2026-11-18 11:06:40 UTC"),
    ]
