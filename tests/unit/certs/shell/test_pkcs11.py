"""Keys in a real token: what is lost comes back, what is wrong is said once, and nothing locks the token."""

import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import Attribute, KeyType, ObjectClass, PKCS11Error, TokenFlag
from pkcs11.exceptions import AttributeSensitive, PinIncorrect

from certs.errors import KeyStoreError
from certs.shell import pkcs11, token_session
from certs.shell.pkcs11 import KeyToken, TokenKeyKind
from certs.shell.private_files import PrivateFileError, replace_private_file
from certs.shell.token_session import TokenPlace
from tests.fakes.softhsm import PIN, SoftHSM, shared_token, softhsm


@pytest.fixture
def hsm() -> SoftHSM:
    return softhsm()


@pytest.fixture
def token(hsm: SoftHSM) -> KeyToken:
    return shared_token()


def fresh(what: str = "key") -> str:
    return f"{what}-{secrets.token_hex(4)}"


def tries(monkeypatch: pytest.MonkeyPatch, flags: TokenFlag | None = None) -> list[str]:
    """The PINs that reach a token from now on; the token may say more of itself than SoftHSM does."""
    seen: list[str] = []
    found = token_session._token

    def watched(where: TokenPlace) -> object:
        real = found(where)

        def open_session(user_pin: str | None = None) -> object:
            if user_pin is not None:
                seen.append(user_pin)
            return real.open(user_pin=user_pin)

        return SimpleNamespace(flags=real.flags if flags is None else flags, open=open_session)

    monkeypatch.setattr(token_session, "_token", watched)
    return seen


def test_a_private_key_cannot_be_read(token: KeyToken) -> None:
    label = fresh()
    token.create_key(label, TokenKeyKind.P256)
    private = pkcs11._only(token._session, label, ObjectClass.PRIVATE_KEY)
    assert (private[Attribute.SENSITIVE], private[Attribute.EXTRACTABLE]) == (True, False)
    assert (private[Attribute.ALWAYS_SENSITIVE], private[Attribute.NEVER_EXTRACTABLE]) == (True, True)
    assert (private[Attribute.SIGN], private[Attribute.DECRYPT], private[Attribute.UNWRAP]) == (True, False, False)
    with pytest.raises(AttributeSensitive):
        private[Attribute.VALUE]


LOSSES: dict[str, Callable[[KeyToken], object]] = {
    "the session was closed": lambda token: token._session.close(),
    "the library was initialised anew": lambda token: _library(token).reinitialize(),
    "the signer's owner logged out": lambda token: token.close(),
}


def _library(token: KeyToken) -> object:
    import pkcs11 as library

    return library.lib(str(token._place.module))


@pytest.mark.parametrize("case", LOSSES)
def test_a_signature_succeeds_although(case: str, token: KeyToken) -> None:
    signer = token.create_key(fresh(), TokenKeyKind.P256)
    LOSSES[case](token)
    signer.public_key().verify(signer.sign(b"message"), b"message", ec.ECDSA(hashes.SHA256()))


def test_a_pulled_token_is_a_transient_error_until_it_is_back(hsm: SoftHSM) -> None:
    token = KeyToken(hsm.place())
    label = fresh()
    signer = token.create_key(label, TokenKeyKind.P256)
    with hsm.pulled():
        for call in (lambda: signer.sign(b"message"), lambda: token.open_key(label), lambda: signer.sign(b"again")):
            with pytest.raises(token_session.TokenLostError) as refusal:
                call()
            assert not refusal.value.fatal
            assert refusal.value.next_step
    _library(token).reinitialize()  # SoftHSM looks for tokens only then; hardware is found when it is plugged in
    signer.public_key().verify(signer.sign(b"message"), b"message", ec.ECDSA(hashes.SHA256()))


def test_a_wrong_pin_is_tried_once_and_a_corrected_one_once_more(hsm: SoftHSM, monkeypatch: pytest.MonkeyPatch) -> None:
    place = hsm.place(pin="wrong")
    seen = tries(monkeypatch)
    token = KeyToken(place)
    for _ in range(3):
        for each in (token, KeyToken(place)):  # another object of this process does not try it again either
            with pytest.raises(token_session.TokenPinError) as refusal:
                each.open_key("ca")
            assert refusal.value.fatal
            assert "wrong" not in str(refusal.value.as_dict())
    assert seen == ["wrong"]
    replace_private_file(place.pin_file, PIN.encode())
    token.create_key("ca", TokenKeyKind.P256)
    assert seen == ["wrong", PIN]


def test_a_pin_that_became_wrong_is_not_tried_with_each_signature(
    hsm: SoftHSM, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = hsm.place()
    token = KeyToken(place)
    signer = token.create_key("ca", TokenKeyKind.P256)
    token.close()
    replace_private_file(place.pin_file, b"changed")
    seen = tries(monkeypatch)
    for _ in range(3):
        with pytest.raises(token_session.TokenPinError):
            signer.sign(b"message")
    assert seen == ["changed"]


@pytest.mark.parametrize("flag", [TokenFlag.USER_PIN_FINAL_TRY, TokenFlag.USER_PIN_LOCKED])
def test_a_token_with_one_try_left_is_left_alone(
    flag: TokenFlag, token: KeyToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tries(monkeypatch, TokenFlag.LOGIN_REQUIRED | flag)
    token.close()
    with pytest.raises(token_session.TokenPinError, match="by hand") as refusal:
        token.create_key(fresh(), TokenKeyKind.P256)
    assert refusal.value.fatal
    assert seen == []


def test_a_token_that_saw_one_wrong_pin_is_tried(token: KeyToken, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tries(monkeypatch, TokenFlag.LOGIN_REQUIRED | TokenFlag.USER_PIN_COUNT_LOW)
    token.close()
    token.create_key(fresh(), TokenKeyKind.P256)
    assert seen == [PIN]


@pytest.mark.parametrize("pin", [b"", b"\xff\xfe", b"short"])
def test_no_pin_of_another_form_opens_a_token(pin: bytes, hsm: SoftHSM) -> None:
    place = shared_token()._place
    pin_file = place.pin_file.with_name("pin-" + secrets.token_hex(4))
    replace_private_file(pin_file, pin)
    shared_token().close()
    with pytest.raises(token_session.TokenPinError):
        KeyToken(replace(place, pin_file=pin_file)).open_key("ca")


PLACES: dict[str, tuple[Callable[[TokenPlace], TokenPlace], type[KeyStoreError]]] = {
    "a library that is not there": (
        lambda place: replace(place, module=place.module.with_name("absent.so")),
        token_session.TokenModuleError,
    ),
    "a file that is no library": (lambda place: replace(place, module=place.pin_file), token_session.TokenModuleError),
    "a token that is not there": (lambda place: replace(place, token="absent"), token_session.TokenMissingError),
    "a PIN file that is not there": (
        lambda place: replace(place, pin_file=place.pin_file.with_name("absent")),
        PrivateFileError,
    ),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_place_is_refused_by_name(case: str, hsm: SoftHSM) -> None:
    change, error = PLACES[case]
    with pytest.raises(error) as refusal:
        KeyToken(change(shared_token()._place)).open_key("ca")
    assert refusal.value.fatal
    assert refusal.value.field


def test_a_missing_package_is_named(token: KeyToken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(token_session.TokenModuleError, match="python-pkcs11"):
        KeyToken(token._place).open_key("ca")


def test_a_key_of_another_kind_is_refused(token: KeyToken) -> None:
    label = fresh("rsa")
    token.create_key(fresh(), TokenKeyKind.P256)
    with token._session.token.open(rw=True) as writable:
        writable.generate_keypair(KeyType.RSA, 2048, label=label, store=True)
    with pytest.raises(pkcs11.TokenKeyKindError):
        token.open_key(label)
    curve = fresh("p384")
    with token._session.token.open(rw=True) as writable:
        parameters = {Attribute.EC_PARAMS: bytes.fromhex("06052b81040022")}
        writable.create_domain_parameters(KeyType.EC, parameters, local=True).generate_keypair(label=curve, store=True)
    with pytest.raises(pkcs11.TokenKeyKindError):
        token.open_key(curve)


def test_a_pair_without_one_half_or_of_two_halves_is_refused(token: KeyToken) -> None:
    label, other = fresh(), fresh()
    for each in (label, other):
        token.create_key(each, TokenKeyKind.P256)
    with token._session.token.open(rw=True) as writable:
        public, private = (
            next(writable.get_objects({Attribute.CLASS: kind, Attribute.LABEL: each}))
            for kind, each in ((ObjectClass.PUBLIC_KEY, label), (ObjectClass.PRIVATE_KEY, other))
        )
        public[Attribute.LABEL] = other  # two public halves there, none here
        for each in (label, other):
            with pytest.raises(pkcs11.TokenKeyMissingError):
                token.open_key(each)
        private.destroy()
        with pytest.raises(pkcs11.TokenKeyMissingError):
            token.open_key(other)


def test_halves_that_do_not_belong_together_are_refused(token: KeyToken) -> None:
    first, second = fresh(), fresh()
    for each in (first, second):
        token.create_key(each, TokenKeyKind.P256)
    with token._session.token.open(rw=True) as writable:
        for label, name in ((first, fresh("away")), (second, first)):
            found = next(writable.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: label}))
            found[Attribute.LABEL] = name
    with pytest.raises(pkcs11.TokenKeyKindError, match="halves"):
        token.open_key(first)


def test_a_token_that_comes_back_with_another_key_does_not_sign(token: KeyToken) -> None:
    label, other = fresh(), fresh()
    signer = token.create_key(label, TokenKeyKind.P256)
    token.create_key(other, TokenKeyKind.P256)
    with token._session.token.open(rw=True) as writable:
        for found in list(writable.get_objects({Attribute.LABEL: label})):
            found.destroy()
        for found in list(writable.get_objects({Attribute.LABEL: other})):
            found[Attribute.LABEL] = label
    token.close()
    with pytest.raises(pkcs11.TokenKeyMissingError, match="another key"):
        signer.sign(b"message")


@pytest.mark.parametrize("label", ["", "x" * (pkcs11.MAX_LABEL_BYTES + 1)])
def test_a_label_is_bounded(label: str, token: KeyToken) -> None:
    with pytest.raises(pkcs11.TokenKeyKindError):
        token.create_key(label, TokenKeyKind.P256)


def test_the_longest_label_opens_again(token: KeyToken) -> None:
    label = secrets.token_hex(pkcs11.MAX_LABEL_BYTES // 2)
    made = token.create_key(label, TokenKeyKind.ED25519)
    assert token.open_key(label).public_key() == made.public_key()


def test_the_librarys_errors_are_of_one_family() -> None:
    """Otherwise one of them would leave this room untyped."""
    assert issubclass(PinIncorrect, PKCS11Error)
    assert token_session.api_error() is PKCS11Error
