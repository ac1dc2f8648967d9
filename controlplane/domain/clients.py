"""Machine clients: a secret that is shown once, and what is kept of it.

A rotation makes a new secret; the old one works on for a grace period, so that whoever uses it can be changed without
a failure. Secrets expire. The id carries the org, so that nothing has to be looked up across orgs.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.domain.errors import ConflictError, InputError, NotFoundError
from controlplane.domain.orgs import ORG_ID
from controlplane.domain.rbac import Role, Verb

ID_BYTES: Final = 8  # 16 hex digits
SECRET_BYTES: Final = 32  # 256 bit; nothing to guess, so a plain SHA-256 is kept
DAY_MS: Final = 86_400_000
DEFAULT_LIFE_DAYS: Final = 90
MAX_LIFE_DAYS: Final = 366
DEFAULT_GRACE_SECONDS: Final = 86_400  # catalogue P2: rotation with a grace period
MAX_GRACE_SECONDS: Final = 7 * 86_400
MAX_CLIENTS: Final = 1_000  # of one org
MAX_SEEN_BY: Final = 64  # the newest count; who saw a secret that long ago has none that works
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ID: Final = re.compile(rf"cl_({ORG_ID.pattern})_[0-9a-f]{{16}}")


class ClientNameError(InputError):
    """A client's name that is not one, or a life outside the bounds."""

    code = "client.name"


class ClientExistsError(ConflictError):
    """A live client of the org has this name."""

    code = "client.exists"


class ClientUnknownError(NotFoundError):
    """The org has no such live client."""

    code = "client.unknown"


class ScopeUnknownError(InputError):
    """A scope that is no verb, or that the role does not have."""

    code = "client.scope"


@dataclass(frozen=True, slots=True)
class MachineClient:
    """A program that administers.

    Attributes:
        id: ``cl_<org>_<16 hex digits>``.
        scopes: what tokens may be asked for at most; empty is all of the role.
        seen_by: ids of the principals who were shown a secret of it; they cannot approve what it asks for.
        life_ms: how long each secret lives.
        digest: SHA-256 of the secret, 64 hex digits.
        expires_ms: end of that secret, Unix milliseconds.
        old_digest: of the secret before, while its grace lasts; empty else.
        old_until_ms: end of the grace.
        version: of tokens: older ones are void.
    """

    id: str
    name: str
    role: Role
    scopes: tuple[Verb, ...]
    seen_by: tuple[str, ...]
    created_ms: int
    life_ms: int
    digest: str = field(repr=False)
    expires_ms: int
    old_digest: str = field(default="", repr=False)
    old_until_ms: int = 0
    revoked_ms: int = 0
    version: int = 1


def client_id(org: str, chance: bytes) -> str:
    """A new id."""
    return f"cl_{org}_{chance.hex()}"


def org_of(text: str) -> str:
    """The org that a client id names; empty when it is no id."""
    match = ID.fullmatch(text)
    return match[1] if match else ""


def checked_name(text: str) -> str:
    """A client's name, or ClientNameError."""
    if NAME.fullmatch(text) is None:
        raise ClientNameError(
            "a client's name is 1 to 64 lower-case letters, digits, dots, hyphens or underscores",
            field="name",
            next_step="choose a name such as 'ci'",
        )
    return text


def secret_text(org: str, chance: bytes) -> str:
    """The secret as it is shown, once."""
    return f"ocs_{org}_" + base64.urlsafe_b64encode(chance).rstrip(b"=").decode()


def secret_digest(text: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(text.encode()).hexdigest()


def accepts(client: MachineClient | None, secret: str, now_ms: int) -> bool:
    """Whether a secret opens a client now; the work is the same whatever the answer.

    Args:
        client: as stored; None for an unknown id.
        secret: untrusted.
        now_ms: Unix milliseconds.
    """
    digest = secret_digest(secret)
    nothing = "0" * 64  # no secret has this digest
    current = hmac.compare_digest(digest, client.digest if client else nothing)
    old = hmac.compare_digest(digest, (client.old_digest if client else "") or nothing)
    if client is None or client.revoked_ms:
        return False
    return (current and now_ms < client.expires_ms) or (old and now_ms < client.old_until_ms)


def rotated(client: MachineClient, digest: str, seen_by: tuple[str, ...], now_ms: int, grace_ms: int) -> MachineClient:
    """The client with a new secret; the one before works until the grace ends, or its own end when that is sooner.

    Args:
        client: as stored.
        digest: of the new secret.
        seen_by: ids of those who are shown it.
        now_ms: Unix milliseconds.
        grace_ms: how long the old secret still works.
    """
    return replace(
        client,
        digest=digest,
        seen_by=tuple(dict.fromkeys((*client.seen_by, *seen_by)))[-MAX_SEEN_BY:],
        expires_ms=now_ms + client.life_ms,
        old_digest=client.digest,
        old_until_ms=min(now_ms + grace_ms, client.expires_ms),
    )


def revoked(client: MachineClient, now_ms: int) -> MachineClient:
    """The client that opens nothing any more; its tokens are void at once."""
    return replace(client, revoked_ms=now_ms, digest="0" * 64, old_digest="", version=client.version + 1)


def granted_scopes(client: MachineClient, asked: tuple[str, ...], allowed: frozenset[Verb]) -> frozenset[Verb] | None:
    """Scopes of a token.

    Args:
        client: its own scopes bound what it may ask for.
        asked: untrusted names; empty asks for everything.
        allowed: verbs of its role in its org.

    Returns:
        None for the whole role.

    Raises:
        ScopeUnknownError: beyond the role or the client.
    """
    most = allowed & frozenset(client.scopes) if client.scopes else allowed
    if not asked:
        return most if client.scopes else None
    names = {verb.value: verb for verb in most}
    if any(name not in names for name in asked):
        raise ScopeUnknownError(
            "a scope that this client may not ask for",
            field="scope",
            next_step="leave scope out, or ask for: " + " ".join(sorted(names)),
        )
    return frozenset(names[name] for name in asked)
