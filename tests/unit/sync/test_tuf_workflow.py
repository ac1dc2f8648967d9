"""The client workflow on honest repositories: updates, key rotations, recovery, restart."""

from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.domain.releases import first_release
from outpost.core.bundle import limits, names
from outpost.core.bundle.release import HighWater, SignedSet, VerifiedSet
from outpost.core.bundle.rollout import RolloutDocument, build_rollout
from outpost.core.bundle.trust import next_high_water
from outpost.core.errors import BundleError
from outpost.sync.tuf import reverify, verify
from tests.unit.core.bundle.samples import (
    AUDIENCE,
    DAY_MS,
    NOTHING,
    NOW_MS,
    Forge,
    documents,
    forge,
    new_keys,
    path_of,
    release,
    repository,
    resources,
    rotated,
    sign,
    signed_part,
    update,
)

FORGE = forge()
VERSIONS = ("root", "timestamp", "snapshot", "targets", *names.DELEGATED_ROLES, "release")


def accept(signed: SignedSet, high_water: HighWater = NOTHING, now_ms: int = NOW_MS) -> VerifiedSet:
    return verify(FORGE.root, signed, high_water, now_ms, AUDIENCE)


def test_a_first_set_is_accepted_as_it_is() -> None:
    verified = accept(FORGE.signed)
    assert verified.signed == FORGE.signed
    assert verified.documents == FORGE.signed.targets
    assert verified.revision == "1.1"
    assert verified.release.version == 1
    assert verified.signed_at_ms == NOW_MS
    assert verified.timestamp_expires_ms == NOW_MS + DAY_MS
    assert dict(verified.versions) == dict.fromkeys(VERSIONS, 1)


def test_the_same_set_may_come_again() -> None:
    high_water = next_high_water(NOTHING, accept(FORGE.signed), NOW_MS)
    assert accept(FORGE.signed, high_water).revision == "1.1"


def test_an_update_is_accepted_and_its_predecessor_then_refused() -> None:
    updated = repository(FORGE.keys).publish(FORGE.signed, update(FORGE.signed, 2), NOW_MS + 1000)
    high_water = next_high_water(NOTHING, accept(FORGE.signed), NOW_MS)
    verified = accept(updated, high_water, NOW_MS + 1000)
    assert verified.revision == "2.2"
    assert verified.versions["access"] == 1
    with pytest.raises(BundleError) as refused:
        accept(FORGE.signed, next_high_water(high_water, verified, NOW_MS + 1000))
    assert refused.value.code == "bundle.rollback"


def test_rollback_is_judged_against_a_set_that_has_expired_since() -> None:
    updated = repository(FORGE.keys).publish(FORGE.signed, update(FORGE.signed, 2), NOW_MS)
    high_water = next_high_water(NOTHING, accept(updated), NOW_MS)
    old = repository(FORGE.keys).refresh(FORGE.signed, NOW_MS + 3 * DAY_MS)
    with pytest.raises(BundleError) as refused:
        accept(old, high_water, NOW_MS + 3 * DAY_MS)
    assert refused.value.code == "bundle.rollback"


def test_old_content_under_a_new_version_is_the_way_back() -> None:
    second = repository(FORGE.keys).publish(FORGE.signed, update(FORGE.signed, 2), NOW_MS)
    old_content = {names.PACKS: FORGE.signed.targets[path_of(FORGE.signed, names.PACKS)]}
    third = repository(FORGE.keys).publish(
        second,
        {
            **dict.fromkeys(path for path in second.targets if path.startswith("policy/")),
            **first_release(release(version=3), resources(version=3) | old_content),
            names.ROLLOUT_PATH: build_rollout(RolloutDocument(AUDIENCE.org, 3)),
        },
        NOW_MS,
    )
    verified = accept(third, next_high_water(NOTHING, accept(second), NOW_MS))
    assert verified.revision == "3.3"
    assert verified.chosen.packs == old_content[names.PACKS]


def test_a_restart_accepts_what_has_expired_and_leaves_freshness_to_the_state() -> None:
    high_water = next_high_water(NOTHING, accept(FORGE.signed), NOW_MS)
    later = HighWater(high_water.versions, NOW_MS + 400 * DAY_MS)
    assert reverify(FORGE.root, FORGE.signed, later, AUDIENCE).timestamp_expires_ms == NOW_MS + DAY_MS


def test_a_restart_refuses_what_had_expired_when_the_timestamp_was_signed() -> None:
    stale = FORGE.edited("snapshot", lambda p: p.update(expires="2026-09-01T00:00:00Z"))
    with pytest.raises(BundleError) as refused:
        reverify(FORGE.root, stale, NOTHING, AUDIENCE)
    assert refused.value.code == "bundle.expired"


EXPIRED_ROLES = ("root", "snapshot", "targets", *names.DELEGATED_ROLES)


@pytest.mark.parametrize("role", EXPIRED_ROLES)
def test_an_expired_role_is_refused(role: str) -> None:
    expired = FORGE.edited(role, lambda p: p.update(expires="2026-09-01T00:00:00Z"))
    root = expired.metadata["1.root.json"]
    with pytest.raises(BundleError) as refused:
        verify(root, expired, NOTHING, NOW_MS, AUDIENCE)
    assert refused.value.code == "bundle.expired"
    assert refused.value.field == role


def test_expiry_of_an_earlier_root_does_not_matter() -> None:
    expired = FORGE.edited("root", lambda p: p.update(expires="2026-09-01T00:00:00Z"))
    renewed = rotated(expired, FORGE.keys, FORGE.keys)
    assert verify(expired.metadata["1.root.json"], renewed, NOTHING, NOW_MS, AUDIENCE).versions["root"] == 2


def test_roots_older_than_the_enrolled_one_are_left_out() -> None:
    second = rotated(FORGE.signed, FORGE.keys, FORGE.keys)
    enrolled = second.metadata["2.root.json"]
    damaged = Forge(FORGE.keys, second).replaced("1.root.json", b"anything")
    verified = verify(enrolled, damaged, NOTHING, NOW_MS, AUDIENCE)
    assert "1.root.json" not in verified.signed.metadata
    assert verified.versions["root"] == 2


def test_a_chain_that_ends_before_the_root_seen_last_is_a_rollback() -> None:
    with pytest.raises(BundleError) as refused:
        accept(FORGE.signed, HighWater({"root": 2}, 0))
    assert refused.value.code == "bundle.rollback"


def hops(count: int) -> SignedSet:
    metadata = dict(FORGE.signed.metadata)
    part = signed_part(FORGE.root)
    for version in range(2, count + 2):
        metadata[f"{version}.root.json"] = sign(part | {"version": version}, FORGE.keys["root"])
    return SignedSet(metadata, FORGE.signed.targets)


def test_as_many_root_hops_as_allowed() -> None:
    assert accept(hops(limits.MAX_ROOT_HOPS)).versions["root"] == limits.MAX_ROOT_HOPS + 1


def test_one_root_hop_too_many() -> None:
    with pytest.raises(BundleError) as refused:
        accept(hops(limits.MAX_ROOT_HOPS + 1))
    assert refused.value.code == "bundle.oversized"


def driven_up(f: Forge, role: str, version: int = 99999) -> SignedSet:
    """What a thief of one role's key can do to the version of that role."""

    def change(part: dict[str, Any]) -> None:
        part["version"] = version

    def raise_entry(part: dict[str, Any]) -> None:
        part["meta"][f"{role}.json"]["version"] = version

    signed = f.edited(role, change)
    if role == "timestamp":
        return signed
    return Forge(f.keys, signed).edited("timestamp" if role == "snapshot" else "snapshot", raise_entry)


@dataclass(frozen=True)
class Recovery:
    driven_up: str
    replaced_keys: tuple[str, ...]
    accepted: bool


# Source: the fast-forward cases of python-tuf's tests/test_updater_top_level_update.py.
RECOVERIES = {
    "a timestamp driven up, its key replaced": Recovery("timestamp", ("timestamp",), True),
    "a timestamp driven up, another key replaced": Recovery("timestamp", ("snapshot",), False),
    "a snapshot driven up, both online keys replaced": Recovery("snapshot", ("timestamp", "snapshot"), True),
    "a snapshot driven up, only its own key replaced": Recovery("snapshot", ("snapshot",), False),
    "targets driven up, the snapshot key replaced": Recovery("targets", ("snapshot",), True),
    "targets driven up, only its own key replaced": Recovery("targets", ("targets",), False),
    "access driven up, the snapshot key replaced": Recovery("access", ("snapshot",), True),
    "access driven up, only its own key replaced": Recovery("access", ("access",), False),
}


@pytest.mark.parametrize("sentence", RECOVERIES)
def test_recovery_from_a_version_that_a_thief_drove_up(sentence: str) -> None:
    case = RECOVERIES[sentence]
    high_water = next_high_water(NOTHING, accept(driven_up(FORGE, case.driven_up)), NOW_MS)
    assert high_water.versions[case.driven_up] == 99999
    fresh = new_keys()
    keys = {role: fresh[role] if role in case.replaced_keys else mine for role, mine in FORGE.keys.items()}
    recovered = rotated(FORGE.signed, FORGE.keys, keys)
    if not case.accepted:
        with pytest.raises(BundleError) as refused:
            accept(recovered, high_water)
        assert refused.value.code == "bundle.rollback"
        return
    verified = accept(recovered, high_water)
    after = next_high_water(high_water, verified, NOW_MS)
    assert after.versions[case.driven_up] == verified.versions[case.driven_up] < 99999
    assert accept(recovered, after).versions["root"] == 2


def test_a_root_that_does_not_know_the_timestamp_key_any_more() -> None:
    fresh = new_keys()
    keys = FORGE.keys | {"timestamp": fresh["timestamp"]}
    renewed = rotated(FORGE.signed, FORGE.keys, keys)
    old = Forge(keys, renewed).replaced("timestamp.json", FORGE.signed.metadata["timestamp.json"])
    with pytest.raises(BundleError) as refused:
        accept(old)
    assert refused.value.code == "bundle.unknown_key"


def test_a_policy_role_that_needs_two_keys() -> None:
    keys = new_keys()
    keys["policy"] = [Ed25519PrivateKey.generate() for _ in range(2)]
    mine = Forge(keys, repository(keys).create(documents(), NOW_MS, {"policy": 2}))
    assert verify(mine.root, mine.signed, NOTHING, NOW_MS, AUDIENCE).versions["policy"] == 1
    with pytest.raises(BundleError) as refused:
        verify(mine.root, mine.edited("policy", lambda p: None, keys["policy"][:1]), NOTHING, NOW_MS, AUDIENCE)
    assert refused.value.code == "bundle.threshold"
