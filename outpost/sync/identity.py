"""The identity of an outpost on disk: written whole or not at all, readable by its owner only.

Key, certificate chain and join sequence stand in one file, so that they change together:

    outpost-leaf-1
    sequence 7
    -----BEGIN PRIVATE KEY-----
    …
    -----BEGIN CERTIFICATE-----
    …
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certs import keys
from certs.adoption import trust_bundle_digest
from certs.errors import TrustError
from certs.shell.private_files import read_private_file, replace_private_file
from certs.verify import TrustAnchors, VerifiedOutpost, verify_outpost_chain
from outpost import issuing
from outpost.core.bundle.release import Audience
from outpost.core.errors import StoreError

SCHEMA = "outpost.enrollment/1"
ENROLLMENT = "enrollment.json"
LEAF = "leaf.pem"
TRUST_BUNDLE = "trust-bundle.pem"
LEAF_MAGIC = b"outpost-leaf-1\n"
SEQUENCE = b"sequence "


class IdentityUnreadableError(StoreError):
    """The identity on disk is missing or damaged."""

    code = "identity.unreadable"


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What the control plane told at enrollment and renewal; nothing secret."""

    org: str
    outpost_id: str
    name: str
    trust_domain: str
    sync_endpoint: str
    witness_name: str
    witness_public_key: str  # hex of 32 bytes
    join_sequence: int
    enrolled_ms: int
    sync_endpoints: tuple[str, ...] = ()  # of every replica of the control plane, as it told last
    leaf_alone: bool = False  # the control plane knows our issuing CA, so it need not be sent
    logical: str = ""  # logical outpost of which this one is a replica; empty: it is one by itself
    enroll_endpoint: str = ""  # where join tokens are spent, and where an expired certificate is recovered

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every address at which the control plane may be: what it told last, and what it told first.

        None where no network leads there: then files travel.
        """
        return tuple(dict.fromkeys(each for each in (*self.sync_endpoints, self.sync_endpoint) if each))

    @property
    def audience(self) -> Audience:
        """For whom signed sets are verified here."""
        return Audience(self.org, self.logical or self.name)

    @property
    def origin(self) -> str:
        """Origin of the audit log."""
        return f"{self.trust_domain}/org/{self.org}/outpost/{self.outpost_id}"


@dataclass(frozen=True, slots=True)
class Identity:
    """An enrollment with its key and certificates."""

    enrollment: Enrollment
    key_pem: bytes = field(repr=False)
    chain_pem: bytes
    trust_bundle_pem: bytes

    @property
    def origin(self) -> str:
        """Origin of the audit log."""
        return self.enrollment.origin

    @property
    def leaf(self) -> x509.Certificate:
        """Our certificate, as it is."""
        return keys.certificates_from_pem(self.chain_pem, field=LEAF)[0]

    @property
    def life(self) -> tuple[int, int]:
        """Start and end of our certificate's life, Unix seconds."""
        leaf = self.leaf
        return int(leaf.not_valid_before_utc.timestamp()), int(leaf.not_valid_after_utc.timestamp())

    def judged_at(self, now: int) -> int:
        """Moment at which our certificate is judged: now; where files travel, one of its own life, for nobody is called
        with it.
        """
        starts, ends = self.life
        return now if self.enrollment.endpoints else min(max(now, starts), ends)

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """Root CAs that are believed."""
        return tuple(keys.certificates_from_pem(self.trust_bundle_pem, field=TRUST_BUNDLE))

    @property
    def trust_bundle_sha256(self) -> bytes:
        """Digest of the roots that are believed, 32 bytes."""
        return trust_bundle_digest(self.roots)

    def verify(self, now: int) -> VerifiedOutpost:
        """Our own certificate, judged as the control plane judges it.

        Raises:
            ChainError: expired, other key, other name.
        """
        peer = verify_chain(self.chain_pem, self.trust_bundle_pem, self.enrollment, now)
        key = keys.private_key_from_pem(self.key_pem)
        if keys.key_id(key.public_key()) != peer.spki_sha256:
            raise IdentityUnreadableError("key and certificate do not belong together", field=LEAF)
        return peer


def verify_chain(chain_pem: bytes, trust_bundle_pem: bytes, enrollment: Enrollment, now: int) -> VerifiedOutpost:
    """Check that a chain names exactly this outpost.

    Raises:
        ChainError: the chain proves another identity or none.
        IdentityUnreadableError: it proves another outpost's.
    """
    anchors = TrustAnchors(enrollment.trust_domain, keys.certificates_from_pem(trust_bundle_pem, field=TRUST_BUNDLE))
    chain = tuple(keys.certificate_der(item) for item in keys.certificates_from_pem(chain_pem, field=LEAF))
    peer = verify_outpost_chain(chain, anchors, now)
    if (peer.spiffe_id.org, peer.spiffe_id.outpost) != (enrollment.org, enrollment.outpost_id):
        raise IdentityUnreadableError("the certificate names another outpost", field=LEAF)
    return peer


def new_key() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A fresh P-256 key and its PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, keys.private_key_pem(key)


def load(folder: Path) -> Identity:
    """Read the identity of one org.

    Raises:
        IdentityUnreadableError: missing, damaged or of another version.
    """
    enrollment = load_enrollment(folder)
    try:
        leaf = read_private_file(folder / LEAF)
        bundle = read_private_file(folder / TRUST_BUNDLE)
        sequence, body = enrollment.join_sequence, leaf
        if leaf.startswith(LEAF_MAGIC):  # earlier versions kept the sequence with the enrollment
            sequence, body = sequenced(leaf, LEAF_MAGIC)
        split = body.index(b"-----BEGIN CERTIFICATE-----")
    except (TrustError, ValueError) as error:
        raise _unreadable(folder) from error
    enrollment = replace(enrollment, join_sequence=sequence)
    return Identity(enrollment, body[:split], body[split:], bundle)


def sequenced(data: bytes, magic: bytes) -> tuple[int, bytes]:
    """Join sequence and body of a file that starts with its kind. Raises ValueError."""
    first, _, body = data.removeprefix(magic).partition(b"\n")
    if not data.startswith(magic) or not first.startswith(SEQUENCE):
        raise ValueError("not a file of this kind")
    return int(first.removeprefix(SEQUENCE)), body


def load_enrollment(folder: Path) -> Enrollment:
    """Read what is not secret of an identity.

    Raises:
        IdentityUnreadableError: missing, damaged or of another version.
    """
    try:
        document = orjson.loads(read_private_file(folder / ENROLLMENT))
        if document.pop("schema") != SCHEMA:
            raise IdentityUnreadableError("written by another version", field=str(folder / ENROLLMENT))
        document["sync_endpoints"] = tuple(document.get("sync_endpoints", ()))
        return Enrollment(**document)
    except (TrustError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(folder) from error


def _unreadable(folder: Path) -> IdentityUnreadableError:
    return IdentityUnreadableError("the identity cannot be read", field=str(folder), next_step="outpost doctor")


def save(folder: Path, identity: Identity) -> None:
    """Write an identity: key, chain and sequence in one file, so that they change together; the enrollment last.

    Raises:
        PrivateFileError: the disk refused; the identity is what it was before.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private_file(folder / TRUST_BUNDLE, identity.trust_bundle_pem)
    head = LEAF_MAGIC + SEQUENCE + b"%d\n" % identity.enrollment.join_sequence
    replace_private_file(folder / LEAF, head + identity.key_pem + identity.chain_pem)
    _save_enrollment(folder, identity.enrollment)


def save_endpoints(folder: Path, sync: tuple[str, ...]) -> None:
    """Write where the control plane may be called; key and certificate are not touched.

    Raises:
        IdentityUnreadableError: there is no enrollment.
        PrivateFileError: the disk refused.
    """
    _save_enrollment(folder, replace(load_enrollment(folder), sync_endpoints=sync))


def _save_enrollment(folder: Path, enrollment: Enrollment) -> None:
    document = {"schema": SCHEMA, **asdict(enrollment)}
    replace_private_file(folder / ENROLLMENT, orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))


def leaf_of(chain_pem: bytes) -> bytes:
    """The first certificate of a chain, PEM."""
    return keys.certificates_pem(keys.certificates_from_pem(chain_pem, field=LEAF)[:1])


def save_trust_bundle(folder: Path, bundle_pem: bytes) -> None:
    """Write whom to believe from now on; the rest of the identity stays.

    Raises:
        PrivateFileError: the disk refused.
    """
    replace_private_file(folder / TRUST_BUNDLE, bundle_pem)


def is_leaf_alone(chain: tuple[bytes, ...], issuers: tuple[bytes, ...]) -> bool:
    """Whether the control plane knows the issuing CA of a chain, so that the leaf may travel alone."""
    return len(chain) > 1 and chain[1] in issuers


def moved_on(told: Enrollment, answer: issuing.RenewalAnswer) -> Enrollment:
    """An enrollment after the control plane answered with another certificate."""
    return replace(
        told,
        join_sequence=answer.join_sequence,
        sync_endpoints=answer.sync_endpoints or told.sync_endpoints,
        leaf_alone=is_leaf_alone(answer.chain, answer.issuers),
    )
