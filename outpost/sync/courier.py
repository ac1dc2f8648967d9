"""Enrollment without a network: a request goes out in a file, an answer comes in, and both sides check what they would
check over the wire.

What the answer is held against is written down when the request is made: the token is not needed again, and may be
destroyed. An answer that comes late counts: the certificate may have expired on its way, and nothing is lost by that,
since nobody is called with it.
"""

import hashlib
from dataclasses import asdict, dataclass

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import join_token, keys
from certs.errors import TrustError
from certs.shell.private_files import read_private_file, replace_private_file
from certs.verify import TrustAnchors, root_by_pin, verify_server_chain
from outpost import issuing, ports
from outpost.core.bundle.courier import (
    CourierForeignError,
    CourierUnsignedError,
    JoinAnswer,
    JoinRequest,
    SignedAnswer,
    read_answer,
    read_signed_answer,
    signed_message,
)
from outpost.core.errors import StoreError
from outpost.paths import OrgPaths, StatePaths
from outpost.sync import enroll as enrolling
from outpost.sync import identity as identities
from outpost.sync.obey import is_locked

AWAITED = "awaited.json"
_ANSWER = "answer"


class NothingAwaitedError(StoreError):
    """No request of this outpost waits for an answer."""

    code = "airgap.not_awaited"


@dataclass(frozen=True, slots=True)
class Awaited:
    """What an answer is held against.

    Attributes:
        org, name, pin: of the join token.
        request_sha256: of the request that went out, 64 hex digits.
    """

    org: str
    name: str
    pin: str
    request_sha256: str


def request(paths: StatePaths, token_text: str, clock: ports.Clock, version: str) -> JoinRequest:
    """Make a request, with keys that are born here; made again with the same token it is the same certificate request.

    Raises:
        JoinTokenFormatError: not a token.
        AlreadyEnrolledError: the folder is enrolled with the token's org.
        KeyStoreError: the disk refused.
    """
    token = join_token.parse(token_text)
    org = paths.org(token.org)
    if (org.identity / identities.ENROLLMENT).exists() and not is_locked(org):
        raise enrolling.AlreadyEnrolledError(
            f"this folder is enrolled already with org {token.org}; nothing was written",
            field=str(paths.state),
            next_step="give the new outpost a folder of its own with --state",
        )
    for folder in (org.identity, org.audit):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _, csr_der = enrolling.pending_request(org.identity)
    made = JoinRequest(
        org=token.org,
        name=token.name,
        secret=token.secret,
        csr_der=csr_der,
        log_key=enrolling.born_log_key(org.audit).public_key().public_bytes_raw(),
        made_ms=clock.now_ms(),
        software=version,
    )
    awaited = Awaited(token.org, token.name, token.pin, hashlib.sha256(made.to_bytes()).hexdigest())
    replace_private_file(org.identity / AWAITED, orjson.dumps(asdict(awaited)))
    return made


def accept(paths: StatePaths, data: bytes, clock: ports.Clock) -> identities.Identity:
    """Take in the answer to a request.

    Args:
        paths: state folder.
        data: the file; untrusted.
        clock: judges the chain of the server that signed.

    Raises:
        CourierMalformedError: not an answer.
        CourierUnsignedError: a server of the pinned control plane did not sign it.
        CourierForeignError: it answers another request.
        NothingAwaitedError: no request waits for it.
        EnrollmentAnswerError: it cannot be used.
    """
    signed = read_signed_answer(data)
    claimed = read_answer(signed.payload)
    org = paths.org(claimed.org) if claimed.org in _asking(paths) else None
    if org is None:
        raise _foreign(f"org {claimed.org}")
    awaited = _awaited(org)
    _require_signed(signed, claimed, awaited, clock.now_ms() // 1000)
    if claimed.request_sha256 != awaited.request_sha256:
        raise _foreign("another request")
    key_pem, _ = enrolling.pending_request(org.identity)
    answer, now_ms = _as_answer(claimed), clock.now_ms()
    expected = enrolling.Expected(awaited.org, awaited.name, awaited.pin)
    identity = enrolling.accepted(expected, answer, key_pem, now_ms)
    identity.verify(identity.judged_at(now_ms // 1000))
    enrolling.keep(org, identity, enrolling.known_root(b"", answer))
    (org.identity / AWAITED).unlink(missing_ok=True)
    return identity


def _asking(paths: StatePaths) -> frozenset[str]:
    """Orgs whose answer is awaited here."""
    return frozenset(found.parent.parent.name for found in (paths.state / "orgs").glob(f"*/identity/{AWAITED}"))


def _awaited(org: OrgPaths) -> Awaited:
    try:
        return Awaited(**orjson.loads(read_private_file(org.identity / AWAITED)))
    except (TrustError, ValueError, TypeError) as error:
        raise NothingAwaitedError(
            "it cannot be read which answer is awaited",
            field=str(org.identity / AWAITED),
            next_step="make the request again: outpost airgap request --token-file TOKEN --out FILE",
        ) from error


def _require_signed(signed: SignedAnswer, claimed: JoinAnswer, awaited: Awaited, now: int) -> None:
    """The signature of a server below the pinned root."""
    try:
        root = root_by_pin(signed.server_chain, awaited.pin)
        verify_server_chain(signed.server_chain, TrustAnchors(claimed.trust_domain, (root,)), now)
        key = keys.certificate_from_der(signed.server_chain[0], field="server_chain").public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise _unsigned("its server has no P-256 key")
        key.verify(signed.signature, signed_message(signed.payload), ec.ECDSA(hashes.SHA256()))
    except TrustError as error:
        raise _unsigned(error.message) from None
    except InvalidSignature:
        raise _unsigned("it was changed") from None


def _as_answer(told: JoinAnswer) -> issuing.EnrollmentAnswer:
    """The same as over the network, without an address: none leads there."""
    return issuing.EnrollmentAnswer(
        org=told.org,
        outpost_id=told.outpost_id,
        name=told.name,
        trust_domain=told.trust_domain,
        chain=told.chain,
        trust_bundle=told.trust_bundle,
        tuf_root=told.tuf_root,
        witness_public_key=told.witness_key,
        witness_name=told.witness_name,
        sync_endpoint="",
        join_sequence=told.join_sequence,
        now_ms=told.made_ms,
        issuers=told.issuers,
        logical=told.logical,
    )


def _foreign(what: str) -> CourierForeignError:
    return CourierForeignError(
        f"The answer is for {what}, and this outpost did not ask for it.",
        field=_ANSWER,
        next_step="Bring the answer to the newest request of this outpost.",
    )


def _unsigned(cause: str) -> CourierUnsignedError:
    return CourierUnsignedError(
        f"The control plane that the join token pins did not sign this answer: {cause}",
        field=_ANSWER,
        next_step="Copy the file again; if that does not help, find out who wrote it.",
    )
