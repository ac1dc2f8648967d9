"""When to ask for the next certificate, and what to say of the one that is there: rules over plain numbers.

A certificate is renewed at half of its life, 10 % more or less. When two thirds are over without success, somebody is
told. Within its last minutes, and after its end, it is recovered: a proof of its key to the listener for strangers. A
certificate that was recovered is renewed soon after, so that recoveries in a row stay few on machines that run for
short times only.
"""

from certs import rotation

LATE_SHARE = 2 / 3  # of the life (catalogue, journey 15)
DYING_SECONDS = 600  # with less left, a renewal that failed is not waited for
RECOVERED_SECONDS = 600  # a recovered certificate is renewed after this time, and up to as much again
LATE = "certificate.late"
EXPIRED = "certificate.expired"
OK = "ok"

Life = tuple[int, int]  # notBefore and notAfter, Unix seconds


def due_at(life: Life, chance: float, recovered_at: int = 0) -> int:
    """When to renew.

    Args:
        life: of the certificate.
        chance: of [0, 1), drawn once for each certificate.
        recovered_at: when it was recovered, Unix seconds; 0 when it was not.
    """
    regular = rotation.renew_at(*life, chance)
    if not recovered_at:
        return regular
    return min(regular, recovered_at + RECOVERED_SECONDS + int(RECOVERED_SECONDS * chance))


def is_over(life: Life, now: int) -> bool:
    """Whether a certificate is good for nothing any more."""
    return now >= life[1]


def is_dying(life: Life, now: int) -> bool:
    """Whether a certificate ends within minutes."""
    return now >= life[1] - DYING_SECONDS


def condition(life: Life, now: int) -> str:
    """What to say of a certificate: ok, late or expired."""
    if is_over(life, now):
        return EXPIRED
    late_at = life[0] + int((life[1] - life[0]) * LATE_SHARE)
    return LATE if now >= late_at else OK
