"""When to renew a certificate, and how long to wait after a failure.

Both spread a fleet out: chance is an argument, a number of [0, 1) drawn by the caller.
"""

from certs.errors import TrustError

RENEW_FRACTION = 0.5  # of the life: half of it remains to overcome an outage (design, section 4)
RENEW_SPREAD = 0.1  # of the life, to both sides, so that outposts enrolled together do not renew together
MAX_DOUBLINGS = 32  # 2^32 bases exceed every cap; bounds the arithmetic


class RotationInputError(TrustError):
    """A time or chance is outside its range."""

    code = "rotation.input"


def renew_at(not_before: int, not_after: int, chance: float) -> int:
    """Moment to renew: at 50 % of the life, 10 % more or less.

    Args:
        not_before: start of the life, Unix seconds.
        not_after: end of the life, Unix seconds.
        chance: of [0, 1); draw it once per certificate, or the moment moves with each question.

    Returns:
        Unix seconds.

    Raises:
        RotationInputError: no life, or chance outside [0, 1).
    """
    if not_after <= not_before:
        raise RotationInputError("A certificate's notAfter must lie after its notBefore.", field="not_after")
    fraction = RENEW_FRACTION + RENEW_SPREAD * (2 * _checked(chance) - 1)
    return not_before + int((not_after - not_before) * fraction)


def backoff_seconds(attempt: int, base_seconds: float, cap_seconds: float, chance: float) -> float:
    """Wait before another attempt, with full jitter: any time below ``min(cap, base * 2^attempt)``.

    Args:
        attempt: failures so far less one, from zero; any size.
        base_seconds: bound of the first wait.
        cap_seconds: bound of every wait.
        chance: of [0, 1), drawn anew each time.

    Raises:
        RotationInputError: negative attempt or bounds, or chance outside [0, 1).

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter", full jitter.
    """
    if attempt < 0 or base_seconds < 0 or cap_seconds < 0:
        raise RotationInputError("Attempt, base and cap are not negative.", field="attempt")
    return _checked(chance) * min(cap_seconds, base_seconds * 2.0 ** min(attempt, MAX_DOUBLINGS))


def _checked(chance: float) -> float:
    if not 0 <= chance < 1:
        raise RotationInputError("Chance is a number of [0, 1).", field="chance")
    return chance
