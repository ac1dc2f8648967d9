"""The TUF client workflow over bytes: from a signed set to a verified one.

Rules. Verification always starts from the root received at enrollment, never from a cached one. The set is complete:
there is no fetching, so each step only reads what is offered. Roots are walked N → N+1, each signed by the thresholds
of both. Then timestamp → snapshot → targets → delegated roles → targets' bytes, each held against the length and hash
that its parent signed, the threshold of its role, the high water and its expiry. Stricter than the specification:
every signature present must verify and be of a key of the role, and every file must be in canonical form, so that no
byte of an accepted set can differ from what was signed.

Time is an argument. A set from the wire is judged at the later of clock and time floor. A set from the own disk is
judged at the moment when its timestamp was signed: then everything in it was in force. Whether it is still fresh
enough to serve is the state's question (``core.bundle.trust``), so that a restart during an outage is the same as no
restart.

This is the only module of the outpost, with ``tuf_metadata``, that knows python-tuf.

Source: TUF 1.0.34 §5.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported there, in its documentation's words
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from outpost.core.bundle import limits, names
from outpost.core.bundle.content import read_documents
from outpost.core.bundle.errors import (
    BadSignatureError,
    ConsistencyError,
    ExpiredError,
    FreezeError,
    HashError,
    LengthError,
    MalformedError,
    MissingMetadataError,
    MissingTargetError,
    MixAndMatchError,
    OversizedError,
    RootHopError,
    RootMismatchError,
    ThresholdError,
    TruncatedError,
    UnknownKeyError,
    UnlistedMetadataError,
    UnlistedTargetError,
    UnsignedError,
    WrongRoleKeyError,
)
from outpost.core.bundle.release import HighWater, SignedSet, VerifiedSet
from outpost.core.bundle.trust import reference_time, require_not_older
from outpost.core.errors import BundleError
from outpost.sync.tuf_metadata import read_metadata

_REFUSED = "The last good set keeps serving; look at the control plane's publication."

Delegator = Root | Targets


def verify(root: bytes, offered: SignedSet, high_water: HighWater, now_ms: int, org: str) -> VerifiedSet:
    """Verify a set from outside: the wire or a file.

    Args:
        root: the root received at enrollment; trusted.
        offered: untrusted bytes.
        high_water: what was accepted before.
        now_ms: local clock, Unix milliseconds.
        org: org that everything must name.

    Raises:
        BundleError: a leaf of ``core.bundle.errors``, one code per cause.

    Source: TUF 1.0.34 §5.3 to §5.7.
    """
    return _Workflow(root, offered, high_water, org).run(now_ms)


def reverify(root: bytes, stored: SignedSet, high_water: HighWater, org: str) -> VerifiedSet:
    """Verify a set from the own disk, at start-up and without network; an expired timestamp is no error.

    Args:
        root: the root received at enrollment; trusted.
        stored: bytes of the active slot; untrusted, like any byte on a disk.
        high_water: what was accepted before.
        org: org that everything must name.

    Raises:
        BundleError: as ``verify``.
    """
    return _Workflow(root, stored, high_water, org).run(None)


def expires_ms(signed: Signed) -> int:
    """End of validity, Unix milliseconds."""
    return int(signed.expires.timestamp()) * 1000


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the later steps need from the earlier ones."""

    root: Root
    enrolled_version: int
    floors: Mapping[str, int]
    reference_ms: int


class _Workflow:
    def __init__(self, root: bytes, offered: SignedSet, high_water: HighWater, org: str) -> None:
        self._enrolled = root
        self._offered = offered
        self._high_water = high_water
        self._org = org

    def run(self, now_ms: int | None) -> VerifiedSet:
        _require_shape(self._offered)
        chain = self._roots()
        root = chain[-1]
        require_not_older(names.ROOT, root.version, self._high_water.versions)
        floors = _floors(self._high_water.versions, chain)
        timestamp, signed_at_ms = self._timestamp(root)
        require_not_older(names.TIMESTAMP, timestamp.version, floors)
        reference_ms = signed_at_ms
        if now_ms is not None:
            reference_ms = reference_time(self._high_water.time_floor_ms, now_ms)
            _require_unexpired(names.TIMESTAMP, timestamp, reference_ms)
        _require_unexpired(names.ROOT, root, reference_ms)
        frame = _Frame(root, chain[0].version, floors, reference_ms)
        snapshot = self._snapshot(frame, timestamp.snapshot_meta)
        roles = self._roles(frame, snapshot)
        versions = {names.ROOT: root.version, names.TIMESTAMP: timestamp.version, names.SNAPSHOT: snapshot.version}
        versions |= {role: signed.version for role, signed in roles.items()}
        return self._result(frame, roles, versions, (signed_at_ms, expires_ms(timestamp)))

    def _roots(self) -> list[Root]:
        """Walk from the enrolled root to the newest that is offered. Source: TUF 1.0.34 §5.3."""
        first = read_metadata(names.ROOT, "root.json", self._enrolled, self._org)
        _require_signatures(names.ROOT, "root.json", first, [first.signed])
        chain: list[Root] = [first.signed]
        name = names.root_file(chain[0].version)
        same = self._offered.metadata.get(name, self._enrolled)
        if same != self._enrolled:
            read_metadata(names.ROOT, name, same, self._org)  # another org's is called so
            raise RootMismatchError(
                "The offered root is another than the one received at enrollment.",
                field=name,
                next_step="If the org was created anew, enroll this outpost again.",
            )
        later = sorted(v for v in map(names.root_version, self._offered.metadata) if v > chain[0].version)
        if len(later) > limits.MAX_ROOT_HOPS:
            raise OversizedError(f"More than {limits.MAX_ROOT_HOPS} roots are offered.", field=names.ROOT)
        for version in later:
            chain.append(self._next_root(chain[-1], version))
        return chain

    def _next_root(self, trusted: Root, version: int) -> Root:
        name = names.root_file(version)
        offered = read_metadata(names.ROOT, name, self._offered.metadata[name], self._org)
        root: Root = offered.signed
        if version != trusted.version + 1 or root.version != version:
            raise RootHopError(
                f"After root {trusted.version} comes {name} of version {root.version}.", field=name, next_step=_REFUSED
            )
        _require_signatures(names.ROOT, name, offered, [trusted, root])
        return root

    def _timestamp(self, root: Root) -> tuple[Timestamp, int]:
        """Timestamp and when it was signed. Source: TUF 1.0.34 §5.4."""
        name = names.metadata_file(names.TIMESTAMP)
        metadata = read_metadata(names.TIMESTAMP, name, self._offered.metadata[name], self._org)
        _require_signatures(names.TIMESTAMP, name, metadata, [root])
        timestamp: Timestamp = metadata.signed
        signed_at_ms = int(timestamp.unrecognized_fields[names.SIGNED_AT_FIELD])
        validity_ms = expires_ms(timestamp) - signed_at_ms
        if validity_ms <= 0:
            raise MalformedError(f"{name} was signed after its own expiry.", field=names.SIGNED_AT_FIELD)
        if validity_ms > limits.MAX_TIMESTAMP_VALIDITY_MS:
            raise FreezeError(f"{name} is valid for longer than allowed.", field=f"{name}/expires", next_step=_REFUSED)
        return timestamp, signed_at_ms

    def _snapshot(self, frame: _Frame, meta: MetaFile) -> Snapshot:
        """Source: TUF 1.0.34 §5.5."""
        snapshot: Snapshot = self._listed(names.SNAPSHOT, meta, frame.root, frame)
        return snapshot

    def _roles(self, frame: _Frame, snapshot: Snapshot) -> dict[str, Targets]:
        """Top-level targets and its delegations. Source: TUF 1.0.34 §5.6."""
        top: Targets = self._listed(names.TARGETS, snapshot.meta["targets.json"], frame.root, frame)
        roles = {names.TARGETS: top}
        for role in names.DELEGATED_ROLES:
            roles[role] = self._listed(role, snapshot.meta[names.metadata_file(role)], top, frame)
        return roles

    def _listed(self, role: str, meta: MetaFile, delegator: Delegator, frame: _Frame) -> Any:
        """Load a metadata file whose version, length and hash its parent signed."""
        name = names.metadata_file(role)
        data = self._offered.metadata[name]
        error = _content_error(name, data, meta)
        if error is not None:
            raise self._why(role, meta, delegator, error)
        metadata = read_metadata(role, name, data, self._org)
        _require_signatures(role, name, metadata, [delegator])
        if metadata.signed.version != meta.version:
            raise _mixed(name, metadata.signed.version, meta.version)
        require_not_older(role, metadata.signed.version, frame.floors)
        _require_unexpired(role, metadata.signed, frame.reference_ms)
        return metadata.signed

    def _why(self, role: str, meta: MetaFile, delegator: Delegator, error: BundleError) -> BundleError:
        """Tell a file of another version from an altered one; refused in either case, only the code depends on it."""
        name = names.metadata_file(role)
        try:
            metadata = read_metadata(role, name, self._offered.metadata[name], self._org)
            _require_signatures(role, name, metadata, [delegator])
        except BundleError:
            return error
        return error if metadata.signed.version == meta.version else _mixed(name, metadata.signed.version, meta.version)

    def _result(
        self, frame: _Frame, roles: Mapping[str, Targets], versions: dict[str, int], times: tuple[int, int]
    ) -> VerifiedSet:
        documents = _target_bytes(self._offered.targets, roles)
        release = read_documents(documents, self._org)
        require_not_older(names.RELEASE, release.version, frame.floors)
        older = {
            names.root_file(version) for version in range(1, frame.enrolled_version)
        }  # no signature says what they are
        kept = {name: data for name, data in self._offered.metadata.items() if name not in older}
        return VerifiedSet(
            org=self._org,
            revision=f"{release.version}.{versions[names.SNAPSHOT]}",
            release=release,
            documents=documents,
            versions=versions | {names.RELEASE: release.version},
            signed_at_ms=times[0],
            timestamp_expires_ms=times[1],
            signed=SignedSet(metadata=kept, targets=documents),
        )


def _require_shape(offered: SignedSet) -> None:
    """Bounds and names, before anything is read."""
    files = [*offered.metadata.items(), *offered.targets.items()]
    if len(files) > limits.MAX_SET_FILES or sum(len(data) for _, data in files) > limits.MAX_SET_BYTES:
        raise OversizedError("The set has too many files or bytes.", field="set", next_step=_REFUSED)
    for name, data in offered.metadata.items():
        if name not in names.CURRENT_METADATA and not names.root_version(name):
            raise UnlistedMetadataError(
                "The set holds metadata of a role that does not exist.", field=name[: limits.MAX_NAME_BYTES]
            )
        if len(data) > limits.MAX_METADATA_BYTES:
            raise OversizedError(f"{name} has more than {limits.MAX_METADATA_BYTES} bytes.", field=name)
    for name in names.CURRENT_METADATA:
        if name not in offered.metadata:
            raise MissingMetadataError(f"The set has no {name}.", field=name, next_step=_REFUSED)
    for path, data in offered.targets.items():
        if not names.role_of_target(path):
            raise UnlistedTargetError(
                "The set holds a file that no role may name.", field=path[: limits.MAX_NAME_BYTES]
            )
        if len(data) > limits.MAX_TARGET_BYTES:
            raise OversizedError(f"{path} has more than {limits.MAX_TARGET_BYTES} bytes.", field=path)


def _require_signatures(role: str, name: str, metadata: Metadata[Any], delegators: Sequence[Delegator]) -> None:
    """Hold every signature against the keys of the role, and their number against each delegator's threshold."""
    if not metadata.signatures:
        raise UnsignedError(f"{name} is not signed.", field=name, next_step=_REFUSED)
    keys = {key_id: each.get_key(key_id) for each in delegators for key_id in each.get_delegated_role(role).keyids}
    payload = metadata.signed_bytes
    for key_id, signature in metadata.signatures.items():
        if key_id not in keys:
            raise _foreign_key(role, name, key_id, delegators)
        try:
            keys[key_id].verify_signature(signature, payload)
        except UnverifiedSignatureError:
            raise BadSignatureError(f"A signature of {name} does not verify.", field=name) from None
    for each in delegators:
        wanted = each.get_delegated_role(role)
        valid = len(set(wanted.keyids) & set(metadata.signatures))
        if valid < wanted.threshold:
            raise ThresholdError(f"{name} has {valid} of {wanted.threshold} signatures.", field=name)


def _foreign_key(
    role: str, name: str, key_id: str, delegators: Sequence[Delegator]
) -> UnknownKeyError | WrongRoleKeyError:
    for each in delegators:
        named = each.keys if isinstance(each, Root) else each.delegations.keys if each.delegations else {}
        if key_id in named:
            return WrongRoleKeyError(f"{name} is signed by a key of another role than {role}.", field=name)
    return UnknownKeyError(f"{name} is signed by a key that nobody named.", field=name)


def _require_unexpired(role: str, signed: Signed, reference_ms: int) -> None:
    if reference_ms >= expires_ms(signed):
        raise ExpiredError(
            f"{role} expired at {signed.expires:%Y-%m-%dT%H:%M:%SZ}.",
            field=role,
            next_step="Check the local clock, and that the control plane signs.",
        )


def _floors(versions: Mapping[str, int], chain: Sequence[Root]) -> dict[str, int]:
    """Versions below which nothing is accepted, less those of roles whose keys the root has replaced since.

    A stolen timestamp or snapshot key could drive versions so high that no honest one passes; replacing the key is
    the way back. The root that the high water saw says which keys were meant then.

    Source: TUF 1.0.34 §5.3.11.
    """
    seen = next((root for root in chain if root.version == versions.get(names.ROOT)), chain[0])
    dropped: set[str] = set()
    if _replaced(names.TIMESTAMP, seen, chain[-1]):
        dropped |= {names.TIMESTAMP, names.SNAPSHOT}
    if _replaced(names.SNAPSHOT, seen, chain[-1]):
        dropped |= {names.TARGETS, *names.DELEGATED_ROLES, names.RELEASE}
    return {role: version for role, version in versions.items() if role not in dropped}


def _replaced(role: str, old: Root, new: Root) -> bool:
    """Too few of the old keys remain for anything signed then to be valid now."""
    before, after = old.get_delegated_role(role), new.get_delegated_role(role)
    return len(set(before.keyids) & set(after.keyids)) < after.threshold


def _target_bytes(offered: Mapping[str, bytes], roles: Mapping[str, Targets]) -> dict[str, bytes]:
    """Bytes of every file that the roles name, and nothing else. Source: TUF 1.0.34 §5.7."""
    documents = {}
    for signed in roles.values():
        for path, target in signed.targets.items():
            if path not in offered:
                raise MissingTargetError(f"{path} is signed, but not there.", field=path, next_step=_REFUSED)
            error = _content_error(path, offered[path], target)
            if error is not None:
                raise error
            documents[path] = offered[path]
    for path in offered:
        if path not in documents:
            raise UnlistedTargetError(f"{path} is named by no signed role.", field=path)
    return documents


def _content_error(name: str, data: bytes, listed: MetaFile | TargetFile) -> ConsistencyError | TruncatedError | None:
    length, hashes = listed.length or 0, listed.hashes or {}
    if len(data) < length:
        return TruncatedError(f"{name} is shorter than its signed length.", field=name, next_step=_REFUSED)
    if len(data) > length:
        return LengthError(f"{name} is longer than its signed length.", field=name, next_step=_REFUSED)
    if hashlib.sha256(data).hexdigest() != hashes.get("sha256"):
        return HashError(f"{name} is not the file whose hash was signed.", field=name, next_step=_REFUSED)
    return None


def _mixed(name: str, found: int, wanted: int) -> MixAndMatchError:
    return MixAndMatchError(
        f"{name} has version {found}, where the signed list has {wanted}.", field=name, next_step=_REFUSED
    )
