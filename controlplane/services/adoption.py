"""Takes up certificates that a restored control plane issued after its backup and has no record of; the rules are in
``domain.restorations``.
"""

from collections.abc import Callable
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certs import keys
from certs.errors import TrustError
from certs.verify import VerifiedOutpost, verify_outpost_chain
from controlplane import telemetry
from controlplane.domain import restorations
from controlplane.domain.errors import NotFoundError
from controlplane.domain.records import CertificateRecord
from controlplane.domain.restorations import Claim
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal, principal_of
from controlplane.services.trust import Trust, key_id
from controlplane.services.views import Views


class Adoption:
    """The use case.

    Args:
        trust: who is believed, at the moment of the call.
    """

    def __init__(self, store: Store, views: Views, trust: Callable[[], Trust], clock: Clock) -> None:
        self._store = store
        self._views = views
        self._trust = trust
        self._clock = clock

    async def may_claim(self, principal: Principal) -> bool:
        """Whether a certificate that is refused may be one that was issued after the backup."""
        async with self._store.for_org(principal.org).read() as transaction:
            try:
                outpost = await transaction.outposts.get(principal.outpost_id)
            except NotFoundError:
                return False
            if await transaction.certificates.get(principal.serial) is not None:
                return False
            restored = await transaction.restored.get()
        return restorations.may_claim(outpost, principal.not_before_ms, restored, self._clock.now_ms())

    async def adopt(self, principal: Principal, leaf_der: bytes, sequence: int, source: str) -> bool:
        """Let a certificate count from now on.

        Args:
            principal: whom its chain proves; the caller proved that it has the key.
            leaf_der: the certificate itself.
            sequence: join sequence that its holder is at.
            source: address that he calls from.

        Returns:
            False when it does not count.
        """
        now_ms = self._clock.now_ms()
        claim = Claim(principal.serial, principal.not_before_ms, sequence, source)
        async with self._store.for_org(principal.org).write() as transaction:
            outpost = await transaction.outposts.get(principal.outpost_id)
            if await transaction.certificates.get(claim.serial) is not None:
                return False
            after = restorations.adopted(outpost, claim, await transaction.restored.get(), now_ms)
            if after is None:
                return False
            await transaction.certificates.intend(self.record(principal, leaf_der, sequence, source))
            await transaction.outposts.save(after)
        await self._views.refresh(principal.org)
        told = {"org": principal.org, "outpost": principal.outpost_id, "serial": claim.serial, "source": source}
        telemetry.log(telemetry.Event.ADOPTED, level=30, **told)  # type: ignore[arg-type]
        return True

    def proved(self, leaf_der: bytes) -> Principal | None:
        """Whom a certificate names that may have expired: judged at a moment of its own life. None when nobody."""
        try:
            leaf = keys.certificate_from_der(leaf_der, field="leaf_der")
            starts = int(leaf.not_valid_before_utc.timestamp())
            return principal_of(self._verified(leaf_der, starts))
        except TrustError:
            return None

    def _verified(self, leaf_der: bytes, at: int) -> VerifiedOutpost:
        return verify_outpost_chain((leaf_der,), self._trust().anchors, at)

    def record(self, principal: Principal, leaf_der: bytes, sequence: int, source: str) -> CertificateRecord:
        """What would be on record of a certificate, as far as it tells; see ``adopt``."""
        leaf = x509.load_der_x509_certificate(leaf_der)
        return CertificateRecord(
            serial=principal.serial,
            outpost_id=principal.outpost_id,
            csr_sha256="",
            spki_sha256=keys.key_id(keys.require_tls_key(leaf.public_key())),
            tbs_sha256=sha256(leaf.tbs_certificate_bytes).hexdigest(),
            issued_s=(principal.not_before_ms + restorations.BACKDATE_MS) // 1000,
            not_after_s=principal.not_after_ms // 1000,
            leaf_der=leaf_der,
            sequence=sequence,
            source=source,
            issuer=self._issuer(leaf),
        )

    def _issuer(self, leaf: x509.Certificate) -> str:
        for issuer in self._trust().issuers:
            try:
                leaf.verify_directly_issued_by(issuer)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return key_id(issuer)
        return ""
