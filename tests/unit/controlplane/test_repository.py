import pytest

from certs.signer import KeySigner
from controlplane.domain.errors import ControlPlaneError
from controlplane.services.payloads import VALIDITY_MS
from controlplane.services.repository import LEAP, Repository
from outpost.core.bundle import limits, names
from outpost.core.bundle.release import SignedSet
from outpost.core.errors import BundleError
from outpost.sync.tuf import verify
from tests.unit.core.bundle.samples import (
    AUDIENCE,
    DAY_MS,
    NOTHING,
    NOW_MS,
    ORG,
    ROLES,
    documents,
    new_keys,
    repository,
    rotated,
    signed_part,
    update,
)

KEYS = new_keys()
REPOSITORY = repository(KEYS)
FIRST = REPOSITORY.create(documents(), NOW_MS)
ROOT = FIRST.metadata["1.root.json"]
SECOND = REPOSITORY.publish(FIRST, update(FIRST, 2), NOW_MS)
NEXT_KEYS = documents()[names.KEYS_PATH].replace(b'"requests_per_minute":60', b'"requests_per_minute":61')


def versions(signed: SignedSet, now_ms: int) -> dict[str, int]:
    return dict(verify(ROOT, signed, NOTHING, now_ms, AUDIENCE).versions)


def changed(before: SignedSet, after: SignedSet) -> set[str]:
    return {name for name in after.metadata if before.metadata.get(name) != after.metadata[name]}


def test_a_new_repository_is_whole() -> None:
    assert set(FIRST.metadata) == {"1.root.json", *names.CURRENT_METADATA}
    part = signed_part(ROOT)
    assert (len(part["roles"]["root"]["keyids"]), part["roles"]["root"]["threshold"]) == (3, 2)


def test_each_role_has_its_validity() -> None:
    assert REPOSITORY.expiries(FIRST) == {role: NOW_MS + VALIDITY_MS[role] for role in ROLES}
    days = {role: VALIDITY_MS[role] // DAY_MS for role in ("root", "targets", "policy", "snapshot", "timestamp")}
    assert days == {"root": 365, "targets": 90, "policy": 90, "snapshot": 7, "timestamp": 1}


def test_a_changed_key_list_needs_only_the_online_roles() -> None:
    second = REPOSITORY.publish(FIRST, {names.KEYS_PATH: NEXT_KEYS}, NOW_MS + 1)
    assert changed(FIRST, second) == {"access.json", "snapshot.json", "timestamp.json"}
    assert second.targets[names.KEYS_PATH] == NEXT_KEYS
    assert versions(second, NOW_MS + 1)["access"] == 2


def test_a_release_and_its_rollout_are_one_snapshot() -> None:
    second = REPOSITORY.publish(FIRST, update(FIRST, 2), NOW_MS + 1)
    assert changed(FIRST, second) == {"policy.json", "rollout.json", "snapshot.json", "timestamp.json"}
    assert versions(second, NOW_MS + 1)["snapshot"] == 2


def test_nothing_changed_is_only_a_fresh_timestamp() -> None:
    assert changed(FIRST, REPOSITORY.publish(FIRST, documents(), NOW_MS + 1)) == {"timestamp.json"}


REFRESHED = {
    "an hour later": (DAY_MS // 24, {"timestamp.json"}),
    "four days later": (4 * DAY_MS, {"timestamp.json", "snapshot.json"}),
    "fifty days later": (50 * DAY_MS, set(names.CURRENT_METADATA)),
}


@pytest.mark.parametrize("sentence", REFRESHED)
def test_refresh_signs_what_has_aged(sentence: str) -> None:
    later, expected = REFRESHED[sentence]
    second = REPOSITORY.refresh(FIRST, NOW_MS + later)
    assert changed(FIRST, second) == expected
    assert versions(second, NOW_MS + later)["timestamp"] == 2


def test_a_file_can_be_added_and_taken_away() -> None:
    more = REPOSITORY.publish(FIRST, {"vendor/geo.bin": b"\x00\x01"}, NOW_MS)
    assert verify(ROOT, more, NOTHING, NOW_MS, AUDIENCE).documents["vendor/geo.bin"] == b"\x00\x01"
    less = REPOSITORY.publish(more, {"vendor/geo.bin": None}, NOW_MS)
    assert set(verify(ROOT, less, NOTHING, NOW_MS, AUDIENCE).documents) == set(documents())


def test_rotation_replaces_every_key() -> None:
    fresh = new_keys()
    second = rotated(FIRST, KEYS, fresh)
    assert versions(second, NOW_MS) == dict.fromkeys(ROLES, 2) | {"release": 1}
    third = repository(fresh).publish(second, {names.KEYS_PATH: NEXT_KEYS}, NOW_MS)
    assert versions(third, NOW_MS)["access"] == 3
    with pytest.raises(ControlPlaneError) as refused:
        REPOSITORY.publish(second, {names.KEYS_PATH: NEXT_KEYS}, NOW_MS)
    assert refused.value.code == "repository.signer_missing"


@pytest.mark.parametrize("role", ROLES)
def test_every_role_can_be_rotated_alone(role: str) -> None:
    fresh = KEYS | {role: new_keys()[role]}
    second = rotated(FIRST, KEYS, fresh)
    assert versions(second, NOW_MS)[role] == 2
    third = repository(fresh).publish(second, {names.KEYS_PATH: NEXT_KEYS}, NOW_MS)
    assert versions(third, NOW_MS)["access"] >= 2


def test_a_leap_passes_whatever_was_seen() -> None:
    far = REPOSITORY.leap(FIRST, update(FIRST, 1 + LEAP), LEAP, NOW_MS)
    assert versions(far, NOW_MS) == dict.fromkeys(ROLES, 1 + LEAP) | {"root": 1, "release": 1 + LEAP}
    assert versions(REPOSITORY.refresh(far, NOW_MS + 1), NOW_MS + 1)["timestamp"] == 2 + LEAP


def test_a_timestamp_for_an_air_gap_lasts_longer() -> None:
    signed = REPOSITORY.refresh(FIRST, NOW_MS, validity_ms=31 * DAY_MS)
    assert REPOSITORY.expiries(signed)["timestamp"] == NOW_MS + 31 * DAY_MS
    assert versions(signed, NOW_MS)["timestamp"] == 2


REFUSED = {
    "documents for another org": (lambda: REPOSITORY.create(documents("rival"), NOW_MS), "publish.document"),
    "a document missing": (
        lambda: REPOSITORY.publish(FIRST, {names.KEYS_PATH: None}, NOW_MS),
        "publish.document",
    ),
    "a document that is not canonical": (
        lambda: REPOSITORY.publish(FIRST, {names.KEYS_PATH: NEXT_KEYS + b"\n"}, NOW_MS),
        "publish.document",
    ),
    "a path outside the prefixes": (
        lambda: REPOSITORY.publish(FIRST, {"policy/../x": b""}, NOW_MS),
        "publish.document",
    ),
    "a file that is too large": (
        lambda: REPOSITORY.publish(FIRST, {"vendor/x": bytes(limits.MAX_TARGET_BYTES + 1)}, NOW_MS),
        "publish.document",
    ),
    "too many files": (
        lambda: REPOSITORY.publish(FIRST, {f"vendor/{n}": b"" for n in range(200)}, NOW_MS),
        "publish.document",
    ),
    "a roll-out of a release that is not signed": (
        lambda: REPOSITORY.publish(FIRST, {names.ROLLOUT_PATH: documents(version=2)[names.ROLLOUT_PATH]}, NOW_MS),
        "loosening.rollout_release",
    ),
    "a changed policy under the same version": (
        lambda: REPOSITORY.publish(FIRST, update(FIRST, 1, max_body_bytes=7), NOW_MS),
        "publish.release_version",
    ),
    "an older release": (
        lambda: REPOSITORY.publish(SECOND, update(SECOND, 1), NOW_MS),
        "loosening.release_floor",
    ),
    "other keys than the repository's": (
        lambda: repository(new_keys()).refresh(FIRST, NOW_MS),
        "repository.signer_missing",
    ),
    "a rotation without the old root": (
        lambda: rotated(FIRST, new_keys(), new_keys()),
        "bundle.threshold",
    ),
    "a role without a signer": (lambda: Repository(ORG, {}).create(documents(), NOW_MS), "repository.signer_missing"),
    "a root with one key": (
        lambda: repository(KEYS | {"root": KEYS["root"][:1]}).create(documents(), NOW_MS),
        "repository.signer_missing",
    ),
    "stored metadata that is cut": (
        lambda: REPOSITORY.refresh(
            SignedSet({**FIRST.metadata, "policy.json": FIRST.metadata["policy.json"][:50]}, FIRST.targets), NOW_MS
        ),
        "repository.corrupt",
    ),
    "stored metadata that is gone": (
        lambda: REPOSITORY.refresh(SignedSet({"1.root.json": ROOT}, FIRST.targets), NOW_MS),
        "repository.corrupt",
    ),
    "a stored release that is gone": (
        lambda: REPOSITORY.publish(SignedSet(FIRST.metadata, {}), update(FIRST, 2), NOW_MS),
        "repository.corrupt",
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_refused_before_anything_is_signed(sentence: str) -> None:
    act, code = REFUSED[sentence]
    with pytest.raises((ControlPlaneError, BundleError)) as refused:
        act()
    assert refused.value.code == code
    assert refused.value.field


def test_a_signer_that_signs_wrongly_is_found_out() -> None:
    class Liar(KeySigner):
        def sign(self, message: bytes) -> bytes:
            return super().sign(message + b"!")

    signers = {role: [KeySigner(key) for key in mine] for role, mine in KEYS.items()}
    signers["root"][2] = Liar(KEYS["root"][2])
    with pytest.raises(ControlPlaneError) as refused:
        Repository(ORG, signers).create(documents(), NOW_MS)
    assert refused.value.code == "repository.signer_mismatch"
