"""Who a caller on the mTLS listener is, and what it may do now: judged on every call and every message.

A view of each org is held in memory and kept up with the store's change feed: whatever any process commits is heard of
at once, and each second all views are compared with the store, should something not have been heard. Only what changed
is read. A view that could not be compared for 5 seconds denies.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from certs.errors import TrustError
from certs.verify import TrustAnchors, VerifiedOutpost, verify_outpost_chain
from controlplane import telemetry
from controlplane.domain import outposts
from controlplane.domain.errors import ControlPlaneError, NotFoundError, StateError
from controlplane.domain.orgs import unknown_org
from controlplane.domain.outposts import Act, IdentityRefusedError, Outpost
from controlplane.ports.store import Store
from controlplane.ports.world import Clock

POLL_SECONDS = 1.0  # between two comparisons when nothing is heard (docs/design.md 8)
MAX_AGE_SECONDS = 5.0  # a view that is older denies (/docs/design.md 4)


class ViewStaleError(StateError):
    """The store could not be asked for too long; whether the caller was revoked is not known."""

    code = "identity.view_stale"


@dataclass(frozen=True, slots=True)
class OrgView:
    """What is known of an org in memory.

    Attributes:
        cursor: number of the newest change that is in here.
        outposts: by id.
        newest: number of the newest signed set, 0 when there is none.
        compared: monotonic seconds of the last comparison with the store.
    """

    cursor: int
    outposts: Mapping[str, Outpost]
    newest: int
    compared: float


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that proved who it is.

    Attributes:
        org: org id.
        outpost_id: whose certificate it is.
        serial: of the certificate, hex.
        not_after_ms: end of the certificate; no stream outlives it.
    """

    org: str
    outpost_id: str
    serial: str
    not_after_ms: int


class Views:
    """Views of all orgs that somebody asked for, kept fresh by ``watch``."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._views: dict[str, OrgView] = {}
        self._wakers: dict[str, set[asyncio.Event]] = {}
        self._refreshing: dict[str, asyncio.Lock] = {}
        self._poked = asyncio.Event()

    async def refresh(self, org: str) -> OrgView:
        """Compare with the store, read again what changed, and wake those who wait.

        Raises:
            OrgUnknownError: no such org.
            StateError: the store cannot be asked.
        """
        asked = self._clock.monotonic()
        head = (await self._store.heads((org,))).get(org)
        if head is None:
            raise unknown_org()
        return await self._caught_up(org, head, asked)

    def held(self, org: str) -> OrgView:
        """The view in memory, without asking. Raises ViewStaleError: too old to be believed."""
        view = self._views.get(org)
        if view is None or self._clock.monotonic() - view.compared > MAX_AGE_SECONDS:
            raise ViewStaleError("the control plane cannot read its own state; try again", next_step="try again")
        return view

    @contextmanager
    def waiting(self, org: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the org's view changes."""
        waker = asyncio.Event()
        wakers = self._wakers.setdefault(org, set())
        wakers.add(waker)
        try:
            yield waker
        finally:
            wakers.discard(waker)
            if not wakers:
                self._wakers.pop(org, None)

    def poke(self, org: str = "") -> None:
        """Compare now: an org changed, or anything may have."""
        self._poked.set()

    def wake_all(self) -> None:
        """Wake every waiter, for a stop."""
        for wakers in self._wakers.values():
            for waker in wakers:
                waker.set()

    async def watch(self) -> None:
        """Keep the views of orgs with waiters fresh, until cancelled."""
        while True:
            self._poked.clear()
            await self._compare(tuple(self._wakers))
            try:
                await asyncio.wait_for(self._poked.wait(), POLL_SECONDS)
            except TimeoutError:
                continue

    async def _compare(self, orgs: Sequence[str]) -> None:
        """Catch up with every org that has another head than its view."""
        asked = self._clock.monotonic()
        try:
            heads = await self._store.heads(orgs) if orgs else {}
        except ControlPlaneError as error:  # the views grow old and deny by themselves
            telemetry.log(telemetry.Event.MAINTENANCE_FAILED, kind="views", code=error.code)
            return
        for org, head in heads.items():
            try:
                await self._caught_up(org, head, asked)
            except ControlPlaneError as error:
                telemetry.log(telemetry.Event.MAINTENANCE_FAILED, org=org, kind="views", code=error.code)

    async def _caught_up(self, org: str, head: int, asked: float) -> OrgView:
        """The view with everything up to ``head``; those who wait are woken when it differs from the one before."""
        async with self._refreshing.setdefault(org, asyncio.Lock()):
            old = self._views.get(org)
            if old is not None and old.cursor == head:
                view = replace(old, compared=max(asked, old.compared))  # another comparison may have overtaken this one
            else:
                view = await self._read(org, old, asked)
            self._views[org] = view
        if old is None or old.cursor != view.cursor:
            for waker in self._wakers.get(org, ()):
                waker.set()
        return view

    async def _read(self, org: str, old: OrgView | None, asked: float) -> OrgView:
        async with self._store.for_org(org).read() as transaction:
            changed = await transaction.changes.since(old.cursor if old else 0)
            if old is None or changed.whole:
                everyone = {each.id: each for each in await transaction.outposts.all()}
            else:
                everyone = {
                    **old.outposts,
                    **{each.id: each for each in await transaction.outposts.some(changed.outposts)},
                }
            number = old.newest if old else 0
            if old is None or changed.releases:
                newest = await transaction.releases.newest()
                number = newest.number if newest else 0
        return OrgView(changed.newest, everyone, number, asked)


class Gatekeeper:
    """Turns a presented chain into a principal, and authorises what it does."""

    def __init__(self, store: Store, views: Views, anchors: TrustAnchors, clock: Clock) -> None:
        self._store = store
        self._views = views
        self._anchors = anchors
        self._clock = clock

    async def identify(self, chain: tuple[bytes, ...], act: Act) -> Principal:
        """Verify a chain again, after the handshake, and authorise the act.

        Args:
            chain: untrusted DER, leaf first.
            act: what the call is for.

        Raises:
            IdentityRefusedError: the chain proves no outpost of this control plane.
            OutpostRevokedError: revoked.
            IdentitySupersededError: another certificate took this one's place.
        """
        try:
            peer = verify_outpost_chain(chain, self._anchors, self._clock.now_ms() // 1000)
        except TrustError as error:
            raise IdentityRefusedError(error.message, field=error.field, next_step=error.next_step) from error
        principal = principal_of(peer)
        try:
            await self._views.refresh(principal.org)  # a call sees every change before it
        except NotFoundError:
            raise unknown_identity() from None
        if self.authorise(principal, act):
            await self._first_use(principal)
        return principal

    def authorise(self, principal: Principal, act: Act) -> bool:
        """Whether a principal may do this now, judged from memory.

        Returns:
            True when this is the first use of its certificate.

        Raises:
            as ``identify``; ViewStaleError: our own state is not known well enough.
        """
        now_ms = self._clock.now_ms()
        outpost = self._views.held(principal.org).outposts.get(principal.outpost_id)
        if outpost is None:
            raise unknown_identity()
        if now_ms >= principal.not_after_ms:
            raise IdentityRefusedError(
                "the certificate of this outpost expired",
                field="certificate",
                next_step="register the outpost again: controlplane outpost register NAME --org ORG",
            )
        return outposts.authorise(outpost, principal.serial, act, now_ms)

    async def _first_use(self, principal: Principal) -> None:
        """Advance the join sequence: the old certificate is retired from here on."""
        async with self._store.for_org(principal.org).write() as transaction:
            outpost = await transaction.outposts.get(principal.outpost_id)
            if outpost.next_serial == principal.serial:  # not yet advanced by a call beside this one
                await transaction.outposts.save(outposts.advanced(outpost, principal.serial))
        await self._views.refresh(principal.org)
        telemetry.log(
            telemetry.Event.FIRST_USE, org=principal.org, outpost=principal.outpost_id, serial=principal.serial
        )


def principal_of(peer: VerifiedOutpost) -> Principal:
    """The principal behind a verified peer."""
    identity = peer.spiffe_id
    return Principal(identity.org, identity.outpost, f"{peer.serial:x}", peer.not_after * 1000)


def unknown_identity() -> IdentityRefusedError:
    """The certificate is genuine, but its outpost is not here."""
    return IdentityRefusedError(
        "this control plane does not know the outpost of this certificate", next_step="register it again"
    )
