"""What expires when, and who must sign again: told long before, since some keys are far away."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from outpost.core.bundle import names
from outpost.core.bundle.release import RoleKeys

_DAY_MS = 24 * 3600 * 1000
WARN_BEFORE_MS: Mapping[str, int] = {
    names.ROOT: 60 * _DAY_MS,
    names.TARGETS: 30 * _DAY_MS,
    **dict.fromkeys(names.DELEGATED_ROLES, 30 * _DAY_MS),
    names.SNAPSHOT: 2 * _DAY_MS,
    names.TIMESTAMP: _DAY_MS // 4,
}
"""Milliseconds before the end of a role at which somebody should act. Online roles are signed again long before; when
they come that near to their end, the control plane does not sign."""

Signed = tuple[Mapping[str, RoleKeys], Mapping[str, int], Mapping[str, int]]
"""Role name to its keys, its version, and its end in Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class RoleOutlook:
    """One role.

    Attributes:
        role: name.
        version: of its metadata.
        expires_ms: end of its validity, Unix milliseconds.
        threshold: how many keys must sign.
        keys: key id to whether the key is here.
        by_itself: the control plane holds enough keys, and signs again by itself.
        warning: what somebody must do soon, or empty.
    """

    role: str
    version: int
    expires_ms: int
    threshold: int
    keys: Mapping[str, bool]
    by_itself: bool
    warning: str


def outlook(signed: Signed, here: Mapping[str, Set[str]], now_ms: int) -> tuple[RoleOutlook, ...]:
    """Judge every role.

    Args:
        signed: what stands.
        here: role name to the ids of its keys that are here.
        now_ms: Unix milliseconds.

    Returns:
        One for each role, by the moment of expiry.
    """
    layout, versions, expiries = signed
    found = []
    for role, keys in layout.items():
        enough = len(here[role]) >= keys.threshold
        found.append(
            RoleOutlook(
                role=role,
                version=versions[role],
                expires_ms=expiries[role],
                threshold=keys.threshold,
                keys={key_id: key_id in here[role] for key_id in sorted(keys.keys)},
                by_itself=enough and role != names.ROOT,
                warning=_warning(role, expiries[role] - now_ms, keys.threshold, enough),
            )
        )
    return tuple(sorted(found, key=lambda each: each.expires_ms))


def _warning(role: str, left_ms: int, threshold: int, enough: bool) -> str:
    if left_ms > WARN_BEFORE_MS[role]:
        return ""
    when = f"expires in {left_ms // _DAY_MS} days" if left_ms > 0 else "has expired"
    if role == names.ROOT or not enough:
        who = "renew it" if enough else f"holders of {threshold} of its keys must sign"
        return f"{role} {when}: {who} (controlplane root propose --renew {role})"
    return f"{role} {when}: the server does not sign; is it running?"
