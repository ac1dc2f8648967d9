"""Bytes that are no certificate in DER, or not the one that was signed."""

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from certs.keys import MAX_CERTIFICATE_BYTES
from certs.verify import ChainFormatError, ChainProfileError, ChainUntrustedError
from tests.unit.certs import surgery
from tests.unit.certs.forge import NOW, ORG, OUTPOST, outpost_parts, uri
from tests.unit.certs.surgery import BOOLEAN, INTEGER, SEQUENCE, Body, der_of, element, joined, parts_of
from tests.unit.certs.world import Maker, Shown, World, honest, raw_leaf


def bytes_of_leaf(change: Callable[[bytes], bytes]) -> Maker:
    """The honest chain with its leaf's bytes changed after it was signed."""

    def make(w: World) -> list[bytes]:
        first, *rest = honest(w)
        return [change(first), *rest]

    return make


def bytes_of_issuer(change: Callable[[bytes], bytes]) -> Maker:
    """The honest chain with its issuing CA's bytes changed after it was signed."""

    def make(w: World) -> list[bytes]:
        first, second = honest(w)
        return [first, change(second)]

    return make


def resigned(signature: Callable[[bytes], bytes], algorithm: bytes = surgery.ECDSA_SHA256) -> Maker:
    """The honest leaf with another signature."""

    def change(leaf: bytes) -> bytes:
        tbs, _, good = parts_of(leaf)
        return joined(tbs, algorithm, signature(good))

    return bytes_of_leaf(change)


def algorithm(inside: bytes, outside: bytes, hash_: hashes.HashAlgorithm | None = None) -> Maker:
    """A leaf that names other signature algorithms, signed by our issuing CA with one of them."""

    def make(w: World) -> list[bytes]:
        body = surgery.opened(outpost_parts(w.ours).build())
        body.algorithm = inside
        return [surgery.closed(body.der(), w.ours.outposts, outside, hash_), *der_of(w.ours.outposts.certificate)]

    return make


def _renamed(leaf: bytes) -> bytes:
    """Another org's name in the signed bytes, of the same length."""
    name = uri("outpost.internal").value.encode()
    return leaf.replace(name, name.replace(ORG.encode(), b"evil"))


def _flipped(data: bytes, place: int) -> bytes:
    place %= len(data)
    return data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]


def _indefinite(leaf: bytes) -> bytes:
    """The outermost length left open, as BER allows."""
    return b"\x30\x80" + surgery.split(leaf)[1] + b"\x00\x00"


def _longer_length(leaf: bytes) -> bytes:
    """The outermost length in one byte more than needed."""
    content = surgery.split(leaf)[1]
    return b"\x30\x83" + len(content).to_bytes(3, "big") + content


def _transplanted(w: World) -> list[bytes]:
    """The signature of another leaf of the same issuer."""
    first, *rest = honest(w)
    tbs, named, _ = parts_of(first)
    _, _, other = parts_of(w.ours.outpost("evil", OUTPOST, NOW).chain_der[0])
    return [joined(tbs, named, other), *rest]


def _unused_bits(w: World) -> list[bytes]:
    """The last bit of the signature is declared not to belong to it, and is one."""
    while True:
        first, *rest = honest(w)
        if first[-1] & 1:
            return [joined(*parts_of(first), unused=b"\x01"), *rest]


def _true_as_one(body: Body) -> None:
    """BOOLEAN TRUE is 0xFF in DER."""
    body.rewrite(x509.BasicConstraints, element(BOOLEAN, b"\x01"), element(SEQUENCE))


def _false_written(body: Body) -> None:
    """A default must not be written in DER: CRITICAL FALSE."""
    purposes = element(SEQUENCE, element(surgery.OID, bytes.fromhex("2b06010505070302")))
    body.rewrite(x509.ExtendedKeyUsage, element(BOOLEAN, b"\x00"), purposes)


def _padded_serial(body: Body) -> None:
    """An INTEGER has no octet more than it needs."""
    body.serial = element(INTEGER, b"\x00\x00", surgery.split(body.serial)[1])


def _explicit_curve(body: Body) -> None:
    """P-256 by its parameters instead of its name: a generator could be chosen so that any key is known."""
    curve = surgery.split(body.key)[1]
    point = surgery.children(curve)[1]
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    field = element(SEQUENCE, element(surgery.OID, bytes.fromhex("2a8648ce3d0101")), surgery.integer(prime))
    coefficients = element(SEQUENCE, element(4, (prime - 3).to_bytes(32, "big")), element(4, bytes.fromhex(_B)))
    base = element(4, surgery.split(point)[1][1:])  # the certified key itself: its private half would be one
    parameters = element(SEQUENCE, surgery.integer(1), field, coefficients, base, surgery.integer(ORDER))
    named = element(SEQUENCE, element(surgery.OID, bytes.fromhex("2a8648ce3d0201")), parameters)
    body.key = element(SEQUENCE, named, point)


_B = "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _off_the_curve(body: Body) -> None:
    body.key = body.key[:-64] + b"\x01" * 64


FORMS: dict[str, Shown] = {
    "a byte behind the leaf": Shown(bytes_of_leaf(lambda d: d + b"\x00"), ChainFormatError),
    "a byte behind the issuing CA": Shown(bytes_of_issuer(lambda d: d + b"\x00"), ChainFormatError),
    "a second certificate behind the leaf": Shown(bytes_of_leaf(lambda d: d + d), ChainFormatError),
    "a leaf that is cut": Shown(bytes_of_leaf(lambda d: d[:-1]), ChainFormatError),
    "an empty leaf": Shown(bytes_of_leaf(lambda _: b""), ChainFormatError),
    "an empty issuing CA": Shown(bytes_of_issuer(lambda _: b""), ChainFormatError),
    "a leaf in PEM": Shown(
        bytes_of_leaf(lambda d: x509.load_der_x509_certificate(d).public_bytes(Encoding.PEM)), ChainFormatError
    ),
    "a leaf of an open length": Shown(bytes_of_leaf(_indefinite), ChainFormatError),
    "a leaf whose length is written too long": Shown(bytes_of_leaf(_longer_length), ChainFormatError),
    "a leaf whose length lies": Shown(bytes_of_leaf(lambda d: d[:2] + b"\xff\xff" + d[4:]), ChainFormatError),
    "a leaf that is one large number": Shown(
        bytes_of_leaf(lambda _: b"\x02" * (MAX_CERTIFICATE_BYTES + 1)), ChainFormatError
    ),
    "an issuing CA that is one large number": Shown(
        bytes_of_issuer(lambda _: b"\x30" * (MAX_CERTIFICATE_BYTES + 1)), ChainFormatError
    ),
    "a truth that is written as one": Shown(raw_leaf(_true_as_one), ChainFormatError),
    "a default that is written": Shown(raw_leaf(_false_written), ChainFormatError),
    "a serial with zeros before it": Shown(raw_leaf(_padded_serial), ChainFormatError),
    "an element behind the extensions": Shown(
        raw_leaf(lambda b: setattr(b, "behind", element(surgery.NULL))), ChainFormatError
    ),
    "an extension whose value goes on": Shown(
        raw_leaf(
            lambda b: b.rewrite(x509.BasicConstraints, element(BOOLEAN, b"\xff"), element(SEQUENCE) + b"\x05\x00")
        ),
        ChainFormatError,
    ),
    "a curve by its parameters": Shown(raw_leaf(_explicit_curve), ChainFormatError),
    "a key that is no point of the curve": Shown(raw_leaf(_off_the_curve), ChainFormatError),
}

SIGNATURES: dict[str, Shown] = {
    "a changed signature of the leaf": Shown(bytes_of_leaf(lambda d: _flipped(d, -1)), ChainUntrustedError),
    "a changed signature of the issuing CA": Shown(bytes_of_issuer(lambda d: _flipped(d, -1)), ChainUntrustedError),
    "another org in the signed leaf": Shown(bytes_of_leaf(_renamed), ChainUntrustedError),
    "another trust domain in the signed issuing CA": Shown(
        bytes_of_issuer(lambda d: d.replace(b"outpost.internal", b"evilpos.internal")), ChainUntrustedError
    ),
    "the signature of another leaf": Shown(_transplanted, ChainUntrustedError),
    "no signature": Shown(resigned(lambda _: b""), ChainUntrustedError),
    "a signature of two zeros": Shown(resigned(lambda _: encode_dss_signature(0, 0)), ChainUntrustedError),
    "a signature of two ones": Shown(resigned(lambda _: encode_dss_signature(1, 1)), ChainUntrustedError),
    "a signature as large as the group": Shown(
        resigned(lambda _: encode_dss_signature(ORDER, ORDER)), ChainUntrustedError
    ),
    "a signature that is cut": Shown(resigned(lambda good: good[:-1]), ChainUntrustedError),
    "a signature that goes on": Shown(resigned(lambda good: good + b"\x00"), ChainUntrustedError),
    "a signature with zeros before its numbers": Shown(
        resigned(
            lambda good: element(
                SEQUENCE,
                *(element(INTEGER, b"\x00\x00", surgery.split(n)[1]) for n in surgery.children(surgery.split(good)[1])),
            )
        ),
        ChainUntrustedError,
    ),
    "a signature with unused bits that are set": Shown(_unused_bits, ChainFormatError),
    "SHA-1 named and used": Shown(algorithm(surgery.ECDSA_SHA1, surgery.ECDSA_SHA1, hashes.SHA1()), ChainProfileError),
    "SHA-384 named outside only": Shown(
        algorithm(surgery.ECDSA_SHA256, surgery.ECDSA_SHA384, hashes.SHA384()), ChainProfileError
    ),
    "SHA-384 named inside only": Shown(algorithm(surgery.ECDSA_SHA384, surgery.ECDSA_SHA256), ChainProfileError),
    "an algorithm with parameters": Shown(
        algorithm(surgery.ECDSA_SHA256_NULL, surgery.ECDSA_SHA256_NULL), ChainFormatError
    ),
    "SHA-384 used where SHA-256 is named": Shown(
        algorithm(surgery.ECDSA_SHA256, surgery.ECDSA_SHA256, hashes.SHA384()), ChainUntrustedError
    ),
    "the signature of a request for the same key": Shown(resigned(lambda _: _request_signature()), ChainUntrustedError),
}


def _request_signature() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256()).signature


BYTES = FORMS | SIGNATURES
