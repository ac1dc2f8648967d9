"""What is known of each org in memory, so that every call and every message is judged without asking the store.

A view is compared with the store's change counter several times a second; only what changed is read again, and whoever
listens is told which outposts that were. A view that could not be compared for 5 seconds denies.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from controlplane import telemetry
from controlplane.domain.errors import ControlPlaneError, StateError
from controlplane.domain.offers import SignedRelease
from controlplane.domain.outposts import Outpost
from controlplane.domain.records import DeliveryState
from controlplane.ports import Clock, Store

POLL_SECONDS = 0.2  # between two looks at the change counter
MAX_AGE_SECONDS = 5.0  # a view that is older denies (/docs/design.md 4)

Listener = Callable[[str, frozenset[str]], None]


class ViewStaleError(StateError):
    """The store could not be asked for too long; whether the caller was revoked is not known."""

    code = "identity.view_stale"


class OrgView:
    """What is known of an org.

    Attributes:
        org: org id.
        change_count: of the store when this was read.
        outposts: by id.
        newest: the newest signed set, None when there is none.
        refused: outposts that refused the newest set, with the code of the refusal.
        compared: monotonic seconds when the last comparison with the store began.
    """

    __slots__ = ("change_count", "compared", "newest", "org", "outposts", "refused")

    def __init__(self, org: str) -> None:
        self.org = org
        self.change_count = -1
        self.outposts: Mapping[str, Outpost] = {}
        self.newest: SignedRelease | None = None
        self.refused: dict[str, str] = {}
        self.compared = float("-inf")

    @property
    def number(self) -> int:
        """Number of the newest signed set, 0 when there is none."""
        return self.newest.number if self.newest is not None else 0


class Views:
    """Views of all orgs that somebody asked for; those that are ``watched`` are kept fresh by ``watch``."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._views: dict[str, OrgView] = {}
        self._comparing: dict[str, asyncio.Lock] = {}
        self._listener: Listener = _nobody
        self._watched: Callable[[], Iterable[str]] = tuple
        self._poked = asyncio.Event()

    def listen(self, listener: Listener, watched: Callable[[], Iterable[str]]) -> None:
        """Tell somebody about every change.

        Args:
            listener: called with the org and the outposts that changed, after the view did; of a new set without any.
            watched: orgs that are to be kept fresh.
        """
        self._listener, self._watched = listener, watched

    async def refresh(self, org: str) -> OrgView:
        """Compare with the store: what comes back knows everything that was committed before the call.

        Callers that wait for a comparison share the next one.

        Raises:
            OrgUnknownError: no such org.
            StateError: the store cannot be asked.
        """
        called = self._clock.monotonic()
        space = self._store.for_org(org)
        async with self._comparing.setdefault(org, asyncio.Lock()):
            view = self._views.get(org)
            if view is not None and view.compared > called:
                return view
            began = self._clock.monotonic()
            count = await space.change_count()
            view = view or OrgView(org)
            changed = None
            if view.change_count != count:
                changed = await self._read(view, count)
            view.compared = began
            self._views[org] = view
        if changed is not None:
            self._listener(org, changed)
        return view

    def held(self, org: str) -> OrgView:
        """The view in memory, without asking. Raises ViewStaleError: too old to be believed."""
        view = self._views.get(org)
        if view is None or self._clock.monotonic() - view.compared > MAX_AGE_SECONDS:
            raise ViewStaleError("the control plane cannot read its own state; try again", next_step="try again")
        return view

    def poke(self) -> None:
        """Compare now: something was changed by this process."""
        self._poked.set()

    async def watch(self) -> None:
        """Keep the watched views fresh, until cancelled."""
        while True:
            self._poked.clear()
            for org in tuple(self._watched()):
                await self._compare(org)
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._poked.wait()
            except TimeoutError:
                continue

    async def _compare(self, org: str) -> None:
        try:
            await self.refresh(org)
        except ControlPlaneError as error:  # the view grows old and denies by itself
            telemetry.log(telemetry.Event.MAINTENANCE_FAILED, org=org, code=error.code)

    async def _read(self, view: OrgView, count: int) -> frozenset[str]:
        """Bring a view up to date; returns the outposts that are not as they were."""
        async with self._store.for_org(view.org).read() as transaction:
            everyone = {each.id: each for each in await transaction.outposts.all()}
            newest = await transaction.releases.newest()
            words = await transaction.releases.deliveries()
        before = view.outposts
        view.outposts = everyone
        view.newest = newest
        view.refused = {
            word.outpost_id: word.code
            for word in words
            if word.state is DeliveryState.REFUSED and word.number == view.number
        }
        view.change_count = count
        return frozenset(key for key, each in everyone.items() if before.get(key) != each)


def _nobody(org: str, changed: frozenset[str]) -> None:
    """Nobody listens."""
