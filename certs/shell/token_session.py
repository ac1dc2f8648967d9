"""A session with a PKCS#11 token: which library, which token, which PIN, and what is done when it is refused.

A PIN that the token refused is never tried again in this process, and a token with one try left is not tried at all:
tokens lock themselves after a few wrong PINs, and a service that is restarted for ever would get there.

Source: PKCS #11 v2.40, sections 5.4 (C_Initialize) and 5.6 (C_Login).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from certs.errors import KeyStoreError
from certs.shell.private_files import read_private_file

if TYPE_CHECKING:
    from pkcs11 import Session, Token
    from pkcs11.constants import TokenFlag

_REFUSED_PINS: Final[set[bytes]] = set()  # digests of module, token and PIN


class TokenModuleError(KeyStoreError):
    """The PKCS#11 library cannot be loaded."""

    code = "key_store.module"


class TokenMissingError(KeyStoreError):
    """No token, or more than one, has the label that is set."""

    code = "key_store.token_missing"


class TokenPinError(KeyStoreError):
    """The token refused the PIN; it is not tried again."""

    code = "key_store.pin"


class TokenLostError(KeyStoreError):
    """The token stopped answering, and opening it again did not help."""

    code = "key_store.token_lost"
    fatal = False


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where a token is.

    Args:
        module: the PKCS#11 library, a ``.so`` file.
        token: label of the token.
        pin_file: private file that holds the PIN of the token's user.
    """

    module: Path
    token: str
    pin_file: Path


def api_error() -> type[Exception]:
    """Root of what the library raises; the package is an extra."""
    try:
        from pkcs11 import PKCS11Error
    except ImportError as error:
        raise TokenModuleError(
            "The package python-pkcs11 is not installed.", field="pkcs11_module", next_step="Install the extra pkcs11."
        ) from error
    return PKCS11Error


def lost(place: TokenPlace, why: str) -> TokenLostError:
    """The error for a token that stopped answering."""
    return TokenLostError(
        f"The token does not answer ({why}).", field=place.token, next_step="Check that the token is there; then retry."
    )


def login(place: TokenPlace) -> "Session":
    """Open a session as the token's user.

    Raises:
        TokenModuleError: the library cannot be loaded.
        TokenMissingError: not one token has the label.
        TokenPinError: the PIN was refused, now or before, or it is better not to try it.
        PrivateFileError: the PIN file cannot be read.
    """
    api_error()  # says by name that the package is missing
    from pkcs11 import exceptions

    pin, mark = _pin(place)
    token = _token(place)
    _require_tries_left(place, token.flags)
    try:
        return token.open(user_pin=pin)
    except exceptions.UserAlreadyLoggedIn:  # by another object of this process: login is the process's
        return token.open()
    except (
        exceptions.PinIncorrect,
        exceptions.PinLocked,
        exceptions.PinInvalid,
        exceptions.PinLenRange,
        exceptions.PinExpired,
        exceptions.UserPinNotInitialized,
    ) as error:
        _REFUSED_PINS.add(mark)
        raise _pin_error(place, type(error).__name__) from None


def _pin(place: TokenPlace) -> tuple[str, bytes]:
    """The PIN, with the mark under which its refusal is remembered."""
    text = read_private_file(place.pin_file).rstrip(b"\r\n")
    mark = hashlib.sha256(b"\0".join((str(place.module).encode(), place.token.encode(), text))).digest()
    if mark in _REFUSED_PINS:
        raise _pin_error(place, "it was refused before and is not tried again")
    try:
        return text.decode("utf-8"), mark
    except UnicodeDecodeError:
        raise _pin_error(place, "it is no UTF-8 text") from None


def _pin_error(place: TokenPlace, why: str) -> TokenPinError:
    return TokenPinError(
        f"The token did not take the PIN: {why}.",
        field=str(place.pin_file),
        next_step="Correct the PIN file before the token locks itself, then start again.",
    )


def _require_tries_left(place: TokenPlace, flags: "TokenFlag") -> None:
    from pkcs11 import TokenFlag

    if flags & (TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED):
        raise _pin_error(place, "the token is locked, or one wrong PIN away from it; log in once by hand")


def _token(place: TokenPlace) -> "Token":
    """The one token with the label."""
    import pkcs11

    failure = api_error()
    try:
        library = pkcs11.lib(str(place.module))
    except failure as error:
        raise TokenModuleError(
            f"The PKCS#11 library cannot be loaded ({type(error).__name__}).",
            field=str(place.module),
            next_step="Check the path, and the library's own configuration.",
        ) from error
    try:
        found = list(library.get_tokens(token_label=place.token))
    except failure as error:
        raise _missing(place, f"the library failed ({type(error).__name__})") from error
    if len(found) != 1:
        raise _missing(place, f"{len(found)} have it")
    return found[0]


def _missing(place: TokenPlace, why: str) -> TokenMissingError:
    return TokenMissingError(
        f"There is not one token with this label: {why}.",
        field=place.token,
        next_step="Insert or initialise the token.",
    )
