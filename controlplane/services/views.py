"""What is known of each org in memory, so that every call and every message is judged without asking the store.

A view is kept up with the store's change feed: whatever any process commits is heard of at once, and each second all
views are compared with the store, should something not have been heard. Only what changed is read, and whoever listens
is told which outposts that were. A view that could not be compared for 5 seconds denies.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence

from controlplane import telemetry
from controlplane.domain.changes import ChangeKind
from controlplane.domain.errors import ControlPlaneError, StateError
from controlplane.domain.offers import SignedRelease
from controlplane.domain.orgs import checked_id, unknown_org
from controlplane.domain.outposts import Outpost
from controlplane.domain.quotas import Quotas
from controlplane.ports.store import Store
from controlplane.ports.world import Clock

POLL_SECONDS = 1.0  # between two comparisons when nothing is heard (docs/design.md 8)
MAX_AGE_SECONDS = 5.0  # a view that is older denies (/docs/design.md 4)


class ViewStaleError(StateError):
    """The store could not be asked for too long; whether the caller was revoked is not known."""

    code = "identity.view_stale"


class OrgView:
    """What is known of an org.

    Attributes:
        org: org id.
        cursor: number of the newest change that is in here; -1 before the first.
        outposts: by id.
        newest: the newest signed set, None when there is none.
        refused: outposts that refused the newest set, with the code of the refusal.
        quotas: what the org may use.
        compared: monotonic seconds when the last comparison with the store began.
        heard: monotonic seconds when a change was last heard of while nobody kept this view fresh.
    """

    __slots__ = ("compared", "cursor", "heard", "newest", "org", "outposts", "quotas", "refused")

    def __init__(self, org: str) -> None:
        self.org = org
        self.cursor = -1
        self.outposts: dict[str, Outpost] = {}
        self.newest: SignedRelease | None = None
        self.refused: dict[str, str] = {}
        self.quotas = Quotas()
        self.compared = float("-inf")
        self.heard = float("-inf")

    @property
    def number(self) -> int:
        """Number of the newest signed set, 0 when there is none."""
        return self.newest.number if self.newest is not None else 0


Listener = Callable[[OrgView, frozenset[str]], None]


class Views:
    """Views of all orgs that somebody asked for; those that are ``watched`` are kept fresh by ``watch``."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._views: dict[str, OrgView] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self._reading: dict[str, asyncio.Lock] = {}
        self._listener: Listener = _nobody
        self._untold: dict[str, frozenset[str]] = {}  # outposts that changed, by org, until the listener took it
        self._watched: Callable[[], Collection[str]] = tuple
        self._poked = asyncio.Event()

    def listen(self, listener: Listener, watched: Callable[[], Collection[str]]) -> None:
        """Tell somebody about every change.

        Args:
            listener: called with the view and the outposts that changed, after it did; of a new set without any. When
                it raises, it is told again after the next comparison.
            watched: orgs that are to be kept fresh.
        """
        self._listener, self._watched = listener, watched

    async def refresh(self, org: str) -> OrgView:
        """Compare with the store: what comes back knows everything that was committed before the call.

        Callers that come at the same time share the next comparison.

        Raises:
            OrgNameError: not the id of an org.
            OrgUnknownError: no such org.
            StateError: the store cannot be asked.
        """
        checked_id(org)
        called = self._clock.monotonic()
        async with self._asking.setdefault(org, asyncio.Lock()):
            view = self._views.get(org)
            if view is not None and view.compared > called:
                return view
            asked = self._clock.monotonic()
            head = (await self._store.heads((org,))).get(org)
            if head is None:
                self._asking.pop(org, None)
                raise unknown_org()
            return await self._caught_up(org, head, asked)

    def held(self, org: str) -> OrgView:
        """The view in memory, without asking. Raises ViewStaleError: too old to be believed."""
        view = self._views.get(org)
        if view is None or self._clock.monotonic() - view.compared > MAX_AGE_SECONDS:
            raise ViewStaleError("the control plane cannot read its own state; try again", next_step="try again")
        return view

    def connects_per_second(self, org: str) -> int:
        """How many streams an org may open in a second; the default for one that is not known here."""
        view = self._views.get(org)
        return view.quotas.connects_per_second if view is not None else Quotas().connects_per_second

    def is_behind(self, org: str) -> bool:
        """Whether a change was heard of that the view may not have, since no stream keeps it fresh."""
        view = self._views.get(org)
        return view is not None and view.compared <= view.heard

    def poke(self, org: str = "") -> None:
        """Compare now: an org changed, or anything may have. Views that are not watched are compared by the next call
        that needs them.
        """
        watched = self._watched()
        if not org or org in watched:
            self._poked.set()
        now = self._clock.monotonic()
        for each in (org,) if org else tuple(self._views):
            if each not in watched and each in self._views:
                self._views[each].heard = now

    async def watch(self) -> None:
        """Keep the watched views fresh, until cancelled."""
        while True:
            self._poked.clear()
            await self._compare(tuple(self._watched()))
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._poked.wait()
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
        await asyncio.gather(*(self._compared(org, head, asked) for org, head in heads.items()))

    async def _compared(self, org: str, head: int, asked: float) -> None:
        """Catch up with one org; one that is slow to read, or cannot be, keeps no other waiting."""
        try:
            await self._caught_up(org, head, asked)
        except ControlPlaneError as error:
            telemetry.log(telemetry.Event.MAINTENANCE_FAILED, org=org, kind="views", code=error.code)

    async def _caught_up(self, org: str, head: int, asked: float) -> OrgView:
        """The view with everything up to ``head``; the listener is told what differs from the one before."""
        async with self._reading.setdefault(org, asyncio.Lock()):
            view = self._views.get(org) or OrgView(org)
            if view.cursor != head:
                self._untold[org] = await self._read(view) | self._untold.get(org, frozenset())
            view.compared = max(asked, view.compared)  # another comparison may have overtaken this one
            self._views[org] = view
        if (untold := self._untold.get(org)) is not None:
            self._listener(view, untold)
            del self._untold[org]
        return view

    async def _read(self, view: OrgView) -> frozenset[str]:
        """Bring a view up to date; returns the outposts that are not as they were."""
        async with self._store.for_org(view.org).read() as transaction:
            changed = await transaction.changes.since(max(view.cursor, 0))
            whole = changed.whole or view.cursor < 0
            table = transaction.outposts
            fresh = await table.all() if whole else await table.some(changed.outposts) if changed.outposts else ()
            newest = await transaction.releases.newest() if whole or changed.releases else view.newest
            refused, quotas = view.refused, view.quotas
            if newest is not None and (whole or changed.releases or ChangeKind.REFUSAL in changed.kinds):
                refused = dict(await transaction.releases.refusals(newest.number))
            if whole or ChangeKind.QUOTAS in changed.kinds:
                quotas = await transaction.quotas.get()
        # From here on nothing waits, so nobody sees a view that is half of one moment and half of another.
        others = frozenset(each.id for each in fresh if view.outposts.get(each.id) != each)
        if whole:
            view.outposts.clear()
        view.outposts.update((each.id, each) for each in fresh)
        view.newest, view.refused, view.quotas, view.cursor = newest, refused, quotas, changed.newest
        return others


def _nobody(view: OrgView, changed: frozenset[str]) -> None:
    """Nobody listens."""
