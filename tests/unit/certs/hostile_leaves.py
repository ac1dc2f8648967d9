"""Leaves that our own issuing CA signed, and must not have: what a stolen or careless CA makes."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.profiles import HOUR, key_usage_of, name_constraints_of
from certs.shell.signers import generate_tls_key
from certs.verify import (
    ChainExpiredError,
    ChainFormatError,
    ChainNameError,
    ChainNotYetValidError,
    ChainProfileError,
    ChainUntrustedError,
)
from tests.unit.certs import surgery
from tests.unit.certs.forge import NOW, rekeyed, uri
from tests.unit.certs.surgery import BOOLEAN, INTEGER, SEQUENCE, element
from tests.unit.certs.world import Shown, leaf, raw_leaf

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
CRITICAL = element(BOOLEAN, b"\xff")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
NOBODY = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "spiffe://outpost.internal/org/acme/outpost/op-1")])
POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.99999.2"), None)])


def usage(**changes: bool) -> x509.KeyUsage:
    """A leaf's keyUsage with changes."""
    wanted = key_usage_of(is_ca=False)
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    values = {name: getattr(wanted, name) for name in (*names, "key_cert_sign", "crl_sign")}
    return x509.KeyUsage(**values | {"encipher_only": False, "decipher_only": False} | changes)


PURPOSES: dict[str, Shown] = {
    "a leaf for servers": Shown(leaf(lambda p, _: p.purposes(SERVER)), ChainProfileError),
    "a leaf for clients and servers": Shown(leaf(lambda p, _: p.purposes(CLIENT, SERVER)), ChainProfileError),
    "a leaf for any purpose": Shown(
        leaf(lambda p, _: p.purposes(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)), ChainProfileError
    ),
    "a leaf for clients and any purpose": Shown(
        leaf(lambda p, _: p.purposes(CLIENT, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)), ChainProfileError
    ),
    "a leaf for signing code": Shown(
        leaf(lambda p, _: p.purposes(ExtendedKeyUsageOID.CODE_SIGNING)), ChainProfileError
    ),
    "a leaf without purpose": Shown(leaf(lambda p, _: p.drop(x509.ExtendedKeyUsage)), ChainProfileError),
    "a leaf with no purpose in the list": Shown(
        raw_leaf(lambda b: b.rewrite(x509.ExtendedKeyUsage, b"", element(SEQUENCE))), ChainFormatError
    ),
    "a leaf whose purpose is critical": Shown(
        leaf(lambda p, _: p.put(x509.ExtendedKeyUsage([CLIENT]), critical=True)), ChainProfileError
    ),
    "a leaf that is a CA": Shown(
        leaf(
            lambda p, _: p.put(x509.BasicConstraints(True, None), critical=True).put(
                key_usage_of(is_ca=True), critical=True
            )
        ),
        ChainProfileError,
    ),
    "a leaf that may sign certificates": Shown(
        leaf(lambda p, _: p.put(key_usage_of(is_ca=True), critical=True)), ChainProfileError
    ),
    "a leaf without basicConstraints": Shown(leaf(lambda p, _: p.drop(x509.BasicConstraints)), ChainProfileError),
    "a leaf whose basicConstraints are not critical": Shown(
        leaf(lambda p, _: p.put(x509.BasicConstraints(False, None))), ChainProfileError
    ),
    "a leaf with a path length": Shown(
        raw_leaf(lambda b: b.rewrite(x509.BasicConstraints, CRITICAL, element(SEQUENCE, element(INTEGER, b"\x00")))),
        ChainFormatError,
    ),
    "a leaf without keyUsage": Shown(leaf(lambda p, _: p.drop(x509.KeyUsage)), ChainProfileError),
    "a leaf whose keyUsage is not critical": Shown(
        leaf(lambda p, _: p.put(key_usage_of(is_ca=False))), ChainProfileError
    ),
    "a leaf that may encipher keys": Shown(
        leaf(lambda p, _: p.put(usage(key_encipherment=True), critical=True)), ChainProfileError
    ),
    "a leaf that may agree on keys only": Shown(
        leaf(lambda p, _: p.put(usage(digital_signature=False, key_agreement=True), critical=True)), ChainProfileError
    ),
    "a leaf with an unknown critical extension": Shown(
        leaf(lambda p, _: p.put(UNKNOWN, critical=True)), ChainProfileError
    ),
    "a leaf with a critical policy": Shown(leaf(lambda p, _: p.put(POLICY, critical=True)), ChainProfileError),
    "a leaf that demands a policy": Shown(
        leaf(lambda p, _: p.put(x509.PolicyConstraints(0, None), critical=True)), ChainProfileError
    ),
    "a leaf with name constraints": Shown(
        leaf(lambda p, w: p.put(name_constraints_of(w.ours.trust_domain), critical=True)), ChainProfileError
    ),
    "a leaf with an extension twice": Shown(
        raw_leaf(lambda b: b.extensions.append(b.extensions[b.extension(x509.ExtendedKeyUsage)])), ChainFormatError
    ),
    "a leaf with its names twice": Shown(
        raw_leaf(lambda b: b.extensions.append(b.extensions[b.extension(x509.SubjectAlternativeName)])),
        ChainFormatError,
    ),
    "a leaf without extensions": Shown(raw_leaf(lambda b: b.extensions.clear()), ChainProfileError),
    "a leaf of version 1": Shown(
        raw_leaf(lambda b: (setattr(b, "version", b""), b.extensions.clear())), ChainProfileError
    ),
    "a leaf of version 1 with extensions": Shown(raw_leaf(lambda b: setattr(b, "version", b"")), ChainProfileError),
    "a leaf of version 2": Shown(
        raw_leaf(lambda b: setattr(b, "version", bytes.fromhex("a003020101"))), ChainFormatError
    ),
    "a leaf of version 4": Shown(
        raw_leaf(lambda b: setattr(b, "version", bytes.fromhex("a003020103"))), ChainFormatError
    ),
}

KEYS: dict[str, Shown] = {
    "a leaf on P-384": Shown(
        leaf(lambda p, _: rekeyed(p, ec.generate_private_key(ec.SECP384R1()).public_key())), ChainProfileError
    ),
    "a leaf on P-521": Shown(
        leaf(lambda p, _: rekeyed(p, ec.generate_private_key(ec.SECP521R1()).public_key())), ChainProfileError
    ),
    "a leaf on secp256k1": Shown(
        leaf(lambda p, _: rekeyed(p, ec.generate_private_key(ec.SECP256K1()).public_key())), ChainProfileError
    ),
    "a leaf with an RSA key of 1024 bits": Shown(
        leaf(lambda p, _: rekeyed(p, rsa.generate_private_key(65537, 1024).public_key())), ChainProfileError
    ),
    "a leaf with an RSA key of 2048 bits": Shown(
        leaf(lambda p, _: rekeyed(p, rsa.generate_private_key(65537, 2048).public_key())), ChainProfileError
    ),
    "a leaf with an Ed25519 key": Shown(
        leaf(lambda p, _: rekeyed(p, ed25519.Ed25519PrivateKey.generate().public_key())), ChainProfileError
    ),
    "a leaf with the issuer's own key": Shown(
        leaf(lambda p, w: rekeyed(p, w.ours.outposts.signer.public_key())), ChainProfileError
    ),
    "a leaf signed with SHA-384": Shown(leaf(lambda p, _: setattr(p, "hash", hashes.SHA384())), ChainProfileError),
    "a leaf signed with SHA-512": Shown(leaf(lambda p, _: setattr(p, "hash", hashes.SHA512())), ChainProfileError),
    "a leaf with another subjectKeyIdentifier": Shown(
        leaf(lambda p, _: p.put(x509.SubjectKeyIdentifier(bytes(20)))), ChainProfileError
    ),
    "a leaf without subjectKeyIdentifier": Shown(
        leaf(lambda p, _: p.drop(x509.SubjectKeyIdentifier)), ChainProfileError
    ),
    "a leaf with the authorityKeyIdentifier of another key": Shown(
        leaf(lambda p, _: p.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(generate_tls_key().public_key()))),
        ChainUntrustedError,
    ),
    "a leaf without authorityKeyIdentifier": Shown(
        leaf(lambda p, _: p.drop(x509.AuthorityKeyIdentifier)), ChainProfileError
    ),
    "a leaf whose authorityKeyIdentifier names a certificate too": Shown(
        leaf(lambda p, w: p.put(_full_identifier(w.ours.outposts.certificate))), ChainProfileError
    ),
}


def _full_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    digest = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest
    return x509.AuthorityKeyIdentifier(digest, [x509.DirectoryName(issuer.issuer)], issuer.serial_number)


def _end(moment: datetime) -> bytes:
    return element(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())


LIVES_AND_NUMBERS: dict[str, Shown] = {
    "a leaf that has expired": Shown(leaf(lambda p, _: setattr(p, "not_after", NOW - 1)), ChainExpiredError),
    "a leaf that is not valid yet": Shown(leaf(lambda p, _: setattr(p, "not_before", NOW + 1)), ChainNotYetValidError),
    "a leaf that lives longer than any": Shown(
        leaf(lambda p, _: setattr(p, "not_after", NOW + 72 * HOUR + 1)), ChainProfileError
    ),
    "a leaf that ends before it starts": Shown(
        raw_leaf(
            lambda b: setattr(
                b,
                "validity",
                element(
                    SEQUENCE,
                    _end(datetime.fromtimestamp(NOW + 60, UTC)),
                    _end(datetime.fromtimestamp(NOW - 60, UTC)),
                ),
            )
        ),
        ChainNotYetValidError,
    ),
    "a leaf with a negative serial": Shown(
        raw_leaf(lambda b: setattr(b, "serial", surgery.integer(-(1 << 120)))), ChainFormatError
    ),
    "a leaf with the serial zero": Shown(
        raw_leaf(lambda b: setattr(b, "serial", surgery.integer(0))), ChainFormatError
    ),
    "a leaf with a serial that was counted": Shown(leaf(lambda p, _: setattr(p, "serial", 4711)), ChainProfileError),
    "a leaf with a serial of 160 bits": Shown(
        raw_leaf(lambda b: setattr(b, "serial", surgery.integer(1 << 159))), ChainProfileError
    ),
    "a leaf with a huge serial": Shown(
        raw_leaf(lambda b: setattr(b, "serial", surgery.integer(1 << 2000))), ChainProfileError
    ),
    "a leaf with more bytes than allowed": Shown(
        leaf(lambda p, _: p.put(x509.UnrecognizedExtension(UNKNOWN.oid, bytes(4096)))), ChainFormatError
    ),
}

NAMES: dict[str, Shown] = {
    "a leaf with two URIs": Shown(
        leaf(lambda p, w: p.names(uri(w.ours.trust_domain), uri(w.ours.trust_domain, "evil"))), ChainNameError
    ),
    "a leaf with one URI twice": Shown(
        leaf(lambda p, w: p.names(uri(w.ours.trust_domain), uri(w.ours.trust_domain))), ChainNameError
    ),
    "a leaf with a DNS name beside its URI": Shown(
        leaf(lambda p, w: p.names(uri(w.ours.trust_domain), x509.DNSName("localhost"))), ChainNameError
    ),
    "a leaf with an address beside its URI": Shown(
        raw_leaf(lambda b: b.names(_our_uri(), element(0x87, bytes((127, 0, 0, 1))))), ChainNameError
    ),
    "a leaf with a mail address beside its URI": Shown(
        leaf(lambda p, w: p.names(uri(w.ours.trust_domain), x509.RFC822Name("a@b.example"))), ChainNameError
    ),
    "a leaf with a directory name beside its URI": Shown(
        leaf(lambda p, w: p.names(uri(w.ours.trust_domain), x509.DirectoryName(NOBODY))), ChainNameError
    ),
    "a leaf with an other name beside its URI": Shown(
        leaf(
            lambda p, w: p.names(
                uri(w.ours.trust_domain), x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.99999.3"), b"\x05\x00")
            )
        ),
        ChainNameError,
    ),
    "a leaf with a DNS name only": Shown(leaf(lambda p, _: p.names(x509.DNSName("localhost"))), ChainNameError),
    "a leaf without names": Shown(leaf(lambda p, _: p.drop(x509.SubjectAlternativeName)), ChainProfileError),
    "a leaf whose identity stands in its common name": Shown(
        leaf(lambda p, _: (p.drop(x509.SubjectAlternativeName), setattr(p, "subject", NOBODY))), ChainNameError
    ),
    "a leaf with an empty list of names": Shown(raw_leaf(lambda b: b.names()), ChainProfileError),
    "a leaf whose names are not critical": Shown(
        leaf(lambda p, w: p.put(x509.SubjectAlternativeName([uri(w.ours.trust_domain)]))), ChainNameError
    ),
    "a leaf with a subject whose names are not critical": Shown(
        leaf(
            lambda p, w: (
                p.put(x509.SubjectAlternativeName([uri(w.ours.trust_domain)])),
                setattr(p, "subject", NOBODY),
            )
        ),
        ChainNameError,
    ),
}


def _our_uri() -> bytes:
    return element(surgery.URI_NAME, uri("outpost.internal").value.encode())


LEAVES = PURPOSES | KEYS | LIVES_AND_NUMBERS | NAMES
