"""Lock orders and extensions: signed by the keys of a role, for one org, and not for ever."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from outpost.core.bundle import limits
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.extension import Extension, read_extension, verify_extension
from outpost.core.bundle.lock import Addressee, LockOrder, build_lock, verify_lock
from outpost.core.errors import BundleError
from tests.unit.core.bundle.samples import DAY_MS, NOW_MS, ORG, key_id, role_keys

KEYS = [Ed25519PrivateKey.generate() for _ in range(3)]
STRANGER = Ed25519PrivateKey.generate()
AUTHORITY = role_keys(KEYS, 2)
OUTPOST = "op-0123456789abcdef"
ME = Addressee(ORG, OUTPOST, 4)
ORDER = LockOrder(ORG, OUTPOST, 4, NOW_MS, "operator.lock")
EXTENSION = Extension(ORG, NOW_MS + 7 * DAY_MS, NOW_MS)

Signatures = dict[str, bytes]


def signed(payload: bytes, *keys: Ed25519PrivateKey) -> Signatures:
    return {key_id(key): key.sign(payload) for key in keys}


def changed(data: bytes, **fields: Any) -> bytes:
    return encode({name: value for name, value in (decode(data, "x") | fields).items() if value is not ...})


def locked(data: bytes, signatures: Signatures | None = None, me: Addressee = ME) -> LockOrder:
    return verify_lock(data, signed(data, *KEYS[:2]) if signatures is None else signatures, AUTHORITY, me)


def test_an_order_of_enough_keys_is_obeyed() -> None:
    assert locked(build_lock(ORDER)) == ORDER
    later = build_lock(replace(ORDER, join_sequence=9))
    assert locked(later).join_sequence == 9


DATA = build_lock(ORDER)
LOCKS: dict[str, tuple[Callable[[], object], str]] = {
    "unsigned": (lambda: locked(DATA, {}), "bundle.unsigned"),
    "signed by one of two": (lambda: locked(DATA, signed(DATA, KEYS[0])), "bundle.threshold"),
    "signed by a stranger": (lambda: locked(DATA, signed(DATA, STRANGER)), "bundle.unknown_key"),
    "signed by enough and a stranger": (lambda: locked(DATA, signed(DATA, *KEYS, STRANGER)), "bundle.unknown_key"),
    "a signature over another order": (
        lambda: locked(DATA, signed(build_lock(replace(ORDER, reason="other")), *KEYS)),
        "bundle.signature",
    ),
    "a signature of no bytes": (lambda: locked(DATA, dict.fromkeys(AUTHORITY.keys, b"")), "bundle.signature"),
    "more signatures than allowed": (lambda: locked(DATA, {f"{n:064x}": b"" for n in range(17)}), "bundle.oversized"),
    "for another org": (lambda: locked(build_lock(replace(ORDER, org="globex"))), "bundle.other_org"),
    "for another outpost": (
        lambda: locked(build_lock(replace(ORDER, outpost="op-ffffffffffffffff"))),
        "lock.other_outpost",
    ),
    "for an identity of before": (lambda: locked(build_lock(replace(ORDER, join_sequence=3))), "lock.sequence"),
    "of another schema": (lambda: locked(changed(DATA, schema="outpost.extension/1")), "lock.malformed"),
    "with a field more": (lambda: locked(changed(DATA, wipe_log=True)), "lock.malformed"),
    "with a field less": (lambda: locked(changed(DATA, reason=...)), "lock.malformed"),
    "a reason of other form": (lambda: locked(changed(DATA, reason="Because!")), "lock.malformed"),
    "not canonical": (lambda: locked(DATA + b"\n"), "lock.malformed"),
    "no JSON": (lambda: locked(b"lock it"), "lock.malformed"),
    "too long": (lambda: locked(b" " * (limits.MAX_LOCK_BYTES + 1)), "lock.malformed"),
}


@pytest.mark.parametrize("sentence", LOCKS)
def test_a_lock_order_that_is_not_obeyed(sentence: str) -> None:
    act, code = LOCKS[sentence]
    with pytest.raises(BundleError) as refused:
        act()
    assert refused.value.code == code


def test_an_order_out_of_form_is_not_built() -> None:
    with pytest.raises(BundleError):
        build_lock(replace(ORDER, outpost="prod-eu"))


def file_of(extension: Extension, *keys: Ed25519PrivateKey) -> bytes:
    return replace(extension, signatures=signed(extension.payload, *(keys or KEYS[:2]))).to_bytes()


@dataclass(frozen=True)
class Extending:
    """A file at a moment."""

    data: Callable[[], bytes]
    code: str
    now_ms: int = NOW_MS


def with_signed(**fields: Any) -> bytes:
    body = decode(file_of(EXTENSION), "x")
    part = body["signed"]
    assert isinstance(part, dict)
    return encode({**body, "signed": {**part, **fields}})


FAR = replace(EXTENSION, issued_ms=NOW_MS + 365 * DAY_MS, until_ms=NOW_MS + 380 * DAY_MS)
EXTENSIONS = {
    "unsigned": Extending(EXTENSION.to_bytes, "bundle.unsigned"),
    "signed by one of two": Extending(lambda: file_of(EXTENSION, KEYS[0]), "bundle.threshold"),
    "signed by a stranger": Extending(lambda: file_of(EXTENSION, KEYS[0], STRANGER), "bundle.unknown_key"),
    "a later end under the old signature": Extending(
        lambda: with_signed(until_ms=EXTENSION.until_ms + 1), "bundle.signature"
    ),
    "for another org": Extending(lambda: file_of(replace(EXTENSION, org="globex")), "bundle.other_org"),
    "longer than one may reach": Extending(
        lambda: file_of(replace(EXTENSION, until_ms=NOW_MS + limits.MAX_EXTENSION_MS + 1)), "extension.bound"
    ),
    "issued for a time that has not come": Extending(lambda: file_of(FAR), "extension.bound"),
    "ending before it begins": Extending(lambda: file_of(replace(EXTENSION, until_ms=NOW_MS)), "extension.bound"),
    "its time is over": Extending(lambda: file_of(EXTENSION), "extension.over", NOW_MS + 7 * DAY_MS),
    "of another schema": Extending(lambda: with_signed(schema="outpost.lock/1"), "extension.malformed"),
    "with a field more": Extending(lambda: with_signed(loosen=True), "extension.malformed"),
    "a key of no id": Extending(
        lambda: encode(decode(file_of(EXTENSION), "x") | {"signatures": {"me": "00" * 64}}), "extension.malformed"
    ),
    "not canonical": Extending(lambda: file_of(EXTENSION) + b" ", "extension.malformed"),
    "no JSON": Extending(lambda: b"go on", "extension.malformed"),
    "too long": Extending(lambda: b" " * (limits.MAX_EXTENSION_BYTES + 1), "extension.malformed"),
}


@pytest.mark.parametrize("sentence", EXTENSIONS)
def test_an_extension_that_extends_nothing(sentence: str) -> None:
    case = EXTENSIONS[sentence]
    with pytest.raises(BundleError) as refused:
        verify_extension(case.data(), AUTHORITY, ORG, case.now_ms)
    assert refused.value.code == case.code


def test_an_extension_of_enough_keys_counts() -> None:
    data = file_of(EXTENSION)
    found = verify_extension(data, AUTHORITY, ORG, NOW_MS)
    assert (found.until_ms, found.to_bytes()) == (EXTENSION.until_ms, data)
    longest = replace(EXTENSION, until_ms=NOW_MS + limits.MAX_EXTENSION_MS)
    assert verify_extension(file_of(longest), AUTHORITY, ORG, NOW_MS).until_ms == longest.until_ms
    assert read_extension(data).signatures.keys() == {key_id(key) for key in KEYS[:2]}


def test_neither_is_ever_metadata() -> None:
    """One key signs files of several kinds; what it signed as one can never be read as another."""
    for payload in (DATA, EXTENSION.payload):
        assert "_type" not in decode(payload, "x")
        assert str(decode(payload, "x")["schema"]).startswith("outpost.")
