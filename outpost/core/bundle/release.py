"""A signed set before and after verification.

``bytes -> SignedSet -> VerifiedSet -> OrgProgram``: each step is a stronger type. Only ``outpost.sync.tuf`` makes a
VerifiedSet.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from outpost.core.bundle.content import ReleaseContent, SetContent
from outpost.core.bundle.release_document import Release


@dataclass(frozen=True, slots=True)
class SignedSet:
    """Exact bytes as received; nothing here is trusted.

    Attributes:
        metadata: file name ("1.root.json", "timestamp.json", "snapshot.json", "targets.json", "policy.json",
            "vendor.json", "access.json", "rollout.json") to bytes.
        targets: target path ("policy/release-7.json") to bytes.
    """

    metadata: Mapping[str, bytes]
    targets: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class HighWater:
    """What was ever accepted; kept apart from the cache, so that deleting the cache does not allow an older set.

    Attributes:
        versions: role name to the highest version accepted, and under "release" the highest release that was stable.
        time_floor_ms: highest signed time seen, Unix milliseconds.
    """

    versions: Mapping[str, int]
    time_floor_ms: int


@dataclass(frozen=True, slots=True)
class Audience:
    """For whom a set is verified.

    Attributes:
        org: org that everything must name.
        logical: name of the logical outpost; which of two releases runs depends on it.
    """

    org: str
    logical: str = ""


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Who signs for a role.

    Attributes:
        threshold: how many of the keys must sign.
        keys: TUF key id to the 32 bytes of an Ed25519 public key.
    """

    threshold: int
    keys: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class VerifiedSet:
    """A set whose every byte is covered by signatures of the right roles.

    Attributes:
        org: org that every document names.
        revision: "<chosen release version>.<snapshot version>", for people and records.
        chosen: the release that runs on this outpost, with what it names.
        content: all that the documents say.
        documents: target path to verified bytes.
        versions: role name to version, and under "release" the floor of releases once this set is active.
        role_keys: delegated role name to its keys.
        signed_at_ms: when the timestamp was signed (custom field of the timestamp role), Unix milliseconds.
        timestamp_expires_ms: end of the timestamp's validity, Unix milliseconds.
        signed: the set itself, to be stored exactly.
        listing: name of each file of ``signed`` to its SHA-256, 32 bytes.
    """

    org: str
    revision: str
    chosen: ReleaseContent
    content: SetContent
    documents: Mapping[str, bytes]
    versions: Mapping[str, int]
    role_keys: Mapping[str, RoleKeys]
    signed_at_ms: int
    timestamp_expires_ms: int
    signed: SignedSet
    listing: Mapping[str, bytes]

    @property
    def release(self) -> Release:
        """Head of the release that runs on this outpost."""
        return self.chosen.release

    @property
    def other(self) -> ReleaseContent | None:
        """The release of the roll-out that does not run here, for a judgement in the shadow."""
        return next((each for each in self.content.named if each.version != self.chosen.version), None)
