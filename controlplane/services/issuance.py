"""Certificates of outposts: intent recorded, linted, signed, stored, answered, in that order.

The intent and what pays for it (a join token, a renewal) are one transaction. Should the process die before the leaf
is stored, the same request makes the same certificate again from the recorded serial and time, and gets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from certs.csr import VerifiedRequest
from certs.issue import CertificateTemplate, IssuanceToken, prepare, sign
from certs.keys import certificate_der
from certs.profiles import SERIAL_BITS, CertificateKind
from certs.signer import Signer
from certs.spiffe import OutpostIdentity
from controlplane.domain.errors import StateError
from controlplane.domain.records import CertificateRecord
from controlplane.ports.store import OrgSpace
from controlplane.ports.world import Chance

SERIAL_BYTES = 20  # SERIAL_BITS, rounded up


class IssuanceMismatchError(StateError):
    """A recorded intent does not give the same certificate again: the issuing CA changed meanwhile."""

    code = "issuance.mismatch"
    fatal = True


@dataclass(frozen=True, slots=True)
class IssuingCA:
    """A CA that signs leaves.

    Attributes:
        certificate: its own.
        signer: its key.
    """

    certificate: x509.Certificate
    signer: Signer


@dataclass(frozen=True, slots=True)
class Chain:
    """What an outpost gets.

    Attributes:
        leaf_and_issuers: DER, leaf first.
        roots: DER of the root CAs to believe.
    """

    leaf_and_issuers: tuple[bytes, ...]
    roots: tuple[bytes, ...]


class OutpostIssuer:
    """Issues the certificates of outposts."""

    def __init__(
        self, trust_domain: str, issuing: IssuingCA, roots: Sequence[x509.Certificate], chance: Chance
    ) -> None:
        self.trust_domain = trust_domain
        self._issuing = issuing
        self._roots = tuple(certificate_der(root) for root in roots)
        self._chance = chance

    def prepare(
        self, identity: OutpostIdentity, request: VerifiedRequest, now_s: int
    ) -> tuple[IssuanceToken, CertificateRecord]:
        """Lint a new certificate; the record must be durable before ``finish``. Raises LintError."""
        token = self._prepare(identity, request, self._serial(), now_s)
        intent = token.intent
        record = CertificateRecord(
            serial=f"{intent.serial:x}",
            outpost_id=identity.outpost,
            csr_sha256=request.request_sha256,
            spki_sha256=intent.spki_sha256,
            tbs_sha256=intent.tbs_sha256,
            issued_s=now_s,
            not_after_s=intent.not_after,
        )
        return token, record

    def prepare_again(
        self, identity: OutpostIdentity, request: VerifiedRequest, record: CertificateRecord
    ) -> IssuanceToken:
        """The same certificate from a recorded intent. Raises IssuanceMismatchError."""
        token = self._prepare(identity, request, int(record.serial, 16), record.issued_s)
        if token.intent.tbs_sha256 != record.tbs_sha256:
            raise IssuanceMismatchError(
                "the issuing CA changed since this certificate was recorded",
                next_step="register the outpost again: controlplane outpost register NAME --org ORG",
            )
        return token

    async def finish(self, space: OrgSpace, token: IssuanceToken) -> Chain:
        """Sign, store, and return what counts: of two finishers of one intent both get the leaf that was first."""
        leaf = sign(token, self._issuing.signer).der
        serial = f"{token.intent.serial:x}"
        async with space.write(f"certificate {serial}") as transaction:  # it waits for its own finishers only
            kept = await transaction.certificates.complete(serial, leaf)
        return self.chain(kept)

    def chain(self, leaf: bytes) -> Chain:
        """A stored leaf with its issuer."""
        return Chain((leaf, certificate_der(self._issuing.certificate)), self._roots)

    def _prepare(self, identity: OutpostIdentity, request: VerifiedRequest, serial: int, now_s: int) -> IssuanceToken:
        template = CertificateTemplate(
            kind=CertificateKind.OUTPOST,
            trust_domain=self.trust_domain,
            public_key=request.public_key,
            serial=serial,
            now=now_s,
            identity=identity,
        )
        return prepare(template, self._issuing.certificate)

    def _serial(self) -> int:
        return serial_from(self._chance.token_bytes(SERIAL_BYTES))


def serial_from(chance: bytes) -> int:
    """A serial number of 159 bits, the highest set, from 20 random bytes."""
    highest = 1 << (SERIAL_BITS - 1)
    return int.from_bytes(chance, "big") % highest | highest
