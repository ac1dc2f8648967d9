"""Certificates of outposts: intent recorded, linted, signed, stored, answered, in that order.

The intent and what pays for it (a join token, a renewal) are one transaction. Should the process die before the leaf
is stored, the same request makes the same certificate again from the recorded serial and time, and gets it: also when
another CA signs by then, as long as the one that was meant is believed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cryptography import x509

from certs import keys
from certs.csr import VerifiedRequest
from certs.issue import CertificateTemplate, IssuanceToken, prepare, sign
from certs.profiles import SERIAL_BITS, CertificateKind
from certs.signer import KeySigner, Signer
from certs.spiffe import OutpostIdentity
from controlplane.domain.errors import StateError, ThrottledError
from controlplane.domain.records import CertificateRecord
from controlplane.ports.store import OrgSpace, OrgTransaction
from controlplane.ports.world import Chance

if TYPE_CHECKING:
    from controlplane.services.trust import Trust

SERIAL_BYTES = 20  # SERIAL_BITS, rounded up
DAY_S = 24 * 3600


class IssuanceMismatchError(StateError):
    """A recorded intent does not give the same certificate again: the issuing CA is believed no longer."""

    code = "issuance.mismatch"
    fatal = True


class CertificateQuotaError(ThrottledError):
    """An outpost was issued as many certificates as it may have in a day."""

    code = "certificate.quota"


@dataclass(frozen=True, slots=True)
class IssuingCA:
    """A CA that signs leaves.

    Attributes:
        certificate: its own.
        signer: its key.
    """

    certificate: x509.Certificate
    signer: Signer = field(repr=False)

    @property
    def key_id(self) -> str:
        """Of its key, 64 hex digits."""
        return keys.key_id(keys.require_tls_key(self.certificate.public_key()))


@dataclass(frozen=True, slots=True)
class Chain:
    """What an outpost gets.

    Attributes:
        leaf_and_issuers: DER, leaf first.
        roots: DER of the root CAs to believe.
        known_issuers: DER of the issuing CAs that an outpost need not send.
    """

    leaf_and_issuers: tuple[bytes, ...]
    roots: tuple[bytes, ...]
    known_issuers: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Issuance:
    """A certificate that is linted and may be signed once.

    Attributes:
        token: redeemed by signing.
        record: must be durable before that.
        issuing: signs it.
    """

    token: IssuanceToken
    record: CertificateRecord
    issuing: IssuingCA


class OutpostIssuer:
    """Issues the certificates of outposts.

    Args:
        trust: what is believed and who signs, at the moment of the call.
    """

    def __init__(self, trust_domain: str, trust: "Callable[[], Trust]", chance: Chance) -> None:
        self.trust_domain = trust_domain
        self._trust = trust
        self._chance = chance

    def prepare(self, identity: OutpostIdentity, request: VerifiedRequest, now_s: int) -> Issuance:
        """Lint a new certificate; its record must be durable before ``finish``. Raises LintError."""
        issuing = self._trust().signing
        token = self._prepare(identity, request, (self._serial(), now_s), issuing)
        intent = token.intent
        record = CertificateRecord(
            serial=f"{intent.serial:x}",
            outpost_id=identity.outpost,
            csr_sha256=request.request_sha256,
            spki_sha256=intent.spki_sha256,
            tbs_sha256=intent.tbs_sha256,
            issued_s=now_s,
            not_after_s=intent.not_after,
            issuer=issuing.key_id,
        )
        return Issuance(token, record, issuing)

    def prepare_again(self, identity: OutpostIdentity, request: VerifiedRequest, record: CertificateRecord) -> Issuance:
        """The same certificate from a recorded intent. Raises IssuanceMismatchError."""
        trust = self._trust()
        issuing = trust.signers.get(record.issuer, trust.signing)
        token = self._prepare(identity, request, (int(record.serial, 16), record.issued_s), issuing)
        if token.intent.tbs_sha256 != record.tbs_sha256:
            raise IssuanceMismatchError(
                "the issuing CA changed since this certificate was recorded",
                next_step="enroll the outpost anew: controlplane outpost reenroll NAME --org ORG",
            )
        return Issuance(token, record, issuing)

    async def finish(self, space: OrgSpace, issuance: Issuance) -> Chain:
        """Sign, store, and return what counts: of two finishers of one intent both get the leaf that was first."""
        leaf = await _signed(issuance)
        serial = issuance.record.serial
        async with space.write(f"certificate {serial}") as transaction:  # it waits for its own finishers only
            kept = await transaction.certificates.complete(serial, leaf)
        return self.chain(kept, issuance.record.issuer)

    def chain(self, leaf: bytes, issuer: str) -> Chain:
        """A stored leaf with its issuing CA, and whom to believe now."""
        trust = self._trust()
        by_key = {keys.key_id(keys.require_tls_key(each.public_key())): each for each in trust.issuers}
        own = by_key.get(issuer, trust.signing.certificate)
        return Chain(
            (leaf, keys.certificate_der(own)),
            tuple(keys.certificate_der(root) for root in trust.roots),
            tuple(keys.certificate_der(each) for each in trust.issuers),
        )

    def is_believed(self, record: CertificateRecord) -> bool:
        """Whether the CA that a certificate was recorded for is believed still."""
        return not record.issuer or record.issuer in self._trust().signers

    def _prepare(
        self, identity: OutpostIdentity, request: VerifiedRequest, stamp: tuple[int, int], issuing: IssuingCA
    ) -> IssuanceToken:
        template = CertificateTemplate(
            kind=CertificateKind.OUTPOST,
            trust_domain=self.trust_domain,
            public_key=request.public_key,
            serial=stamp[0],
            now=stamp[1],
            identity=identity,
        )
        return prepare(template, issuing.certificate)

    def _serial(self) -> int:
        return serial_from(self._chance.token_bytes(SERIAL_BYTES))


async def _signed(issuance: Issuance) -> bytes:
    """The signed leaf; a key that is not in memory may take its time, and keeps nobody waiting."""
    signer = issuance.issuing.signer
    if isinstance(signer, KeySigner):
        return sign(issuance.token, signer).der
    return (await asyncio.to_thread(sign, issuance.token, signer)).der


async def require_quota(transaction: OrgTransaction, outpost_id: str, now_s: int) -> None:
    """Whether an outpost may be issued one more certificate today. Raises CertificateQuotaError."""
    most = (await transaction.quotas.get()).certificates_per_day
    if await transaction.certificates.count_since(outpost_id, now_s - DAY_S) >= most:
        raise quota_error(most)


def quota_error(most: int) -> CertificateQuotaError:
    """The refusal of an outpost that asks too often."""
    return CertificateQuotaError(
        f"this outpost was issued {most} certificates within a day",
        next_step="find out why it asks so often; the quota is the org's",
    )


def stamped(issuance: Issuance, sequence: int, source: str) -> CertificateRecord:
    """The record of an issuance, with what it is for."""
    return replace(issuance.record, sequence=sequence, source=source)


def serial_from(chance: bytes) -> int:
    """A serial number of 159 bits, the highest set, from 20 random bytes."""
    highest = 1 << (SERIAL_BITS - 1)
    return int.from_bytes(chance, "big") % highest | highest
