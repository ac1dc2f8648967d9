"""Payloads of an org's TUF metadata: what the signed part of each role's file says.

Built by python-tuf's public classes, so that their form is the standard's; read back as plain values. Every file names
its org under its signature; the timestamp says when it was signed.

Source: TUF 1.0.34 §4.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined]  # public, in __init__
from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported there, in its documentation's words
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from certs.keys import signing_key_from_raw
from controlplane.domain.errors import StateError
from outpost.core.bundle import names
from outpost.core.bundle.metadata import TOP_LEVEL
from outpost.core.bundle.release import RoleKeys

_DAY_MS = 24 * 3600 * 1000
VALIDITY_MS: Mapping[str, int] = {
    names.ROOT: 365 * _DAY_MS,
    names.TARGETS: 90 * _DAY_MS,
    **dict.fromkeys(names.DELEGATED_ROLES, 90 * _DAY_MS),
    names.SNAPSHOT: 7 * _DAY_MS,
    names.TIMESTAMP: _DAY_MS,
}
"""Milliseconds from signing to expiry of each role."""

ALL_ROLES = (*TOP_LEVEL, *names.DELEGATED_ROLES)
Layout = Mapping[str, RoleKeys]
"""Role name to who signs for it; all eight roles."""


class RepositoryCorruptError(StateError):
    """Stored metadata cannot be read."""

    code = "repository.corrupt"
    fatal = True


@dataclass(frozen=True, slots=True)
class Payloads:
    """Makes payloads of one org at one moment.

    Attributes:
        org: named in every file.
        now_ms: Unix milliseconds.
    """

    org: str
    now_ms: int

    def root(self, version: int, layout: Layout) -> Mapping[str, object]:
        """Which keys the four top-level roles have."""
        signed = Root(
            version=version,
            expires=self._expiry(names.ROOT),
            keys={key.keyid: key for role in TOP_LEVEL for key in _keys(layout[role])},
            roles={role: Role(list(layout[role].keys), layout[role].threshold) for role in TOP_LEVEL},
            consistent_snapshot=False,
            unrecognized_fields=self._org_field(),
        )
        return _plain(signed)

    def targets(self, version: int, layout: Layout) -> Mapping[str, object]:
        """Which keys the delegated roles have; no file of its own."""
        roles = {
            role: DelegatedRole(role, list(layout[role].keys), layout[role].threshold, True, paths=[f"{role}/*"])
            for role in names.DELEGATED_ROLES
        }
        keys: dict[str, Key] = {key.keyid: key for role in names.DELEGATED_ROLES for key in _keys(layout[role])}
        signed = Targets(
            version=version,
            expires=self._expiry(names.TARGETS),
            delegations=Delegations(keys, roles),
            unrecognized_fields=self._org_field(),
        )
        return _plain(signed)

    def delegated(self, role: str, version: int, documents: Mapping[str, bytes]) -> Mapping[str, object]:
        """Length and hash of each document of the role."""
        mine = {path: data for path, data in documents.items() if names.role_of_target(path) == role}
        signed = Targets(
            version=version,
            expires=self._expiry(role),
            targets={path: TargetFile.from_data(path, data, ["sha256"]) for path, data in mine.items()},
            unrecognized_fields=self._org_field(),
        )
        return _plain(signed)

    def snapshot(self, version: int, metadata: Mapping[str, bytes]) -> Mapping[str, object]:
        """Version, length and hash of targets and the delegated roles."""
        listed = [names.metadata_file(role) for role in (names.TARGETS, *names.DELEGATED_ROLES)]
        signed = Snapshot(
            version=version,
            expires=self._expiry(names.SNAPSHOT),
            meta={name: _meta_file(metadata[name]) for name in listed},
            unrecognized_fields=self._org_field(),
        )
        return _plain(signed)

    def timestamp(self, version: int, metadata: Mapping[str, bytes], validity_ms: int) -> Mapping[str, object]:
        """Version, length and hash of the snapshot, and the moment of signing."""
        signed = Timestamp(
            version=version,
            expires=self._expiry(names.TIMESTAMP, validity_ms),
            snapshot_meta=_meta_file(metadata[names.metadata_file(names.SNAPSHOT)]),
            unrecognized_fields=self._org_field() | {names.SIGNED_AT_FIELD: self.now_ms},
        )
        return _plain(signed)

    def _expiry(self, role: str, validity_ms: int = 0) -> datetime:
        return datetime.fromtimestamp(self.now_ms // 1000, UTC) + timedelta(
            milliseconds=validity_ms or VALIDITY_MS[role]
        )

    def _org_field(self) -> dict[str, Any]:
        return {names.ORG_FIELD: self.org}


def newest_root(metadata: Iterable[str]) -> str:
    """Name of the root file with the highest version."""
    return names.root_file(max(map(names.root_version, metadata), default=0))


def stored(metadata: Mapping[str, bytes], role: str) -> Any:
    """Signed part of a role's newest file, as python-tuf has it.

    Raises:
        RepositoryCorruptError: it is not there or cannot be read.
    """
    name = newest_root(metadata) if role == names.ROOT else names.metadata_file(role)
    if name not in metadata:
        raise RepositoryCorruptError(f"The stored set has no {name}.", field=name)
    return _read(metadata[name])


def layout_of(metadata: Mapping[str, bytes]) -> dict[str, RoleKeys]:
    """Who signs for each role, by the stored root and targets.

    Raises:
        RepositoryCorruptError: they cannot be read.
    """
    root: Root = stored(metadata, names.ROOT)
    top: Targets = stored(metadata, names.TARGETS)
    found = {}
    for role in ALL_ROLES:
        delegator = root if role in TOP_LEVEL else top
        named = delegator.get_delegated_role(role)
        keys = {key_id: bytes.fromhex(delegator.get_key(key_id).keyval["public"]) for key_id in named.keyids}
        found[role] = RoleKeys(named.threshold, keys)
    return found


def expires_ms(signed: Signed) -> int:
    """End of validity, Unix milliseconds."""
    return int(signed.expires.timestamp()) * 1000


def _keys(role: RoleKeys) -> list[SSlibKey]:
    return [SSlibKey.from_crypto(signing_key_from_raw(raw)) for raw in role.keys.values()]


def _plain(signed: Signed) -> Mapping[str, object]:
    found: Mapping[str, object] = signed.to_dict()
    return found


def _meta_file(data: bytes) -> MetaFile:
    return MetaFile.from_data(_read(data).version, data, ["sha256"])


def _read(data: bytes) -> Any:
    """Signed part of metadata that this room made and the store kept."""
    try:
        return Metadata.from_bytes(data).signed
    except DeserializationError as error:
        raise RepositoryCorruptError("Stored metadata cannot be read.", field="metadata") from error
