"""Enrollment: a join token becomes an identity. The keys are born here; only a CSR and a public key travel.

A retry sends the same CSR, so that a lost answer does not cost the token. Once there is an identity the token is not
read again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from certs import csr, join_token, keys
from certs.adoption import read_trust_bundle
from certs.shell.private_files import read_private_file, replace_private_file
from certs.verify import root_by_pin
from outpost import issuing, ports
from outpost.core.audit.note import NoteError, NoteVerifier, SignatureType
from outpost.core.errors import PeerError, StoreError
from outpost.paths import OrgPaths, StatePaths
from outpost.sync import identity as identities
from outpost.sync import tuf
from outpost.sync.files import WITHDRAWN, withdrawn_code
from outpost.sync.obey import finish_wipe, is_locked, lift
from outpost.sync.pending import RENEWAL

PENDING = "pending.pem"
PENDING_CSR = "pending.csr"
LOG_KEY = "log.key"
LOG_ORIGIN = "origin"
MAX_NAME_BYTES = 63  # enrollment.proto: names of outposts, logical ones too
LOCKED_IDENTITY = "identity.locked"  # the control plane holds it for a copy: a new token replaces it


class EnrollmentAnswerError(PeerError):
    """The control plane's answer is not for this request."""

    code = "enrollment.answer"
    fatal = True


class EnrollmentRootError(PeerError):
    """The control plane's TUF root is not the one that was given."""

    code = "enrollment.root"
    fatal = True


class AlreadyEnrolledError(StoreError):
    """The state folder is enrolled under another name than the token's."""

    code = "state.enrolled"


@dataclass(frozen=True, slots=True)
class Calls:
    """How to reach the control plane before there is an identity.

    Attributes:
        presented_chain: (host, port) -> DER certificates that the server shows, not verified.
        enroll: (endpoint, pinned root as PEM, request) -> answer, over TLS that ends at a server of that root.
        expected_root: TUF root that was brought here by another way; verification then starts there, whatever the
            answer says. Empty believes the answer.
    """

    presented_chain: Callable[[str, int], Awaitable[tuple[bytes, ...]]]
    enroll: Callable[[str, bytes, issuing.EnrollmentRequest], Awaitable[issuing.EnrollmentAnswer]]
    expected_root: bytes = b""


@dataclass(frozen=True, slots=True)
class Joining:
    """How an outpost enrolls.

    Attributes:
        version: of this software.
        anew: replace an identity that is there; the token must be one to enroll anew.
    """

    version: str
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What a join token says of whoever may answer.

    Attributes:
        org, name: whom the answer is for.
        pin: of the root CA.
        enroll_endpoint: where a certificate is recovered later; empty where no network leads there.
    """

    org: str
    name: str
    pin: str
    enroll_endpoint: str = ""


async def enroll(
    paths: StatePaths, token_text: str, calls: Calls, clock: ports.Clock, joining: Joining
) -> tuple[identities.Identity, bool]:
    """Spend a join token, or return the identity that is already there and good.

    An outpost that enrolls again goes on with its audit log: the log's key never leaves, and is never wiped.

    Args:
        paths: state folder.
        token_text: the line that `controlplane outpost register` printed; untrusted.
        calls: the network.
        clock: for the skew check of the control plane and for our own check of the certificate.
        joining: version of this software, and whether a good identity is replaced.

    Returns:
        The identity, and whether the token was spent for it.

    Raises:
        JoinTokenFormatError: not a token.
        AlreadyEnrolledError: the folder is enrolled with the token's org under another name; the token is not spent.
        PinError: the server is not the control plane of this token.
        ControlPlaneRefusedError: expired, used, clock.
        EnrollmentAnswerError: the answer names another org or holds other certificates.
        EnrollmentRootError: it has another TUF root than the expected one.
        BundleError: the TUF root, expected or answered, is none of the token's org.
    """
    token = join_token.parse(token_text)
    org = paths.org(token.org)
    finish_wipe(paths, token.org)
    for folder in (org.identity, org.audit):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if calls.expected_root:
        tuf.require_root(calls.expected_root, token.org)
    if (org.identity / identities.ENROLLMENT).exists() and not is_locked(org):
        known = _known(identities.load(org.identity), token, paths)
        if not joining.anew and withdrawn_code(org.identity) != LOCKED_IDENTITY:
            return known, False
    key_pem, csr_der = pending_request(org.identity)
    log_key = born_log_key(org.audit)
    host, port = join_token.split_endpoint(token.endpoint)
    root = root_by_pin(await calls.presented_chain(host, port), token.pin)
    request = issuing.EnrollmentRequest(
        token_org=token.org,
        token_secret=token.secret,
        csr_der=csr_der,
        audit_log_public_key=log_key.public_key().public_bytes_raw(),
        now_ms=clock.now_ms(),
        software_version=joining.version,
    )
    answer = await calls.enroll(token.endpoint, keys.certificates_pem([root]), request)
    expected = Expected(token.org, token.name, token.pin, token.endpoint)
    identity = accepted(expected, answer, key_pem, clock.now_ms())
    identity.verify(clock.now_ms() // 1000)
    keep(org, identity, known_root(calls.expected_root, answer))
    return identity, True


def keep(org: OrgPaths, identity: identities.Identity, tuf_root: bytes) -> None:
    """Write a new identity, and forget the request for it. Raises KeyStoreError."""
    replace_private_file(org.tuf_root, tuf_root)
    replace_private_file(org.audit / LOG_ORIGIN, identity.origin.encode() + b"\n")
    identities.save(org.identity, identity)
    lift(org)
    for name in (PENDING, PENDING_CSR, RENEWAL, WITHDRAWN):
        (org.identity / name).unlink(missing_ok=True)


def known_root(expected: bytes, answer: issuing.EnrollmentAnswer) -> bytes:
    """The TUF root at which verification starts.

    Raises:
        EnrollmentRootError: the answer has another root of the expected one's version, or none at all.
    """
    found = tuf.require_root(answer.tuf_root, answer.org)
    if expected and found == tuf.require_root(expected, answer.org) and answer.tuf_root != expected:
        raise EnrollmentRootError(
            "the control plane has another TUF root than the one that was given",
            field="tuf_root",
            next_step="find out whose root it is before this outpost believes it",
        )
    return expected or answer.tuf_root


def _known(identity: identities.Identity, token: join_token.JoinToken, paths: StatePaths) -> identities.Identity:
    told = identity.enrollment
    if told.name != token.name:
        raise AlreadyEnrolledError(
            f"this folder is enrolled already as {told.name} of org {told.org}; the token, for {token.name}, was not"
            " used",
            field=str(paths.state),
            next_step="give the new outpost a folder of its own: outpost enroll --token-file TOKEN --state OTHER",
        )
    return identity


def accepted(token: Expected, answer: issuing.EnrollmentAnswer, key_pem: bytes, now_ms: int) -> identities.Identity:
    """The identity that an answer gives; its chain is still to be verified.

    Raises:
        EnrollmentAnswerError: the answer is for another outpost, or has nothing that can be used.
    """
    if answer.org != token.org or answer.name != token.name:
        raise EnrollmentAnswerError("the answer is for another org or name than the join token")
    bundle = read_trust_bundle(answer.trust_bundle)
    pins = {keys.key_id(keys.require_tls_key(root.public_key())) for root in bundle}
    if token.pin not in pins:
        raise EnrollmentAnswerError("the trust bundle does not hold the pinned root CA")
    if len(answer.logical.encode()) > MAX_NAME_BYTES:
        raise EnrollmentAnswerError("the answer names a logical outpost that has no such name", field="logical")
    try:
        NoteVerifier(answer.witness_name, answer.witness_public_key, SignatureType.COSIGNATURE_V1)
    except NoteError as error:
        raise EnrollmentAnswerError(f"the witness of the answer cannot be used: {error.message}") from error
    enrollment = identities.Enrollment(
        org=answer.org,
        outpost_id=answer.outpost_id,
        name=answer.name,
        trust_domain=answer.trust_domain,
        sync_endpoint=answer.sync_endpoint,
        witness_name=answer.witness_name,
        witness_public_key=answer.witness_public_key.hex(),
        join_sequence=answer.join_sequence,
        enrolled_ms=now_ms,
        sync_endpoints=answer.sync_endpoints,
        leaf_alone=identities.is_leaf_alone(answer.chain, answer.issuers),
        enroll_endpoint=token.enroll_endpoint,
        logical="" if answer.logical == answer.name else answer.logical,
    )
    chain = keys.certificates_pem([keys.certificate_from_der(der) for der in answer.chain])
    return identities.Identity(enrollment, key_pem, chain, keys.certificates_pem(bundle))


def pending_request(folder: Path) -> tuple[bytes, bytes]:
    """Key and CSR of this enrollment: made once, sent until answered."""
    key_file, csr_file = folder / PENDING, folder / PENDING_CSR
    if key_file.exists() and csr_file.exists():
        return read_private_file(key_file), read_private_file(csr_file)
    key, key_pem = identities.new_key()
    replace_private_file(key_file, key_pem)
    replace_private_file(csr_file, csr.build_request(key))
    return key_pem, read_private_file(csr_file)


def born_log_key(folder: Path) -> ed25519.Ed25519PrivateKey:
    """Key that signs the audit log's checkpoints: born here, never leaves."""
    path = folder / LOG_KEY
    if not path.exists():
        key = ed25519.Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        replace_private_file(path, pem)
    loaded = serialization.load_pem_private_key(read_private_file(path), password=None)
    assert isinstance(loaded, ed25519.Ed25519PrivateKey)
    return loaded
