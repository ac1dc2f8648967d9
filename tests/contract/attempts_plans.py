"""The attempts of ``attempts`` on the tables of releases on their way."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

from controlplane.domain.plans import Author, Moved, Plan, PlanKind, PlanState
from controlplane.domain.rollout_terms import RolloutTerms
from controlplane.store.store import Transaction

MARK = "VICTIMS-CONTENT"
NUMBERS = (7_777_774, 7_777_775, 7_777_776)  # of the victim's plans; the next one is attempts.QUOTA
VICTIMS_TERMS = RolloutTerms(soak_seconds=54_321)
TABLES = ("plans",)
ALONE = frozenset({"plans.add", "plans.note"})
"""May contradict rows of their own."""
Attempt = Callable[[Transaction, random.Random], Awaitable[object]]


def a_plan(number: int = 1, mark: str = "own", state: PlanState = PlanState.ROLLING) -> Plan:
    """A plan with every column filled."""
    return Plan(
        number,
        PlanKind.ROLLBACK,
        mark,
        Author(mark, mark),
        1,
        mark,
        RolloutTerms((1, 50, 100), 2, 3, 4, 5),
        state,
        at_once=True,
        approver=Author(mark, mark),
        draft=mark.encode(),
        ceremony=mark.encode(),
        release=number if mark == "own" else NUMBERS[-1] + 1,
        fallback=6,
        stage=50,
        first_set=7,
        stage_set=8,
        began_ms=9,
        settled_ms=10,
        ended_ms=11,
        code=mark,
        reason=mark,
        culprit=mark,
        shadow=mark,
    )


async def fill(t: Transaction) -> None:
    """Rows in every table, marked."""
    for number, state in zip(NUMBERS, (PlanState.APPROVED, PlanState.ROLLING, PlanState.APPROVED), strict=True):
        await t.plans.add(a_plan(number, MARK, state))
        await t.plans.note(number, Moved(1, state, 5, MARK, MARK, MARK))
    await t.plans.put_terms(VICTIMS_TERMS)


ATTEMPTS: dict[str, Attempt] = {
    "plans.next_number": lambda t, r: t.plans.next_number(),
    "plans.add": lambda t, r: t.plans.add(replace(a_plan(r.choice(NUMBERS[:-1])), release=6)),
    "plans.save": lambda t, r: t.plans.save(replace(a_plan(r.choice(NUMBERS)), release=6)),
    "plans.get": lambda t, r: t.plans.get(r.choice(NUMBERS)),
    "plans.rolling": lambda t, r: t.plans.rolling(),
    "plans.waiting": lambda t, r: t.plans.waiting(),
    "plans.newest": lambda t, r: t.plans.newest(r.choice((0, *NUMBERS)), 50),
    "plans.highest_release": lambda t, r: t.plans.highest_release(),
    "plans.note": lambda t, r: t.plans.note(r.choice(NUMBERS), Moved(9, PlanState.DRAFT)),
    "plans.history": lambda t, r: t.plans.history(r.choice(NUMBERS)),
    "plans.terms": lambda t, r: t.plans.terms(),
    "plans.put_terms": lambda t, r: t.plans.put_terms(RolloutTerms(soak_seconds=r.randint(1, 9))),
}


def leaked(name: str, answer: object) -> bool:
    """Whether an answer that has no room for a mark holds something of the victim."""
    return name == "plans.terms" and answer == VICTIMS_TERMS
