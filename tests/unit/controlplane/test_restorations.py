"""Which certificates count again after a restore; histories over the wire are in `integration`."""

from dataclasses import replace

import pytest

from controlplane.domain import outposts, restorations
from controlplane.domain.enrolling import Joining, enrolled
from controlplane.domain.outposts import Outpost, OutpostState
from controlplane.domain.quotas import CERTIFICATES_PER_OUTPOST_A_DAY
from controlplane.domain.restorations import ADOPTION_MS, BACKDATE_MS, DAY_MS, SPREAD_MS, Claim, RestoredOrg

BACKUP = 1_000_000_000_000
RESTORED = BACKUP + 6 * 3_600_000
NOW = RESTORED + 60_000
ORG = RestoredOrg(BACKUP, RESTORED)
ACTIVE = enrolled(Outpost("op-1", "prod", OutpostState.PENDING, 0), Joining("a", bytes(32), "192.0.2.1"), BACKUP - 1)
MOST = ACTIVE.join_sequence + CERTIFICATES_PER_OUTPOST_A_DAY + 2


def claim(sequence: int = ACTIVE.join_sequence + 1, issued_ms: int = BACKUP + 3_600_000) -> Claim:
    return Claim("b", issued_ms - BACKDATE_MS, sequence, "192.0.2.1")


COUNTS: dict[str, tuple[Outpost, Claim, RestoredOrg | None, int, bool]] = {
    "issued between backup and restore": (ACTIVE, claim(), ORG, NOW, True),
    "issued just before the backup by a clock that is late": (ACTIVE, claim(2, BACKUP - SPREAD_MS), ORG, NOW, True),
    "issued before the backup": (ACTIVE, claim(2, BACKUP - SPREAD_MS - 1), ORG, NOW, False),
    "issued just after the restore by a clock that is early": (ACTIVE, claim(2, RESTORED + SPREAD_MS), ORG, NOW, True),
    "issued after the restore": (ACTIVE, claim(2, RESTORED + SPREAD_MS + 1), ORG, NOW, False),
    "the last moment": (ACTIVE, claim(), ORG, RESTORED + ADOPTION_MS - 1, True),
    "too late": (ACTIVE, claim(), ORG, RESTORED + ADOPTION_MS, False),
    "nothing was ever restored": (ACTIVE, claim(), None, NOW, False),
    "a revoked outpost": (outposts.revoked(ACTIVE, "x", BACKUP), claim(), ORG, NOW, False),
    "a locked outpost": (outposts.locked(ACTIVE, "x", BACKUP), claim(), ORG, NOW, False),
    "an outpost that never enrolled": (Outpost("op-1", "n", OutpostState.PENDING, 0), claim(), ORG, NOW, False),
    "the sequence on record": (ACTIVE, claim(ACTIVE.join_sequence), ORG, NOW, False),
    "a lower sequence": (ACTIVE, claim(ACTIVE.join_sequence - 1), ORG, NOW, False),
    "as many certificates as a day may have": (ACTIVE, claim(MOST), ORG, NOW, True),
    "more certificates than there can have been": (ACTIVE, claim(MOST + 1), ORG, NOW, False),
    "more, for a backup of two days": (
        ACTIVE,
        claim(MOST + 1, BACKUP + DAY_MS + 1),
        replace(ORG, restored_ms=BACKUP + 2 * DAY_MS),
        BACKUP + 2 * DAY_MS + 1,
        True,
    ),
    "one was taken up since the restore": (replace(ACTIVE, adopted_ms=RESTORED), claim(), ORG, NOW, False),
    "one was taken up after an earlier restore": (replace(ACTIVE, adopted_ms=BACKUP - 1), claim(), ORG, NOW, True),
}


@pytest.mark.parametrize("name", COUNTS)
def test_which_certificates_count(name: str) -> None:
    outpost, claimed, restored, now_ms, counts = COUNTS[name]
    after = restorations.adopted(outpost, claimed, restored, now_ms)
    assert (after is not None) is counts
    if after is not None:
        assert (after.serial, after.next_serial, after.join_sequence) == ("b", "", claimed.sequence)
        assert restored is not None
        assert restorations.is_adopted(after, restored)


def test_what_was_taken_up_may_not_be_claimed_by_another() -> None:
    first = restorations.adopted(ACTIVE, claim(), ORG, NOW)
    assert first is not None
    assert restorations.may_claim(first, claim().starts_ms, ORG, NOW)  # so it is asked, and found to be a clone
    assert restorations.adopted(first, claim(3), ORG, NOW) is None
