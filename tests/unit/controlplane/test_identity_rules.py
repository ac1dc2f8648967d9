"""Rules of an identity without a store: states, slots, starts, renewals, recoveries; histories are in `property`."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.domain import boots, outposts, recovery, renewals
from controlplane.domain.boots import Hello, Start
from controlplane.domain.clones import CloneTrace, cloned
from controlplane.domain.enrolling import Joining, enrolled
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import DRAIN_MS, MAX_DRAINING, Act, Outpost, OutpostState
from controlplane.domain.records import CertificateRecord
from controlplane.domain.recovery import GRACE_MS, MAX_IN_A_ROW
from controlplane.domain.renewals import CLOCK_SPREAD_MS, Ask, Cloned, Facts, Granted
from controlplane.domain.sources import checked_network, is_within, plain_address

NOW = 1_000_000_000_000
LEAF_S = 24 * 3600
KEY = bytes(32)
PENDING = Outpost("op-1", "prod", OutpostState.PENDING, 0)
ACTIVE = enrolled(PENDING, Joining("a", KEY, "192.0.2.1"), NOW)
RENEWED = outposts.renewed(ACTIVE, "b")
ADVANCED = outposts.advanced(RENEWED, "b", NOW)
REVOKED = outposts.revoked(RENEWED, "stolen", NOW)
LOCKED = cloned(RENEWED, CloneTrace.SECOND_KEY, "z", ("192.0.2.1", "198.51.100.2"), NOW)
ANEW = enrolled(LOCKED, Joining("n", KEY, "192.0.2.1", anew=True), NOW)

AUTHORISED: dict[str, tuple[Outpost, str, Act, int, object]] = {
    "the serial in use syncs": (ACTIVE, "a", Act.SYNC, NOW, False),
    "the old serial works until the new one is used": (RENEWED, "a", Act.SYNC, NOW, False),
    "the first use of the new serial is told": (RENEWED, "b", Act.SYNC, NOW, True),
    "the new serial is the serial after its first use": (ADVANCED, "b", Act.RENEW, NOW, False),
    "the old serial is superseded after it": (ADVANCED, "a", Act.SYNC, NOW, "identity.superseded"),
    "a serial from nowhere is superseded": (ACTIVE, "z", Act.SYNC, NOW, "identity.superseded"),
    "an outpost that never enrolled is refused": (PENDING, "", Act.SYNC, NOW, "identity.refused"),
    "a revoked outpost does not sync": (REVOKED, "a", Act.SYNC, NOW, "outpost.revoked"),
    "a revoked outpost does not renew": (REVOKED, "a", Act.RENEW, NOW, "outpost.revoked"),
    "a revoked outpost drains": (REVOKED, "a", Act.DRAIN, NOW, False),
    "a revoked outpost drains with the new serial that it had not used": (REVOKED, "b", Act.DRAIN, NOW, False),
    "a revoked outpost drains until the last millisecond": (REVOKED, "a", Act.DRAIN, NOW + DRAIN_MS - 1, False),
    "a revoked outpost drains for 7 days only": (REVOKED, "a", Act.DRAIN, NOW + DRAIN_MS, "outpost.revoked"),
    "a serial retired before the revocation does not drain": (REVOKED, "z", Act.DRAIN, NOW, "outpost.revoked"),
    "a locked outpost does not sync": (LOCKED, "a", Act.SYNC, NOW, "identity.locked"),
    "a locked outpost does not renew with its new serial": (LOCKED, "b", Act.RENEW, NOW, "identity.locked"),
    "a locked outpost drains": (LOCKED, "a", Act.DRAIN, NOW, False),
    "the holder who caused the lock drains": (LOCKED, "z", Act.DRAIN, NOW, False),
    "a locked outpost drains for 7 days only": (LOCKED, "a", Act.DRAIN, NOW + DRAIN_MS, "identity.locked"),
    "a serial of before does not drain for a locked outpost": (LOCKED, "y", Act.DRAIN, NOW, "identity.locked"),
    "an outpost that enrolled anew syncs": (ANEW, "n", Act.SYNC, NOW, False),
    "its certificate of before is superseded": (ANEW, "a", Act.SYNC, NOW, "identity.superseded"),
    "its certificate of before does not drain": (ANEW, "b", Act.DRAIN, NOW, "identity.superseded"),
}


@pytest.mark.parametrize("name", AUTHORISED)
def test_what_an_outpost_may_do(name: str) -> None:
    outpost, serial, act, now_ms, outcome = AUTHORISED[name]
    if isinstance(outcome, bool):
        assert outposts.authorise(outpost, serial, act, now_ms) is outcome
    else:
        refused(outcome, outposts.authorise, outpost, serial, act, now_ms)


def refused(code: object, call: Callable[..., object], *values: object, **options: object) -> ControlPlaneError:
    with pytest.raises(ControlPlaneError) as caught:
        call(*values, **options)
    assert caught.value.code == code
    assert caught.value.next_step
    return caught.value


def test_the_join_sequence_advances_at_first_use_and_at_enrollment_only() -> None:
    assert (ACTIVE.join_sequence, RENEWED.join_sequence, ADVANCED.join_sequence) == (1, 1, 2)
    assert (ANEW.join_sequence, ANEW.enrolled_sequence) == (3, 3)


def test_revocation_is_final_and_keeps_its_first_reason() -> None:
    assert outposts.revoked(REVOKED, "again", NOW + 1) == REVOKED
    assert outposts.locked(REVOKED, "late", NOW) == REVOKED
    refused("outpost.revoked", enrolled, REVOKED, Joining("c", KEY, anew=True), NOW)
    refused("outpost.revoked", outposts.require_reenrollable, REVOKED)


def test_a_locked_outpost_can_be_revoked_and_drains_on() -> None:
    both = outposts.revoked(LOCKED, "stolen", NOW)
    assert (both.state, both.reason) == (OutpostState.REVOKED, "stolen")
    assert outposts.authorise(both, "z", Act.DRAIN, NOW) is False


def test_a_lock_names_both_holders_and_is_not_moved_by_another() -> None:
    assert (LOCKED.state, LOCKED.alert) == (OutpostState.LOCKED, "identity.second_key")
    assert (LOCKED.alert_sources, LOCKED.locked_ms) == (("192.0.2.1", "198.51.100.2"), NOW)
    assert cloned(LOCKED, CloneTrace.COPIED_START, "a", ("x", "y"), NOW + 1) == LOCKED


def test_enrolling_anew_wipes_the_lock_and_goes_on_with_the_log() -> None:
    assert (ANEW.state, ANEW.alert, ANEW.draining, ANEW.boot_id) == (OutpostState.ACTIVE, "", (), "")
    assert ANEW.audit_public_key == KEY
    refused("outpost.audit_key", enrolled, LOCKED, Joining("n", bytes(31) + b"x", anew=True), NOW)
    refused("identity.refused", enrolled, ACTIVE, Joining("n", KEY), NOW)
    refused("identity.refused", enrolled, LOCKED, Joining("n", KEY), NOW)
    refused("outpost.pending", outposts.require_reenrollable, PENDING)
    refused("outpost.pending", outposts.locked, PENDING, "x", NOW)


TAILS: dict[str, tuple[Outpost, str, int, int, bool]] = {
    # name: outpost, serial, its join sequence, moment, whether it may deliver
    "the certificate in use at the lock": (LOCKED, "a", 1, NOW, True),
    "the one that waited then": (LOCKED, "b", 2, NOW, True),
    "the retired one of whoever caused the lock": (LOCKED, "z", 0, NOW, True),
    "one that was issued since for the tail": (LOCKED, "t", 1, NOW, True),
    "another retired one": (LOCKED, "y", 0, NOW, False),
    "one of the tail when the 7 days are over": (LOCKED, "t", 1, NOW + DRAIN_MS, False),
    "the same of a revoked outpost": (REVOKED, "t", 1, NOW, True),
    "one of the tail after a new enrollment": (ANEW, "t", 1, NOW, False),
    "one of an outpost that is neither locked nor revoked": (replace(ACTIVE, locked_ms=NOW), "a", 1, NOW, False),
}


@pytest.mark.parametrize("name", TAILS)
def test_which_certificate_may_deliver_the_audit_tail(name: str) -> None:
    outpost, serial, sequence, now_ms, may = TAILS[name]
    assert outposts.is_of_tail(outpost, serial, sequence, now_ms) is may


def test_whoever_was_there_at_the_end_stays_on_the_list() -> None:
    both = outposts.revoked(LOCKED, "stolen", NOW)
    assert set(both.draining) == set(LOCKED.draining) == {"a", "b", "z"}
    assert len(both.draining) <= MAX_DRAINING


def boot(counter: int, chance: str = "0") -> str:
    return f"{counter:08x}" + chance * 24


STARTED = boots.started(boots.started(ACTIVE, Hello(boot(4), "1", "s"), NOW), Hello(boot(6), "1", "s"), NOW)

STARTS: dict[str, tuple[Outpost, str, Start]] = {
    "the first start of all": (ACTIVE, boot(0), Start.LATER),
    "the newest start reconnects": (STARTED, boot(6), Start.CURRENT),
    "the next start": (STARTED, boot(7), Start.LATER),
    "a start after others that never said hello": (STARTED, boot(9), Start.LATER),
    "the start before, again": (STARTED, boot(4), Start.EARLIER),
    "a start in between that never said hello": (STARTED, boot(5), Start.EARLIER),
    "a start from long ago": (STARTED, boot(1), Start.EARLIER),
    "another start with the newest counter": (STARTED, boot(6, "1"), Start.COPIED),
    "another start with a superseded counter": (STARTED, boot(4, "1"), Start.COPIED),
}


@pytest.mark.parametrize("name", STARTS)
def test_which_start_speaks(name: str) -> None:
    outpost, boot_id, start = STARTS[name]
    assert boots.judge(outpost, boot_id) is start


def test_superseded_starts_are_remembered_within_bounds() -> None:
    outpost = ACTIVE
    for counter in range(1, 40):
        outpost = boots.started(outpost, Hello(boot(counter), "1", "s"), NOW)
    assert outpost.superseded_boots == tuple(boot(38 - at) for at in range(boots.KEPT_BOOT_IDS))
    again = boots.started(outpost, Hello(boot(39), "1", "t"), NOW)
    assert (again.superseded_boots, again.boot_source) == (outpost.superseded_boots, "t")


def certificate(serial: str, sequence: int, csr: str, not_after_ms: int = NOW + 1000 * LEAF_S) -> CertificateRecord:
    life = (not_after_ms // 1000 - LEAF_S, not_after_ms // 1000)
    return CertificateRecord(serial, "op-1", csr, "", "", *life, b"leaf", sequence=sequence, source="203.0.113.9")


A, B = certificate("a", 1, "csr-a"), certificate("b", 2, "csr-b")
DEAD_B = certificate("b", 2, "csr-b", NOW - 1000)
KNOWN = {"csr-a": A, "csr-b": B}

ASKS: dict[str, tuple[Outpost, Ask, CertificateRecord | None, str]] = {
    # name: outpost, ask, certificate in the second slot, outcome
    "a first renewal": (ACTIVE, Ask("a", 1, "csr-b", boot(1), "s"), None, "fresh"),
    "the same request again": (RENEWED, Ask("a", 1, "csr-b", boot(1), "s"), B, "again"),
    "the same request after its answer expired": (RENEWED, Ask("a", 1, "csr-b", boot(1), "s"), DEAD_B, "fresh"),
    "another request at one sequence": (RENEWED, Ask("a", 1, "csr-x", boot(1), "s"), B, "identity.second_key"),
    "another request after the answer expired": (
        RENEWED, Ask("a", 1, "csr-x", boot(1), "s"), DEAD_B, "identity.second_key"
    ),
    "a recovery with the key of the waiting certificate": (
        RENEWED, Ask("b", 2, "csr-c", boot(1), "s", NOW), DEAD_B, "advanced"
    ),
    "a renewal by the retired certificate": (
        ADVANCED, Ask("a", 1, "csr-x", boot(1), "s"), None, "identity.retired_certificate"
    ),
    "an answered renewal that arrives late": (
        ADVANCED, Ask("a", 1, "csr-b", boot(1), "s"), None, "identity.superseded"
    ),
    "an answered recovery that arrives late": (
        ADVANCED, Ask("a", 1, "csr-b", boot(1), "s", NOW + CLOCK_SPREAD_MS), None, "identity.superseded"
    ),
    "a recovery whose sender lived after the certificate was retired": (
        ADVANCED, Ask("a", 1, "csr-b", boot(1), "s", NOW + CLOCK_SPREAD_MS + 1), None, "identity.retired_certificate"
    ),
    "another join sequence": (ACTIVE, Ask("a", 2, "csr-b", boot(1), "s"), None, "identity.conflict"),
    "a serial of nobody": (ACTIVE, Ask("z", 1, "csr-b", boot(1), "s"), None, "identity.refused"),
    "an outpost that never enrolled": (PENDING, Ask("a", 0, "csr-b", boot(1), "s"), None, "identity.refused"),
    "a certificate from before the newest enrollment": (
        ANEW, Ask("a", 1, "csr-x", boot(1), "s"), None, "identity.superseded"
    ),
    "another start with the newest counter": (
        STARTED, Ask("a", 1, "csr-b", boot(6, "1"), "s"), None, "identity.copied_start"
    ),
    "an earlier start may still renew": (STARTED, Ask("a", 1, "csr-b", boot(4), "s"), None, "fresh"),
    "a locked outpost": (LOCKED, Ask("a", 1, "csr-b", boot(1), "s"), B, "identity.locked"),
    "a revoked outpost": (REVOKED, Ask("a", 1, "csr-b", boot(1), "s"), B, "outpost.revoked"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKS)
def test_who_gets_the_next_certificate(name: str) -> None:
    outpost, ask, waiting, outcome = ASKS[name]
    facts = Facts({"a": A, "b": B}.get(ask.serial), waiting, KNOWN.get(ask.csr_sha256))
    if name in ("a locked outpost", "a revoked outpost") or outcome in REFUSALS:
        refused(outcome, renewals.judge, outpost, ask, facts, NOW)
        return
    verdict = renewals.judge(outpost, ask, facts, NOW)
    if isinstance(verdict, Cloned):
        assert (verdict.outpost.state, verdict.outpost.alert) == (OutpostState.LOCKED, outcome)
        assert verdict.outpost.alert_sources[1] == "s"
        assert verdict.outpost.alert_sources[0]
        assert ask.serial in verdict.outpost.draining
        return
    assert isinstance(verdict, Granted)
    assert (verdict.again is B) is (outcome == "again")
    after = outposts.advanced(outpost, ask.serial, NOW) if outcome == "advanced" else outpost
    assert verdict.outpost == after


REFUSALS = {"identity.superseded", "identity.conflict", "identity.refused"}


def test_a_locked_outpost_gets_a_certificate_for_its_tail_only() -> None:
    ask = Ask("a", 1, "csr-t", boot(1), "s")
    granted = renewals.judge_tail(LOCKED, ask, Facts(A, None, None), NOW)
    assert (granted.tail, granted.again) == (True, None)
    issued = certificate("t", 1, "csr-t")
    assert renewals.judge_tail(LOCKED, ask, Facts(A, None, issued), NOW).again == issued
    tail = replace(ask, serial="t", csr_sha256="csr-u")
    assert renewals.judge_tail(LOCKED, tail, Facts(issued, None, None), NOW).again is None
    retired = Facts(certificate("y", 0, "csr-y"), None, None)
    refused("identity.locked", renewals.judge_tail, LOCKED, replace(ask, serial="y"), retired, NOW)
    refused("identity.locked", renewals.judge_tail, LOCKED, replace(ask, serial="y"), Facts(None, None, None), NOW)
    refused("identity.locked", renewals.judge_tail, LOCKED, ask, Facts(A, None, None), NOW + DRAIN_MS)
    refused("outpost.revoked", renewals.judge_tail, REVOKED, ask, Facts(A, None, None), NOW + DRAIN_MS)


def test_recovery_is_bounded_in_time_and_number() -> None:
    ended_ms = A.not_after_s * 1000
    recovery.require_grace(A, ended_ms + GRACE_MS)
    refused("recover.grace", recovery.require_grace, A, ended_ms + GRACE_MS + 1)
    outpost = ACTIVE
    for _ in range(MAX_IN_A_ROW):
        outpost = recovery.recovered(outpost)
    refused("recover.count", recovery.recovered, outpost)
    assert recovery.recovered(recovery.renewed_regularly(outpost)).recoveries == 1


ADDRESSES = {
    "ipv4:192.0.2.1:4711": "192.0.2.1",
    "ipv6:[2001:db8::1]:4711": "2001:db8::1",
    "ipv6:%5B2001:DB8::1%5D:4711": "2001:db8::1",
    "ipv6:[::ffff:192.0.2.1]:4711": "192.0.2.1",
    "192.0.2.1": "192.0.2.1",
    "192.0.2.1:80": "192.0.2.1",
    "2001:db8::1": "2001:db8::1",
    "ipv6:[fe80::1%25eth0]:1": "fe80::1",
    "unix:/x": "unix:/x",
    "": "",
    "x" * 99: "x" * 45,
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses_of_callers(text: str) -> None:
    assert plain_address(text) == ADDRESSES[text]


def test_networks_are_checked_when_a_token_is_made() -> None:
    assert checked_network("192.0.2.7") == "192.0.2.7/32"
    assert checked_network("2001:DB8::/32") == "2001:db8::/32"
    for wrong in ("192.0.2.7/24", "x", "", "10.0.0.0/33"):
        refused("source.network", checked_network, wrong)
    assert is_within("192.0.2.7", "192.0.2.0/24")
    assert not is_within("unix:/x", "0.0.0.0/0")
