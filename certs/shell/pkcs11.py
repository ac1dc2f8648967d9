"""Signers whose keys lie in a PKCS#11 token: a hardware module, or SoftHSM.

Keys are made inside the token, sensitive and not extractable, and opened by their label. The token takes digests
of messages for ECDSA and whole messages for Ed25519; private keys never come here.

Rules that this module keeps, and why:

* A refused PIN is never tried again (token_session.py).
* One call at a time for the whole process: the library was initialised without arguments, which promises that to
  it. Login belongs to the process, too: two objects for one token share it.
* A lost session (token pulled, reset, or logged out behind our back) is opened again once for each call. If that
  does not help, the error is transient: the token may come back. A key that came back with another public half is
  refused.

Source: PKCS #11 v2.40, section 5.4 (C_Initialize); mechanisms v2.40, section 2.3.1 (r ‖ s).
"""

import hashlib
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from certs.errors import KeyStoreError
from certs.keys import PublicKey
from certs.shell.token_session import TokenLostError, TokenMissingError, TokenPlace, api_error, login, lost

if TYPE_CHECKING:
    from pkcs11 import Mechanism, Object, Session
    from pkcs11.constants import ObjectClass

P256_PARAMETERS: Final = bytes.fromhex("06082a8648ce3d030107")  # OID prime256v1, RFC 5480 §2.1.1.1
ED25519_PARAMETERS: Final = b"\x13\x0cedwards25519"  # curve name, PKCS #11 v3.0 §2.3.7
_ED25519_OTHER_PARAMETERS: Final = bytes.fromhex("06032b6570")  # OID id-Ed25519, RFC 8410 §3: also in use
P256_POINT_BYTES: Final = 65  # uncompressed, SEC 1 §2.3.3
ED25519_POINT_BYTES: Final = 32  # RFC 8032 §5.1.5
P256_RAW_SIGNATURE_BYTES: Final = 64  # r ‖ s
MAX_LABEL_BYTES: Final = 128  # ours have about 40; tokens bound theirs anywhere above

_Result = TypeVar("_Result")
_ONE_CALL: Final = threading.RLock()
_TEST_MESSAGE: Final = b"outpost.pkcs11/1"


class TokenKeyMissingError(KeyStoreError):
    """The token holds no key pair with that label, or another one than before."""

    code = "key_store.key_missing"


class TokenKeyExistsError(KeyStoreError):
    """The token holds a key with that label already: it is never replaced by accident."""

    code = "key_store.key_exists"


class TokenKeyKindError(KeyStoreError):
    """The key in the token is neither ECDSA P-256 nor Ed25519, its halves do not fit, or the token cannot make it."""

    code = "key_store.key_kind"


class TokenKeyKind(StrEnum):
    """Kinds of keys that are made in tokens."""

    P256 = "p256"
    ED25519 = "ed25519"


class _Handle(Protocol):
    """A private key in a session."""

    def sign(self, data: bytes, *, mechanism: "Mechanism") -> bytes:
        """Signature as the token gives it."""
        ...


class TokenSigner:
    """A signer over one key pair in a token."""

    def __init__(self, token: "KeyToken", label: str, public_key: PublicKey) -> None:
        self._token = token
        self._label = label
        self._public_key = public_key

    def public_key(self) -> PublicKey:
        """Public half of the key, as it was when the signer was opened."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Sign as the port says; blocks for as long as the token takes.

        Raises:
            TokenLostError: the token does not answer now.
            TokenPinError: it asks for the PIN again and refuses it.
            TokenKeyMissingError: it came back without this key.
        """
        raw = self._token.sign_raw(self._label, self._public_key, message)
        if isinstance(self._public_key, ed25519.Ed25519PublicKey):
            return raw
        if len(raw) != P256_RAW_SIGNATURE_BYTES:
            raise TokenLostError("The token answered with a signature of another size.", field=self._label)
        half = P256_RAW_SIGNATURE_BYTES // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


class KeyToken:
    """A token that is logged in at the first use and stays so until ``close``."""

    def __init__(self, place: TokenPlace) -> None:
        self._place = place
        self._session: Session | None = None
        self._was_open = False
        self._private: dict[str, _Handle] = {}  # handles, good for one session

    def create_key(self, label: str, kind: TokenKeyKind) -> TokenSigner:
        """Make a key pair inside the token: sensitive, not extractable, for signatures only.

        Raises:
            TokenKeyExistsError: the label is taken.
            TokenKeyKindError: the token cannot make this kind.
            KeyStoreError: as ``open_key``.
        """
        if not 0 < len(label.encode()) <= MAX_LABEL_BYTES:
            raise TokenKeyKindError(f"A label has 1 to {MAX_LABEL_BYTES} bytes.", field="label")
        with _ONE_CALL:
            self._call(lambda session: _require_free(session, label))
            self._afresh(lambda session: _generate(session, label, kind))
            return self.open_key(label)

    def open_key(self, label: str) -> TokenSigner:
        """Open a key pair by its label.

        Raises:
            TokenKeyMissingError: no key pair, or more than one, has the label.
            TokenKeyKindError: it is neither P-256 nor Ed25519, or its halves do not belong together.
            TokenModuleError, TokenMissingError, TokenPinError: the token cannot be opened.
            TokenLostError: it does not answer now.
        """
        signer = TokenSigner(self, label, self._call(lambda session: _public_key(session, label)))
        _require_pair(signer, label)
        return signer

    def close(self) -> None:
        """Log out. The token is opened again when a signer needs it."""
        with _ONE_CALL:
            self._drop()

    def sign_raw(self, label: str, public_key: PublicKey, message: bytes) -> bytes:
        """Signature as the token gives it; for P-256 over the message's SHA-256."""
        from pkcs11 import Mechanism

        is_ed25519 = isinstance(public_key, ed25519.Ed25519PublicKey)
        data = message if is_ed25519 else hashlib.sha256(message).digest()
        mechanism = Mechanism.EDDSA if is_ed25519 else Mechanism.ECDSA
        return self._call(
            lambda session: bytes(self._private_key(session, label, public_key).sign(data, mechanism=mechanism))
        )

    def _call(self, call: Callable[["Session"], _Result]) -> _Result:
        """Do something in the session; when the token fails, once more in a fresh one."""
        with _ONE_CALL:
            if self._session is not None:
                try:
                    return call(self._session)
                except api_error():
                    self._drop()
            return self._afresh(call)

    def _afresh(self, call: Callable[["Session"], _Result]) -> _Result:
        """Do something once, in a new session if there is none."""
        try:
            if self._session is None:
                self._session = login(self._place)
                self._was_open = True
            return call(self._session)
        except api_error() as error:
            self._drop()
            raise lost(self._place, type(error).__name__) from error
        except TokenMissingError as error:
            if self._was_open:
                raise lost(self._place, "it is missing") from error
            raise

    def _drop(self) -> None:
        """Forget the session; what it held may be gone already."""
        session, self._session = self._session, None
        self._private.clear()
        if session is not None:
            try:
                session.close()
            except api_error():
                return  # it was lost: there is nothing to close

    def _private_key(self, session: "Session", label: str, public_key: PublicKey) -> _Handle:
        """Handle of a private key; in a new session only if its public half is still the same."""
        found = self._private.get(label)
        if found is None:
            if _public_key(session, label) != public_key:
                raise TokenKeyMissingError("The token holds another key under this label now.", field=label)
            from pkcs11 import ObjectClass

            found = cast("_Handle", _only(session, label, ObjectClass.PRIVATE_KEY))
            self._private[label] = found
        return found


def _found(session: "Session", label: str, kind: "ObjectClass") -> "list[Object]":
    from pkcs11 import Attribute

    return list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label}))


def _only(session: "Session", label: str, kind: "ObjectClass") -> "Object":
    found = _found(session, label, kind)
    if len(found) != 1:
        raise TokenKeyMissingError(
            f"The token holds {len(found)} keys of class {kind.name} with this label instead of one.", field=label
        )
    return found[0]


def _require_free(session: "Session", label: str) -> None:
    from pkcs11 import ObjectClass

    if _found(session, label, ObjectClass.PRIVATE_KEY) or _found(session, label, ObjectClass.PUBLIC_KEY):
        raise TokenKeyExistsError("The token holds a key with this label already.", field=label)


def _generate(session: "Session", label: str, kind: TokenKeyKind) -> None:
    """Make a key pair in a session that may write; the login is the process's."""
    from pkcs11 import Attribute, KeyType, MechanismFlag, exceptions

    key_type, parameters = {
        TokenKeyKind.P256: (KeyType.EC, P256_PARAMETERS),
        TokenKeyKind.ED25519: (KeyType.EC_EDWARDS, ED25519_PARAMETERS),
    }[kind]
    writable = session.token.open(rw=True)
    try:
        writable.create_domain_parameters(key_type, {Attribute.EC_PARAMS: parameters}, local=True).generate_keypair(
            id=label.encode(),
            label=label,
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
        )
    except (exceptions.MechanismInvalid, exceptions.FunctionNotSupported, exceptions.DomainParamsInvalid) as error:
        raise TokenKeyKindError(
            f"The token cannot make this kind of key ({type(error).__name__}).", field=kind
        ) from None
    finally:
        writable.close()


def _public_key(session: "Session", label: str) -> PublicKey:
    """The public half of a key pair."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    found = _only(session, label, ObjectClass.PUBLIC_KEY)
    point: bytes = b""
    if found[Attribute.KEY_TYPE] in {KeyType.EC, KeyType.EC_EDWARDS}:
        parameters, point = found[Attribute.EC_PARAMS], found[Attribute.EC_POINT]
    try:
        if point and parameters == P256_PARAMETERS:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _unwrapped(point, P256_POINT_BYTES))
        if point and parameters in {ED25519_PARAMETERS, _ED25519_OTHER_PARAMETERS}:
            return ed25519.Ed25519PublicKey.from_public_bytes(_unwrapped(point, ED25519_POINT_BYTES))
    except ValueError:
        raise TokenKeyKindError("The token's public key is no point of its curve.", field=label) from None
    raise TokenKeyKindError("The token's key is neither ECDSA P-256 nor Ed25519.", field=label)


def _unwrapped(point: bytes, size: int) -> bytes:
    """A point out of its OCTET STRING; some tokens give it bare."""
    return point[2:] if len(point) == size + 2 and point.startswith(bytes((0x04, size))) else point


def _require_pair(signer: TokenSigner, label: str) -> None:
    """Sign and verify once: the halves of a pair are found by label only."""
    signature, key = signer.sign(_TEST_MESSAGE), signer.public_key()
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, _TEST_MESSAGE)
        else:
            key.verify(signature, _TEST_MESSAGE, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise TokenKeyKindError("The halves of the key pair do not belong together.", field=label) from None
