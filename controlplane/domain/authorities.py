"""Generations of CAs: how one takes the place of another without a hand on any outpost.

Kinds: the root, the issuing CA for outposts and the one for servers. A generation of the root brings both issuing CAs
with it, and a cross-certificate: its name and key, signed by the root before it.

States of a generation
- prepared: believed, and told to whoever asks; it signs nothing yet.
- active: the newest active generation of a kind signs. Those before it are believed as before.
- tainted: believed still, and on its way out: whoever holds something that it signed is asked to renew now.
- retired: believed no longer. Final.

Theory. Belief comes first and goes last. Nobody meets a certificate whose root he was not told before, unless he was
away; then the cross-certificate leads him. What is retired has signed nothing that is still in use, unless its holder
is away; then he recovers, for which no chain is needed.

Source: /docs/design.md 4; SPIRE's prepare, activate, taint, revoke.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from controlplane.domain.errors import ConflictError, NotFoundError

MAX_GENERATIONS_TRUSTED = 4  # of a kind at once; certs.verify: at most 8 roots and 8 issuing CAs, and room
ABSENT_MS = 3 * 24 * 3600 * 1000  # the longest life of a leaf: who was not seen for longer holds none, and recovers


class AuthorityKind(StrEnum):
    """What a CA signs."""

    ROOT = "root"
    OUTPOSTS = "outposts"
    SERVERS = "servers"


class AuthorityState(StrEnum):
    """How far a generation is."""

    PREPARED = "prepared"
    ACTIVE = "active"
    TAINTED = "tainted"
    RETIRED = "retired"


class AuthorityOrderError(ConflictError):
    """A step that may not be made now."""

    code = "authority.order"


class AuthorityUnknownError(NotFoundError):
    """No such generation."""

    code = "authority.unknown"


class AuthorityBusyError(ConflictError):
    """Outposts still depend on what a step would take from them."""

    code = "authority.in_use"


@dataclass(frozen=True, slots=True)
class Authority:
    """One generation of one kind.

    Attributes:
        generation: from 1, in the order in which they were made.
        root: generation of the root above it; its own for a root.
        name: of its entry in the vault.
        certificate: DER.
        cross_certificate: DER of a root's name and key signed by the root before; empty for all others.
        list_number: of the newest revocation list that it signed.
    """

    kind: AuthorityKind
    generation: int
    state: AuthorityState
    root: int
    name: str
    certificate: bytes
    cross_certificate: bytes = b""
    created_ms: int = 0
    changed_ms: int = 0
    list_number: int = 0

    @property
    def is_trusted(self) -> bool:
        """Whether it is believed."""
        return self.state is not AuthorityState.RETIRED

    @property
    def label(self) -> str:
        """For people: kind and generation."""
        return f"{self.kind.value} {self.generation}"


def trusted(authorities: Iterable[Authority], kind: AuthorityKind) -> tuple[Authority, ...]:
    """Generations of a kind that are believed, newest first."""
    found = [each for each in authorities if each.kind is kind and each.is_trusted]
    return tuple(sorted(found, key=lambda each: -each.generation))


def signing(authorities: Iterable[Authority], kind: AuthorityKind) -> Authority:
    """The generation of a kind that signs: the newest active one. Raises AuthorityUnknownError: there is none."""
    for each in trusted(authorities, kind):
        if each.state is AuthorityState.ACTIVE:
            return each
    raise AuthorityUnknownError(
        f"no CA for {kind.value} is active", field="kind", next_step="look at them: controlplane ca show"
    )


def next_generation(authorities: Iterable[Authority], kind: AuthorityKind) -> int:
    """Number of the next generation of a kind.

    Raises:
        AuthorityOrderError: one is prepared already, or too many are believed.
    """
    known = [each for each in authorities if each.kind is kind]
    if any(each.state is AuthorityState.PREPARED for each in known):
        raise AuthorityOrderError(
            f"a CA for {kind.value} is prepared already",
            field="kind",
            next_step=f"activate it: controlplane ca activate {kind.value}; or retire it",
        )
    if sum(each.is_trusted for each in known) >= MAX_GENERATIONS_TRUSTED:
        raise AuthorityOrderError(
            f"{MAX_GENERATIONS_TRUSTED} generations of the CA for {kind.value} are believed already",
            field="kind",
            next_step=f"retire the oldest: controlplane ca retire {kind.value}",
        )
    return max((each.generation for each in known), default=0) + 1


def activated(authorities: Sequence[Authority], kind: AuthorityKind, now_ms: int) -> tuple[Authority, ...]:
    """Generations that change when the prepared one of a kind goes into use; with a root both its issuing CAs.

    Raises:
        AuthorityOrderError: nothing is prepared, or the root above it is not in use.
    """
    chosen = _only(authorities, kind, AuthorityState.PREPARED, "prepare one: controlplane ca prepare")
    above = _root_of(authorities, chosen)
    if kind is not AuthorityKind.ROOT and above.state is not AuthorityState.ACTIVE:
        waits = above.state is AuthorityState.PREPARED
        raise AuthorityOrderError(
            f"it is below a root that is {above.state.value}",
            field="kind",
            next_step="controlplane ca activate root" if waits else f"controlplane ca retire {kind.value}",
        )
    return tuple(replace(each, state=AuthorityState.ACTIVE, changed_ms=now_ms) for each in _with(authorities, chosen))


def tainted(authorities: Sequence[Authority], kind: AuthorityKind, now_ms: int) -> tuple[Authority, ...]:
    """Generations that change when all but the signing one of a kind are on their way out.

    Raises:
        AuthorityOrderError: there is only the one that signs, or with a root the last one that signs certificates of
            some kind would go.
    """
    current = signing(authorities, kind)
    old = [
        each
        for each in trusted(authorities, kind)
        if each.state is AuthorityState.ACTIVE and each.generation < current.generation
    ]
    if not old:
        raise AuthorityOrderError(
            f"no CA for {kind.value} is left beside the one that signs",
            field="kind",
            next_step=f"prepare and activate another one first: controlplane ca prepare {kind.value}",
        )
    chain = [each for one in old for each in _with(authorities, one) if each.state is AuthorityState.ACTIVE]
    _require_signing(authorities, chain)
    return tuple(replace(each, state=AuthorityState.TAINTED, changed_ms=now_ms) for each in dict.fromkeys(chain))


def retired(authorities: Sequence[Authority], kind: AuthorityKind, now_ms: int) -> tuple[Authority, ...]:
    """Generations that change when the tainted ones of a kind, or one that was only prepared, are believed no longer.

    Raises:
        AuthorityOrderError: nothing is tainted or prepared.
    """
    doomed = [each for each in trusted(authorities, kind) if each.state is AuthorityState.TAINTED]
    if not doomed:
        doomed = [_only(authorities, kind, AuthorityState.PREPARED, f"taint it first: controlplane ca taint {kind}")]
    chain = [each for one in doomed for each in _with(authorities, one) if each.is_trusted]
    return tuple(replace(each, state=AuthorityState.RETIRED, changed_ms=now_ms) for each in dict.fromkeys(chain))


def _only(authorities: Sequence[Authority], kind: AuthorityKind, state: AuthorityState, next_step: str) -> Authority:
    for each in trusted(authorities, kind):
        if each.state is state:
            return each
    raise AuthorityOrderError(f"no CA for {kind.value} is {state.value}", field="kind", next_step=next_step)


def _with(authorities: Sequence[Authority], chosen: Authority) -> tuple[Authority, ...]:
    """A generation, and when it is a root what stands below it."""
    if chosen.kind is not AuthorityKind.ROOT:
        return (chosen,)
    below = (each for each in authorities if each.root == chosen.generation and each.kind is not AuthorityKind.ROOT)
    return (chosen, *(each for each in below if each.is_trusted))


def _require_signing(authorities: Sequence[Authority], leaving: Sequence[Authority]) -> None:
    """Whatever leaves, something of each kind must go on signing."""
    for kind in AuthorityKind:
        try:
            signing([each for each in authorities if each not in leaving], kind)
        except AuthorityUnknownError:
            raise AuthorityOrderError(
                f"no CA for {kind.value} would be left that signs",
                field="kind",
                next_step=f"make another one first: controlplane ca prepare {kind.value}, then activate it",
            ) from None


def _root_of(authorities: Sequence[Authority], below: Authority) -> Authority:
    for each in authorities:
        if each.kind is AuthorityKind.ROOT and each.generation == below.root:
            return each
    raise AuthorityUnknownError("the root above it is unknown", field="kind", next_step="controlplane ca show")
