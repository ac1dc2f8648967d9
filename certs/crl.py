"""Certificate revocation lists: built by an issuing CA, read by whoever cannot ask the control plane.

Inside the control plane revocation is a set in memory; a list carries that set to readers outside, and bounds
its age.

Source: RFC 5280 §5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import keys
from certs.errors import KeyMaterialError, RevocationListError
from certs.signer import Signer, sign_structure

MAX_LIST_BYTES = 4 << 20  # about 100,000 entries of 40 bytes: 10 leaves each of a fleet of 10,000, all revoked
DEFAULT_LIFE_SECONDS = 24 * 3600  # as long as a leaf lives: an older list adds nothing to expiry


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
        number: cRLNumber, larger than that of the last list.
        now: Unix seconds; the list is good for a day.

    Returns:
        DER.

    Raises:
        RevocationListError: a number or time that a list cannot hold, or a signer that is not the issuer's.
        SignatureMismatchError: the signer's answer does not confirm.
    """
    if signer.public_key() != issuer.public_key():
        raise RevocationListError("The signer does not hold the issuer's key.", field="signer")
    try:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(_moment(now))
            .next_update(_moment(now + DEFAULT_LIFE_SECONDS))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(keys.require_tls_key(issuer.public_key())),
                critical=False,
            )
        )
        for serial, moment in sorted(revoked.items()):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(moment))
            builder = builder.add_revoked_certificate(entry.build())
        # Signed by a key that is thrown away, to get the exact bytes that the signer then signs.
        draft = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise RevocationListError(f"A list cannot hold these values ({type(error).__name__}).", field="crl") from error
    return sign_structure(draft.tbs_certlist_bytes, signer)


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
        signed = loaded.issuer == issuer.subject and loaded.is_signature_valid(
            keys.require_tls_key(issuer.public_key(), field="issuer")
        )
        if not signed:
            raise RevocationListSignatureError("The revocation list is not signed by the issuer.", field="crl")
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


def _contents(loaded: x509.CertificateRevocationList) -> RevocationList:
    if loaded.next_update_utc is None:
        raise RevocationListError("The revocation list has no nextUpdate.", field="crl.nextUpdate")
    return RevocationList(
        serials=frozenset(entry.serial_number for entry in loaded),
        number=loaded.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
        this_update=int(loaded.last_update_utc.timestamp()),
        next_update=int(loaded.next_update_utc.timestamp()),
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
