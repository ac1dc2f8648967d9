"""Answers that are kept, so that a repeated request with one idempotency key is one act."""

from dataclasses import dataclass, field
from typing import Final

from controlplane.domain.errors import ConflictError, InputError

LIFE_MS: Final = 24 * 3_600_000
TAKEN_OVER_MS: Final = 60_000  # an act that was begun and never ended is nobody's after that: its process died
MAX_KEY_CHARS: Final = 128


class IdempotencyMismatchError(InputError):
    """The key was used for another request."""

    code = "idempotency.mismatch"


class IdempotencyBusyError(ConflictError):
    """The same request is being carried out at this moment."""

    code = "idempotency.in_progress"
    fatal = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A kept answer.

    Attributes:
        principal: id of the caller; keys of two callers are two keys.
        key: as sent.
        digest: of operation, parameters and body, 64 hex digits.
        at_ms: Unix milliseconds.
        status: of the answer; 0 while the act is being carried out.
        answer: closed under the key-encryption key: it may hold a secret that was shown once.
    """

    principal: str
    key: str
    digest: str
    at_ms: int
    status: int = 0
    answer: bytes = field(default=b"", repr=False)


def judge(found: Reply | None, digest: str, now_ms: int) -> Reply | None:
    """What a kept answer means for a request.

    Args:
        found: the kept answer to its key, not older than LIFE_MS.
        digest: of the request.
        now_ms: Unix milliseconds.

    Returns:
        The answer to give again; None when the request is to be carried out.

    Raises:
        IdempotencyMismatchError: the key was used for another request.
        IdempotencyBusyError: it is being carried out.
    """
    if found is None:
        return None
    if found.digest != digest:
        raise IdempotencyMismatchError(
            "this idempotency key was used for another request within 24 hours",
            field="Idempotency-Key",
            next_step="send a new key with a new request, and the old key only with the old one",
        )
    if found.status:
        return found
    if now_ms - found.at_ms < TAKEN_OVER_MS:
        raise IdempotencyBusyError(
            "the same request is being carried out", field="Idempotency-Key", next_step="ask again in a second"
        )
    return None
