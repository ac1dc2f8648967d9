"""Keys that change: sequences of roots, and roles whose keys a new root names."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import SSlibKey

from outpost.core.bundle import names
from outpost.core.bundle.release import SignedSet
from outpost.core.errors import BundleError
from outpost.sync.tuf import verify
from tests.unit.core.bundle.samples import (
    AUDIENCE,
    NOTHING,
    NOW_MS,
    Forge,
    forge,
    key_id,
    sign,
    signed_part,
)

FORGE = forge()
TEN = [Ed25519PrivateKey.generate() for _ in range(10)]


@dataclass(frozen=True)
class Step:
    """One file: which of ten keys its role has, how many must sign, which do sign."""

    keys: str
    threshold: int
    signers: str
    code: str = ""


# Source: the sequences of python-tuf's tests/test_updater_key_rotations.py, and some more.
ROOTS: dict[str, list[Step]] = {
    "1 of 1 stays": [Step("0", 1, "0"), Step("0", 1, "0"), Step("0", 1, "0")],
    "1 of 1 is replaced": [Step("0", 1, "0"), Step("1", 1, "01"), Step("1", 1, "1")],
    "1 of 1 is replaced twice": [Step("0", 1, "0"), Step("1", 1, "01"), Step("2", 1, "12")],
    "1 of 1, unsigned": [Step("0", 1, "0"), Step("0", 1, "", "bundle.unsigned")],
    "1 of 1 replaced without the new key": [Step("0", 1, "0"), Step("1", 1, "0", "bundle.threshold")],
    "1 of 1 replaced without the old key": [Step("0", 1, "0"), Step("1", 1, "1", "bundle.threshold")],
    "1 of 1 replaced by the new key and strangers": [Step("0", 1, "0"), Step("1", 1, "123", "bundle.unknown_key")],
    "1 of 1 replaced by the old key and strangers": [Step("0", 1, "0"), Step("1", 1, "023", "bundle.unknown_key")],
    "1 of 1 replaced, strangers sign along": [Step("0", 1, "0"), Step("1", 1, "2013", "bundle.unknown_key")],
    "a key of the root before last signs along": [
        Step("0", 1, "0"),
        Step("1", 1, "01"),
        Step("2", 1, "012", "bundle.unknown_key"),
    ],
    "the root between is not signed": [Step("0", 1, "0"), Step("0", 1, ""), Step("0", 1, "0", "bundle.unsigned")],
    "3 of 5, others sign each time": [
        Step("01234", 3, "024"),
        Step("01234", 3, "041"),
        Step("01234", 3, "013"),
        Step("01234", 3, "013"),
    ],
    "3 of 5, one key is replaced": [Step("01234", 3, "024"), Step("01345", 3, "041")],
    "3 of 5, only two new": [Step("01234", 3, "024"), Step("01345", 3, "024", "bundle.threshold")],
    "3 of 5, only two old": [Step("01234", 3, "024"), Step("01345", 3, "045", "bundle.threshold")],
    "3 of 5, one key is replaced with a step between": [
        Step("01234", 3, "024"),
        Step("01345", 3, "0245"),
        Step("01345", 3, "045"),
    ],
    "3 of 5, all keys are replaced with a step between": [
        Step("01234", 3, "024"),
        Step("56789", 3, "024567"),
        Step("56789", 3, "567"),
    ],
    "3 of 5, all keys are replaced and only the new ones sign": [
        Step("01234", 3, "024"),
        Step("56789", 3, "56789", "bundle.threshold"),
    ],
    "3 of 5, keys in another order": [Step("01234", 3, "024"), Step("20143", 3, "340")],
    "the threshold rises from 1 to 2 of 3": [Step("123", 1, "1"), Step("123", 2, "12")],
    "the threshold rises from 1 to 2 of 3, one signs": [Step("123", 1, "1"), Step("123", 2, "2", "bundle.threshold")],
    "the threshold falls from 2 to 1 of 3": [Step("123", 2, "12"), Step("123", 1, "12"), Step("123", 1, "1")],
    "the threshold falls from 2 to 1 of 3, one signs": [Step("123", 2, "12"), Step("123", 1, "1", "bundle.threshold")],
    "one key becomes 2 of 2": [Step("1", 1, "1"), Step("12", 2, "12")],
    "one key becomes 2 of 2, the new one does not sign": [
        Step("1", 1, "1"),
        Step("12", 2, "1", "bundle.threshold"),
    ],
    "the first root lacks a signature": [Step("0123", 3, "01", "bundle.threshold")],
}


def chosen(numbers: str) -> list[Ed25519PrivateKey]:
    return [TEN[int(n)] for n in numbers]


def root_of(role: str, step: Step, version: int, signers: Sequence[Ed25519PrivateKey]) -> bytes:
    """A root that names the keys of a step for a role."""
    part = signed_part(FORGE.root) | {"version": version}
    part["keys"] |= {key_id(k): SSlibKey.from_crypto(k.public_key()).to_dict() for k in chosen(step.keys)}
    part["roles"][role] = {"keyids": [key_id(k) for k in chosen(step.keys)], "threshold": step.threshold}
    return sign(part, signers)


@pytest.mark.parametrize("sentence", ROOTS)
def test_a_sequence_of_roots(sentence: str) -> None:
    steps = ROOTS[sentence]
    roots = {f"{n}.root.json": root_of("root", step, n, chosen(step.signers)) for n, step in enumerate(steps, 1)}
    offered = SignedSet({**FORGE.signed.metadata, **roots}, FORGE.signed.targets)
    code = steps[-1].code
    if code:
        with pytest.raises(BundleError) as refused:
            verify(roots["1.root.json"], offered, NOTHING, NOW_MS, AUDIENCE)
        assert refused.value.code == code
    else:
        assert verify(roots["1.root.json"], offered, NOTHING, NOW_MS, AUDIENCE).versions["root"] == len(steps)


# Source: as above, the sequences of roles other than root.
ROLES: dict[str, Step] = {
    "1 of 1 is replaced": Step("2", 1, "2"),
    "1 of 1, strangers sign along": Step("1", 1, "314", "bundle.unknown_key"),
    "1 of 1 is replaced without the new key": Step("2", 1, "134", "bundle.unknown_key"),
    "3 of 5, one signature is of another key": Step("01345", 3, "024", "bundle.unknown_key"),
    "3 of 5, one signature is missing": Step("01345", 3, "04", "bundle.threshold"),
    "3 of 5, the first combination": Step("01234", 3, "024"),
    "3 of 5, the second combination": Step("01234", 3, "041"),
    "3 of 5, the third combination": Step("01234", 3, "013"),
    "3 of 5, the fourth combination": Step("01234", 3, "123"),
    "3 of 5, the fifth combination": Step("01234", 3, "234"),
}


@pytest.mark.parametrize("role", [names.TIMESTAMP, names.SNAPSHOT, names.TARGETS])
@pytest.mark.parametrize("sentence", ROLES)
def test_a_root_gives_a_role_other_keys(sentence: str, role: str) -> None:
    step = ROLES[sentence]
    second = root_of(role, step, 2, FORGE.keys["root"])
    mine = Forge(FORGE.keys, FORGE.edited(role, lambda part: None, chosen(step.signers)))
    offered = mine.replaced("2.root.json", second)
    if step.code:
        with pytest.raises(BundleError) as refused:
            verify(FORGE.root, offered, NOTHING, NOW_MS, AUDIENCE)
        assert refused.value.code == step.code
        assert refused.value.field == f"{role}.json"
    else:
        assert verify(FORGE.root, offered, NOTHING, NOW_MS, AUDIENCE).versions["root"] == 2
