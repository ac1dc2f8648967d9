"""One join token, many who spend it at once: one certificate, on every engine."""

import asyncio
from collections import Counter

from certs.shell.signers import generate_signing_key
from controlplane.domain.errors import ControlPlaneError
from controlplane.services.enroll import Enrolled
from tests.contract.stores import Place
from tests.unit.controlplane.bed import Bed, bed, new_csr

TASKS = 200
ROUNDS = 10  # fifty in bench-token-race
AUDIT_KEY = generate_signing_key().public_key().public_bytes_raw()


async def test_of_two_hundred_one_gets_a_certificate(place: Place) -> None:
    requests = [new_csr() for _ in range(TASKS)]
    async with bed(place.folder, engine=await place.engine()) as plane:
        for number in range(ROUNDS):
            won, refusals = await race(plane, f"round-{number}", requests)
            assert refusals == {"token.used": TASKS - 1}
            async with plane.store.for_org("acme").read() as transaction:
                records = await transaction.certificates.of_outpost(won.outpost.id)
            assert [record.leaf_der for record in records] == [won.chain.leaf_and_issuers[0]]


async def race(plane: Bed, name: str, requests: list[bytes]) -> tuple[Enrolled, Counter[str]]:
    """Everybody spends the token of one outpost; who won, and how the others were refused."""
    token = await plane.token(name=name)
    calls = [plane.call(token, request, audit_public_key=AUDIT_KEY) for request in requests]
    answers = await asyncio.gather(*(plane.enrollment.enroll(call) for call in calls), return_exceptions=True)
    (won,) = [each for each in answers if isinstance(each, Enrolled)]
    refusals = [each for each in answers if not isinstance(each, Enrolled)]
    assert all(isinstance(each, ControlPlaneError) for each in refusals), refusals
    return won, Counter(each.code for each in refusals if isinstance(each, ControlPlaneError))
