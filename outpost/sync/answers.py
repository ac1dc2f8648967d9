"""What a control plane answers to a request for a certificate, judged before anything of it is stored."""

from certs import keys
from certs.adoption import read_trust_bundle
from certs.errors import TrustError
from certs.verify import MAX_CHAIN_CERTIFICATES
from outpost import issuing
from outpost.core.errors import PeerError
from outpost.sync import identity as identities
from outpost.sync.pending import PendingRequest


class RenewalAnswerError(PeerError):
    """The answer is not one to our request for a certificate."""

    code = "renewal.answer"
    fatal = True


def accepted(
    identity: identities.Identity, request: PendingRequest, answer: issuing.RenewalAnswer, now: int
) -> identities.Identity:
    """The identity with the certificate of an answer.

    Its certificate is judged at a moment of its own life: our clock may be wrong, and it is not for us to say when it
    is good.

    Args:
        identity: in use.
        request: that was sent.
        answer: DER, from a server that proved who it is, not yet believed.
        now: Unix seconds.

    Raises:
        RenewalAnswerError: another key, another outpost, another sequence, or unreadable.
    """
    told = identity.enrollment
    if answer.join_sequence not in (request.sequence, request.sequence + 1):
        raise RenewalAnswerError("the answer is for another join sequence", field="join_sequence")
    try:
        renewed = identities.Identity(
            enrollment=identities.moved_on(told, answer),
            key_pem=request.key_pem,
            chain_pem=_chain(answer.chain),
            trust_bundle_pem=keys.certificates_pem(read_trust_bundle(answer.trust_bundle)),
        )
        starts, ends = renewed.life
        renewed.verify(min(max(now, starts), ends))
    except TrustError as error:
        raise RenewalAnswerError(f"the answer cannot be used: {error.message}", field=error.field) from error
    except identities.IdentityUnreadableError as error:
        raise RenewalAnswerError(f"the answer is not for this request: {error.message}", field=error.field) from error
    return renewed


def _chain(chain: tuple[bytes, ...]) -> bytes:
    if not 0 < len(chain) <= MAX_CHAIN_CERTIFICATES:
        raise RenewalAnswerError("the answer holds no chain, or too long a one", field="chain")
    return keys.certificates_pem([keys.certificate_from_der(der, field="chain") for der in chain])
