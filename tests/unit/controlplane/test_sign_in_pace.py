"""How failed sign-ins hold later ones up, and what is never guessed however many try at once."""

import asyncio
import itertools
from pathlib import Path

from controlplane.domain.pace import FREE_FAILURES, MAX_DELAY_SECONDS, MAX_QUEUE_SECONDS
from controlplane.domain.users import MAX_WRONG_CODES, WRONG_CODES_MS
from controlplane.services.sign_in import Claimant, Proof, SignIn
from tests.unit.controlplane.admin_bed import PASSWORD, STEP_MS, AdminBed, admin_bed
from tests.unit.controlplane.test_sign_in import ACME, BAD, FAILED, credentials


async def test_failures_delay_and_never_lock_out(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        bed.clock.ms += STEP_MS
        for _ in range(FREE_FAILURES + 12):
            await bed.refused("sessions.create", None, credentials(bed, alice, password=BAD), source="203.0.113.9")
        assert bed.pauses == sorted(bed.pauses)
        assert bed.pauses[-1] == MAX_DELAY_SECONDS
        assert len(bed.pauses) == 12
        assert await bed.ok("sessions.create", None, credentials(bed, alice)), "from elsewhere she gets in, later"
        assert bed.pauses[-1] == MAX_DELAY_SECONDS
        bed.pauses.clear()
        bed.clock.ms += STEP_MS
        assert await bed.ok("sessions.create", None, credentials(bed, alice))
        assert bed.pauses == [], "her success forgave her failures"
        await bed.refused("sessions.create", None, credentials(bed, alice, user="x"), source="203.0.113.9")
        assert bed.pauses == [MAX_DELAY_SECONDS], "the source is not forgiven"


class Turns:
    """Pauses that end when they are told to; how long each was to be."""

    def __init__(self, bed: AdminBed) -> None:
        self.seconds: list[float] = []
        self.over = asyncio.Event()
        object.__setattr__(bed.bench.sign_in._tools, "pause", self.pause)

    async def pause(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await self.over.wait()


async def test_attempts_at_one_user_wait_in_turn_wherever_they_come_from(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice, bob = await bed.person("acme", "alice"), await bed.person("acme", "bob")
        bed.clock.ms += STEP_MS
        turns, wrong = Turns(bed), credentials(bed, alice, password=BAD)
        tried = [
            asyncio.create_task(bed.call("sessions.create", None, wrong, source=f"198.51.100.{at}")) for at in range(30)
        ]
        refused = 0
        while len(turns.seconds) + refused + FREE_FAILURES < len(tried):
            await asyncio.sleep(0)
            refused = sum(each.done() and each.result().status == 429 for each in tried)
        waits = sorted(turns.seconds)
        assert [later - sooner for sooner, later in itertools.pairwise(waits)][-2:] == [MAX_DELAY_SECONDS] * 2
        assert waits[-1] <= MAX_QUEUE_SECONDS
        assert refused == len(tried) - len(waits) - FREE_FAILURES, "the rest is told to come later"
        hers = asyncio.create_task(bed.call("sessions.create", None, credentials(bed, alice)))  # her usual source
        his = await bed.call("sessions.create", None, credentials(bed, bob), source="198.51.100.7")
        assert his.status == 201, "a neighbour is not held up by it"
        while len(turns.seconds) == len(waits):
            await asyncio.sleep(0)
        assert turns.seconds[-1] == MAX_DELAY_SECONDS, "she does not stand behind them"
        turns.over.set()
        assert (await hers).status == 201
        assert sorted({(await each).status for each in tried}) == [401, 429]


async def test_names_that_are_made_up_push_nobody_out(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        bed.bench.sign_in._patience._capacity = 5
        for _ in range(FREE_FAILURES):
            await bed.refused("sessions.create", None, credentials(bed, alice, password=BAD), source="203.0.113.9")
        for at in range(20):
            body = credentials(bed, alice, user=f"nobody-{at}")
            await bed.refused("sessions.create", None, body, source=f"198.51.100.{at}")
        await bed.refused("sessions.create", None, credentials(bed, alice, password=BAD), source="192.0.2.77")
        assert bed.pauses


async def test_a_caller_has_a_whole_network_of_ipv6(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        for at in range(FREE_FAILURES + 1):
            body = credentials(bed, alice, user=f"nobody-{at}")
            await bed.refused("sessions.create", None, body, source=f"2001:db8::{at}:1")
        assert bed.pauses, "the source is the /64"


async def test_who_knows_the_password_has_few_guesses_a_day(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        for at in range(MAX_WRONG_CODES):
            body = credentials(bed, alice, totp="000000")
            assert await bed.refused("sessions.create", None, body, source=f"198.51.100.{at}") == FAILED
        bed.clock.ms += STEP_MS
        right = credentials(bed, alice)
        refused = [await bed.call("sessions.create", None, right) for _ in range(2)]
        expected = await bed.call("sessions.create", None, credentials(bed, alice, password=BAD))
        same = {"instance": ""}
        assert all({**each.document, **same} == {**expected.document, **same} for each in refused)
        shown = await bed.ok("users.show", {**ACME, "user": "alice"}, local="root")
        assert shown["wrong_codes"] == MAX_WRONG_CODES
        bed.clock.ms += WRONG_CODES_MS
        assert await bed.sign_in(alice)


async def test_guesses_at_once_are_counted_each(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        bed.clock.ms += STEP_MS
        wrong, right = credentials(bed, alice, totp="000000"), credentials(bed, alice)
        user = (await bed.ok("users.show", {**ACME, "user": "alice"}, local="root"))["id"]
        tools = bed.bench.sign_in._tools
        claim = Claimant("acme", "alice", "198.51.100.1")
        async with bed.store.for_org("acme").read() as transaction:
            seen = await transaction.users.find(user)  # all of them read the user before the first is counted

        async def record(transaction: object, user: object) -> None:
            return None

        guesses = [Proof(PASSWORD, body["totp"]) for body in [wrong] * (MAX_WRONG_CODES + 5) + [right]]
        found = [await SignIn(tools)._prove(claim, seen, each, record) for each in guesses]
        assert found == [None] * len(guesses)
