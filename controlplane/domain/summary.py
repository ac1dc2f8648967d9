"""What a ceremony changes, in sentences for the person who is asked to sign it.

Computed from the file alone, by the control plane that writes it and by the key holder far from it; both must come to
the same. What loosens is marked: a key holder of the policy role signs because only he may.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from controlplane.domain.ceremony import Ceremony, Part, keys_in
from controlplane.domain.policy_changes import LOOSENS, policy_changes
from outpost.core.bundle import names
from outpost.core.bundle.canonical import decode
from outpost.core.bundle.release import RoleKeys

KEY_DIGITS = 12  # of a key id, enough for people to tell keys apart


def summarise(ceremony: Ceremony) -> tuple[str, ...]:
    """Sentences in the order of the parts.

    Args:
        ceremony: read strictly, or about to be written.

    Raises:
        BundleError: a document in it cannot be read.
    """
    lines: list[str] = []
    for part in ceremony.parts:
        lines.append(_head(part))
        if part.role in (names.ROOT, names.TARGETS):
            lines += _keys(_before(ceremony, part), keys_in(part.signed))
        if part.role == names.POLICY:
            lines += policy_changes(ceremony.base, ceremony.documents, ceremony.org)
        elif part.role in names.DELEGATED_ROLES:
            lines += _documents(ceremony, part.role)
    return tuple(lines)


def _head(part: Part) -> str:
    needed = " and ".join(f"{each.threshold} of {len(each.keys)}" for each in part.authorities)
    return f"{part.role} becomes version {part.version}, valid until {part.signed['expires']}; {needed} must sign"


def _before(ceremony: Ceremony, part: Part) -> Mapping[str, RoleKeys]:
    name = names.metadata_file(names.TARGETS)
    if part.role == names.ROOT:
        name = names.root_file(max(map(names.root_version, ceremony.base), default=0))
    if name not in ceremony.base:
        return {}
    signed = decode(ceremony.base[name], name)["signed"]
    return keys_in(signed if isinstance(signed, dict) else {})


def _keys(before: Mapping[str, RoleKeys], after: Mapping[str, RoleKeys]) -> Iterator[str]:
    for role in sorted(after):
        old, new = before.get(role, RoleKeys(1, {})), after[role]
        for word, ids in (("gains", new.keys.keys() - old.keys.keys()), ("loses", old.keys.keys() - new.keys.keys())):
            if ids:
                yield f"role {role} {word} {_named(ids)}"
        if new.threshold != old.threshold and role in before:
            mark = LOOSENS if new.threshold < old.threshold else ""
            yield f"{mark}role {role} needs {new.threshold} signatures, where it needed {old.threshold}"
        yield f"role {role}: {new.threshold} of {_named(new.keys)} must sign"


def _documents(ceremony: Ceremony, role: str) -> Iterator[str]:
    """Documents of a role whose content nobody explains."""
    for path, data in sorted(ceremony.documents.items()):
        if names.role_of_target(path) == role:
            yield f"file {path} with SHA-256 {hashlib.sha256(data).hexdigest()}"


def _named(ids: Iterable[str]) -> str:
    found = sorted(each[:KEY_DIGITS] for each in ids)
    return f"key{'s' if len(found) > 1 else ''} {', '.join(found)}"
