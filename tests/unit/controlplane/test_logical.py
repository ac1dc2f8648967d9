"""Replicas of one logical outpost, as one."""

from dataclasses import replace

import pytest

from controlplane.domain.condition import Condition
from controlplane.domain.errors import NotFoundError
from controlplane.domain.logical import named, rolled_up
from controlplane.domain.outposts import Outpost, OutpostState

ACTIVE = OutpostState.ACTIVE


def replica(
    name: str, state: str = "ACTIVE", revision: str = "2.4", *, logical: str = "plant", attention: tuple[str, ...] = ()
) -> Condition:
    stored = OutpostState(state) if state in {each.value for each in OutpostState} else ACTIVE
    outpost = Outpost(f"op-{name}", name, stored, 1, last_seen_ms=len(name), logical=logical)
    return Condition(outpost, None, state, revision, {}, attention)


SILENT = replica("b", attention=("not seen for 5 min",))
SEALED = replica("b", "SEALED", attention=("is SEALED",))
GONE = replica("c", "revoked", "")

# replicas -> state, serving, well, revisions, attention
VIEWS: dict[str, tuple[tuple[Condition, ...], tuple[str, int, int, tuple[str, ...], tuple[str, ...]]]] = {
    "all are well": ((replica("a"), replica("b")), ("ACTIVE", 2, 2, ("2.4",), ())),
    "files travel to one": ((replica("a"), replica("b", "COURIER", "")), ("ACTIVE", 2, 2, ("2.4",), ())),
    "one is silent": ((replica("a"), SILENT), ("DEGRADED", 2, 1, ("2.4",), ("b: not seen for 5 min",))),
    "one is sealed": ((replica("a"), SEALED), ("DEGRADED", 2, 1, ("2.4",), ("b: is SEALED",))),
    "none is well": ((SEALED,), ("DOWN", 1, 0, ("2.4",), ("is SEALED",))),
    "a revoked one is not missed": ((replica("a"), GONE), ("ACTIVE", 1, 1, ("2.4",), ())),
    "all are revoked": ((GONE, replica("d", "revoked", "")), ("revoked", 0, 0, (), ())),
    "registered only": ((replica("a", "pending", ""), GONE), ("pending", 0, 0, (), ())),
    "a locked one is missed": ((replica("a"), replica("b", "locked", "")), ("DEGRADED", 2, 1, ("2.4",), ())),
    "one is left behind": (
        (replica("a"), replica("b", revision="1.9")),
        ("ACTIVE", 2, 2, ("1.9", "2.4"), ("its replicas run 1.9 and 2.4",)),
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_replicas_are_together(name: str) -> None:
    replicas, (state, serving, well, revisions, attention) = VIEWS[name]
    (one,) = rolled_up(replicas)
    assert (one.state, len(one.serving), one.well) == (state, serving, well)
    assert (one.revisions, one.attention) == (revisions, attention)


def test_whoever_stands_alone_is_one_of_its_own_name() -> None:
    alone = replica("alone", logical="")
    found = rolled_up([replica("a"), alone, replica("bbb")])
    assert [(each.name, len(each.replicas)) for each in found] == [("plant", 2), ("alone", 1)]
    assert found[0].last_seen_ms == 3
    joined = replace(alone, outpost=replace(alone.outpost, name="plant"))
    assert len(named([replica("a"), joined], "plant").replicas) == 2


def test_another_name_is_not_there() -> None:
    with pytest.raises(NotFoundError) as caught:
        named([replica("a")], "a")
    assert caught.value.code == "logical.unknown"
