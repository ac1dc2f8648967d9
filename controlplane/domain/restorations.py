"""What follows from a restore: how far back it went, and which newer identities count again.

A backup knows nothing of the certificates that were issued after it. Outposts hold them, and the machine that issued
them is gone. So for a while a certificate counts although it is not on record, when all of this is true:

- it is genuine: its chain leads to a CA of ours (the caller proved that);
- it was issued between the backup and the restore, to an outpost that the backup has as active;
- no other such certificate of that outpost was taken up since the restore;
- its holder says at which join sequence it is, above the one on record, and no further than could have been reached.

It then takes the place of the certificate on record, and its holder is the outpost. A second one is a trace of a clone,
judged as any retired certificate is. What was revoked or locked after the backup is not known here until an outpost
gives the configuration back that says so (``domain.returned``); see /docs/backup.md.
"""

from dataclasses import dataclass, replace

from controlplane.domain.outposts import Outpost, OutpostState
from controlplane.domain.quotas import CERTIFICATES_PER_OUTPOST_A_DAY

ADOPTION_MS = 72 * 3600 * 1000  # longer than a leaf may live (certs.profiles): whoever comes later recovers or enrolls
SPREAD_MS = 5_000  # clocks of the machine that is gone and of the one that took the backup may differ by this much
BACKDATE_MS = 300_000  # leaf certificates begin so long before they are issued (docs/design.md 4)
DAY_MS = 24 * 3600 * 1000
SPARE_SEQUENCES = 2  # a new enrollment skips one


@dataclass(frozen=True, slots=True)
class Restoration:
    """One restore of this control plane.

    Attributes:
        id: from chance.
        backup_ms: when the backup was begun; what happened later may not be in it.
        restored_ms: when it was restored.
        software: version that wrote the backup.
    """

    id: str
    backup_ms: int
    restored_ms: int
    software: str


@dataclass(frozen=True, slots=True)
class RestoredOrg:
    """What an org remembers of the newest restore.

    Attributes:
        backup_ms, restored_ms: as of the restoration.
        documents: digest of the documents of policy, vendor and rollout as they were last taken up; while these stand,
            nobody has published any since.
        returned: timestamp version of the newest configuration of before that is known: the backup's own, or one that
            an outpost gave back.
        returned_ms: when an outpost did so, 0 when none did.
        problem: code of what kept such a configuration from being taken up, or empty.
    """

    backup_ms: int
    restored_ms: int
    documents: str = ""
    returned: int = 0
    returned_ms: int = 0
    problem: str = ""

    def adopts_at(self, now_ms: int) -> bool:
        """Whether certificates that are not on record may still count."""
        return now_ms < self.restored_ms + ADOPTION_MS


@dataclass(frozen=True, slots=True)
class Claim:
    """A genuine certificate that is not on record, and what its holder says.

    Attributes:
        serial: hex.
        starts_ms: notBefore, Unix milliseconds.
        sequence: join sequence that its holder is at.
        source: address that he calls from.
    """

    serial: str
    starts_ms: int
    sequence: int
    source: str

    @property
    def issued_ms(self) -> int:
        """When it was issued."""
        return self.starts_ms + BACKDATE_MS


def may_claim(outpost: Outpost, starts_ms: int, restored: RestoredOrg | None, now_ms: int) -> bool:
    """Whether a certificate of an outpost that is not on record may count; the sequence is judged by ``adopted``."""
    if restored is None or not restored.adopts_at(now_ms) or outpost.state is not OutpostState.ACTIVE:
        return False
    issued_ms = starts_ms + BACKDATE_MS
    return restored.backup_ms - SPREAD_MS <= issued_ms <= restored.restored_ms + SPREAD_MS


def is_adopted(outpost: Outpost, restored: RestoredOrg) -> bool:
    """Whether a certificate of this outpost was taken up since the restore: a further one is a clone's."""
    return outpost.adopted_ms >= restored.restored_ms


def adopted(outpost: Outpost, claim: Claim, restored: RestoredOrg | None, now_ms: int) -> Outpost | None:
    """The outpost with a claimed certificate in use.

    Args:
        outpost: as stored.
        claim: its chain was verified, and its holder proved the key.
        restored: of the org.
        now_ms: Unix milliseconds.

    Returns:
        None when it does not count.
    """
    if restored is None or not may_claim(outpost, claim.starts_ms, restored, now_ms) or is_adopted(outpost, restored):
        return None
    days = (max(0, claim.issued_ms - restored.backup_ms)) // DAY_MS + 1
    most = outpost.join_sequence + days * CERTIFICATES_PER_OUTPOST_A_DAY + SPARE_SEQUENCES
    if not outpost.join_sequence < claim.sequence <= most:
        return None
    return replace(
        outpost,
        serial=claim.serial,
        next_serial="",
        join_sequence=claim.sequence,
        advanced_ms=now_ms,
        adopted_ms=now_ms,
    )
