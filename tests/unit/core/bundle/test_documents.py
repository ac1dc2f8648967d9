from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from outpost.core.bundle import limits, names
from outpost.core.bundle.access import AccessDocument, build_access, parse_access
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.caps import CapsDocument, build_caps, parse_caps
from outpost.core.bundle.documents import (
    DetectorsDocument,
    RoutesDocument,
    build_detectors,
    build_routes,
    parse_detectors,
    parse_routes,
)
from outpost.core.bundle.kill import KillDocument, KillList, build_kill, parse_kill
from outpost.core.bundle.reading import DocumentMemory, read_documents
from outpost.core.bundle.release_document import Release, build_release, parse_release
from outpost.core.bundle.revocations import (
    RevocationsDocument,
    RevokedOutpost,
    build_revocations,
    parse_revocations,
)
from outpost.core.bundle.rollout import EVERYBODY, RolloutDocument, build_rollout, parse_rollout
from outpost.core.errors import BundleError
from tests.unit.core.bundle.samples import ORG, PROVIDER, client_key, documents, online, release, resources

RELEASE = names.release_path(1)
ROUTES, DETECTORS, CAPS = names.ROUTES, names.DETECTORS, names.CAPS
PARSERS: dict[str, Callable[[bytes, str], object]] = {
    RELEASE: lambda data, org: parse_release(data, org, RELEASE),
    ROUTES: lambda data, org: parse_routes(data, org, ROUTES),
    DETECTORS: lambda data, org: parse_detectors(data, org, DETECTORS),
    CAPS: lambda data, org: parse_caps(data, org, CAPS),
    names.KEYS_PATH: parse_access,
    names.REVOCATIONS_PATH: parse_revocations,
    names.KILL_PATH: parse_kill,
    names.ROLLOUT_PATH: parse_rollout,
}
OUTPOST = {"id": "op-0123456789abcdef", "kind": "revoked", "join_sequence": 3}
KILL = {"routes_sha256": "ab" * 32, "providers": ["main"], "models": ["gpt-4*"]}
SET = documents()
GOOD = {
    **SET,
    **resources(),
    names.REVOCATIONS_PATH: encode({"schema": "outpost.revocations/1", "org": ORG, "outposts": [OUTPOST]}),
    names.KILL_PATH: encode({"schema": "outpost.kill/1", "org": ORG, "lists": [KILL]}),
}


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
    "release without a version": (RELEASE, "version", ..., "bundle.document"),
    "release of version 0": (RELEASE, "version", 0, "bundle.document"),
    "release of a version beyond the bound": (
        RELEASE,
        "version",
        limits.MAX_VERSION + 1,
        "bundle.document",
    ),
    "a version that is true": (RELEASE, "version", True, "bundle.document"),
    "a version that is text": (RELEASE, "version", "1", "bundle.document"),
    "a tier that does not exist": (RELEASE, "required_tiers", [4], "bundle.document"),
    "tiers out of order": (RELEASE, "required_tiers", [2, 1], "bundle.document"),
    "a tier that is text": (RELEASE, "required_tiers", ["1"], "bundle.document"),
    "a fail mode that opens": (RELEASE, "fail_mode", "open", "bundle.document"),
    "a seal bound beyond a year": (
        RELEASE,
        "seal_after_seconds",
        limits.MAX_SEAL_SECONDS + 1,
        "bundle.document",
    ),
    "a release that falls back to itself": (RELEASE, "fallback", 1, "bundle.document"),
    "a release of another version than its name says": (RELEASE, "version", 2, "bundle.document"),
    "an answer to revocation that opens": (RELEASE, "on_revoked", "ignore", "bundle.document"),
    "a resource too many": (
        RELEASE,
        "resources/geo",
        {"path": "vendor/geo", "sha256": "0" * 64, "size": 1},
        "bundle.document",
    ),
    "a resource too few": (RELEASE, "resources/caps", ..., "bundle.document"),
    "a resource under another name than its hash": (
        RELEASE,
        "resources/packs/path",
        "policy/packs-0.json",
        "bundle.document",
    ),
    "a resource in the place of another role": (
        RELEASE,
        "resources/packs/path",
        "vendor/packs-0.json",
        "bundle.document",
    ),
    "a resource with a short hash": (RELEASE, "resources/packs/sha256", "0" * 63, "bundle.document"),
    "a resource with a field more": (RELEASE, "resources/packs/optional", True, "bundle.unknown_field"),
    "a self-test with a field more": (
        RELEASE,
        "self_tests",
        [{"text": "a", "entity_type": "ssn", "skip": True}],
        "bundle.unknown_field",
    ),
    "release for another org": (RELEASE, "org", "rival", "bundle.other_org"),
    "release of another schema": (RELEASE, "schema", "outpost.release/9", "bundle.schema"),
    "routes that are no list": (ROUTES, "providers", {}, "bundle.document"),
    "a provider that is no object": (ROUTES, "providers", ["x"], "bundle.document"),
    "a provider twice": (
        ROUTES,
        "providers",
        decode(GOOD[ROUTES], "r")["providers"] * 2,  # type: ignore[operator]
        "bundle.document",
    ),
    "a base URL of a file": (ROUTES, "providers/0/base_url", "file:///etc", "bundle.document"),
    "a base URL with a user": (ROUTES, "providers/0/base_url", "https://u@h", "bundle.document"),
    "a base URL with a query": (ROUTES, "providers/0/base_url", "https://h?x", "bundle.document"),
    "a base URL with a line break": (ROUTES, "providers/0/base_url", "https://h\n", "bundle.document"),
    "a base URL with a bad port": (ROUTES, "providers/0/base_url", "https://h:99999", "bundle.document"),
    "a base URL with a slash at the end": (ROUTES, "providers/0/base_url", "https://h/", "bundle.document"),
    "a secret that is a path": (ROUTES, "providers/0/key_secret", "../wrap.key", "bundle.document"),
    "a time-out of nothing": (ROUTES, "providers/0/read_timeout_ms", 0, "bundle.document"),
    "a model twice": (ROUTES, "providers/0/models", ["a", "a"], "bundle.document"),
    "a detector id with a space": (DETECTORS, "disabled", ["a b"], "bundle.document"),
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
    "routes of edition 0": (ROUTES, "edition", 0, "bundle.document"),
    "a candidate that is the stable release": (names.ROLLOUT_PATH, "candidate", 1, "bundle.document"),
    "a threshold above all cohort values": (names.ROLLOUT_PATH, "threshold", EVERYBODY + 1, "bundle.document"),
    "a threshold without a candidate": (names.ROLLOUT_PATH, "threshold", 1, "bundle.document"),
    "a stage above all": (names.ROLLOUT_PATH, "stage", 101, "bundle.document"),
    "a roll-out with a field more": (names.ROLLOUT_PATH, "force", True, "bundle.unknown_field"),
    "caps of no model": (CAPS, "models", [], "bundle.document"),
    "caps of a data class that does not exist": (CAPS, "data_classes", ["secret"], "bundle.document"),
    "caps of a channel that does not exist": (CAPS, "channels", ["batch"], "bundle.document"),
    "caps of more keys than there may be": (CAPS, "max_keys", limits.MAX_CLIENT_KEYS + 1, "bundle.document"),
    "caps with a field more": (CAPS, "max_files", 1, "bundle.unknown_field"),
    "a revoked outpost of another id": (names.REVOCATIONS_PATH, "outposts/0/id", "prod-eu", "bundle.document"),
    "a revocation of another kind": (names.REVOCATIONS_PATH, "outposts/0/kind", "paused", "bundle.document"),
    "a revocation up to a negative sequence": (
        names.REVOCATIONS_PATH,
        "outposts/0/join_sequence",
        -1,
        "bundle.document",
    ),
    "an outpost revoked twice": (names.REVOCATIONS_PATH, "outposts", [OUTPOST, OUTPOST], "bundle.document"),
    "a revocation with a field more": (names.REVOCATIONS_PATH, "outposts/0/until", 1, "bundle.unknown_field"),
    "a kill list of no routes": (names.KILL_PATH, "lists/0/routes_sha256", "", "bundle.document"),
    "two kill lists of the same routes": (names.KILL_PATH, "lists", [KILL, KILL], "bundle.document"),
    "a killed provider of no name": (names.KILL_PATH, "lists/0/providers", ["a b"], "bundle.document"),
    "a kill list with a field more": (names.KILL_PATH, "lists/0/reason", "x", "bundle.unknown_field"),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_a_wrong_document_is_refused_and_names_its_field(sentence: str) -> None:
    path, pointer, value, code = WRONG[sentence]
    with pytest.raises(BundleError) as refused:
        PARSERS[path](altered(path, pointer, value), ORG)
    assert refused.value.code == code
    assert refused.value.field.startswith(path)


def test_what_is_built_is_what_is_read() -> None:
    routes = RoutesDocument(ORG, (PROVIDER,), 3)
    access = AccessDocument(ORG, tuple(client_key(n) for n in range(3)), 0)
    detectors = DetectorsDocument(ORG, "builtin-1", ("ssn",))
    rollout = RolloutDocument(ORG, 7, 9, 2**31, 25)
    caps = CapsDocument(ORG, ("nurses",), ("internal",), ("api",), ("gpt-*",), 5, 86_400, 60)
    revocations = RevocationsDocument(ORG, (RevokedOutpost("op-0123456789abcdef", "locked", 2),))
    kill = KillDocument(ORG, {"ab" * 32: KillList(("main",), ("gpt-4*",)), "cd" * 32: KillList()})
    made = parse_release(GOOD[RELEASE], ORG, RELEASE)
    assert parse_routes(build_routes(routes), ORG, ROUTES) == routes
    assert parse_access(build_access(access), ORG) == access
    assert parse_detectors(build_detectors(detectors), ORG, DETECTORS) == detectors
    assert parse_rollout(build_rollout(rollout), ORG) == rollout
    assert parse_caps(build_caps(caps), ORG, CAPS) == caps
    assert parse_caps(build_caps(CapsDocument(ORG)), ORG, CAPS) == CapsDocument(ORG)
    assert parse_revocations(build_revocations(revocations), ORG) == revocations
    assert parse_kill(build_kill(kill), ORG) == kill
    assert build_release(made) == GOOD[RELEASE]


def test_what_would_be_refused_is_not_built() -> None:
    with pytest.raises(BundleError):
        build_rollout(RolloutDocument(ORG, 0))


NEVER = {"no bound at which to seal": None, "one second": 1, "a year": limits.MAX_SEAL_SECONDS}


@pytest.mark.parametrize("sentence", NEVER)
def test_bounds_of_sealing(sentence: str) -> None:
    read = parse_release(altered(RELEASE, "seal_after_seconds", NEVER[sentence]), ORG, RELEASE)
    assert read.seal_after_seconds == NEVER[sentence]


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
        read_documents({k: v for k, v in SET.items() if k != path}, ORG)
    assert refused.value.code == "bundle.incomplete"
    assert refused.value.field == path


def test_a_set_needs_a_release() -> None:
    with pytest.raises(BundleError) as refused:
        read_documents(online(), ORG)
    assert (refused.value.code, refused.value.field) == ("bundle.incomplete", "release")


def test_a_set_has_two_releases_at_most() -> None:
    more = {names.release_path(n): build_release(replace(release_of(SET), version=n)) for n in (2, 3)}
    assert set(read_documents({**SET, **dict([*more.items()][:1])}, ORG).releases) == {1, 2}
    with pytest.raises(BundleError) as refused:
        read_documents({**SET, **more}, ORG)
    assert refused.value.code == "bundle.oversized"


def release_of(found: dict[str, bytes]) -> Release:
    return parse_release(found[RELEASE], ORG, RELEASE)


def test_documents_that_agree_give_their_content() -> None:
    content = read_documents(SET, ORG)
    assert content.stable.release == replace(release(), resources=content.stable.release.resources)
    assert content.stable.routes.providers == (PROVIDER,)
    assert content.stable.packs == resources()[names.PACKS]
    assert content.named == (content.stable,)


def test_a_document_that_did_not_change_is_not_read_again() -> None:
    memory = DocumentMemory()
    first = read_documents(SET, ORG, memory)
    with pytest.raises(BundleError):
        read_documents({**SET, names.ROLLOUT_PATH: b"{}"}, ORG, memory)
    again = read_documents({path: bytes(bytearray(data)) for path, data in SET.items()}, ORG, memory)
    assert again.access is first.access
    assert again.stable.routes is first.stable.routes
    changed = SET[names.KEYS_PATH].replace(b'"requests_per_minute":60', b'"requests_per_minute":61')
    third = read_documents({**SET, names.KEYS_PATH: changed}, ORG, memory)
    assert third.access.requests_per_minute == 61
    assert third.kill is first.kill
