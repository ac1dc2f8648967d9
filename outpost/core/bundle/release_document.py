"""`policy/release-<version>.json`: the head of a configuration, what the policy role promises.

A release names every resource that counts by path, hash and size. Files of other roles count only when a release names
them, and resource files are called by their content, so that two releases of a set share what is equal.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.documents import open_document
from outpost.core.bundle.fields import Fields

RELEASE_SCHEMA = "outpost.release/2"
FAIL_MODES = ("closed",)
ENFORCE, SEAL = "enforce", "seal"
ON_REVOKED = (ENFORCE, SEAL)
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A prompt that must produce a finding of the type before a set may become active."""

    text: str
    entity_type: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A file that a release names by its content.

    Attributes:
        path: target path; it holds the first digits of the hash.
        sha256: 64 lower-case hex digits.
        size: bytes.
    """

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """What the policy role promises.

    Attributes:
        org: audience.
        version: rises with each release; an operator's rollback is old content under a new version.
        fallback: release to which outposts may return while this one is a candidate; None = it was never one.
        required_tiers: inspection tiers without which nothing passes.
        seal_after_seconds: age of the newest timestamp after which the outpost seals itself; None = never.
        max_body_bytes: largest accepted chat body.
        self_tests: run before activation and by the canary.
        resources: "packs", "routes", "detectors" and "caps" to the file that counts.
        fail_mode: what happens when a required tier cannot run; "closed" is the only one.
        on_revoked: what an outpost does once it was revoked: "enforce" what it has, or "seal".
    """

    org: str
    version: int
    fallback: int | None
    required_tiers: tuple[int, ...]
    seal_after_seconds: int | None
    max_body_bytes: int
    self_tests: tuple[SelfTest, ...]
    resources: Mapping[str, Resource]
    fail_mode: str = "closed"
    on_revoked: str = ENFORCE


def parse_release(data: bytes, org: str, path: str) -> Release:
    """Read a release.

    Args:
        data: bytes as received.
        org: audience that it must name.
        path: target path under which it stands; the version in it must be the release's own.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, path, RELEASE_SCHEMA, org)
    version = fields.integer("version", 1, limits.MAX_VERSION)
    if names.release_version(path) != version:
        raise fields.fail("version", "must be the one in the file's name")
    release = Release(
        org=org,
        version=version,
        fallback=fields.optional_integer("fallback", 1, version - 1),
        required_tiers=_tiers(fields),
        seal_after_seconds=fields.optional_integer("seal_after_seconds", 1, limits.MAX_SEAL_SECONDS),
        max_body_bytes=fields.integer("max_body_bytes", 1, limits.MAX_BODY_BYTES),
        self_tests=tuple(_self_test(item) for item in fields.objects("self_tests", limits.MAX_SELF_TESTS)),
        resources=_resources(fields),
        fail_mode=fields.choice("fail_mode", FAIL_MODES),
        on_revoked=fields.choice("on_revoked", ON_REVOKED),
    )
    fields.done()
    return release


def _tiers(fields: Fields) -> tuple[int, ...]:
    values = fields.items("required_tiers", limits.MAX_TIERS)
    tiers = tuple(v for v in values if isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= limits.MAX_TIERS)
    if len(tiers) != len(values) or list(tiers) != sorted(set(tiers)):
        raise fields.fail("required_tiers", f"must hold rising integers from 1 to {limits.MAX_TIERS}")
    return tiers


def _self_test(fields: Fields) -> SelfTest:
    test = SelfTest(
        text=fields.text("text", limit=limits.MAX_SELF_TEST_CHARS),
        entity_type=fields.match("entity_type", _WORD),
    )
    fields.done()
    return test


def _resources(fields: Fields) -> dict[str, Resource]:
    found = fields.mapping("resources", len(names.RESOURCE_ROLES))
    if set(found) != set(names.RESOURCE_ROLES):
        raise fields.fail("resources", f"must be {', '.join(sorted(names.RESOURCE_ROLES))}, each once")
    resources = {}
    for name, item in found.items():
        sha256 = item.sha256("sha256")
        if item.text("path") != names.resource_path(name, sha256):
            raise item.fail("path", "must be the kind of the resource and the first digits of its hash")
        size = item.integer("size", 0, limits.MAX_TARGET_BYTES)
        resources[name] = Resource(names.resource_path(name, sha256), sha256, size)
        item.done()
    return resources


def build_release(release: Release) -> bytes:
    """Canonical bytes of a release.

    Raises:
        BundleError: a value that ``parse_release`` would refuse.
    """
    data = encode(
        {
            "schema": RELEASE_SCHEMA,
            "org": release.org,
            "version": release.version,
            "fallback": release.fallback,
            "required_tiers": list(release.required_tiers),
            "fail_mode": release.fail_mode,
            "on_revoked": release.on_revoked,
            "seal_after_seconds": release.seal_after_seconds,
            "max_body_bytes": release.max_body_bytes,
            "resources": {
                name: {"path": each.path, "sha256": each.sha256, "size": each.size}
                for name, each in release.resources.items()
            },
            "self_tests": [{"text": test.text, "entity_type": test.entity_type} for test in release.self_tests],
        }
    )
    parse_release(data, release.org, names.release_path(release.version))
    return data
