"""Issuing CAs and roots of the wrong shape, each signed by our own root, with a leaf below that is good in itself."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.profiles import DAY, YEAR, key_usage_of, name_constraints_of
from certs.shell.dev import Authority
from certs.signer import KeySigner
from certs.verify import (
    ChainExpiredError,
    ChainFormatError,
    ChainNameError,
    ChainNotYetValidError,
    ChainProfileError,
    ChainRevokedError,
    ChainUntrustedError,
    verify_outpost_chain,
)
from tests.unit.certs import surgery
from tests.unit.certs.forge import NOW, OTHER_DOMAIN, authority, outpost_parts, rekeyed, uri
from tests.unit.certs.hostile_leaves import CLIENT, CRITICAL, POLICY, SERVER, UNKNOWN
from tests.unit.certs.surgery import SEQUENCE, element
from tests.unit.certs.world import CURRENT_DOMAIN, Shown, World, honest, issuing, raw_issuing, rooted


def permits(*names: x509.GeneralName, excluded: list[x509.GeneralName] | None = None) -> x509.NameConstraints:
    return x509.NameConstraints(list(names) or None, excluded)


OUR_NAME = x509.UniformResourceIdentifier(CURRENT_DOMAIN)

PURPOSES: dict[str, Shown] = {
    "an issuing CA for servers": Shown(issuing(lambda p: p.purposes(SERVER)), ChainProfileError),
    "an issuing CA for clients and servers": Shown(issuing(lambda p: p.purposes(CLIENT, SERVER)), ChainProfileError),
    "an issuing CA for every purpose": Shown(issuing(lambda p: p.drop(x509.ExtendedKeyUsage)), ChainProfileError),
    "an issuing CA for any purpose": Shown(
        issuing(lambda p: p.purposes(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)), ChainProfileError
    ),
    "an issuing CA that is no CA": Shown(
        issuing(lambda p: p.put(x509.BasicConstraints(False, None), critical=True)), ChainProfileError
    ),
    "an issuing CA without basicConstraints": Shown(
        issuing(lambda p: p.drop(x509.BasicConstraints)), ChainProfileError
    ),
    "an issuing CA whose basicConstraints are not critical": Shown(
        issuing(lambda p: p.put(x509.BasicConstraints(True, 0))), ChainProfileError
    ),
    "an issuing CA with a path length of one": Shown(
        issuing(lambda p: p.put(x509.BasicConstraints(True, 1), critical=True)), ChainProfileError
    ),
    "an issuing CA without path length": Shown(
        issuing(lambda p: p.put(x509.BasicConstraints(True, None), critical=True)), ChainProfileError
    ),
    "an issuing CA that may not sign certificates": Shown(
        issuing(lambda p: p.put(key_usage_of(is_ca=False), critical=True)), ChainProfileError
    ),
    "an issuing CA without keyUsage": Shown(issuing(lambda p: p.drop(x509.KeyUsage)), ChainProfileError),
    "an issuing CA whose keyUsage is not critical": Shown(
        issuing(lambda p: p.put(key_usage_of(is_ca=True))), ChainProfileError
    ),
    "an issuing CA with an unknown critical extension": Shown(
        issuing(lambda p: p.put(UNKNOWN, critical=True)), ChainProfileError
    ),
    "an issuing CA that demands a policy": Shown(
        issuing(lambda p: p.put(x509.PolicyConstraints(0, None), critical=True)), ChainProfileError
    ),
    "an issuing CA with a critical policy": Shown(issuing(lambda p: p.put(POLICY, critical=True)), ChainProfileError),
    "an issuing CA of version 1": Shown(
        raw_issuing(lambda b: (setattr(b, "version", b""), b.extensions.clear())), ChainProfileError
    ),
    "an issuing CA with its constraints twice": Shown(
        raw_issuing(lambda b: b.extensions.append(b.extensions[b.extension(x509.NameConstraints)])), ChainFormatError
    ),
}

CONSTRAINTS: dict[str, Shown] = {
    "an issuing CA without name constraints": Shown(issuing(lambda p: p.drop(x509.NameConstraints)), ChainProfileError),
    "an issuing CA whose name constraints are not critical": Shown(
        issuing(lambda p: p.put(name_constraints_of(CURRENT_DOMAIN))), ChainProfileError
    ),
    "an issuing CA for another trust domain": Shown(
        issuing(lambda p: p.put(name_constraints_of(OTHER_DOMAIN), critical=True)), ChainNameError
    ),
    "an issuing CA for two trust domains": Shown(
        issuing(lambda p: p.put(permits(OUR_NAME, x509.UniformResourceIdentifier(OTHER_DOMAIN)), critical=True)),
        ChainProfileError,
    ),
    "an issuing CA for all children of the trust domain": Shown(
        issuing(lambda p: p.put(name_constraints_of("." + CURRENT_DOMAIN), critical=True)), ChainNameError
    ),
    "an issuing CA for the trust domain in upper case": Shown(
        issuing(lambda p: p.put(name_constraints_of("OUTPOST.INTERNAL"), critical=True)), ChainProfileError
    ),
    "an issuing CA for the trust domain and DNS names": Shown(
        issuing(lambda p: p.put(permits(OUR_NAME, x509.DNSName("example.org")), critical=True)), ChainProfileError
    ),
    "an issuing CA that excludes the trust domain": Shown(
        issuing(lambda p: p.put(permits(excluded=[OUR_NAME]), critical=True)), ChainNameError
    ),
    "an issuing CA that only excludes another trust domain": Shown(
        issuing(lambda p: p.put(permits(excluded=[x509.UniformResourceIdentifier(OTHER_DOMAIN)]), critical=True)),
        ChainProfileError,
    ),
    "an issuing CA that permits every URI": Shown(
        raw_issuing(
            lambda b: b.rewrite(
                x509.NameConstraints,
                CRITICAL,
                element(SEQUENCE, element(0xA0, element(SEQUENCE, element(surgery.URI_NAME, b"")))),
            )
        ),
        ChainNameError,
    ),
    "an issuing CA that constrains nothing": Shown(
        raw_issuing(lambda b: b.rewrite(x509.NameConstraints, CRITICAL, element(SEQUENCE))), ChainFormatError
    ),
    "an issuing CA that has an identity": Shown(
        issuing(lambda p: p.names(uri(CURRENT_DOMAIN)).put(x509.BasicConstraints(True, None), critical=True)),
        ChainProfileError,
    ),
}


def _p384() -> object:
    return ec.generate_private_key(ec.SECP384R1())


def _signed_with_sha1(w: World) -> list[bytes]:
    parts, key = authority(w.ours)
    ca = Authority(parts.build(), KeySigner(key))
    body = surgery.opened(ca.certificate)
    body.algorithm = surgery.ECDSA_SHA1
    signed = surgery.closed(body.der(), w.ours.root, surgery.ECDSA_SHA1, hashes.SHA1())
    return [outpost_parts(w.ours, ca).der(), signed]


KEYS: dict[str, Shown] = {
    "an issuing CA on P-384": Shown(issuing(lambda _: None, generate=_p384), ChainProfileError),
    "an issuing CA on P-521": Shown(
        issuing(lambda _: None, generate=lambda: ec.generate_private_key(ec.SECP521R1())), ChainProfileError
    ),
    "an issuing CA with an RSA key of 1024 bits": Shown(
        issuing(lambda _: None, generate=lambda: rsa.generate_private_key(65537, 1024)), ChainProfileError
    ),
    "an issuing CA with an RSA key of 2048 bits": Shown(
        issuing(lambda _: None, generate=lambda: rsa.generate_private_key(65537, 2048)), ChainProfileError
    ),
    "an issuing CA with an Ed25519 key": Shown(
        issuing(lambda _: None, generate=ed25519.Ed25519PrivateKey.generate), ChainProfileError
    ),
    "an issuing CA signed with SHA-384": Shown(
        issuing(lambda p: setattr(p, "hash", hashes.SHA384())), ChainProfileError
    ),
    "an issuing CA signed with SHA-1": Shown(_signed_with_sha1, ChainProfileError),
    "an issuing CA with another subjectKeyIdentifier": Shown(
        issuing(lambda p: p.put(x509.SubjectKeyIdentifier(bytes(20)))), ChainUntrustedError
    ),
    "an issuing CA without authorityKeyIdentifier": Shown(
        issuing(lambda p: p.drop(x509.AuthorityKeyIdentifier)), ChainProfileError
    ),
    "an issuing CA without subjectKeyIdentifier": Shown(
        issuing(lambda p: p.drop(x509.SubjectKeyIdentifier)), ChainProfileError
    ),
    "an issuing CA with a serial that was counted": Shown(
        issuing(lambda p: setattr(p, "serial", 1)), ChainProfileError
    ),
    "an issuing CA with a negative serial": Shown(
        raw_issuing(lambda b: setattr(b, "serial", surgery.integer(-5))), ChainFormatError
    ),
    "an issuing CA that certifies another key": Shown(
        issuing(lambda p: rekeyed(p, _p384().public_key())), ChainUntrustedError
    ),
}

_MADE: dict[int, list[bytes]] = {}


def _remembered(w: World) -> list[bytes]:
    return _MADE.setdefault(id(w), honest(w))


def _leaf_serial(w: World) -> int:
    return verify_outpost_chain(_remembered(w), w.ours.anchors, NOW).serial


LIVES: dict[str, Shown] = {
    "an issuing CA that has expired": Shown(issuing(lambda p: setattr(p, "not_after", NOW - 1)), ChainExpiredError),
    "an issuing CA that is not valid yet": Shown(
        issuing(lambda p: setattr(p, "not_before", NOW + 1)), ChainNotYetValidError
    ),
    "an issuing CA that lives longer than any": Shown(
        issuing(lambda p: setattr(p, "not_after", NOW + 5 * YEAR + DAY)), ChainProfileError
    ),
    "a root that has expired": Shown(honest, ChainExpiredError, now=NOW + 10 * YEAR + 1),
    "a root that is not valid yet": Shown(honest, ChainNotYetValidError, now=NOW - 3601),
    "a leaf that was revoked": Shown(_remembered, ChainRevokedError, revoked=lambda w: frozenset({_leaf_serial(w)})),
    "an issuing CA that was revoked": Shown(
        honest, ChainRevokedError, revoked=lambda w: frozenset({w.ours.outposts.certificate.serial_number})
    ),
    "a root that was revoked": Shown(
        honest, ChainRevokedError, revoked=lambda w: frozenset({w.ours.root.certificate.serial_number})
    ),
}

ROOTS: dict[str, Shown] = {
    "a believed root on P-384": rooted(lambda _: None, generate=_p384),
    "a believed root with an RSA key": rooted(lambda _: None, generate=lambda: rsa.generate_private_key(65537, 2048)),
    "a believed root on P-521": rooted(lambda _: None, generate=lambda: ec.generate_private_key(ec.SECP521R1())),
    "a believed root with a short RSA key": rooted(
        lambda _: None, generate=lambda: rsa.generate_private_key(65537, 1024)
    ),
    "a believed root with an Ed25519 key": rooted(lambda _: None, generate=ed25519.Ed25519PrivateKey.generate),
    "a believed root without path length": rooted(lambda p: p.put(x509.BasicConstraints(True, None), critical=True)),
    "a believed root with a path length of two": rooted(lambda p: p.put(x509.BasicConstraints(True, 2), critical=True)),
    "a believed root that may not sign lists": rooted(lambda p: p.put(_may_sign_no_lists(), critical=True)),
    "a believed root with a purpose": rooted(lambda p: p.purposes(CLIENT)),
    "a believed root with name constraints": rooted(
        lambda p: p.put(name_constraints_of(CURRENT_DOMAIN), critical=True)
    ),
    "a believed root that lives longer than any": rooted(lambda p: setattr(p, "not_after", NOW + 10 * YEAR + DAY)),
    "a believed root with a serial that was counted": rooted(lambda p: setattr(p, "serial", 1)),
    "a believed root signed with SHA-384": rooted(lambda p: setattr(p, "hash", hashes.SHA384())),
}


def _may_sign_no_lists() -> x509.KeyUsage:
    return x509.KeyUsage(False, False, False, False, False, True, False, False, False)


CAS = PURPOSES | CONSTRAINTS | KEYS | LIVES | ROOTS
