"""Rules of join tokens.

- 256-bit secret, stored as a keyed hash only, shown once, bound to one outpost of one org (and so to its name and its
  logical outpost), and to a network when its maker says so; lives 15 minutes by default.
- Spent once, by compare-and-set in the transaction that records the issuance. The same CSR may retry for 10
  minutes and gets the same leaf; any other CSR finds the token used.
- Only a caller whose secret matches a stored row learns the cause (expired, used, clock, source). Everyone else gets
  one answer: unknown org, unknown secret and other org's secret cannot be told apart.
"""

from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.errors import InputError, RefusedError
from controlplane.domain.sources import is_within

DEFAULT_TTL_MS = 15 * 60 * 1000
MAX_TTL_MS = 24 * 3600 * 1000  # longer than a day is a password, not a token
MIN_TTL_MS = 60 * 1000
RETRY_MS = 10 * 60 * 1000  # the same CSR may ask again this long after the first time
COURIER_TTL_MS = 7 * 24 * 3600 * 1000  # default life of a token that travels in files: a courier's week
MAX_COURIER_TTL_MS = 31 * 24 * 3600 * 1000  # as long as a bundle that travels so may be fresh (core.bundle.limits)
MAX_SKEW_MS = 5 * 60 * 1000  # leaf certificates are backdated by as much (design 4)


class TokenRefusedError(RefusedError):
    """No such token: the one answer for every secret that matches no row."""

    code = "token.refused"

    def __init__(self) -> None:
        super().__init__(
            "this join token is not known here",
            field="token",
            next_step="ask for a new one: controlplane outpost register NAME --org ORG",
        )


class TokenExpiredError(RefusedError):
    """The token's time is over."""

    code = "token.expired"


class TokenUsedError(RefusedError):
    """The token was spent by another certificate request."""

    code = "token.used"


class ClockSkewError(RefusedError):
    """The caller's clock is too far from ours."""

    code = "token.clock"
    fatal = False


class TokenSourceError(RefusedError):
    """The caller's address is outside the network that the token is bound to."""

    code = "token.source"


class TokenCourierError(RefusedError):
    """The token is for files and was used over the network, or the reverse."""

    code = "token.courier"


class TokenLifeError(InputError):
    """A time to live outside the bounds."""

    code = "token.ttl"


class Redemption(StrEnum):
    """What a caller with a matching secret gets."""

    FIRST = "first"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A stored join token; the secret itself is nowhere.

    Attributes:
        digest: HMAC-SHA256 of the secret under the pepper, 64 hex digits.
        outpost_id: whom it enrolls.
        created_ms: Unix milliseconds, as the other times; 0 = never.
        csr_sha256: digest of the request that spent it, 64 hex digits, empty while unspent.
        serial: certificate recorded for it, empty while unspent.
        network: only callers from this network may spend it; empty for any.
        anew: it gives an outpost that had an identity before a fresh one.
        offline: it is spent by files that an operator brings in, and never over the network.
    """

    digest: str
    outpost_id: str
    created_ms: int
    expires_ms: int
    spent_ms: int = 0
    csr_sha256: str = ""
    serial: str = ""
    network: str = ""
    anew: bool = False
    offline: bool = False


def checked_ttl_ms(ttl_ms: int, *, offline: bool = False) -> int:
    """A time to live within 1 minute and 24 hours, for files 31 days, or TokenLifeError."""
    if offline and MIN_TTL_MS <= ttl_ms <= MAX_COURIER_TTL_MS:
        return ttl_ms
    if not MIN_TTL_MS <= ttl_ms <= MAX_TTL_MS:
        raise TokenLifeError(
            "a join token lives between 1 minute and 24 hours",
            field="ttl",
            next_step="use --ttl 15m, the default",
        )
    return ttl_ms


def judge(token: JoinToken, csr_sha256: str, caller_ms: int, source: str, now_ms: int) -> Redemption:
    """What the holder of a matching secret gets.

    Args:
        token: the stored row that the secret matched.
        csr_sha256: digest of the certificate request, 64 hex digits.
        caller_ms: the caller's clock, untrusted; it only names a skew.
        source: the caller's address.
        now_ms: our clock.

    Raises:
        TokenCourierError: it is for files; nothing is spent.
        TokenSourceError: not from the network that the token is bound to; nothing is spent.
        TokenUsedError: another request spent it, or the same one longer than 10 minutes ago.
        TokenExpiredError: too late; a retry of the request that spent it in time is not.
        ClockSkewError: more than 5 minutes between the two clocks; nothing is spent.
    """
    if token.offline:
        raise TokenCourierError(
            "this join token is for an outpost that no network reaches",
            field="token",
            next_step="on that outpost: outpost airgap request --token-file TOKEN --out FILE",
        )
    if token.network and not is_within(source, token.network):
        raise TokenSourceError(
            f"this join token may be used from {token.network} only, and the call came from {source}",
            field="token",
            next_step="run the command inside that network, or ask for a token for another one",
        )
    if token.spent_ms:
        _require_same(token, csr_sha256, now_ms)
        if now_ms - token.spent_ms > RETRY_MS:
            raise TokenUsedError(
                f"this join token was used {_ago(now_ms - token.spent_ms)} ago; the same request may retry "
                f"for 10 minutes",
                field="token",
                next_step="ask for a new one: controlplane outpost register NAME --org ORG",
            )
    else:
        _require_alive(token, now_ms)
    _check_clock(token, caller_ms, now_ms)
    return Redemption.RETRY if token.spent_ms else Redemption.FIRST


def judge_courier(token: JoinToken, csr_sha256: str, made_ms: int, now_ms: int) -> Redemption:
    """The same for a request that travelled in a file: it may be as old as its token, and be brought again.

    Args:
        token: the stored row that the secret matched.
        csr_sha256: digest of the certificate request, 64 hex digits.
        made_ms: by the outpost's clock, untrusted.
        now_ms: our clock.

    Raises:
        TokenCourierError: the token is for the network; nothing is spent.
        TokenUsedError: another request spent it.
        TokenExpiredError: too late, also for the request that spent it in time.
        ClockSkewError: made before the token was, or in the future; nothing is spent.
    """
    if not token.offline:
        raise TokenCourierError(
            "this join token is spent over the network: outpost enroll",
            field="token",
            next_step="for an outpost that no network reaches: controlplane outpost register NAME --org ORG --courier",
        )
    if token.spent_ms:
        _require_same(token, csr_sha256, now_ms)
    _require_alive(token, now_ms)
    if made_ms < token.created_ms - MAX_SKEW_MS:
        _check_clock(token, now_ms - (token.created_ms - made_ms), now_ms)
    _check_clock(token, max(made_ms, now_ms), now_ms)
    return Redemption.RETRY if token.spent_ms else Redemption.FIRST


def _require_same(token: JoinToken, csr_sha256: str, now_ms: int) -> None:
    if token.csr_sha256 != csr_sha256:
        raise TokenUsedError(
            f"this join token was used {_ago(now_ms - token.spent_ms)} ago by another certificate request",
            field="token",
            next_step=("if that was not you, revoke the outpost: controlplane outpost revoke NAME --org ORG"),
        )


def _require_alive(token: JoinToken, now_ms: int) -> None:
    if now_ms >= token.expires_ms:
        raise TokenExpiredError(
            f"this join token expired {_ago(now_ms - token.expires_ms)} ago; the network and the CA pin are fine",
            field="token",
            next_step="ask for a new one: controlplane outpost register NAME --org ORG",
        )


def _check_clock(token: JoinToken, caller_ms: int, now_ms: int) -> None:
    skew_ms = caller_ms - now_ms
    if abs(skew_ms) <= MAX_SKEW_MS:
        return
    side = "ahead of" if skew_ms > 0 else "behind"
    left_ms = max(0, token.expires_ms - now_ms)
    raise ClockSkewError(
        f"this machine's clock is {_ago(abs(skew_ms))} {side} the control plane; the limit is 5 min",
        field="now_ms",
        next_step=f"fix time sync, then run the command again; the token is still valid for {_ago(left_ms)}",
    )


def _ago(milliseconds: int) -> str:
    """A span of time for people: the two largest units."""
    seconds = max(0, milliseconds) // 1000
    for unit, size, lower, lower_size in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // lower_size} {lower}"
    return f"{seconds} s"
