"""Client keys: what may be written into the access document. Only hashes of keys are ever stored."""

import base64
import hashlib
import re

from controlplane.domain.errors import ConflictError, InputError, NotFoundError
from outpost.core.bundle import limits
from outpost.core.bundle.access import CHANNELS, DATA_CLASSES, ClientKey

KEY_BYTES = 32  # 256 bit; 43 characters of base64url
KEY_ID_BYTES = 6  # 12 hex digits behind "key-"
DEFAULT_LIFE_DAYS = 90
MAX_LIFE_DAYS = 366  # a key that lives longer is never looked at again
DAY_SECONDS = 86_400
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")  # names of keys, users, groups, agents


class KeyInvalidError(InputError):
    """A key description with a part that is not allowed."""

    code = "key.invalid_request"


class KeyExistsError(ConflictError):
    """A live key of the org has this name."""

    code = "key.exists"


class KeyUnknownError(NotFoundError):
    """No such live key."""

    code = "key.unknown"


def key_text(org: str, chance: bytes) -> str:
    """The key as the client sends it; shown once.

    Args:
        org: org id, in clear, so that an outpost of several orgs knows where to look.
        chance: 32 random bytes.
    """
    if len(chance) != KEY_BYTES:
        raise ValueError("a client key is made of 32 random bytes")
    return f"op_{org}_" + base64.urlsafe_b64encode(chance).rstrip(b"=").decode("ascii")


def key_hash(text: str) -> str:
    """What is stored and signed: SHA-256 over the whole key text, 64 hex digits.

    A plain digest is enough: the text holds 256 random bits, so there is nothing to guess.
    """
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def checked(key: ClientKey) -> ClientKey:
    """The record, or KeyInvalidError that names the field."""
    for field, value in (("name", key.name), ("user", key.user), ("agent", key.agent)):
        if (value or field == "name") and NAME.fullmatch(value) is None:
            raise _invalid(field, "is 1 to 64 letters, digits, dots, hyphens, underscores or @")
    if len(key.groups) > limits.MAX_GROUPS or any(NAME.fullmatch(group) is None for group in key.groups):
        raise _invalid("group", f"is a plain name, at most {limits.MAX_GROUPS} of them")
    if len(key.models) > limits.MAX_MODELS or any(not 0 < len(glob) <= 128 for glob in key.models):
        raise _invalid("model", f"is a glob of at most 128 characters, at most {limits.MAX_MODELS} of them")
    if key.channel not in CHANNELS:
        raise _invalid("channel", "is one of " + ", ".join(CHANNELS))
    if key.data_class not in DATA_CLASSES:
        raise _invalid("data_class", "is one of " + ", ".join(DATA_CLASSES))
    if not 0 < key.expires - key.not_before <= MAX_LIFE_DAYS * DAY_SECONDS:
        raise _invalid("expires_days", f"is between 1 and {MAX_LIFE_DAYS}")
    return key


def _invalid(field: str, rule: str) -> KeyInvalidError:
    return KeyInvalidError(
        f"{field} of a key {rule}", field=field, next_step="correct it: controlplane key create --help"
    )
