from collections.abc import Callable
from typing import Any

import pytest

from outpost.core.bundle import limits, names
from outpost.core.bundle.access import AccessDocument, build_access, parse_access
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.content import read_documents
from outpost.core.bundle.documents import (
    DetectorsDocument,
    RolloutDocument,
    RoutesDocument,
    build_detectors,
    build_rollout,
    build_routes,
    parse_detectors,
    parse_release,
    parse_rollout,
    parse_routes,
)
from outpost.core.errors import BundleError
from tests.unit.core.bundle.samples import ORG, PROVIDER, client_key, documents

PARSERS: dict[str, Callable[[bytes, str], object]] = {
    names.RELEASE_PATH: parse_release,
    names.ROUTES_PATH: parse_routes,
    names.DETECTORS_PATH: parse_detectors,
    names.KEYS_PATH: parse_access,
    names.ROLLOUT_PATH: parse_rollout,
}
GOOD = documents()


def altered(path: str, pointer: str, value: object) -> bytes:
    """The good document with one value exchanged; the value ... takes the field away."""
    document: Any = decode(GOOD[path], path)
    *parents, last = pointer.split("/")
    place = document
    for step in parents:
        place = place[int(step) if step.isdigit() else step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return encode(document)


WRONG: dict[str, tuple[str, str, object, str]] = {
    "release without a version": (names.RELEASE_PATH, "version", ..., "bundle.document"),
    "release of version 0": (names.RELEASE_PATH, "version", 0, "bundle.document"),
    "release of a version beyond the bound": (
        names.RELEASE_PATH,
        "version",
        limits.MAX_VERSION + 1,
        "bundle.document",
    ),
    "a version that is true": (names.RELEASE_PATH, "version", True, "bundle.document"),
    "a version that is text": (names.RELEASE_PATH, "version", "1", "bundle.document"),
    "a tier that does not exist": (names.RELEASE_PATH, "required_tiers", [4], "bundle.document"),
    "tiers out of order": (names.RELEASE_PATH, "required_tiers", [2, 1], "bundle.document"),
    "a tier that is text": (names.RELEASE_PATH, "required_tiers", ["1"], "bundle.document"),
    "a fail mode that opens": (names.RELEASE_PATH, "fail_mode", "open", "bundle.document"),
    "a seal bound beyond a year": (
        names.RELEASE_PATH,
        "seal_after_seconds",
        limits.MAX_SEAL_SECONDS + 1,
        "bundle.document",
    ),
    "a resource outside the prefixes": (
        names.RELEASE_PATH,
        "resources",
        {"etc/passwd": {"sha256": "0" * 64, "size": 1}},
        "bundle.document",
    ),
    "a resource with a short hash": (
        names.RELEASE_PATH,
        "resources",
        {names.PACKS_PATH: {"sha256": "0" * 63, "size": 1}},
        "bundle.document",
    ),
    "a self-test with a field more": (
        names.RELEASE_PATH,
        "self_tests",
        [{"text": "a", "entity_type": "ssn", "skip": True}],
        "bundle.unknown_field",
    ),
    "release for another org": (names.RELEASE_PATH, "org", "rival", "bundle.other_org"),
    "release of another schema": (names.RELEASE_PATH, "schema", "outpost.release/9", "bundle.schema"),
    "routes that are no list": (names.ROUTES_PATH, "providers", {}, "bundle.document"),
    "a provider that is no object": (names.ROUTES_PATH, "providers", ["x"], "bundle.document"),
    "a provider twice": (
        names.ROUTES_PATH,
        "providers",
        decode(GOOD[names.ROUTES_PATH], "r")["providers"] * 2,  # type: ignore[operator]
        "bundle.document",
    ),
    "a base URL of a file": (names.ROUTES_PATH, "providers/0/base_url", "file:///etc", "bundle.document"),
    "a base URL with a user": (names.ROUTES_PATH, "providers/0/base_url", "https://u@h", "bundle.document"),
    "a base URL with a query": (names.ROUTES_PATH, "providers/0/base_url", "https://h?x", "bundle.document"),
    "a base URL with a line break": (names.ROUTES_PATH, "providers/0/base_url", "https://h\n", "bundle.document"),
    "a base URL with a bad port": (names.ROUTES_PATH, "providers/0/base_url", "https://h:99999", "bundle.document"),
    "a base URL with a slash at the end": (names.ROUTES_PATH, "providers/0/base_url", "https://h/", "bundle.document"),
    "a secret that is a path": (names.ROUTES_PATH, "providers/0/key_secret", "../wrap.key", "bundle.document"),
    "a time-out of nothing": (names.ROUTES_PATH, "providers/0/read_timeout_ms", 0, "bundle.document"),
    "a model twice": (names.ROUTES_PATH, "providers/0/models", ["a", "a"], "bundle.document"),
    "a detector id with a space": (names.DETECTORS_PATH, "disabled", ["a b"], "bundle.document"),
    "a hash in capitals": (names.KEYS_PATH, "keys/0/sha256", "A" * 64, "bundle.document"),
    "an unknown channel": (names.KEYS_PATH, "keys/0/channel", "batch", "bundle.document"),
    "an unknown data class": (names.KEYS_PATH, "keys/0/data_class", "secret", "bundle.document"),
    "a user with a control character": (names.KEYS_PATH, "keys/0/user", "a\x00b", "bundle.document"),
    "a name that is too long": (names.KEYS_PATH, "keys/0/name", "x" * 129, "bundle.document"),
    "revoked as a number": (names.KEYS_PATH, "keys/0/revoked", 0, "bundle.document"),
    "a key with a field more": (names.KEYS_PATH, "keys/0/admin", True, "bundle.unknown_field"),
    "a key twice": (
        names.KEYS_PATH,
        "keys",
        decode(GOOD[names.KEYS_PATH], "k")["keys"] * 2,  # type: ignore[operator]
        "bundle.document",
    ),
    "a fraction above all": (names.ROLLOUT_PATH, "fraction_percent", 101, "bundle.document"),
    "a roll-out with a field more": (names.ROLLOUT_PATH, "force", True, "bundle.unknown_field"),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_a_wrong_document_is_refused_and_names_its_field(sentence: str) -> None:
    path, pointer, value, code = WRONG[sentence]
    with pytest.raises(BundleError) as refused:
        PARSERS[path](altered(path, pointer, value), ORG)
    assert refused.value.code == code
    assert refused.value.field.startswith(path)


def test_what_is_built_is_what_is_read() -> None:
    routes = RoutesDocument(ORG, (PROVIDER,))
    access = AccessDocument(ORG, tuple(client_key(n) for n in range(3)), 0)
    detectors = DetectorsDocument(ORG, "builtin-1", ("ssn",))
    rollout = RolloutDocument(ORG, 7, 25)
    assert parse_routes(build_routes(routes), ORG) == routes
    assert parse_access(build_access(access), ORG) == access
    assert parse_detectors(build_detectors(detectors), ORG) == detectors
    assert parse_rollout(build_rollout(rollout), ORG) == rollout


def test_what_would_be_refused_is_not_built() -> None:
    with pytest.raises(BundleError):
        build_rollout(RolloutDocument(ORG, 0, 100))


NEVER = {"no bound at which to seal": None, "one second": 1, "a year": limits.MAX_SEAL_SECONDS}


@pytest.mark.parametrize("sentence", NEVER)
def test_bounds_of_sealing(sentence: str) -> None:
    release = parse_release(altered(names.RELEASE_PATH, "seal_after_seconds", NEVER[sentence]), ORG)
    assert release.seal_after_seconds == NEVER[sentence]


NOT_CANONICAL = {
    "white space": b'{"a": 1}',
    "keys out of order": b'{"b":1,"a":1}',
    "a key twice": b'{"a":1,"a":1}',
    "a float": b'{"a":1.0}',
    "an exponent": b'{"a":1e3}',
    "not a number": b'{"a":NaN}',
    "an integer beyond 2^53": b'{"a":9007199254740992}',
    "an endless integer": b'{"a":' + b"9" * 5000 + b"}",
    "a needless escape": b'{"a":"\\u0041"}',
    "half a surrogate pair": b'{"a":"\\ud800"}',
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "invalid UTF-8": b'{"a":"\xff"}',
    "an array": b"[1]",
    "nothing": b"",
    "bytes after the end": b'{"a":1}{}',
    "one level too deep": b'{"a":' + b"[" * limits.MAX_JSON_DEPTH + b"]" * limits.MAX_JSON_DEPTH + b"}",
    "a hundred thousand levels": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("sentence", NOT_CANONICAL)
def test_only_canonical_json_is_read(sentence: str) -> None:
    with pytest.raises(BundleError) as refused:
        decode(NOT_CANONICAL[sentence], "a file")
    assert refused.value.code == "bundle.malformed"


def test_json_at_the_limits_is_read() -> None:
    depth = limits.MAX_JSON_DEPTH - 1
    assert decode(b'{"a":' + b"[" * depth + b"]" * depth + b"}", "a file")
    assert decode(b'{"a":-9007199254740991}', "a file") == {"a": -limits.MAX_INTEGER}


@pytest.mark.parametrize("path", names.REQUIRED_PATHS)
def test_every_required_document_must_be_there(path: str) -> None:
    with pytest.raises(BundleError) as refused:
        read_documents({k: v for k, v in GOOD.items() if k != path}, ORG)
    assert refused.value.code == "bundle.incomplete"
    assert refused.value.field == path


def test_documents_that_agree_give_their_release() -> None:
    assert read_documents(GOOD, ORG).version == 1
