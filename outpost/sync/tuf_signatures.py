"""Signatures of TUF metadata, and the memory of what was found about exact bytes.

Whether a file reads and who signed it follows from bytes alone, so it is found out once: a file that did not change
between two sets is neither read nor verified again. Nothing that depends on time, on versions or on other files is
remembered. An entry is looked up by all of the bytes that it depends on, the delegators' included.
"""

from collections.abc import Mapping, Sequence

from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.metadata import Key, Root, Targets  # type: ignore[attr-defined]  # re-exported there

from outpost.core.bundle import names
from outpost.core.bundle.errors import (
    BadSignatureError,
    ThresholdError,
    UnknownKeyError,
    UnsignedError,
    WrongRoleKeyError,
)
from outpost.core.bundle.release import RoleKeys
from outpost.sync.tuf_metadata import MetadataFile, read_metadata

_REFUSED = "The last good set keeps serving; look at the control plane's publication."

Delegator = Root | Targets


class MetadataMemory:
    """Metadata files of the last good set of one org.

    Args:
        org: org that every file must name.
    """

    def __init__(self, org: str) -> None:
        self._org = org
        self._known: dict[object, MetadataFile] = {}
        self._asked: dict[object, MetadataFile] = {}

    def read(self, role: str, name: str, data: bytes) -> MetadataFile:
        """Read a file strictly, or remember it.

        Raises:
            BundleError: see ``tuf_metadata.read_metadata``.
        """
        key = (role, name, data)
        file = self._known.get(key)
        if file is None:
            file = read_metadata(role, name, data, self._org)
        self._asked[key] = file
        return file

    def require_signatures(self, role: str, file: MetadataFile, delegators: Sequence[MetadataFile]) -> None:
        """Hold the signatures of a file against its delegators, or remember that they were good.

        Raises:
            SignatureError: one of its leaves.
        """
        key = (role, file.data, *(each.data for each in delegators))
        if key not in self._known:
            require_signatures(role, file, [each.signed for each in delegators])
        self._asked[key] = file

    def end(self, *, good: bool) -> None:
        """A set was verified: a good one takes the place of the last, of a bad one nothing stays."""
        if good:
            self._known = self._asked
        self._asked = {}


def require_signatures(role: str, file: MetadataFile, delegators: Sequence[Delegator]) -> None:
    """Hold every signature against the keys of the role, and their number against each delegator's threshold.

    Raises:
        UnsignedError: none.
        UnknownKeyError: one of a key that nobody named; WrongRoleKeyError: one of another role's key.
        BadSignatureError: one that does not verify.
        ThresholdError: too few.
    """
    name = file.name
    if not file.signatures:
        raise UnsignedError(f"{name} is not signed.", field=name, next_step=_REFUSED)
    keys = {key_id: each.get_key(key_id) for each in delegators for key_id in each.get_delegated_role(role).keyids}
    for key_id, signature in file.signatures.items():
        if key_id not in keys:
            raise _foreign_key(role, name, key_id, delegators)
        try:
            keys[key_id].verify_signature(signature, file.payload)
        except UnverifiedSignatureError:
            raise BadSignatureError(f"A signature of {name} does not verify.", field=name) from None
    for each in delegators:
        wanted = each.get_delegated_role(role)
        valid = len(set(wanted.keyids) & set(file.signatures))
        if valid < wanted.threshold:
            raise ThresholdError(f"{name} has {valid} of {wanted.threshold} signatures.", field=name)


def keys_of_roles(targets: Targets) -> dict[str, RoleKeys]:
    """Delegated role name to threshold and keys, out of verified top-level targets."""
    found = {}
    for role in names.DELEGATED_ROLES:
        wanted = targets.get_delegated_role(role)
        keys = {key_id: _public_bytes(targets.get_key(key_id)) for key_id in wanted.keyids}
        found[role] = RoleKeys(wanted.threshold, keys)
    return found


def _public_bytes(key: Key) -> bytes:
    return bytes.fromhex(key.keyval["public"])  # strict reading allows Ed25519 only


def _foreign_key(
    role: str, name: str, key_id: str, delegators: Sequence[Delegator]
) -> UnknownKeyError | WrongRoleKeyError:
    for each in delegators:
        if key_id in _named_keys(each):
            return WrongRoleKeyError(f"{name} is signed by a key of another role than {role}.", field=name)
    return UnknownKeyError(f"{name} is signed by a key that nobody named.", field=name)


def _named_keys(delegator: Delegator) -> Mapping[str, Key]:
    if isinstance(delegator, Root):
        return delegator.keys
    return delegator.delegations.keys if delegator.delegations else {}
