"""How much one org may use, so that none of them can use up the control plane of all."""

from dataclasses import dataclass, fields

from controlplane.domain.errors import InputError

OUTPOSTS = 10_000  # registered and not revoked; twice the largest fleet that is measured
CERTIFICATES_PER_OUTPOST_A_DAY = 20  # a leaf of 24 h is renewed twice a day; the rest is for bad days
CONNECTS_PER_SECOND = 200  # streams opened; 5,000 outposts are back within 30 s of a restart
STORED_RELEASES = 1_000  # signed sets; timestamps make two a day, so this is more than a year
MOST = 1_000_000_000  # of any quota


class QuotaInvalidError(InputError):
    """A quota outside its bounds."""

    code = "quota.invalid"


@dataclass(frozen=True, slots=True)
class Quotas:
    """Bounds of one org.

    Attributes:
        outposts: registered outposts that are not revoked.
        certificates_per_day: issued for one outpost within 24 hours.
        connects_per_second: streams that its outposts open.
        stored_releases: signed sets that are kept.
    """

    outposts: int = OUTPOSTS
    certificates_per_day: int = CERTIFICATES_PER_OUTPOST_A_DAY
    connects_per_second: int = CONNECTS_PER_SECOND
    stored_releases: int = STORED_RELEASES


def checked(quotas: Quotas) -> Quotas:
    """The quotas, or QuotaInvalidError that names the field."""
    for each in fields(quotas):
        if not 1 <= getattr(quotas, each.name) <= MOST:
            raise QuotaInvalidError(f"a quota is between 1 and {MOST}", field=each.name)
    return quotas
