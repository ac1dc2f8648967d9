"""Releases of one org on their way."""

from typing import Protocol

from controlplane.domain.plans import Moved, Plan
from controlplane.domain.rollout_terms import RolloutTerms


class Plans(Protocol):
    """Plans of one org, what happened to each, and how careful its roll-outs are."""

    async def next_number(self) -> int:
        """Number of the next plan, from 1."""
        ...

    async def add(self, plan: Plan) -> None:
        """Insert."""
        ...

    async def save(self, plan: Plan) -> None:
        """Replace the row of ``plan.number``."""
        ...

    async def get(self, number: int) -> Plan:
        """By number. Raises PlanUnknownError."""
        ...

    async def rolling(self) -> Plan | None:
        """The one that rolls; there is one at most."""
        ...

    async def waiting(self) -> Plan | None:
        """The newest one that waits for signatures made elsewhere."""
        ...

    async def newest(self, before: int, limit: int) -> tuple[Plan, ...]:
        """Newest first, those before a number; from the newest when that is 0."""
        ...

    async def highest_release(self) -> int:
        """Highest version that a plan of the org gave to a release, 0 before the first."""
        ...

    async def note(self, number: int, moved: Moved) -> None:
        """Add a step to a plan's history."""
        ...

    async def history(self, number: int) -> tuple[Moved, ...]:
        """All steps of a plan, in order."""
        ...

    async def terms(self) -> RolloutTerms:
        """How careful roll-outs of this org are, unless a plan says otherwise."""
        ...

    async def put_terms(self, terms: RolloutTerms) -> None:
        """Replace them."""
        ...
