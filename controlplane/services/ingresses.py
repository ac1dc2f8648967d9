"""Certificates of ingresses: who may pass on what TLS proved to it, and who may stand where outposts call.

An ingress has two faces. Towards us it is a client with a certificate of its own kind; only that makes its word on
outposts count. Towards outposts it is a server of this control plane, with a server certificate for its host names.
Both keys are born where the ingress runs; only requests come here.
"""

from collections.abc import Sequence

from cryptography import x509

from certs import keys
from certs.csr import read_request
from certs.spiffe import IngressIdentity
from controlplane.domain.errors import NotFoundError
from controlplane.domain.ingress import IngressCertificate
from controlplane.ports.store import Store
from controlplane.services.certification import Certifier
from controlplane.services.trust import TrustBoard


class IngressUnknownError(NotFoundError):
    """No ingress has such a name."""

    code = "ingress.unknown"


class IngressDesk:
    """The use case."""

    def __init__(self, store: Store, board: TrustBoard, certifier: Certifier) -> None:
        self._store = store
        self._board = board
        self._certifier = certifier

    async def issue(self, name: str, csr_der: bytes) -> tuple[IngressCertificate, bytes]:
        """A certificate for what an ingress is towards us.

        Returns:
            The record, and the chain as PEM: leaf and issuing CA.

        Raises:
            CertificateRequestError: the request.
            IdentityError: a name that is none.
        """
        request = read_request(csr_der)
        await self._board.refresh()
        issuing = self._board.current.signing
        IngressIdentity(self._certifier.trust_domain, name)
        leaf = await self._certifier.ingress(name, request, issuing)
        record = IngressCertificate(
            serial=f"{leaf.serial_number:x}",
            name=name,
            issuer=issuing.key_id,
            issued_ms=self._certifier.clock.now_ms(),
            not_after_ms=_end_ms(leaf),
        )
        await self._store.ingresses.add(record)
        return record, keys.certificates_pem((leaf, issuing.certificate))

    async def issue_server(self, hosts: Sequence[str], csr_der: bytes) -> tuple[int, bytes]:
        """A server certificate for the host names at which outposts call an ingress.

        Returns:
            Its end in Unix milliseconds, and the chain as PEM: leaf, issuing CA, root, cross-certificates.

        Raises:
            CertificateRequestError: the request.
            TrustError: a name that certificates cannot hold.
        """
        request = read_request(csr_der)
        await self._board.refresh()
        trust = self._board.current
        leaf = await self._certifier.server(hosts, request.public_key, trust.server_issuer)
        chain = (leaf, trust.server_issuer.certificate, *trust.server_tail)
        return _end_ms(leaf), keys.certificates_pem(chain)

    async def all(self) -> tuple[IngressCertificate, ...]:
        """Every certificate, newest first."""
        return await self._store.ingresses.all()

    async def revoke(self, name: str) -> int:
        """Refuse every certificate of an ingress from now on; returns how many.

        Raises:
            IngressUnknownError: there are none that are not refused already.
        """
        count = await self._store.ingresses.revoke(name, self._certifier.clock.now_ms())
        if not count:
            raise IngressUnknownError(
                f"no ingress named {name} has a certificate that counts",
                field="name",
                next_step="list them: controlplane ingress list",
            )
        return count

    async def revoked_serials(self) -> frozenset[int]:
        """Serials of ingresses that are refused."""
        return frozenset(int(each.serial, 16) for each in await self._store.ingresses.all() if each.revoked_ms)


def _end_ms(leaf: x509.Certificate) -> int:
    return int(leaf.not_valid_after_utc.timestamp()) * 1000
