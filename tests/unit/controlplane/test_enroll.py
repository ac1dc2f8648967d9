"""Enrollment on the real store: what a token buys, once, and what strangers learn."""

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from certs.errors import TrustError
from certs.join_token import parse, secret_digest
from certs.keys import certificate_from_der
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.throttle import BAD_TOKENS_PER_ORG, BAD_TOKENS_PER_SOURCE
from controlplane.services.administer import Terms
from tests.unit.controlplane.bed import Bed, ask, bed, new_csr

MINUTE = 60_000


async def refusal(plane: Bed, call: object) -> ControlPlaneError | TrustError:
    with pytest.raises((ControlPlaneError, TrustError)) as caught:
        await plane.enrollment.enroll(call)  # type: ignore[arg-type]
    return caught.value


async def test_a_token_buys_a_whole_identity(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        enrolled = await plane.enrolled()
        assert (enrolled.outpost.state, enrolled.outpost.join_sequence) == ("active", 1)
        assert enrolled.tuf_root.startswith(b"{")
        principal = await plane.principal(enrolled)
        assert (principal.org, principal.outpost_id) == ("acme", enrolled.outpost.id)
        assert len(enrolled.chain.leaf_and_issuers) == 2
        assert len(enrolled.chain.roots) == 1


async def test_fifty_redemptions_at_once_give_one_certificate(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token()
        calls = [plane.enrollment.enroll(plane.call(token)) for _ in range(50)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        won = [each for each in results if not isinstance(each, BaseException)]
        lost = [each.code for each in results if isinstance(each, ControlPlaneError)]
        assert len(won) == 1
        assert lost == ["token.used"] * 49
        async with plane.store.for_org("acme").read() as transaction:
            issued = await transaction.certificates.of_outpost(won[0].outpost.id)
        assert [each.leaf_der for each in issued] == [won[0].chain.leaf_and_issuers[0]]


async def test_one_request_sent_twenty_times_at_once_gets_one_leaf(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token()
        call = plane.call(token)
        results = await asyncio.gather(*(plane.enrollment.enroll(call) for _ in range(20)))
        assert len({each.chain.leaf_and_issuers for each in results}) == 1


async def test_a_retry_gets_the_same_leaf_even_if_it_was_recorded_but_never_signed(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token()
        call = plane.call(token)
        first = await plane.enrollment.enroll(call)
        plane.clock.ms += 9 * MINUTE
        again = await plane.enrollment.enroll(replace(call, caller_ms=plane.clock.ms))
        assert again.chain == first.chain
        async with plane.engine.org("acme", write=True) as session:  # the process died before the leaf was stored
            await session.execute("UPDATE certificates SET leaf_der = x''")
        third = await plane.enrollment.enroll(replace(call, caller_ms=plane.clock.ms))
        old, new = (certificate_from_der(each.chain.leaf_and_issuers[0]) for each in (first, third))
        assert old.tbs_certificate_bytes == new.tbs_certificate_bytes
        assert old.serial_number == new.serial_number


async def test_strangers_get_one_answer(tmp_path: Path) -> None:
    async with bed(tmp_path, "acme", "globex") as plane:
        token = await plane.token("acme")
        strangers = {
            "an unknown secret": plane.call(token, secret=secrets.token_bytes(32)),
            "a secret of another org": plane.call(token, org="globex"),
            "an unknown org": plane.call(token, org="initech"),
            "an org that is a path": plane.call(token, org="../acme"),
            "a short secret": plane.call(token, secret=b"x"),
            "a bad request besides": plane.call(token, csr=b"rubbish", secret=secrets.token_bytes(32)),
        }
        answers = {name: (await refusal(plane, call)).as_dict() for name, call in strangers.items()}
        assert {tuple(sorted(each.items())) for each in answers.values()} == {
            tuple(sorted(answers["an unknown org"].items()))
        }
        assert answers["an unknown org"]["code"] == "token.refused"


CAUSES = {
    "a bad request": ({"csr": b"rubbish"}, 0, "csr.invalid"),
    "a request that is too large": ({"csr": b"x" * 5000}, 0, "csr.too_large"),
    "a short log key": ({"audit_public_key": b"x"}, 0, "key.invalid"),
    "a clock 6 minutes ahead": ({"caller_ms": 6 * MINUTE}, 0, "token.clock"),
    "a token after its life": ({}, 15 * MINUTE, "token.expired"),
}


@pytest.mark.parametrize("name", CAUSES)
async def test_the_holder_of_a_token_learns_the_cause_and_keeps_the_token(name: str, tmp_path: Path) -> None:
    changes, later_ms, code = CAUSES[name]
    async with bed(tmp_path) as plane:
        token = await plane.token()
        start_ms = plane.clock.ms
        plane.clock.ms += later_ms
        if "caller_ms" in changes:
            changes = {"caller_ms": plane.clock.ms + changes["caller_ms"]}
        assert (await refusal(plane, plane.call(token, **changes))).code == code
        plane.clock.ms = start_ms
        assert (await plane.enrollment.enroll(plane.call(token))).outpost.state == "active"


async def test_an_outpost_revoked_before_it_enrolled_gets_nothing(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token()
        await plane.administration.revoke("acme", "prod", "mistake")
        assert (await refusal(plane, plane.call(token))).code == "outpost.revoked"


async def test_a_source_of_bad_tokens_is_throttled_and_others_are_not(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token()
        bad = plane.call(token, secret=secrets.token_bytes(32), source="ipv4:198.51.100.9")
        codes = [(await refusal(plane, bad)).code for _ in range(BAD_TOKENS_PER_SOURCE + 1)]
        assert codes == ["token.refused"] * BAD_TOKENS_PER_SOURCE + ["throttled"]
        plane.clock.ms += MINUTE
        assert (await refusal(plane, bad)).code == "token.refused"
        assert (await plane.enrollment.enroll(plane.call(token))).outpost.name == "prod"


async def test_bad_tokens_from_an_address_do_not_shut_out_whoever_holds_a_good_one_behind_it(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token()
        bad = plane.call(token, secret=secrets.token_bytes(32))
        codes = [(await refusal(plane, bad)).code for _ in range(3 * BAD_TOKENS_PER_SOURCE)]
        assert set(codes[BAD_TOKENS_PER_SOURCE:]) == {"throttled"}
        good = plane.call(token)
        assert good.source == bad.source
        assert (await refusal(plane, replace(good, csr_der=b"x"))).code == "csr.invalid"
        assert (await plane.enrollment.enroll(good)).outpost.name == "prod"
        plane.clock.ms += MINUTE  # what was refused as throttled did not count
        assert (await refusal(plane, bad)).code == "token.refused"


async def test_a_flood_against_an_org_does_not_lock_out_its_token_holders(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token()
        secret = secrets.token_bytes(32)
        codes = {
            (await refusal(plane, plane.call(token, csr=b"x", secret=secret, source=f"ipv4:10.0.0.{at}"))).code
            for at in range(BAD_TOKENS_PER_ORG + 1)
        }
        assert codes == {"token.refused", "throttled"}
        assert (await plane.enrollment.enroll(plane.call(token))).outpost.name == "prod"


async def test_a_stolen_database_holds_no_secret(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token()
        enrolled_key = await plane.publisher.create_key("acme", _key())
    stored = b"".join(path.read_bytes() for path in sorted(tmp_path.rglob("*.db*")))
    assert token.secret not in stored
    assert token.secret.hex().encode() not in stored
    assert token.encode().encode() not in stored
    assert enrolled_key[0].encode() not in stored
    assert plane.keyring.pepper() not in stored


def _key() -> object:
    from outpost.core.bundle.access import ClientKey

    return ClientKey("", "", "alice", "", (), "", "api", "internal", (), 0, 86_400, revoked=False)


async def test_renewal_waits_in_the_second_slot_until_its_first_use(tmp_path: Path) -> None:
    from controlplane.domain.outposts import Act

    async with bed(tmp_path) as plane:
        enrolled = await plane.enrolled()
        old = await plane.principal(enrolled)
        csr = new_csr()
        renewed = await plane.renewal.renew(old, ask(csr))
        assert renewed.join_sequence == 2
        assert (await plane.renewal.renew(old, ask(csr))).chain == renewed.chain
        plane.clock.ms += 1000
        assert await plane.principal(enrolled) == old
        plane.clock.ms += 1000
        new = await plane.gatekeeper.identify(renewed.chain.leaf_and_issuers, Act.SYNC)
        assert new.serial != old.serial
        with pytest.raises(ControlPlaneError) as caught:
            await plane.principal(enrolled)
        assert caught.value.code == "identity.superseded"
        outpost = (await plane.administration.show("acme", "prod")).outpost
        assert (outpost.join_sequence, outpost.serial, outpost.next_serial) == (2, new.serial, "")


async def test_a_lost_token_is_replaced_and_void_at_once(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        lost = await plane.token()
        expired = plane.call(lost)
        plane.clock.ms += MINUTE
        second = await plane.administration.register("acme", "prod", Terms(15 * MINUTE), plane.door)
        assert second.again
        assert (await refusal(plane, replace(expired, caller_ms=plane.clock.ms))).code == "token.expired"
        enrolled = await plane.enrollment.enroll(plane.call(parse(second.token)))
        assert enrolled.outpost.id == second.outpost.id
        assert [each.outpost.name for each in await plane.administration.outposts("acme")] == ["prod"]


async def test_a_token_that_is_void_before_it_is_spent_buys_nothing(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token()
        async with plane.store.for_org("acme").write() as transaction:
            row = await transaction.tokens.match(secret_digest(plane.keyring.pepper(), token.secret))
            assert row is not None
            assert await transaction.tokens.void(row.outpost_id) == 1
            assert not await transaction.tokens.spend(row, "c" * 64, "1", row.created_ms)


async def test_a_name_that_enrolled_is_not_registered_again(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        await plane.enrolled()
        for words in ("controlplane outpost reenroll prod", "prod-2"):
            with pytest.raises(ControlPlaneError) as caught:
                await plane.token()
            assert (caught.value.code, words in caught.value.next_step) == ("outpost.exists", True)
            await plane.administration.revoke("acme", "prod", "lost")
