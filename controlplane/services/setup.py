"""Start of a control plane: root CA, two issuing CAs, server certificate, witness key.

The root key signs the two issuing CAs and is not needed again until they or the root are replaced: it may be written to
a file of its own, to be kept offline, and then never lies in the vault. Every certificate goes intent -> lint -> sign
-> store. Several processes may serve one control plane: those with the same host names share one server certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography import x509

from certs import keys
from certs.profiles import CertificateKind
from certs.shell.signers import generate_signing_key, generate_tls_key
from certs.shell.tls import TLSIdentity
from certs.signer import KeySigner, Signer
from controlplane.domain.vault import VaultEntry
from controlplane.ports.authorities import KeyMaker
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.certification import Certifier
from controlplane.services.issuance import IssuingCA
from controlplane.services.trust import Trust

ROOT = "ca/root"
OUTPOSTS = "ca/issuing-outposts"
SERVERS = "ca/issuing-servers"
SERVER = "server"
WITNESS = "witness"
RENEW_SHARE = 2  # the server's certificate is issued again when less than half of its life is left


@dataclass(frozen=True, slots=True)
class Foundation:
    """What was made.

    Attributes:
        pin: key id of the root CA.
        root_key_pem: the root's private key, when the caller wants to keep it elsewhere; else empty.
    """

    pin: str
    root_key_pem: bytes = field(repr=False)


class Setup:
    """Makes and keeps the control plane's own keys and certificates.

    Args:
        maker: makes the keys of CAs where they shall live.
    """

    def __init__(self, store: Store, clock: Clock, certifier: Certifier, maker: KeyMaker) -> None:
        self._vault = store.vault
        self._clock = clock
        self._certifier = certifier
        self._maker = maker

    async def create(self, hosts: Sequence[str], *, root_stays: bool) -> Foundation:
        """Make everything, once: all of it is stored in one transaction.

        Args:
            hosts: names and addresses of the server certificate.
            root_stays: keep the root key where those of the other CAs are; otherwise it is only returned.

        Raises:
            VaultLaidError: it was made before.
            TrustError: a name that certificates cannot hold.
            KeyStoreError: keys cannot be made where they shall live.
        """
        loose = generate_tls_key()
        kept, signer = self._maker.make(ROOT) if root_stays else (None, KeySigner(loose))
        root = await self._certifier.ca(CertificateKind.ROOT_CA, signer.public_key(), None, signer)
        entries = [VaultEntry(ROOT, kept, (root,))]
        for name, kind in ((OUTPOSTS, CertificateKind.OUTPOST_CA), (SERVERS, CertificateKind.SERVER_CA)):
            place, issuing = self._maker.make(name)
            certificate = await self._certifier.ca(kind, issuing.public_key(), root, signer)
            entries.append(VaultEntry(name, place, (certificate, root)))
            if kind is CertificateKind.SERVER_CA:
                entries.append(await self._server(hosts, IssuingCA(certificate, issuing), (root,)))
        entries.append(VaultEntry(WITNESS, generate_signing_key()))
        await self._vault.lay(entries)
        root_key_pem = b"" if root_stays else keys.private_key_pem(loose)
        return Foundation(keys.key_id(keys.require_tls_key(signer.public_key())), root_key_pem)

    async def server_identity(self, hosts: Sequence[str], trust: Trust) -> TLSIdentity:
        """Key and chain (leaf, issuing CA, root, cross-certificates) of the server.

        Issued anew when half of its life is over, or when another CA signs servers by now; unless another process does
        so at the same time.
        """
        name = server_name(hosts)
        chain = await self._vault.find_certificates(name)
        if not chain or self._is_due(chain[0]) or chain[1] != trust.server_issuer.certificate:
            entry = await self._server(hosts, trust.server_issuer, trust.server_tail)
            await self._vault.replace(entry, chain)
        key_pem, chain = await self._vault.key_and_certificates(name)
        return TLSIdentity(key_pem, keys.certificates_pem((*chain[:2], *trust.server_tail)))

    async def witness(self) -> Signer:
        """The Ed25519 key that cosigns checkpoints."""
        return await self._vault.signer(WITNESS)

    async def _server(self, hosts: Sequence[str], issuing: IssuingCA, tail: Sequence[x509.Certificate]) -> VaultEntry:
        """A new server certificate with a new key, not stored yet."""
        key = generate_tls_key()
        leaf = await self._certifier.server(hosts, key.public_key(), issuing)
        return VaultEntry(server_name(hosts), key, (leaf, issuing.certificate, tail[0]))

    def _is_due(self, leaf: x509.Certificate) -> bool:
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        left_s = leaf.not_valid_after_utc.timestamp() - self._clock.now_ms() / 1000
        return left_s < life.total_seconds() / RENEW_SHARE


def server_name(hosts: Sequence[str]) -> str:
    """Where the server certificate of these names is kept: replicas with the same names share it."""
    return f"{SERVER}/{sha256(' '.join(sorted(set(hosts))).encode()).hexdigest()[:16]}"
