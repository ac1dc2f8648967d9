"""A signed set before and after verification.

``bytes -> SignedSet -> VerifiedSet -> OrgProgram``: each step is a stronger type. Only ``outpost.sync.tuf`` makes a
VerifiedSet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SignedSet:
    """Exact bytes as received; nothing here is trusted.

    Attributes:
        metadata: file name ("1.root.json", "timestamp.json", "snapshot.json", "targets.json", "policy.json",
            "vendor.json", "access.json", "rollout.json") to bytes.
        targets: target path ("policy/release.json") to bytes.
    """

    metadata: Mapping[str, bytes]
    targets: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class HighWater:
    """What was ever accepted; kept apart from the cache, so that deleting the cache does not allow an older set.

    Attributes:
        versions: role name to the highest version accepted, and the release's own under "release".
        time_floor_ms: highest signed time seen, Unix milliseconds.
    """

    versions: Mapping[str, int]
    time_floor_ms: int


@dataclass(frozen=True, slots=True)
class VerifiedSet:
    """A set whose every byte is covered by signatures of the right roles.

    Attributes:
        org: org that every document names.
        revision: "<release version>.<snapshot version>", for people and records.
        release: the parsed `policy/release.json`.
        documents: target path to verified bytes.
        versions: role name to version, and the release's own under "release".
        signed_at_ms: when the timestamp was signed (custom field of the timestamp role), Unix milliseconds.
        timestamp_expires_ms: end of the timestamp's validity, Unix milliseconds.
        signed: the set itself, to be stored exactly.
    """

    org: str
    revision: str
    release: "Release"
    documents: Mapping[str, bytes]
    versions: Mapping[str, int]
    signed_at_ms: int
    timestamp_expires_ms: int
    signed: SignedSet


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A prompt that must produce a finding of the type before a set may become active."""

    text: str
    entity_type: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A file that a release names by its content.

    Attributes:
        sha256: 64 lower-case hex digits.
        size: bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """The head of a signed configuration: what the policy role promises.

    Attributes:
        org: audience.
        version: rises with each release; an operator's rollback is old content under a new version.
        required_tiers: inspection tiers without which nothing passes.
        seal_after_seconds: age of the newest timestamp after which the outpost seals itself; None = never.
        max_body_bytes: largest accepted chat body.
        self_tests: run before activation and by the canary.
        fail_mode: what happens when a required tier cannot run; "closed" is the only one.
        resources: target path to the content that it must have.
    """

    org: str
    version: int
    required_tiers: tuple[int, ...]
    seal_after_seconds: int | None
    max_body_bytes: int
    self_tests: tuple[SelfTest, ...]
    fail_mode: str = "closed"
    resources: Mapping[str, Resource] = field(default_factory=dict)
