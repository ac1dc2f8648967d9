"""Certificate revocation lists: built by an issuing CA, read by whoever cannot ask the control plane.

Inside the control plane revocation is a set in memory; a list carries that set to readers outside (an ingress, an
outpost without a network), and bounds its age. A reader that asks for the lists of the whole path needs the root's
too; its key is offline, so that list lives for a year and is made anew whenever the root signs something.

A list says which certificates are revoked and since when, not why: no reader of ours would treat one reason
differently from another, and an incident is not told to everybody who can fetch a list.

Source: RFC 5280 §5.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID

from certs import keys
from certs.errors import KeyMaterialError, RevocationListError
from certs.profiles import DAY, YEAR
from certs.signer import DRAFT_KEY, Signer, sign_structure

MAX_LIST_BYTES = 4 << 20  # about 100,000 entries of 40 bytes: 10 leaves each of a fleet of 10,000, all revoked
LIFE_SECONDS = DAY  # as long as a leaf lives: an older list adds nothing to expiry
ROOT_LIFE_SECONDS = YEAR  # an offline root signs rarely


class RevocationListExpiredError(RevocationListError):
    """The list is older than its nextUpdate, or from the future."""

    code = "crl.expired"


class RevocationListSignatureError(RevocationListError):
    """The list is not the issuer's."""

    code = "crl.signature"


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What a verified list says.

    Args:
        serials: serial numbers that are revoked; pass it to the chain check.
        number: cRLNumber, growing with every list of one CA.
        this_update: Unix seconds.
        next_update: Unix seconds.
    """

    serials: frozenset[int]
    number: int
    this_update: int
    next_update: int


def build_list(issuer: x509.Certificate, signer: Signer, revoked: Mapping[int, int], number: int, now: int) -> bytes:
    """Make a list.

    Args:
        issuer: certificate of the issuing CA.
        signer: holds its key.
        revoked: serial number to the moment of revocation in Unix seconds.
        number: cRLNumber, of ``next_number``.
        now: Unix seconds; the list is good for a day, that of a root for a year.

    Returns:
        DER.

    Raises:
        RevocationListError: a number or time that a list cannot hold, or a signer that is not the issuer's.
        SignatureMismatchError: the signer's answer does not confirm.
    """
    if signer.public_key() != issuer.public_key():
        raise RevocationListError("The signer does not hold the issuer's key.", field="signer")
    life_seconds = ROOT_LIFE_SECONDS if issuer.issuer == issuer.subject else LIFE_SECONDS
    try:
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=issuer.subject,
            last_update=_moment(now),
            next_update=_moment(now + life_seconds),
            # All at once: the builder's own method copies the whole list for each entry.
            revoked_certificates=[_entry(*each) for each in sorted(revoked.items())],
        )
        key_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys.require_tls_key(issuer.public_key()))
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        draft = builder.add_extension(key_identifier, critical=False).sign(DRAFT_KEY, hashes.SHA256())
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise RevocationListError(f"A list cannot hold these values ({type(error).__name__}).", field="crl") from error
    der = sign_structure(draft.tbs_certlist_bytes, signer)
    if len(der) > MAX_LIST_BYTES:
        raise RevocationListError(f"A revocation list has at most {MAX_LIST_BYTES} bytes.", field="crl")
    return der


def next_number(last: int, now: int) -> int:
    """Number for the next list of a CA: above the last one, and above all that were made before this second.

    A number that only counted would fall behind when an older state is restored; readers refuse an older list.

    Args:
        last: of the last list that is known of, 0 for none.
        now: Unix seconds.
    """
    return max(last + 1, now)


def lists_pem(lists: Iterable[bytes]) -> bytes:
    """PEM text of lists that ``build_list`` made, one after the other, as nginx and openssl read them."""
    return b"".join(x509.load_der_x509_crl(der).public_bytes(Encoding.PEM) for der in lists)


def read_list(der: bytes, issuer: x509.Certificate, now: int) -> RevocationList:
    """Judge an untrusted list.

    Args:
        der: at most 4 MiB.
        issuer: certificate of the CA whose list it must be, verified by the caller.
        now: Unix seconds.

    Raises:
        RevocationListError: too large, unreadable, or without number or nextUpdate.
        RevocationListSignatureError: another CA's, or changed.
        RevocationListExpiredError: not for this moment.
    """
    if len(der) > MAX_LIST_BYTES:
        raise RevocationListError(f"A revocation list has at most {MAX_LIST_BYTES} bytes.", field="crl")
    try:
        loaded = x509.load_der_x509_crl(der)
        _require_signed(loaded, issuer)
        result = _contents(loaded)
    except (*keys.PARSER_FAULTS, x509.ExtensionNotFound) as error:
        raise RevocationListError(
            f"The bytes are not a readable revocation list ({type(error).__name__}).", field="crl"
        ) from None
    except KeyMaterialError as error:
        raise RevocationListError(error.message, field="issuer") from error
    if not result.this_update <= now <= result.next_update:
        raise RevocationListExpiredError(
            "The revocation list is not for this moment.", field="crl.nextUpdate", next_step="Fetch a new list."
        )
    return result


def _require_signed(loaded: x509.CertificateRevocationList, issuer: x509.Certificate) -> None:
    key = keys.require_tls_key(issuer.public_key(), field="issuer")
    exact = loaded.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256
    if not (exact and loaded.issuer == issuer.subject and loaded.is_signature_valid(key)):
        raise RevocationListSignatureError("The revocation list is not signed by the issuer.", field="crl")


def _contents(loaded: x509.CertificateRevocationList) -> RevocationList:
    if loaded.next_update_utc is None:
        raise RevocationListError("The revocation list has no nextUpdate.", field="crl.nextUpdate")
    # A critical extension changes what a list means: one of some certificates only, or only of changes.
    if any(extension.critical for extension in loaded.extensions):
        raise RevocationListError("The revocation list has a critical extension.", field="crl.extensions")
    serials = set()
    for entry in loaded:
        if any(extension.critical for extension in entry.extensions):
            raise RevocationListError("An entry of the revocation list has a critical extension.", field="crl")
        serials.add(entry.serial_number)
    return RevocationList(
        serials=frozenset(serials),
        number=loaded.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
        this_update=int(loaded.last_update_utc.timestamp()),
        next_update=int(loaded.next_update_utc.timestamp()),
    )


def _entry(serial: int, moment: int) -> x509.RevokedCertificate:
    return x509.RevokedCertificateBuilder(serial, _moment(moment)).build()


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
