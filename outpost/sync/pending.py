"""The request for the next certificate: key and request are on the disk before anybody is asked.

The same request is sent until it is answered, over lost answers, restarts and recoveries: another one at the same join
sequence would look like a copy of this outpost. The file says for which sequence it is, so that one that was answered
just before a crash is known to be over.
"""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs import csr
from certs.errors import TrustError
from certs.shell.private_files import read_private_file, replace_private_file
from outpost.core.errors import StoreError
from outpost.sync.identity import SEQUENCE, new_key, sequenced

RENEWAL = "renewal.pem"
MAGIC = b"outpost-renewal-1\n"
BEGIN = b"-----BEGIN CERTIFICATE REQUEST-----"


class RenewalStoreError(StoreError):
    """The request for the next certificate cannot be stored or read; nobody is asked without it."""

    code = "identity.renewal_store"
    fatal = False


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that may be out.

    Attributes:
        sequence: join sequence at which it is asked.
    """

    sequence: int
    key_pem: bytes = field(repr=False)
    csr_der: bytes


def prepare(folder: Path, sequence: int) -> PendingRequest:
    """The request for a join sequence: the one that is out, or a new one, durable when this returns.

    Raises:
        RenewalStoreError: the disk refused, or what is there cannot be read: then nothing may be asked.
    """
    known = load(folder)
    if known is not None and known.sequence == sequence:
        return known
    key, key_pem = new_key()
    request = PendingRequest(sequence, key_pem, csr.build_request(key))
    pem = x509.load_der_x509_csr(request.csr_der).public_bytes(Encoding.PEM)
    try:
        replace_private_file(folder / RENEWAL, MAGIC + SEQUENCE + b"%d\n" % sequence + key_pem + pem)
    except TrustError as error:
        raise RenewalStoreError(
            f"the request for the next certificate cannot be stored: {error.message}",
            field=RENEWAL,
            next_step="free space or repair the disk; it is tried again by itself",
        ) from error
    return request


def load(folder: Path) -> PendingRequest | None:
    """The request that is on the disk.

    Raises:
        RenewalStoreError: it cannot be read.
    """
    path = folder / RENEWAL
    if not path.exists():
        return None
    try:
        sequence, body = sequenced(read_private_file(path), MAGIC)
        split = body.index(BEGIN)
        request = x509.load_pem_x509_csr(body[split:])
    except (TrustError, ValueError) as error:
        raise RenewalStoreError(
            "the request for the next certificate cannot be read",
            field=str(path),
            next_step="enroll anew: controlplane outpost reenroll NAME --org ORG",
        ) from error
    return PendingRequest(sequence, body[:split], request.public_bytes(Encoding.DER))


def forget(folder: Path, sequence: int) -> None:
    """Remove a request that was answered: the identity has moved past its sequence."""
    path = folder / RENEWAL
    known = load(folder)
    if known is not None and known.sequence < sequence:
        path.unlink(missing_ok=True)
