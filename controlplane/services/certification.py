"""Certificates of the control plane itself: CAs, servers, ingresses. Intent recorded, linted, signed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from certs import keys
from certs.csr import VerifiedRequest
from certs.issue import CertificateTemplate, prepare, sign
from certs.profiles import CertificateKind
from certs.signer import Signer
from certs.spiffe import IngressIdentity, ServerIdentity
from controlplane.ports.store import Store
from controlplane.ports.world import Chance, Clock
from controlplane.services.issuance import SERIAL_BYTES, IssuingCA, serial_from


@dataclass(frozen=True, slots=True)
class Certifier:
    """Issues what is not an outpost's.

    Attributes:
        trust_domain: of all identities.
    """

    store: Store
    clock: Clock
    chance: Chance
    trust_domain: str

    async def ca(
        self, kind: CertificateKind, public_key: keys.PublicKey, issuer: x509.Certificate | None, signer: Signer
    ) -> x509.Certificate:
        """A CA's certificate, or a cross-certificate; ``issuer`` is None for a root, which signs itself."""
        template = CertificateTemplate(
            kind=kind,
            trust_domain=self.trust_domain,
            public_key=keys.require_tls_key(public_key),
            serial=self._serial(),
            now=self._now_s(),
        )
        return await self._issue(template, issuer, signer)

    async def server(self, hosts: Sequence[str], public_key: keys.PublicKey, issuing: IssuingCA) -> x509.Certificate:
        """A server's certificate."""
        template = CertificateTemplate(
            kind=CertificateKind.SERVER,
            trust_domain=self.trust_domain,
            public_key=keys.require_tls_key(public_key),
            serial=self._serial(),
            now=self._now_s(),
            identity=ServerIdentity(self.trust_domain),
            hosts=tuple(hosts),
        )
        return await self._issue(template, issuing.certificate, issuing.signer)

    async def ingress(self, name: str, request: VerifiedRequest, issuing: IssuingCA) -> x509.Certificate:
        """An ingress's certificate, for what it is towards us: a client."""
        template = CertificateTemplate(
            kind=CertificateKind.INGRESS,
            trust_domain=self.trust_domain,
            public_key=request.public_key,
            serial=self._serial(),
            now=self._now_s(),
            identity=IngressIdentity(self.trust_domain, name),
        )
        return await self._issue(template, issuing.certificate, issuing.signer)

    async def _issue(
        self, template: CertificateTemplate, issuer: x509.Certificate | None, signer: Signer
    ) -> x509.Certificate:
        token = prepare(template, issuer)
        await self.store.record_issuance(token.intent)
        return (await asyncio.to_thread(sign, token, signer)).certificate

    def _now_s(self) -> int:
        return self.clock.now_ms() // 1000

    def _serial(self) -> int:
        return serial_from(self.chance.token_bytes(SERIAL_BYTES))
