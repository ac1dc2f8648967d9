"""What every Signer promises: signatures that its own public key confirms, from any thread, and CAs that verify."""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from certs import crl, keys, verify
from certs.errors import KeyStoreError
from certs.issue import CertificateTemplate, prepare, sign
from certs.profiles import CertificateKind
from certs.shell import signers
from certs.shell.pkcs11 import TokenKeyKind
from certs.shell.signers import generate_tls_key, random_serial
from certs.signer import Signer
from certs.spiffe import OutpostIdentity
from tests.fakes.softhsm import shared_token
from tests.unit.certs.forge import NOW, ORG, OUTPOST

KEK = b"k" * 32
DOMAIN = "outpost.internal"


@dataclass(frozen=True)
class Store:
    """One place for keys: how a key is made there under a name, and how it is opened again."""

    create: Callable[[str, TokenKeyKind], Signer]
    open: Callable[[str], Signer]


def files(folder: Path) -> Store:
    generate = {TokenKeyKind.P256: generate_tls_key, TokenKeyKind.ED25519: signers.generate_signing_key}
    return Store(
        lambda name, kind: signers.create_key_file(folder / name, generate[kind](), KEK),
        lambda name: signers.load_signer(folder / name, KEK),
    )


def token(_: Path) -> Store:
    """A real token; labels are drawn anew, since it is shared with other tests."""
    shared, mark = shared_token(), secrets.token_hex(4)
    return Store(
        lambda name, kind: shared.create_key(f"{mark}-{name}", kind), lambda name: shared.open_key(f"{mark}-{name}")
    )


STORES: dict[str, Callable[[Path], Store]] = {"key files": files, "PKCS#11": token}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return STORES[request.param](tmp_path)


def confirm(key: keys.PublicKey, signature: bytes, message: bytes) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    else:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))


MESSAGES = {"nothing": b"", "a byte": b"\x00", "a certificate's size": b"x" * 700, "a list's size": bytes(4 << 20)}


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("kind", TokenKeyKind)
def test_a_signature_confirms(kind: TokenKeyKind, message: str, store: Store) -> None:
    signer = store.create("ca", kind)
    signature = signer.sign(MESSAGES[message])
    confirm(signer.public_key(), signature, MESSAGES[message])
    with pytest.raises(InvalidSignature):
        confirm(signer.public_key(), signature, MESSAGES[message] + b"\x00")


def test_the_forms_of_keys_and_signatures_are_the_ports(store: Store) -> None:
    p256, signing = store.create("one", TokenKeyKind.P256), store.create("two", TokenKeyKind.ED25519)
    keys.require_tls_key(p256.public_key())
    keys.require_signing_key(signing.public_key())
    assert all(number > 0 for number in decode_dss_signature(p256.sign(b"message")))
    assert len(signing.sign(b"message")) == 64


@pytest.mark.parametrize("kind", TokenKeyKind)
def test_a_key_opens_again_and_is_the_same(kind: TokenKeyKind, store: Store) -> None:
    made = store.create("ca", kind)
    opened = store.open("ca")
    assert keys.key_id(opened.public_key()) == keys.key_id(made.public_key())
    confirm(made.public_key(), opened.sign(b"message"), b"message")


def test_keys_of_two_names_differ(store: Store) -> None:
    first, second = store.create("one", TokenKeyKind.P256), store.create("two", TokenKeyKind.P256)
    assert first.public_key() != second.public_key()
    confirm(store.open("two").public_key(), second.sign(b"message"), b"message")


def test_a_key_is_never_replaced(store: Store) -> None:
    made = store.create("ca", TokenKeyKind.P256)
    with pytest.raises(KeyStoreError) as refusal:
        store.create("ca", TokenKeyKind.P256)
    assert refusal.value.fatal
    assert store.open("ca").public_key() == made.public_key()


def test_a_key_that_is_not_there_is_a_typed_refusal(store: Store) -> None:
    with pytest.raises(KeyStoreError) as refusal:
        store.open("absent")
    assert refusal.value.fatal


@pytest.mark.parametrize("kind", TokenKeyKind)
def test_threads_get_their_own_signatures(kind: TokenKeyKind, store: Store) -> None:
    signer = store.create("ca", kind)
    messages = [number.to_bytes(2, "big") * 50 for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        signatures = list(pool.map(signer.sign, messages))
    for message, signature in zip(messages, signatures, strict=True):
        confirm(signer.public_key(), signature, message)


def issue(template: CertificateTemplate, issuer: x509.Certificate | None, signer: Signer) -> x509.Certificate:
    return sign(prepare(template, issuer), signer).certificate


def test_a_whole_hierarchy_is_issued_and_verifies(store: Store) -> None:
    """Root, issuing CA, leaf and list, all signed by keys of one store."""
    root_signer, signer = store.create("root", TokenKeyKind.P256), store.create("issuing", TokenKeyKind.P256)
    root_key, key = (keys.require_tls_key(each.public_key()) for each in (root_signer, signer))
    root_template = CertificateTemplate(CertificateKind.ROOT_CA, DOMAIN, root_key, random_serial(), NOW)
    root = issue(root_template, None, root_signer)
    ca_template = CertificateTemplate(CertificateKind.OUTPOST_CA, DOMAIN, key, random_serial(), NOW)
    ca = issue(ca_template, root, root_signer)
    leaf = issue(
        CertificateTemplate(
            kind=CertificateKind.OUTPOST,
            trust_domain=DOMAIN,
            public_key=generate_tls_key().public_key(),
            serial=random_serial(),
            now=NOW,
            identity=OutpostIdentity(DOMAIN, ORG, OUTPOST),
        ),
        ca,
        signer,
    )
    anchors = verify.TrustAnchors(DOMAIN, (root,), (ca,))
    peer = verify.verify_outpost_chain([keys.certificate_der(leaf)], anchors, NOW)
    assert peer.spiffe_id == OutpostIdentity(DOMAIN, ORG, OUTPOST)
    revoked = crl.read_list(crl.build_list(ca, signer, {peer.serial: NOW}, 1, NOW), ca, NOW)
    with pytest.raises(verify.ChainRevokedError):
        verify.verify_outpost_chain([keys.certificate_der(leaf)], anchors, NOW, revoked.serials)
