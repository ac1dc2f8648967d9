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

What follows from bytes alone (strict reading, signatures under given keys, parsed documents) a ``Verifier`` remembers
for the files of its last good set. Versions, expiry, floors and all that ties files together are judged anew each time.

This is the only module of the outpost, with ``tuf_metadata`` and ``tuf_signatures``, that knows python-tuf.

Source: TUF 1.0.34 §5.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported there, in its documentation's words
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from outpost.core.bundle import limits, names
from outpost.core.bundle.errors import (
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
    TruncatedError,
    UnlistedMetadataError,
    UnlistedTargetError,
)
from outpost.core.bundle.loosening import require_floor
from outpost.core.bundle.reading import DocumentMemory, read_documents
from outpost.core.bundle.release import Audience, HighWater, SignedSet, VerifiedSet
from outpost.core.bundle.trust import reference_time, require_not_older
from outpost.core.errors import BundleError
from outpost.sync.tuf_metadata import MetadataFile
from outpost.sync.tuf_signatures import MetadataMemory, keys_of_roles

_REFUSED = "The last good set keeps serving; look at the control plane's publication."


class Verifier:
    """Verifies the sets of one org for one outpost, one after the other; not for two threads at once.

    Args:
        root: the root received at enrollment; trusted.
        audience: org and logical outpost for which sets are.
    """

    def __init__(self, root: bytes, audience: Audience) -> None:
        self._root = root
        self._audience = audience
        self._memory = MetadataMemory(audience.org)
        self._documents = DocumentMemory()

    def verify(self, offered: SignedSet, high_water: HighWater, now_ms: int) -> VerifiedSet:
        """Verify a set from outside: the wire or a file.

        Args:
            offered: untrusted bytes.
            high_water: what was accepted before.
            now_ms: local clock, Unix milliseconds.

        Raises:
            BundleError: a leaf of ``core.bundle.errors`` or ``core.bundle.loosening``, one code per cause.

        Source: TUF 1.0.34 §5.3 to §5.7.
        """
        return self._run(offered, high_water, now_ms)

    def reverify(self, stored: SignedSet, high_water: HighWater) -> VerifiedSet:
        """Verify a set from the own disk, at start-up and without network; an expired timestamp is no error.

        Args:
            stored: bytes of the active slot; untrusted, like any byte on a disk.
            high_water: what was accepted before.

        Raises:
            BundleError: as ``verify``.
        """
        return self._run(stored, high_water, None)

    def _run(self, offered: SignedSet, high_water: HighWater, now_ms: int | None) -> VerifiedSet:
        good = False
        try:
            workflow = _Workflow(self._root, self._audience, (self._memory, self._documents))
            verified = workflow.run(offered, high_water, now_ms)
            good = True
        finally:
            self._memory.end(good=good)
        return verified


def verify(root: bytes, offered: SignedSet, high_water: HighWater, now_ms: int, audience: Audience) -> VerifiedSet:
    """Verify one set from outside; see ``Verifier.verify``.

    Raises:
        BundleError: one code per cause.
    """
    return Verifier(root, audience).verify(offered, high_water, now_ms)


def reverify(root: bytes, stored: SignedSet, high_water: HighWater, audience: Audience) -> VerifiedSet:
    """Verify one set from the own disk; see ``Verifier.reverify``.

    Raises:
        BundleError: one code per cause.
    """
    return Verifier(root, audience).reverify(stored, high_water)


def require_root(data: bytes, org: str) -> int:
    """Hold a root by itself against its form and its own threshold, before verification starts with it.

    Returns:
        Its version.

    Raises:
        BundleError: not root metadata of the org, or not signed by its own keys.
    """
    memory = MetadataMemory(org)
    root = memory.read(names.ROOT, "root.json", data)
    memory.require_signatures(names.ROOT, root, [root])
    return int(root.signed.version)


def expires_ms(signed: Signed) -> int:
    """End of validity, Unix milliseconds."""
    return int(signed.expires.timestamp()) * 1000


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the later steps need from the earlier ones."""

    root: MetadataFile
    enrolled_version: int
    floors: Mapping[str, int]
    reference_ms: int


class _Workflow:
    def __init__(self, root: bytes, audience: Audience, memories: tuple[MetadataMemory, DocumentMemory]) -> None:
        self._enrolled = root
        self._audience = audience
        self._memory, self._documents = memories
        self._offered = SignedSet({}, {})

    def run(self, offered: SignedSet, high_water: HighWater, now_ms: int | None) -> VerifiedSet:
        _require_shape(offered)
        self._offered = offered
        chain = self._roots()
        root: Root = chain[-1].signed
        require_not_older(names.ROOT, root.version, high_water.versions)
        floors = _floors(high_water.versions, [each.signed for each in chain])
        timestamp, signed_at_ms = self._timestamp(chain[-1])
        require_not_older(names.TIMESTAMP, timestamp.version, floors)
        reference_ms = signed_at_ms
        if now_ms is not None:
            reference_ms = reference_time(high_water.time_floor_ms, now_ms)
            _require_unexpired(names.TIMESTAMP, timestamp, reference_ms)
        _require_unexpired(names.ROOT, root, reference_ms)
        frame = _Frame(chain[-1], chain[0].signed.version, floors, reference_ms)
        snapshot: Snapshot = self._listed(names.SNAPSHOT, timestamp.snapshot_meta, frame.root, frame).signed
        roles = self._roles(frame, snapshot)
        versions = {names.ROOT: root.version, names.TIMESTAMP: timestamp.version, names.SNAPSHOT: snapshot.version}
        versions |= {role: file.signed.version for role, file in roles.items()}
        return self._result(frame, roles, versions, (signed_at_ms, expires_ms(timestamp)))

    def _roots(self) -> list[MetadataFile]:
        """Walk from the enrolled root to the newest that is offered. Source: TUF 1.0.34 §5.3."""
        first = self._memory.read(names.ROOT, "root.json", self._enrolled)
        self._memory.require_signatures(names.ROOT, first, [first])
        chain = [first]
        enrolled = first.signed.version
        name = names.root_file(enrolled)
        same = self._offered.metadata.get(name, self._enrolled)
        if same != self._enrolled:
            self._memory.read(names.ROOT, name, same)  # another org's is called so
            raise RootMismatchError(
                "The offered root is another than the one received at enrollment.",
                field=name,
                next_step="If the org was created anew, enroll this outpost again.",
            )
        later = sorted(v for v in map(names.root_version, self._offered.metadata) if v > enrolled)
        if len(later) > limits.MAX_ROOT_HOPS:
            raise OversizedError(f"More than {limits.MAX_ROOT_HOPS} roots are offered.", field=names.ROOT)
        for version in later:
            chain.append(self._next_root(chain[-1], version))
        return chain

    def _next_root(self, trusted: MetadataFile, version: int) -> MetadataFile:
        name = names.root_file(version)
        root = self._memory.read(names.ROOT, name, self._offered.metadata[name])
        if version != trusted.signed.version + 1 or root.signed.version != version:
            raise RootHopError(
                f"After root {trusted.signed.version} comes {name} of version {root.signed.version}.",
                field=name,
                next_step=_REFUSED,
            )
        self._memory.require_signatures(names.ROOT, root, [trusted, root])
        return root

    def _timestamp(self, root: MetadataFile) -> tuple[Timestamp, int]:
        """Timestamp and when it was signed. Source: TUF 1.0.34 §5.4."""
        name = names.metadata_file(names.TIMESTAMP)
        file = self._memory.read(names.TIMESTAMP, name, self._offered.metadata[name])
        self._memory.require_signatures(names.TIMESTAMP, file, [root])
        timestamp: Timestamp = file.signed
        signed_at_ms = int(timestamp.unrecognized_fields[names.SIGNED_AT_FIELD])
        validity_ms = expires_ms(timestamp) - signed_at_ms
        if validity_ms <= 0:
            raise MalformedError(f"{name} was signed after its own expiry.", field=names.SIGNED_AT_FIELD)
        if validity_ms > limits.MAX_TIMESTAMP_VALIDITY_MS:
            raise FreezeError(f"{name} is valid for longer than allowed.", field=f"{name}/expires", next_step=_REFUSED)
        return timestamp, signed_at_ms

    def _roles(self, frame: _Frame, snapshot: Snapshot) -> dict[str, MetadataFile]:
        """Top-level targets and its delegations. Source: TUF 1.0.34 §5.6."""
        top = self._listed(names.TARGETS, snapshot.meta["targets.json"], frame.root, frame)
        roles = {names.TARGETS: top}
        for role in names.DELEGATED_ROLES:
            roles[role] = self._listed(role, snapshot.meta[names.metadata_file(role)], top, frame)
        return roles

    def _listed(self, role: str, meta: MetaFile, delegator: MetadataFile, frame: _Frame) -> MetadataFile:
        """Load a file whose version, length and hash its parent signed. Source: TUF 1.0.34 §5.5 and §5.6."""
        name = names.metadata_file(role)
        data = self._offered.metadata[name]
        error = _content_error(name, data, meta)
        if error is not None:
            raise self._why(role, meta, delegator, error)
        file = self._memory.read(role, name, data)
        self._memory.require_signatures(role, file, [delegator])
        if file.signed.version != meta.version:
            raise _mixed(name, file.signed.version, meta.version)
        require_not_older(role, file.signed.version, frame.floors)
        _require_unexpired(role, file.signed, frame.reference_ms)
        return file

    def _why(self, role: str, meta: MetaFile, delegator: MetadataFile, error: BundleError) -> BundleError:
        """Tell a file of another version from an altered one; refused in either case, only the code depends on it."""
        name = names.metadata_file(role)
        try:
            file = self._memory.read(role, name, self._offered.metadata[name])
            self._memory.require_signatures(role, file, [delegator])
        except BundleError:
            return error
        return error if file.signed.version == meta.version else _mixed(name, file.signed.version, meta.version)

    def _result(
        self, frame: _Frame, roles: Mapping[str, MetadataFile], versions: dict[str, int], times: tuple[int, int]
    ) -> VerifiedSet:
        documents = _target_bytes(self._offered.targets, [file.signed for file in roles.values()])
        content = read_documents(documents, self._audience.org, self._documents)
        require_floor(content, frame.floors.get(names.RELEASE, 0))
        chosen = content.chosen(self._audience.logical)
        older = {
            names.root_file(version) for version in range(1, frame.enrolled_version)
        }  # no signature says what they are
        kept = {name: data for name, data in self._offered.metadata.items() if name not in older}
        return VerifiedSet(
            org=self._audience.org,
            revision=f"{chosen.version}.{versions[names.SNAPSHOT]}",
            chosen=chosen,
            content=content,
            documents=documents,
            versions=versions | {names.RELEASE: content.rollout.stable},
            role_keys=keys_of_roles(roles[names.TARGETS].signed),
            signed_at_ms=times[0],
            timestamp_expires_ms=times[1],
            signed=SignedSet(metadata=kept, targets=documents),
            listing={name: hashlib.sha256(data).digest() for name, data in (kept | documents).items()},
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


def _require_unexpired(role: str, signed: Signed, reference_ms: int) -> None:
    if reference_ms >= expires_ms(signed):
        raise ExpiredError(
            f"{role} expired at {signed.expires:%Y-%m-%dT%H:%M:%SZ}.",
            field=role,
            next_step="Check the local clock, and that the control plane signs.",
        )


def _floors(versions: Mapping[str, int], chain: Sequence[Root]) -> Mapping[str, int]:
    """Versions below which nothing is accepted, less those of roles whose keys the root has replaced since.

    A stolen timestamp or snapshot key could drive versions so high that no honest one passes; replacing the key is
    the way back. The root that the high water saw says which keys were meant then.

    Source: TUF 1.0.34 §5.3.11.
    """
    seen = next((root for root in chain if root.version == versions.get(names.ROOT)), chain[0])
    if seen is chain[-1]:
        return versions
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


def _target_bytes(offered: Mapping[str, bytes], roles: Iterable[Targets]) -> dict[str, bytes]:
    """Bytes of every file that the roles name, and nothing else. Source: TUF 1.0.34 §5.7."""
    documents = {}
    for signed in roles:
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
