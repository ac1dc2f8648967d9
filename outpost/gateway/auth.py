"""Who is calling: the holder of a client key.

The key names its org, so one look-up by hash decides; no database stands on the way. The hash is of 256 random bits: a
dictionary look-up leaks nothing that helps to guess one.

DeniedError
├── AuthMissingError · AuthUnknownKeyError · AuthExpiredError · AuthRevokedError · AuthNotYetValidError
└── ModelNotAllowedError
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from multidict import CIMultiDictProxy

from outpost.core.bundle.access import ClientKey
from outpost.core.errors import DeniedError
from outpost.core.policy.globs import glob_matches

MAX_CREDENTIAL_CHARS = 256  # a key has 78 characters at most
_KEY = re.compile(r"op_([a-z][a-z0-9-]{1,30})_[A-Za-z0-9_-]{43}")


class AuthMissingError(DeniedError):
    """No usable credential in the request."""

    code = "auth.missing"


class AuthUnknownKeyError(DeniedError):
    """No such key."""

    code = "auth.unknown_key"


class AuthExpiredError(DeniedError):
    """The key's time is over."""

    code = "auth.expired"


class AuthNotYetValidError(DeniedError):
    """The key's time has not begun."""

    code = "auth.not_yet_valid"


class AuthRevokedError(DeniedError):
    """The key was revoked."""

    code = "auth.revoked"


class ModelNotAllowedError(DeniedError):
    """The key may not use this model."""

    code = "model.not_allowed"


@dataclass(frozen=True, slots=True)
class Credential:
    """A well-formed key: the org that it names and the hash under which the org knows it."""

    org: str
    sha256: str


def read_credential(headers: CIMultiDictProxy[str]) -> Credential:
    """Find the client key in ``Authorization: Bearer`` or ``X-API-Key``.

    Raises:
        AuthMissingError: none, or two different ones.
        AuthUnknownKeyError: not of the form of a key.
    """
    found = {_bearer(value) for value in headers.getall("Authorization", [])}
    found |= {value.strip() for value in headers.getall("X-API-Key", [])}
    found.discard("")
    if len(found) != 1:
        raise AuthMissingError(
            "the request carries no key" if not found else "the request carries two different keys",
            field="Authorization",
            next_step="send Authorization: Bearer op_<org>_<key>",
        )
    text = found.pop()
    match = _KEY.fullmatch(text) if len(text) <= MAX_CREDENTIAL_CHARS else None
    if match is None:
        raise unknown_key("keys of this outpost begin with op_; ask your administrator for one")
    return Credential(match[1], hashlib.sha256(text.encode()).hexdigest())


def _bearer(value: str) -> str:
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def unknown_key(next_step: str = "ask your administrator for a key") -> AuthUnknownKeyError:
    """The one answer for every key that is not known here; only a text that is no key of ours is told apart."""
    return AuthUnknownKeyError("this key is not known here", field="Authorization", next_step=next_step)


def check_key(keys: Mapping[str, ClientKey], credential: Credential, now_ms: int) -> ClientKey:
    """Find the key among those of the org and judge it at a time.

    Raises:
        AuthUnknownKeyError, AuthRevokedError, AuthNotYetValidError, AuthExpiredError: as named.
    """
    key = keys.get(credential.sha256)
    if key is None:
        raise unknown_key()
    if key.revoked:
        raise AuthRevokedError(f"key {key.id} was revoked", field="Authorization", next_step="ask for a new key")
    if now_ms < key.not_before * 1000:
        raise AuthNotYetValidError(f"key {key.id} is not valid yet", field="Authorization", next_step="check the clock")
    if now_ms >= key.expires * 1000:
        raise AuthExpiredError(f"key {key.id} has expired", field="Authorization", next_step="ask for a new key")
    return key


def may_use(key: ClientKey, model: str) -> bool:
    """Whether the key's globs cover the model; no glob at all covers every model."""
    return not key.models or any(glob_matches(glob.lower(), model.lower()) for glob in key.models)


def check_model(key: ClientKey, model: str) -> None:
    """Refuse a model that the key may not use.

    Raises:
        ModelNotAllowedError: no glob of the key matches.
    """
    if not may_use(key, model):
        raise ModelNotAllowedError(
            f"key {key.id} may not use this model", field="model", next_step="GET /v1/models lists what it may use"
        )
