"""The ends of streams go before new sets.

A revocation signs a set as well, in the same transaction, and every other outpost of the org takes it. On a busy
machine a thousand offers would keep the one stream open that matters, and delay the refusal of its next call; so offers
of an org wait a moment when outposts of it were withdrawn. Revocations in a row become one set that way.
"""

import asyncio
from collections.abc import Callable

from controlplane.domain.outposts import OutpostState
from controlplane.services.views import OrgView

WITHDRAWN = frozenset({OutpostState.LOCKED, OutpostState.REVOKED})
SECONDS = 1.0  # a stream ends within a fifth of it, and the call after it is refused (bench-revocation)
MOST_SECONDS = 3.0  # from the first withdrawal, however many follow


class HeadStart:
    """Decides whether offers wait.

    Args:
        offer: makes the offers of an org.
    """

    def __init__(self, offer: Callable[[OrgView], None]) -> None:
        self._offer = offer
        self._withdrawn: dict[str, frozenset[str]] = {}  # outposts by org that are known to be
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}  # since when offers wait, and the end of that

    def is_given(self, view: OrgView, changed: frozenset[str]) -> bool:
        """Whether offers to an org wait; they are made by themselves then.

        Args:
            view: of the org.
            changed: outposts that did.
        """
        known = self._withdrawn.get(view.org, frozenset())
        states = {each: view.outposts[each].state for each in changed - known if each in view.outposts}
        fresh = frozenset(each for each, state in states.items() if state in WITHDRAWN)
        if fresh:
            self._withdrawn[view.org] = known | fresh
            self._wait(view)
        return view.org in self._timers

    def _wait(self, view: OrgView) -> None:
        loop = asyncio.get_running_loop()
        since, timer = self._timers.get(view.org, (loop.time(), None))
        if timer is not None:
            timer.cancel()
        until = min(loop.time() + SECONDS, since + MOST_SECONDS)
        self._timers[view.org] = since, loop.call_at(until, self._over, view)

    def _over(self, view: OrgView) -> None:
        del self._timers[view.org]
        self._offer(view)
