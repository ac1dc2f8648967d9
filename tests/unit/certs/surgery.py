"""Certificates taken apart and put together as bytes, where no builder makes what is wanted.

A certificate is a list of the DER elements of its to-be-signed part. Change the list, and it is signed again by
whichever key is given: what a hostile or broken CA could issue. Nothing here checks anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import keys
from certs.shell.dev import Authority

SEQUENCE, INTEGER, BOOLEAN, BIT_STRING, OCTET_STRING, OID, NULL = 0x30, 0x02, 0x01, 0x03, 0x04, 0x06, 0x05
VERSION, EXTENSIONS, URI_NAME, DNS_NAME = 0xA0, 0xA3, 0x86, 0x82

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
ECDSA_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")
ECDSA_SHA256_NULL = bytes.fromhex("300c06082a8648ce3d0403020500")  # parameters must be absent, RFC 5758 §3.2

Change = Callable[["Body"], object]


def element(tag: int, *contents: bytes) -> bytes:
    """One element, its length in the shortest form."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def split(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content and rest of the first element."""
    tag, size, start = der[0], der[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(der[2:start], "big")
    return tag, der[start : start + size], der[start + size :]


def children(content: bytes) -> list[bytes]:
    """The elements that stand one after the other."""
    found = []
    while content:
        _, _, rest = split(content)
        found.append(content[: len(content) - len(rest)])
        content = rest
    return found


@dataclass
class Body:
    """A to-be-signed certificate of version 3 as its elements."""

    version: bytes
    serial: bytes
    algorithm: bytes
    issuer: bytes
    validity: bytes
    subject: bytes
    key: bytes
    extensions: list[bytes]
    behind: bytes = b""

    def der(self) -> bytes:
        """The bytes to be signed."""
        tail = element(EXTENSIONS, element(SEQUENCE, *self.extensions)) if self.extensions else b""
        front = (self.version, self.serial, self.algorithm, self.issuer, self.validity, self.subject, self.key)
        return element(SEQUENCE, *front, tail, self.behind)

    def extension(self, kind: type[x509.ExtensionType]) -> int:
        """Place of an extension."""
        wanted = element(OID, _oid(kind.oid.dotted_string))
        return next(i for i, each in enumerate(self.extensions) if wanted in each)

    def rewrite(self, kind: type[x509.ExtensionType], critical: bytes, value: bytes) -> None:
        """Replace an extension: the bytes of its BOOLEAN, or none, and its value."""
        self.extensions[self.extension(kind)] = element(
            SEQUENCE, element(OID, _oid(kind.oid.dotted_string)), critical, element(OCTET_STRING, value)
        )

    def names(self, *names: bytes) -> None:
        """Replace the alternative names by elements."""
        self.rewrite(x509.SubjectAlternativeName, b"\x01\x01\xff", element(SEQUENCE, *names))


def opened(certificate: x509.Certificate) -> Body:
    """Take a certificate apart."""
    _, content, _ = split(certificate.tbs_certificate_bytes)
    *front, tail = children(content)
    _, listed, _ = split(split(tail)[1])
    return Body(*front, children(listed))


def closed(
    tbs: bytes, issuer: Authority, algorithm: bytes = ECDSA_SHA256, hash_: hashes.HashAlgorithm | None = None
) -> bytes:
    """Sign bytes as a certificate."""
    signature = issuer.signer._private_key.sign(tbs, ec.ECDSA(hash_ or hashes.SHA256()))
    return joined(tbs, algorithm, signature)


def joined(tbs: bytes, algorithm: bytes, signature: bytes, unused: bytes = b"\x00") -> bytes:
    """A certificate of its three parts."""
    return element(SEQUENCE, tbs, algorithm, element(BIT_STRING, unused, signature))


def changed(certificate: x509.Certificate, issuer: Authority, change: Change) -> bytes:
    """The certificate with a change, signed again."""
    body = opened(certificate)
    change(body)
    return closed(body.der(), issuer)


def parts_of(der: bytes) -> tuple[bytes, bytes, bytes]:
    """To-be-signed part, algorithm and signature of a certificate."""
    tbs, algorithm, signature = children(split(der)[1])
    return tbs, algorithm, split(signature)[1][1:]


def der_of(*certificates: x509.Certificate) -> list[bytes]:
    """DER of certificates."""
    return [keys.certificate_der(certificate) for certificate in certificates]


def integer(value: int) -> bytes:
    """An INTEGER of any size and sign."""
    return element(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    return bytes((first * 40 + second,)) + b"".join(map(_arc, rest))


def _arc(value: int) -> bytes:
    found = [value & 0x7F]
    while value := value >> 7:
        found.append(0x80 | value & 0x7F)
    return bytes(reversed(found))


Chain = Sequence[bytes]
