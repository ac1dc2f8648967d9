"""Persons who administer: their life, their sign-in codes, and one-time passwords.

invited -> active -> disabled. An invitation, and a reset, is a one-time sign-in code: with it a person sets a password
and enrolls an authenticator. Disabling, a reset and another role raise ``version``, and every token that was issued
before is void at once.
"""

import hashlib
import hmac
import re
from base64 import b32encode
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import pyotp

from controlplane.domain.errors import ConflictError, InputError, NotFoundError, RefusedError
from controlplane.domain.rbac import Role

ID_BYTES: Final = 8  # 16 hex digits behind "user-"
CODE_BYTES: Final = 20  # 160 bit: 32 characters of base32
CODE_LIFE_MS: Final = 15 * 60_000  # as long as a join token
TOTP_SECRET_BYTES: Final = 20  # RFC 4226 §4, R6: 160 bit recommended
STEP_SECONDS: Final = 30  # RFC 6238 §5.2
WINDOW_STEPS: Final = 1  # clocks of phones: one step early or late
TOTP_DIGITS: Final = 6
MIN_PASSWORD_CHARS: Final = 12  # NIST SP 800-63B-4 §3.1.1.2 asks for 8 beside a second factor
MAX_PASSWORD_CHARS: Final = 128  # argon2id reads all of it; longer ones only cost time
MAX_WRONG_CODES: Final = 20  # in a day, by who knows the password: he hits one of three codes with 0.006 %
WRONG_CODES_MS: Final = 24 * 3_600_000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class UserNameError(InputError):
    """A user name that is not one."""

    code = "user.name"


class UserExistsError(ConflictError):
    """The org has a user of this name."""

    code = "user.exists"


class UserUnknownError(NotFoundError):
    """The org has no such user."""

    code = "user.unknown"


class UserStateError(ConflictError):
    """What is asked for does not fit the user's state."""

    code = "user.state"


class PasswordError(InputError):
    """A new password that is too short, too long, or the user's own name."""

    code = "user.password"


class SignInCodeError(RefusedError):
    """No such sign-in code, or its time is over: one answer for both."""

    code = "user.code"


class OneTimePasswordError(RefusedError):
    """The one-time password is not that of the authenticator that is being enrolled, or was used."""

    code = "user.totp"


class UserState(StrEnum):
    """How far a user got."""

    INVITED = "invited"
    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class User:
    """A person.

    Attributes:
        id: ``user-`` and 16 hex digits.
        name: for signing in; unique in the org.
        created_ms: Unix milliseconds; so are signed_in_ms and code_expires_ms, 0 for never.
        password_hash: argon2id, encoded; empty before a password was set.
        totp: sealed secret of the authenticator; empty before one was enrolled.
        totp_step: newest step that was accepted: neither it nor an older one is accepted again.
        new_totp: sealed secret of an authenticator that was shown and not yet confirmed.
        new_password_hash: of a password that was set with a sign-in code and not yet confirmed.
        code_digest: SHA-256 of the sign-in code, 64 hex digits; empty when there is none.
        version: of tokens: older ones are void.
        seen_by: ids of the users who were shown a sign-in code of his: for approvals he and they are one person.
        wrong_codes: how often the password was right and the one-time password was not, within a day.
        wrong_code_ms: when that day began.
    """

    id: str
    name: str
    role: Role
    state: UserState
    created_ms: int
    password_hash: str = field(default="", repr=False)
    totp: bytes = field(default=b"", repr=False)
    totp_step: int = 0
    new_totp: bytes = field(default=b"", repr=False)
    new_password_hash: str = field(default="", repr=False)
    code_digest: str = field(default="", repr=False)
    code_expires_ms: int = 0
    version: int = 1
    signed_in_ms: int = 0
    seen_by: tuple[str, ...] = ()
    wrong_codes: int = 0
    wrong_code_ms: int = 0

    @property
    def has_signed_in(self) -> bool:
        """Whether he is somebody: he signed in once and was not disabled since, though he may wait for a new code."""
        return bool(self.signed_in_ms) and self.state is not UserState.DISABLED


def checked_name(text: str) -> str:
    """A user name, or UserNameError."""
    if NAME.fullmatch(text) is None:
        raise UserNameError(
            "a user name is 1 to 64 lower-case letters, digits, dots, hyphens or underscores, a letter or digit first",
            field="user",
            next_step="choose a name such as 'alice'",
        )
    return text


def checked_password(text: str, name: str) -> str:
    """A new password, or PasswordError."""
    if not MIN_PASSWORD_CHARS <= len(text) <= MAX_PASSWORD_CHARS:
        raise PasswordError(
            f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters",
            field="password",
            next_step="choose a longer one; a few words in a row are good",
        )
    if name in text.lower() and len(text) < MIN_PASSWORD_CHARS + len(name):
        raise PasswordError(
            "the password is little more than the user's name", field="password", next_step="choose another"
        )
    return text


def code_text(chance: bytes) -> str:
    """A sign-in code for people: groups of four characters of base32. Shown once."""
    text = b32encode(chance).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def code_digest(text: str) -> str:
    """What is stored of a sign-in code; capitals, blanks and hyphens do not count."""
    plain = "".join(text.lower().replace("-", "").split())
    return hashlib.sha256(f"outpost.sign-in/1\n{plain}".encode()).hexdigest()


def invite(name: str, role: Role, chance: bytes, now_ms: int) -> User:
    """A new user, without a code yet. Raises UserNameError."""
    return User(f"user-{chance.hex()}", checked_name(name), role, UserState.INVITED, now_ms)


def with_code(user: User, digest: str, now_ms: int) -> User:
    """The user with a new sign-in code; an earlier one is void.

    Raises:
        UserStateError: disabled.
    """
    if user.state is UserState.DISABLED:
        raise UserStateError(
            "this user is disabled", field="user", next_step="make another: controlplane user create NAME --org ORG"
        )
    return replace(user, code_digest=digest, code_expires_ms=now_ms + CODE_LIFE_MS, new_totp=b"", new_password_hash="")


def reset(user: User, digest: str, now_ms: int) -> User:
    """The user without password and authenticator, and with a new sign-in code; every token of his is void.

    Raises:
        UserStateError: disabled.
    """
    blank = replace(
        user,
        state=UserState.INVITED,
        password_hash="",
        totp=b"",
        totp_step=0,
        version=user.version + 1,
        wrong_codes=0,
        wrong_code_ms=0,
    )
    return with_code(user if user.state is UserState.DISABLED else blank, digest, now_ms)


def require_code(user: User | None, text: str, now_ms: int) -> User:
    """The user whose sign-in code this is.

    Raises:
        SignInCodeError: none, another, or too late.
    """
    digest = code_digest(text)
    kept = user.code_digest if user is not None and user.code_digest else code_digest("")
    same = hmac.compare_digest(digest, kept)
    if user is None or not user.code_digest or not same or now_ms >= user.code_expires_ms:
        raise SignInCodeError(
            "this sign-in code is not valid for this user, or its time is over",
            field="code",
            next_step="ask for a new one: controlplane user reset-password NAME --org ORG",
        )
    return user


def activated(user: User, step: int, now_ms: int) -> User:
    """The user once his authenticator answered: what was set with the code counts now, and the code is spent."""
    return replace(
        user,
        state=UserState.ACTIVE,
        password_hash=user.new_password_hash,
        totp=user.new_totp,
        totp_step=step,
        new_totp=b"",
        new_password_hash="",
        code_digest="",
        code_expires_ms=0,
        version=user.version + 1,
        signed_in_ms=now_ms,
    )


def disabled(user: User) -> User:
    """The user who may not sign in any more: his tokens are void, and nothing that opens remains."""
    return replace(
        user,
        state=UserState.DISABLED,
        password_hash="",
        totp=b"",
        new_totp=b"",
        new_password_hash="",
        code_digest="",
        code_expires_ms=0,
        version=user.version + 1,
    )


def with_role(user: User, role: Role) -> User:
    """The user in another role; tokens of the old one are void."""
    return replace(user, role=role, version=user.version + 1)


def matching_step(secret: str, code: str, now_s: int, used: int) -> int:
    """The time step whose one-time password this is.

    Args:
        secret: base32.
        code: untrusted.
        now_s: Unix seconds.
        used: newest step that was accepted before.

    Returns:
        The step, or 0: none of the window, or used. The work is the same either way.
    """
    generator = pyotp.TOTP(secret, digits=TOTP_DIGITS, interval=STEP_SECONDS)
    current = now_s // STEP_SECONDS
    given = code.encode()  # other digits than ASCII ones are text, too
    found = 0
    for step in range(current - WINDOW_STEPS, current + WINDOW_STEPS + 1):
        same = hmac.compare_digest(generator.generate_otp(step).encode(), given)
        if same and step > used:
            found = step
    return found


def with_wrong_code(user: User, now_ms: int) -> User:
    """The user after a right password with a wrong one-time password."""
    if now_ms - user.wrong_code_ms >= WRONG_CODES_MS:
        return replace(user, wrong_codes=1, wrong_code_ms=now_ms)
    return replace(user, wrong_codes=user.wrong_codes + 1)


def is_guessed_at(user: User, now_ms: int) -> bool:
    """Whether so many one-time passwords were tried with the right password that none is accepted until a day is over.

    A reset makes both new and ends it. A right one in between does not: guesses do not become more by it.
    """
    return user.wrong_codes >= MAX_WRONG_CODES and now_ms - user.wrong_code_ms < WRONG_CODES_MS


def otpauth_uri(secret: str, name: str, org: str, issuer: str) -> str:
    """What an authenticator app reads. Source: the key URI format that the apps share."""
    return pyotp.TOTP(secret, digits=TOTP_DIGITS, interval=STEP_SECONDS).provisioning_uri(
        name=f"{name}@{org}", issuer_name=issuer
    )
