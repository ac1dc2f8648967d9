"""Configuration that an outpost gives back: what a control plane that was restored signed after its backup, and lost.

Theory. Outposts hold whole signed sets. One that was published after the backup is the best copy of what was lost:
policies, roots that were rotated, keys that were revoked, outposts that were withdrawn. It is believed for its
signatures alone, as an outpost would believe it, starting from the newest root that the backup has; the outpost that
brings it is believed in nothing. Expiry is not judged: what is asked is whether it was in force, not whether it is.

Two things are done with such a set. As long as nobody has published since the restore, it takes the place of what the
backup had, whole. Afterwards only what protects is taken over: revoked keys, withdrawn outposts, kill lists
(``tightened``); these are also what outposts insist on (``core.bundle.loosening``), so that they accept what follows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.domain import releases
from controlplane.domain.errors import InputError
from controlplane.domain.releases import Changes
from outpost.core.bundle import limits, names
from outpost.core.bundle.access import AccessDocument, ClientKey, build_access
from outpost.core.bundle.canonical import decode
from outpost.core.bundle.content import SetContent
from outpost.core.bundle.errors import DocumentError, MalformedError
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.kill import KillDocument, KillList, build_kill
from outpost.core.bundle.metadata import check_envelope
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release import RoleKeys, SignedSet
from outpost.core.bundle.signatures import require_signed

_SIGNED = b'"signed":'


class ReturnedSetError(InputError):
    """What an outpost gave back is no set that was ever in force here."""

    code = "returned.refused"


@dataclass(frozen=True, slots=True)
class Returned:
    """A set that was in force; only ``read_returned`` makes one.

    Attributes:
        signed: its files, with every root that is known.
        content: what its documents say.
        timestamp: version of its timestamp; of two sets of one history the higher is the newer.
        root: version of its newest root.
    """

    signed: SignedSet
    content: SetContent
    timestamp: int
    root: int


@dataclass(frozen=True, slots=True)
class _File:
    """A metadata file that was read strictly."""

    name: str
    data: bytes
    signed: Mapping[str, Any]
    payload: bytes
    signatures: Mapping[str, bytes]

    @property
    def version(self) -> int:
        return int(self.signed["version"])


def read_returned(offered: SignedSet, ours: Mapping[str, bytes], org: str) -> Returned:
    """Verify a set that an outpost gave back.

    Args:
        offered: untrusted.
        ours: metadata of the stored set; its newest root is where verification starts.
        org: that everything must name.

    Raises:
        BundleError: a file that cannot be read, or is not signed as it must be.
        ReturnedSetError: files that do not belong together.
    """
    if len(offered.metadata) + len(offered.targets) > limits.MAX_SET_FILES:
        raise _refused("it has too many files")
    roots = _roots(offered, ours, org)
    root = roots[-1]
    timestamp = _signed_by(offered, names.TIMESTAMP, [root], org)
    snapshot = _signed_by(offered, names.SNAPSHOT, [root], org)
    _require_listed(timestamp, snapshot)
    top = _signed_by(offered, names.TARGETS, [root], org)
    files = {names.TARGETS: top}
    files |= {role: _signed_by(offered, role, [top], org) for role in names.DELEGATED_ROLES}
    for file in files.values():
        _require_listed(snapshot, file)
    documents = _documents(offered, files.values())
    metadata = {name: data for name, data in ours.items() if names.root_version(name)}
    metadata |= {file.name: file.data for file in (*roots[1:], timestamp, snapshot, *files.values())}
    content = read_documents(documents, org)
    return Returned(SignedSet(metadata, documents), content, timestamp.version, root.version)


def digest_of(documents: Mapping[str, bytes]) -> str:
    """Digest of the documents that say what policy is in force: all but those of the access role."""
    digest = hashlib.sha256()
    for path in sorted(path for path in documents if names.role_of_target(path) != names.ACCESS):
        digest.update(path.encode() + b"\0" + hashlib.sha256(documents[path]).digest())
    return digest.hexdigest()


def tightened(content: SetContent, returned: SetContent) -> Changes:
    """What protects in a returned set, on top of what is in force; nothing is taken away.

    Client keys are not here: those are rows, and their document is made of them.
    """
    changes: dict[str, bytes | None] = dict(releases.with_revoked(content, returned.revocations.outposts))
    lists = dict(content.kill.lists)
    for routes, killed in returned.kill.lists.items():
        old = lists.get(routes, KillList())
        if len(lists) < limits.MAX_KILLS or routes in lists:
            lists[routes] = KillList(_union(old.providers, killed.providers), _union(old.models, killed.models))
    if lists != dict(content.kill.lists):
        changes[names.KILL_PATH] = build_kill(KillDocument(content.org, lists))
    return changes


def missing_keys(held: Sequence[ClientKey], returned: Sequence[ClientKey]) -> tuple[ClientKey, ...]:
    """Client keys that a returned set has and the rows have not; a live one whose name is taken by now is left out."""
    ids, secrets = {key.id for key in held}, {key.sha256 for key in held}
    live = {key.name for key in held if not key.revoked}
    found = [key for key in returned if key.id not in ids and key.sha256 not in secrets]
    return tuple(key for key in found if key.revoked or key.name not in live)


def revoked_since(held: Sequence[ClientKey], returned: Sequence[ClientKey]) -> tuple[str, ...]:
    """Ids of keys that live in the rows and are revoked in a returned set."""
    gone = {key.id for key in returned if key.revoked} | {key.sha256 for key in returned if key.revoked}
    return tuple(key.id for key in held if not key.revoked and (key.id in gone or key.sha256 in gone))


def access_of(org: str, keys: tuple[ClientKey, ...], requests_per_minute: int) -> bytes:
    """The access document of all keys."""
    return build_access(AccessDocument(org, keys, requests_per_minute))


def _roots(offered: SignedSet, ours: Mapping[str, bytes], org: str) -> list[_File]:
    """Our newest root, and those that follow it in the set, each signed by the keys of both."""
    newest = max(map(names.root_version, ours), default=0)
    chain = [_read(names.ROOT, names.root_file(newest), ours[names.root_file(newest)], org)]
    later = sorted(version for version in map(names.root_version, offered.metadata) if version > newest)
    for version in later[: limits.MAX_ROOT_HOPS]:
        name = names.root_file(version)
        root = _read(names.ROOT, name, offered.metadata[name], org)
        if version != chain[-1].version + 1 or root.version != version:
            raise _refused("its roots do not follow each other")
        _require_signed(root, names.ROOT, [chain[-1], root])
        chain.append(root)
    return chain


def _signed_by(offered: SignedSet, role: str, delegators: Sequence[_File], org: str) -> _File:
    name = names.metadata_file(role)
    if name not in offered.metadata:
        raise _refused(f"it has no {name}")
    file = _read(role, name, offered.metadata[name], org)
    _require_signed(file, role, delegators)
    return file


def _read(role: str, name: str, data: bytes, org: str) -> _File:
    if len(data) > limits.MAX_METADATA_BYTES:
        raise _refused(f"{name} is too large")
    value = decode(data, name)
    try:
        check_envelope(Fields(value, name), role, org)
    except DocumentError as error:
        raise MalformedError(error.message, field=error.field) from None
    envelope: Mapping[str, Any] = value
    signatures = {each["keyid"]: bytes.fromhex(each["sig"]) for each in envelope["signatures"]}
    return _File(name, data, envelope["signed"], data[data.index(_SIGNED) + len(_SIGNED) : -1], signatures)


def _require_signed(file: _File, role: str, delegators: Sequence[_File]) -> None:
    authorities = [_keys_of(each, role) for each in delegators]
    require_signed(file.payload, file.signatures, authorities, file.name)


def _keys_of(delegator: _File, role: str) -> RoleKeys:
    """Who signs for a role, by a root or by top-level targets; their form was checked."""
    if "roles" in delegator.signed:
        named, keys = delegator.signed["roles"][role], delegator.signed["keys"]
    else:
        delegations = delegator.signed["delegations"]
        named = next(each for each in delegations["roles"] if each["name"] == role)
        keys = delegations["keys"]
    return RoleKeys(
        named["threshold"], {key_id: bytes.fromhex(keys[key_id]["keyval"]["public"]) for key_id in named["keyids"]}
    )


def _require_listed(lister: _File, file: _File) -> None:
    """Whether a file is the very one that its parent names."""
    meta = lister.signed["meta"][file.name]
    found = (file.version, len(file.data), hashlib.sha256(file.data).hexdigest())
    if (meta["version"], meta["length"], meta["hashes"]["sha256"]) != found:
        raise _refused(f"{file.name} is not the file that was published with the others")


def _documents(offered: SignedSet, roles: "Sequence[_File] | Any") -> dict[str, bytes]:
    documents = {}
    for file in roles:
        for path, listed in file.signed["targets"].items():
            data = offered.targets.get(path, b"")
            if (listed["length"], listed["hashes"]["sha256"]) != (len(data), hashlib.sha256(data).hexdigest()):
                raise _refused(f"{path} is not the file that was signed")
            documents[path] = data
    return documents


def _union(old: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *more)))[: limits.MAX_KILLED]


def _refused(cause: str) -> ReturnedSetError:
    return ReturnedSetError(f"the configuration that an outpost gave back is not used: {cause}", field="returned")
