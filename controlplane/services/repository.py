"""The signing side of an org's TUF repository.

Bytes in, bytes out: each act takes the current set and returns the next one whole, which the store keeps in one
transaction. Keys stand behind the Signer port, time is an argument. What an outpost would refuse is refused here,
before anything is signed.

Roles: ``root`` (three keys, two must sign) → ``targets`` → the terminating delegations policy, vendor, access,
rollout, each with its own path prefix → ``snapshot`` → ``timestamp``. Every file names its org under its signature;
the timestamp says when it was signed.

Source: TUF 1.0.34 §3 and §4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import Key, Signature, SSlibKey  # type: ignore[attr-defined]  # public, in __init__
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

from certs.keys import require_signing_key
from certs.signer import Signer
from controlplane.domain.errors import ConfigurationError, ConflictError, InputError, StateError
from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.content import read_documents
from outpost.core.bundle.documents import parse_release
from outpost.core.bundle.release import Release, SignedSet
from outpost.core.errors import BundleError

_DAY_MS = 24 * 3600 * 1000
VALIDITY_MS: Mapping[str, int] = {
    names.ROOT: 365 * _DAY_MS,
    names.TARGETS: 90 * _DAY_MS,
    **dict.fromkeys(names.DELEGATED_ROLES, 90 * _DAY_MS),
    names.SNAPSHOT: 7 * _DAY_MS,
    names.TIMESTAMP: _DAY_MS,
}
"""Milliseconds from signing to expiry of each role."""

RENEW_SHARE = 2
"""A role is signed again once less than 1/RENEW_SHARE of its validity is left."""

ROOT_THRESHOLD = 2
_TOP_LEVEL = (names.ROOT, names.TIMESTAMP, names.SNAPSHOT, names.TARGETS)
_ALL_ROLES = (*_TOP_LEVEL, *names.DELEGATED_ROLES)


class UnpublishableError(InputError):
    """A document that every outpost would refuse."""

    code = "publish.document"


class ReleaseVersionError(ConflictError):
    """The policy documents changed, but the release's version did not rise."""

    code = "publish.release_version"


class SignerMissingError(ConfigurationError):
    """A role has fewer signers than its threshold."""

    code = "repository.signer_missing"


class SignerMismatchError(ConfigurationError):
    """The signers given are not those whose keys the repository names, or one of them signs wrongly."""

    code = "repository.signer_mismatch"


class RepositoryCorruptError(StateError):
    """Stored metadata cannot be read."""

    code = "repository.corrupt"
    fatal = True


@dataclass(frozen=True, slots=True)
class _Draft:
    """A set in the making: what stands, and what must be signed again."""

    root: Root
    metadata: dict[str, bytes]
    documents: Mapping[str, bytes]
    versions: Mapping[str, int]
    due: frozenset[str]


class Repository:
    """Signs one org's configuration.

    Args:
        org: named in every file.
        signers: role name to its signers, all of which sign; for all eight roles.
        thresholds: role name to the number of keys that must sign; default 2 for root, 1 for others.

    Raises:
        SignerMissingError: a role has fewer signers than its threshold.
    """

    def __init__(
        self, org: str, signers: Mapping[str, Sequence[Signer]], thresholds: Mapping[str, int] | None = None
    ) -> None:
        self._org = org
        self._signers = signers
        self._thresholds = {names.ROOT: ROOT_THRESHOLD} | dict(thresholds or {})
        for role in _ALL_ROLES:
            if len(signers.get(role, ())) < self._threshold(role):
                raise SignerMissingError(
                    f"Role {role} needs {self._threshold(role)} signers.",
                    field=role,
                    next_step="Give the missing keys, or create the org anew.",
                )
        self._keys = {role: tuple(map(_public_key, signers[role])) for role in _ALL_ROLES}

    def create(self, documents: Mapping[str, bytes], now_ms: int) -> SignedSet:
        """Make the repository with its first release.

        Args:
            documents: target path to canonical bytes; all required ones.
            now_ms: Unix milliseconds.

        Raises:
            UnpublishableError: an outpost would refuse the documents.
            SignerMismatchError: a signer signs wrongly.
        """
        self._require_publishable(documents)
        root = self._root(1, now_ms)
        metadata = {names.root_file(1): self._signed(names.ROOT, root, [root])}
        due = frozenset({names.SNAPSHOT, names.TARGETS, *names.DELEGATED_ROLES})
        return self._sign(_Draft(root, metadata, dict(documents), {}, due), now_ms)

    def publish(self, current: SignedSet, changes: Mapping[str, bytes | None], now_ms: int) -> SignedSet:
        """Sign changed documents, of one or several roles together, into one new snapshot.

        Args:
            current: the newest set.
            changes: target path to new canonical bytes, or None to take the file away; other files stay.
            now_ms: Unix milliseconds.

        Returns:
            The next set; roles without a change keep their version.

        Raises:
            UnpublishableError: an outpost would refuse the documents.
            ReleaseVersionError: policy documents changed under the same or a lower release version.
            SignerMismatchError: the signers are not those of the repository.
            RepositoryCorruptError: ``current`` cannot be read.
        """
        merged = {**current.targets, **changes}
        documents = {path: data for path, data in merged.items() if data is not None}
        release = self._require_publishable(documents)
        changed = {names.role_of_target(path) for path in merged if current.targets.get(path) != documents.get(path)}
        if names.POLICY in changed:
            self._require_rising(current, release)
        return self._next(current, documents, frozenset(changed), now_ms)

    def refresh(self, current: SignedSet, now_ms: int) -> SignedSet:
        """Sign a fresh timestamp, and again each other role (but root) that has used up half of its validity.

        Raises:
            SignerMismatchError: the signers are not those of the repository.
            RepositoryCorruptError: ``current`` cannot be read.
        """
        return self._next(current, dict(current.targets), frozenset(), now_ms)

    def rotate(self, current: SignedSet, old_root: Sequence[Signer], now_ms: int) -> SignedSet:
        """Put the keys of this object in the place of those that ``current`` names; the same keys renew the expiry.

        Root N+1 is signed by the old and the new root keys; every other role is signed again.

        Args:
            current: set under the old keys.
            old_root: signers of the old root, at least its threshold.
            now_ms: Unix milliseconds.

        Raises:
            SignerMismatchError: ``old_root`` does not reach the old threshold.
            RepositoryCorruptError: ``current`` cannot be read.

        Source: TUF 1.0.34 §6.1.
        """
        old: Root = self._stored(current, names.ROOT)
        root = self._root(old.version + 1, now_ms)
        metadata = dict(current.metadata)
        metadata[names.root_file(root.version)] = self._signed(names.ROOT, root, [old, root], old_root)
        versions = {role: self._stored(current, role).version for role in _ALL_ROLES}
        due = frozenset({names.SNAPSHOT, names.TARGETS, *names.DELEGATED_ROLES})
        return self._sign(_Draft(root, metadata, dict(current.targets), versions, due), now_ms)

    def expiries(self, current: SignedSet) -> dict[str, int]:
        """Role name to the end of its validity, Unix milliseconds.

        Raises:
            RepositoryCorruptError: ``current`` cannot be read.
        """
        return {role: int(self._stored(current, role).expires.timestamp()) * 1000 for role in _ALL_ROLES}

    def _next(
        self, current: SignedSet, documents: Mapping[str, bytes], changed: frozenset[str], now_ms: int
    ) -> SignedSet:
        expiries = self.expiries(current)
        aged = {r for r in _ALL_ROLES if r != names.ROOT and expiries[r] - now_ms < VALIDITY_MS[r] // RENEW_SHARE}
        versions = {role: self._stored(current, role).version for role in _ALL_ROLES}
        root: Root = self._stored(current, names.ROOT)
        draft = _Draft(root, dict(current.metadata), documents, versions, changed | frozenset(aged))
        return self._sign(draft, now_ms)

    def _sign(self, draft: _Draft, now_ms: int) -> SignedSet:
        """Sign downwards from targets, only what is due; the timestamp always."""
        metadata = draft.metadata
        if names.TARGETS in draft.due:
            top = self._top_targets(draft.versions.get(names.TARGETS, 0) + 1, now_ms)
            metadata[names.metadata_file(names.TARGETS)] = self._signed(names.TARGETS, top, [draft.root])
        top = _read(metadata[names.metadata_file(names.TARGETS)])
        for role in names.DELEGATED_ROLES:
            if role in draft.due:
                signed = self._role_targets(role, draft, now_ms)
                metadata[names.metadata_file(role)] = self._signed(role, signed, [top])
        if draft.due - {names.TIMESTAMP}:
            snapshot = self._snapshot(metadata, draft.versions.get(names.SNAPSHOT, 0) + 1, now_ms)
            metadata[names.metadata_file(names.SNAPSHOT)] = self._signed(names.SNAPSHOT, snapshot, [draft.root])
        timestamp = self._timestamp(metadata, draft.versions.get(names.TIMESTAMP, 0) + 1, now_ms)
        metadata[names.metadata_file(names.TIMESTAMP)] = self._signed(names.TIMESTAMP, timestamp, [draft.root])
        return SignedSet(metadata=metadata, targets=dict(draft.documents))

    def _root(self, version: int, now_ms: int) -> Root:
        roles = {role: Role(_ids(self._keys[role]), self._threshold(role)) for role in _TOP_LEVEL}
        return Root(
            version=version,
            expires=_expiry(names.ROOT, now_ms),
            keys={key.keyid: key for role in _TOP_LEVEL for key in self._keys[role]},
            roles=roles,
            consistent_snapshot=False,
            unrecognized_fields=self._org_field(),
        )

    def _top_targets(self, version: int, now_ms: int) -> Targets:
        roles = {
            role: DelegatedRole(role, _ids(self._keys[role]), self._threshold(role), True, paths=[f"{role}/*"])
            for role in names.DELEGATED_ROLES
        }
        keys: dict[str, Key] = {key.keyid: key for role in names.DELEGATED_ROLES for key in self._keys[role]}
        return Targets(
            version=version,
            expires=_expiry(names.TARGETS, now_ms),
            delegations=Delegations(keys, roles),
            unrecognized_fields=self._org_field(),
        )

    def _role_targets(self, role: str, draft: _Draft, now_ms: int) -> Targets:
        mine = {path: data for path, data in draft.documents.items() if names.role_of_target(path) == role}
        return Targets(
            version=draft.versions.get(role, 0) + 1,
            expires=_expiry(role, now_ms),
            targets={path: TargetFile.from_data(path, data, ["sha256"]) for path, data in mine.items()},
            unrecognized_fields=self._org_field(),
        )

    def _snapshot(self, metadata: Mapping[str, bytes], version: int, now_ms: int) -> Snapshot:
        listed = [names.metadata_file(role) for role in (names.TARGETS, *names.DELEGATED_ROLES)]
        return Snapshot(
            version=version,
            expires=_expiry(names.SNAPSHOT, now_ms),
            meta={name: _meta_file(metadata[name]) for name in listed},
            unrecognized_fields=self._org_field(),
        )

    def _timestamp(self, metadata: Mapping[str, bytes], version: int, now_ms: int) -> Timestamp:
        return Timestamp(
            version=version,
            expires=_expiry(names.TIMESTAMP, now_ms),
            snapshot_meta=_meta_file(metadata[names.metadata_file(names.SNAPSHOT)]),
            unrecognized_fields=self._org_field() | {names.SIGNED_AT_FIELD: now_ms},
        )

    def _signed(
        self, role: str, signed: Signed, delegators: Sequence[Root | Targets], extra: Sequence[Signer] = ()
    ) -> bytes:
        """Sign with all signers of the role and check the result as an outpost would."""
        metadata: Metadata[Any] = Metadata(signed)
        payload = metadata.signed_bytes
        signatures = {}
        for signer in (*self._signers[role], *extra):
            key_id = _public_key(signer).keyid
            signatures[key_id] = Signature(key_id, signer.sign(payload).hex())
        results = [each.get_verification_result(role, payload, signatures) for each in delegators]
        good = {key_id for result in results for key_id in result.signed}
        if good != set(signatures) or not all(result.verified for result in results):
            raise SignerMismatchError(
                f"The signers given for {role} are not those that the repository names.",
                field=role,
                next_step="Give the keys of this org, or rotate.",
            )
        metadata.signatures.update(signatures)
        return encode(metadata.to_dict())

    def _stored(self, current: SignedSet, role: str) -> Any:
        name = names.metadata_file(role)
        if role == names.ROOT:
            name = names.root_file(max(map(names.root_version, current.metadata), default=0))
        if name not in current.metadata:
            raise RepositoryCorruptError(f"The stored set has no {name}.", field=name)
        return _read(current.metadata[name])

    def _require_publishable(self, documents: Mapping[str, bytes]) -> Release:
        for path, data in documents.items():
            if not names.role_of_target(path):
                raise UnpublishableError("No role may name a file of this path.", field=path[: limits.MAX_NAME_BYTES])
            if len(data) > limits.MAX_TARGET_BYTES:
                raise UnpublishableError(f"{path} has more than {limits.MAX_TARGET_BYTES} bytes.", field=path)
        if len(documents) + len(_ALL_ROLES) + limits.MAX_ROOT_HOPS > limits.MAX_SET_FILES:
            raise UnpublishableError("Too many documents for one set.", field="documents")
        try:
            return read_documents(documents, self._org)
        except BundleError as error:
            raise UnpublishableError(error.message, field=error.field, next_step=error.next_step) from error

    def _require_rising(self, current: SignedSet, release: Release) -> None:
        try:
            before = parse_release(current.targets[names.RELEASE_PATH], self._org).version
        except (BundleError, KeyError) as error:
            raise RepositoryCorruptError("The stored release cannot be read.", field=names.RELEASE_PATH) from error
        if release.version <= before:
            raise ReleaseVersionError(
                f"Release {before} is published; changed policy documents need a higher version.",
                field=f"{names.RELEASE_PATH}/version",
                next_step=f"Publish as version {before + 1}.",
            )

    def _org_field(self) -> dict[str, Any]:
        return {names.ORG_FIELD: self._org}

    def _threshold(self, role: str) -> int:
        return self._thresholds.get(role, 1)


def _public_key(signer: Signer) -> SSlibKey:
    return SSlibKey.from_crypto(require_signing_key(signer.public_key(), field="signer"))


def _ids(keys: Sequence[SSlibKey]) -> list[str]:
    return [key.keyid for key in keys]


def _expiry(role: str, now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms // 1000, UTC) + timedelta(milliseconds=VALIDITY_MS[role])


def _meta_file(data: bytes) -> MetaFile:
    return MetaFile.from_data(_read(data).version, data, ["sha256"])


def _read(data: bytes) -> Any:
    """Signed part of metadata that this class made and the store kept."""
    try:
        return Metadata.from_bytes(data).signed
    except DeserializationError as error:
        raise RepositoryCorruptError("Stored metadata cannot be read.", field="metadata") from error
