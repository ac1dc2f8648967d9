"""Names that signer and verifier share: roles, files, paths, and our two signed fields."""

import re

ROOT = "root"
TIMESTAMP = "timestamp"
SNAPSHOT = "snapshot"
TARGETS = "targets"
POLICY = "policy"
VENDOR = "vendor"
ACCESS = "access"
ROLLOUT = "rollout"

DELEGATED_ROLES = (POLICY, VENDOR, ACCESS, ROLLOUT)
"""Terminating delegations of ``targets``; each may name files only below its own prefix."""

RELEASE = "release"
"""Not a TUF role: the release's own version is held against rollback beside those of the roles."""

KEYS_PATH = "access/keys.json"
REVOCATIONS_PATH = "access/revocations.json"
KILL_PATH = "access/kill.json"
ROLLOUT_PATH = "rollout/current.json"
REQUIRED_PATHS = (KEYS_PATH, REVOCATIONS_PATH, KILL_PATH, ROLLOUT_PATH)
"""Documents of a fixed name that every set holds, beside one or two releases and the resources that they name."""

PACKS = "packs"
ROUTES = "routes"
DETECTORS = "detectors"
CAPS = "caps"
RESOURCE_ROLES = {PACKS: POLICY, ROUTES: POLICY, DETECTORS: VENDOR, CAPS: POLICY}
"""What every release names, and the role that signs it."""
RESOURCE_DIGITS = 16
"""Hex digits of its SHA-256 in the name of a resource file: names keep files apart, hashes protect them."""

ORG_FIELD = "x-org"
"""Signed field of every metadata file: the org that it is for."""
SIGNED_AT_FIELD = "x-signed-at-ms"
"""Signed field of the timestamp: when it was signed, Unix milliseconds. TUF itself has only an expiry."""

ORG_PATTERN = re.compile(r"[a-z][a-z0-9-]{1,30}")
TARGET_PATTERN = re.compile(r"(?P<role>policy|vendor|access|rollout)/[a-z0-9][a-z0-9._-]{0,63}")
RELEASE_PATTERN = re.compile(r"policy/release-(?P<version>[1-9][0-9]{0,9})\.json")
ROOT_FILE_PATTERN = re.compile(r"(?P<version>[1-9][0-9]{0,8})\.root\.json")


def metadata_file(role: str) -> str:
    """File name of a role other than root."""
    return f"{role}.json"


def root_file(version: int) -> str:
    """File name of one version of the root role."""
    return f"{version}.root.json"


def root_version(name: str) -> int:
    """Version that a root file's name says, 0 when the name is not one of a root file."""
    match = ROOT_FILE_PATTERN.fullmatch(name)
    return int(match["version"]) if match else 0


def role_of_target(path: str) -> str:
    """Delegated role whose prefix the path has, empty when the path is not one that a set may hold."""
    match = TARGET_PATTERN.fullmatch(path)
    return match["role"] if match else ""


def release_path(version: int) -> str:
    """Target path of a release."""
    return f"{POLICY}/release-{version}.json"


def release_version(path: str) -> int:
    """Version that the path of a release says, 0 when it is not one of a release."""
    match = RELEASE_PATTERN.fullmatch(path)
    return int(match["version"]) if match else 0


def resource_path(name: str, sha256: str) -> str:
    """Target path of a resource: named by its content, so that releases share equal files.

    Args:
        name: one of RESOURCE_ROLES.
        sha256: 64 lower-case hex digits.
    """
    return f"{RESOURCE_ROLES[name]}/{name}-{sha256[:RESOURCE_DIGITS]}.json"


CURRENT_METADATA = tuple(metadata_file(role) for role in (TIMESTAMP, SNAPSHOT, TARGETS, *DELEGATED_ROLES))
"""Metadata files that every set holds, beside its root files."""
