"""What a stranger can learn from how long a refusal takes: nothing, on every engine.

In each round every kind of stranger calls once, all at the same time and in an order of its own; whatever slows the
machine down meets all kinds alike. Two kinds are compared by the share of pairs in which one took longer: one half when
they cannot be told apart, whatever the distribution, all or none when they can.
"""

import asyncio
import itertools
import random
import secrets
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from controlplane.domain.errors import ControlPlaneError
from controlplane.services.enroll import EnrollmentCall
from controlplane.services.recover import RecoveryCall
from tests.contract.stores import Place
from tests.unit.controlplane.bed import Bed, bed, new_csr
from tests.unit.controlplane.machines import Machine

ROUNDS = 120
WARM_UP = 5
MOST = 0.22  # from one half: six standard deviations of the share at that many rounds, and room for a busy machine
MINUTES_MS = 10 * 60_000  # between two rounds, so that nothing is throttled
ORGS = ("acme", "globex")

Kinds = Mapping[str, Callable[[], Awaitable[object]]]


async def times(plane: Bed, kinds: Kinds, code: str) -> dict[str, list[float]]:
    """Seconds of each kind's refusals."""
    found: dict[str, list[float]] = {name: [] for name in kinds}

    async def one(name: str) -> None:
        began = time.perf_counter()
        with pytest.raises(ControlPlaneError) as caught:
            await kinds[name]()
        found[name].append(time.perf_counter() - began)
        assert caught.value.code == code

    for _ in range(WARM_UP + ROUNDS):
        plane.clock.ms += MINUTES_MS
        await asyncio.gather(*(one(name) for name in random.sample(sorted(kinds), len(kinds))))
    return {name: each[WARM_UP:] for name, each in found.items()}


def longer(one: list[float], other: list[float]) -> float:
    """The share of pairs in which the first took longer; ties count half."""
    ranked = sorted(other)
    return sum(bisect_left(ranked, x) + bisect_right(ranked, x) for x in one) / (2 * len(one) * len(other))


def told_apart(found: Mapping[str, list[float]]) -> dict[tuple[str, str], float]:
    """Pairs of kinds that could be told apart."""
    pairs = {pair: longer(*(found[name] for name in pair)) for pair in itertools.combinations(sorted(found), 2)}
    return {pair: share for pair, share in pairs.items() if abs(share - 0.5) > MOST}


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the bed goes on between its steps."""
    from tests.unit.controlplane.bed import HandClock

    monkeypatch.setattr(HandClock, "monotonic", lambda clock: clock.ms / 1000 + time.monotonic())


async def tokens(plane: Bed) -> Kinds:
    """Strangers who spend tokens."""
    token = await plane.token(ORGS[0])

    def spend(**changes: Any) -> Callable[[], Awaitable[object]]:
        def call() -> Awaitable[object]:
            source = secrets.token_hex(8)
            made: EnrollmentCall = plane.call(token, source=source, csr=b"unread", audit_public_key=bytes(32))
            return plane.enrollment.enroll(replace(made, **changes))

        return call

    return {
        "an unknown secret": spend(secret=bytes(32)),
        "another org's token": spend(org=ORGS[1]),
        "an org that is not here": spend(org="initech"),
        "an org that is no name": spend(org="../acme"),
        "a secret that is too short": spend(secret=b"x"),
    }


async def recoveries(plane: Bed) -> Kinds:
    """Strangers who recover."""
    machine, other = await Machine.enroll(plane), await Machine.enroll(plane, "other")
    base, foreign = machine.proof(new_csr()), other.proof(new_csr())

    def recover(**changes: Any) -> Callable[[], Awaitable[object]]:
        def call() -> Awaitable[object]:
            made: RecoveryCall = replace(base, proof=foreign.proof, source=secrets.token_hex(8), **changes)
            nonce, _ = plane.recovery.challenge(made.org, made.outpost_id)
            return plane.recovery.recover(replace(made, nonce=nonce))

        return call

    return {
        "a proof of another key": recover(),
        "an org that is not here": recover(org="nobody"),
        "an outpost that is not here": recover(outpost_id="op-" + "0" * 16),
        "an outpost of another org": recover(org=ORGS[1]),
        "a serial that was never issued": recover(serial="1"),
    }


@pytest.mark.usefixtures("moving")
@pytest.mark.parametrize(("kinds", "code"), [(tokens, "token.refused"), (recoveries, "recover.refused")])
async def test_strangers_cannot_be_told_apart_by_time(
    place: Place, kinds: Callable[[Bed], Awaitable[Kinds]], code: str
) -> None:
    async with bed(place.folder, *ORGS, engine=await place.engine()) as plane:
        assert told_apart(await times(plane, await kinds(plane), code)) == {}


@pytest.mark.usefixtures("moving")
async def test_a_refusal_that_comes_early_would_be_noticed(place: Place) -> None:
    """One kind is refused as soon as its work is done, a few hundred microseconds apart from the others."""
    async with bed(place.folder, *ORGS, engine=await place.engine()) as plane:
        kinds = dict(await tokens(plane))
        token = await plane.token(ORGS[0], name="other")
        kinds["early"] = lambda: plane.enrollment._match(plane.call(token, org="initech", source=secrets.token_hex(8)))
        found = told_apart(await times(plane, kinds, "token.refused"))
        assert set(found) == {tuple(sorted((name, "early"))) for name in kinds if name != "early"}
