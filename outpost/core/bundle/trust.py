"""What may replace what, and what an org may still do with what it has: rules over plain facts.

Theory. Three things move forwards only: the version of each role, the release that counts as stable, and the time floor
(the highest signed time ever accepted). The high water holds them apart from the cache, so that deleting or restoring
the cache does not bring an older set back. A candidate does not lift the floor of releases: from it an outpost may
return to the stable release that it names, and to none below. The state is never stored: it follows, at each request,
from signed facts and the clock, so that an outpost needs neither agent nor network to seal itself.

States, first rule that applies:

1. a signed lock order was obeyed → LOCKED, until the outpost enrolls again
2. no identity → UNREGISTERED
3. the active slot was tampered with → SEALED
4. no verified set → ENROLLED
5. the clock is more than 10 min below the time floor → SEALED
6. inspection failed its own test → SEALED
7. the control plane revoked or locked the identity, and the release says "seal" then → SEALED
8. ``seal_after_seconds`` have passed since the timestamp was signed, and no extension reaches further → SEALED
9. the timestamp has expired → STALE: the last good set is enforced. Nothing can loosen it, because no set is accepted
   without a fresh timestamp
10. 30 s without contact → OFFLINE: full enforcement
11. ACTIVE

A clock that runs a little behind cannot make old things young: time is judged as the later of clock and floor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from outpost.core.bundle import names
from outpost.core.bundle.errors import EquivocationError, RollbackError
from outpost.core.bundle.release import HighWater, VerifiedSet
from outpost.core.bundle.release_document import ENFORCE, SEAL

OFFLINE_AFTER_MS = 30_000  # milliseconds without contact; three missed heartbeats
CLOCK_TOLERANCE_MS = 600_000  # milliseconds that a clock may be below the floor
FLOOR_AHEAD_MS = 300_000  # milliseconds that signed time may lift the floor above the local clock
SEAL_BOUND = "bundle.seal_bound"
"""Code of an org that its configuration's age seals; an extension may help."""


class State(StrEnum):
    """What an outpost is to an org."""

    UNREGISTERED = "UNREGISTERED"
    ENROLLED = "ENROLLED"
    ACTIVE = "ACTIVE"
    OFFLINE = "OFFLINE"
    STALE = "STALE"
    SEALED = "SEALED"
    LOCKED = "LOCKED"

    @property
    def serves(self) -> bool:
        """Model traffic is let through to inspection."""
        return self in (State.ACTIVE, State.OFFLINE, State.STALE)


@dataclass(frozen=True, slots=True)
class OrgFacts:
    """All that the state depends on.

    Attributes:
        enrolled: there is an identity.
        configured: a verified set is active.
        signed_at_ms: when the active set's timestamp was signed.
        timestamp_expires_ms: end of that timestamp's validity.
        seal_after_seconds: of the active release; None = never.
        last_contact_ms: last word of the control plane, 0 = none since the start.
        time_floor_ms: of the high water.
        tamper_code: code of the error that the active slot gave ("cache.tampered"), or empty.
        inspection_code: code of what inspection failed with ("canary.failed"), or empty.
        locked_code: code of the lock order that was obeyed, or empty.
        revoked_code: what the control plane says of the identity ("outpost.revoked", "identity.locked"), or empty.
        on_revoked: of the active release, "enforce" or "seal".
        extended_until_ms: until when signed extensions keep the age from sealing, 0 = none.
        by_courier: no network leads to the control plane: files travel, and no word from it is expected.
    """

    enrolled: bool
    configured: bool = False
    signed_at_ms: int = 0
    timestamp_expires_ms: int = 0
    seal_after_seconds: int | None = None
    last_contact_ms: int = 0
    time_floor_ms: int = 0
    tamper_code: str = ""
    inspection_code: str = ""
    locked_code: str = ""
    revoked_code: str = ""
    on_revoked: str = ENFORCE
    extended_until_ms: int = 0
    by_courier: bool = False

    @property
    def sealed_from_ms(self) -> int | None:
        """Moment from which age seals, Unix milliseconds; None = never."""
        if self.seal_after_seconds is None:
            return None
        return max(self.signed_at_ms + self.seal_after_seconds * 1000, self.extended_until_ms)


@dataclass(frozen=True, slots=True)
class OrgState:
    """A state and why.

    Attributes:
        state: the state.
        code: stable reason, empty when ACTIVE.
        reason: one sentence for people, with the next step where there is one.
    """

    state: State
    code: str = ""
    reason: str = ""


def org_state(facts: OrgFacts, now_ms: int) -> OrgState:
    """Judge an org.

    Args:
        facts: see OrgFacts.
        now_ms: local clock, Unix milliseconds.

    Returns:
        The first state whose rule applies (module docstring).
    """
    if facts.locked_code:
        return OrgState(
            State.LOCKED,
            facts.locked_code,
            "The control plane locked this outpost: keys and configuration are wiped. Enroll again with a new token.",
        )
    if not facts.enrolled:
        return OrgState(State.UNREGISTERED, "identity.none", "There is no identity: run `outpost enroll`.")
    if facts.tamper_code:
        return OrgState(State.SEALED, facts.tamper_code, "The active configuration on disk was altered.")
    if not facts.configured:
        return OrgState(State.ENROLLED, "bundle.none", "No configuration has arrived yet.")
    if facts.time_floor_ms - now_ms > CLOCK_TOLERANCE_MS:
        return OrgState(State.SEALED, "clock.below_floor", "The local clock is behind signed time: set the clock.")
    if facts.inspection_code:
        return OrgState(State.SEALED, facts.inspection_code, "Inspection failed its own test.")
    if facts.revoked_code and facts.on_revoked == SEAL:
        return OrgState(
            State.SEALED, facts.revoked_code, "The control plane withdrew the identity, and the policy then seals."
        )
    return _by_freshness(facts, now_ms)


def _by_freshness(facts: OrgFacts, now_ms: int) -> OrgState:
    judged_ms = reference_time(facts.time_floor_ms, now_ms)
    if facts.sealed_from_ms is not None and judged_ms >= facts.sealed_from_ms:
        return OrgState(
            State.SEALED,
            SEAL_BOUND,
            "The configuration is older than the policy allows: restore the link, or `outpost bundle extend FILE`.",
        )
    if judged_ms >= facts.timestamp_expires_ms:
        return OrgState(
            State.STALE, "bundle.stale", "The configuration's timestamp has expired; the last good set is enforced."
        )
    silent = facts.last_contact_ms == 0 or now_ms - facts.last_contact_ms >= OFFLINE_AFTER_MS
    if silent and not facts.by_courier:
        return OrgState(State.OFFLINE, "control.no_contact", "The control plane has not answered for 30 s.")
    return OrgState(State.ACTIVE)


def reference_time(time_floor_ms: int, now_ms: int) -> int:
    """Moment against which expiry is judged: turning the clock back must not revive an expired set."""
    return max(time_floor_ms, now_ms)


def next_time_floor(time_floor_ms: int, signed_at_ms: int, now_ms: int) -> int:
    """Lift the floor to a signed time, but never far beyond the local clock: a signer's wrong clock must not seal us.

    Returns:
        Unix milliseconds, never below ``time_floor_ms``.
    """
    return max(time_floor_ms, min(signed_at_ms, now_ms + FLOOR_AHEAD_MS))


def next_high_water(high_water: HighWater, verified: VerifiedSet, now_ms: int) -> HighWater:
    """High water once a set is active. Write it after the pointer: written before, a crash between would condemn the
    last good set.

    The versions are those of the set. Verification has compared them with ``high_water`` and lets a version fall only
    where the root has replaced the keys of the role (recovery from a version that a stolen key drove up). The floor of
    releases is the stable one of the set, also where its candidate runs.

    Args:
        high_water: the one that the set was verified against.
        verified: the set that became active.
        now_ms: local clock, Unix milliseconds.

    Source: TUF 1.0.34 §5.3.11.
    """
    floor = next_time_floor(high_water.time_floor_ms, verified.signed_at_ms, now_ms)
    return HighWater(versions=dict(verified.versions), time_floor_ms=floor)


def require_not_older(role: str, version: int, floors: Mapping[str, int]) -> None:
    """Refuse a version below what was accepted before; the same version is no step back.

    Raises:
        RollbackError: older.
    """
    floor = floors.get(role, 0)
    if version < floor:
        raise RollbackError(
            f"{role} has version {version}, but version {floor} was accepted before.",
            field=role,
            next_step="To go back, publish the old content under a new, higher version.",
        )


def require_one_per_version(active: VerifiedSet, offered: VerifiedSet) -> None:
    """Refuse another set under the timestamp version of the one in force; the same set is none.

    Under another root versions may count anew: that is how a version that a thief drove up is left.

    Raises:
        EquivocationError: two sets of one version.
    """
    same = [names.ROOT, names.TIMESTAMP]
    if all(active.versions[role] == offered.versions[role] for role in same) and active.listing != offered.listing:
        raise EquivocationError(
            f"timestamp {offered.versions[names.TIMESTAMP]} is in force here with other content.",
            field=names.TIMESTAMP,
            next_step="Find out who else signs; an honest control plane publishes each version once.",
        )
