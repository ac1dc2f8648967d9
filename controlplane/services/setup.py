"""Start of a control plane: root CA, two issuing CAs, server certificate, witness key.

The root key signs the two issuing CAs and is not needed again for years: it may be written to a file of its own, to
be kept offline, and then never lies in the vault. Every certificate goes intent -> lint -> sign -> store. Several
processes may serve one control plane: those with the same host names share one server certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography import x509

from certs import keys
from certs.issue import CertificateTemplate, prepare, sign
from certs.profiles import CertificateKind
from certs.shell.signers import generate_signing_key, generate_tls_key
from certs.shell.tls import TLSIdentity
from certs.signer import KeySigner, Signer
from certs.spiffe import ServerIdentity
from controlplane.domain.vault import VaultEntry
from controlplane.ports.store import Store
from controlplane.ports.world import Chance, Clock
from controlplane.services.issuance import SERIAL_BYTES, IssuingCA, serial_from

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
    """Makes and keeps the control plane's own keys and certificates."""

    def __init__(self, store: Store, clock: Clock, chance: Chance) -> None:
        self._store = store
        self._vault = store.vault
        self._clock = clock
        self._chance = chance

    async def create(self, trust_domain: str, hosts: Sequence[str], *, root_stays: bool) -> Foundation:
        """Make everything, once: all of it is stored in one transaction.

        Args:
            trust_domain: of all identities.
            hosts: names and addresses of the server certificate.
            root_stays: keep the root key sealed in the vault; otherwise it is only returned.

        Raises:
            VaultLaidError: it was made before.
            TrustError: a name that certificates cannot hold.
        """
        root_key = generate_tls_key()
        root_signer = KeySigner(root_key)
        root = await self._ca(CertificateKind.ROOT_CA, trust_domain, root_key, (None, root_signer))
        entries = [VaultEntry(ROOT, root_key if root_stays else None, (root,))]
        for name, kind in ((OUTPOSTS, CertificateKind.OUTPOST_CA), (SERVERS, CertificateKind.SERVER_CA)):
            key = generate_tls_key()
            certificate = await self._ca(kind, trust_domain, key, (root, root_signer))
            entries.append(VaultEntry(name, key, (certificate, root)))
            if kind is CertificateKind.SERVER_CA:
                issuing = IssuingCA(certificate, KeySigner(key))
                entries.append(await self._server(trust_domain, hosts, issuing, root))
        entries.append(VaultEntry(WITNESS, generate_signing_key()))
        await self._vault.lay(entries)
        return Foundation(keys.key_id(root_key.public_key()), b"" if root_stays else keys.private_key_pem(root_key))

    async def issue_server(self, trust_domain: str, hosts: Sequence[str]) -> None:
        """Issue a new server certificate with a new key, unless another process does so at the same time."""
        before = await self._vault.find_certificates(server_name(hosts))
        issuer, root = (await self._vault.certificates(SERVERS))[:2]
        issuing = IssuingCA(issuer, await self._vault.signer(SERVERS))
        await self._vault.replace(await self._server(trust_domain, hosts, issuing, root), before)

    async def server_identity(self, trust_domain: str, hosts: Sequence[str]) -> TLSIdentity:
        """Key and chain (leaf, issuing CA, root) of the server; issued anew when half of its life is over."""
        name = server_name(hosts)
        chain = await self._vault.find_certificates(name)
        if not chain or self._is_due(chain[0]):
            await self.issue_server(trust_domain, hosts)
        key_pem, chain = await self._vault.key_and_certificates(name)
        return TLSIdentity(key_pem, keys.certificates_pem(chain))

    async def roots(self) -> tuple[x509.Certificate, ...]:
        """Root CAs that outposts are told to believe."""
        return await self._vault.certificates(ROOT)

    async def pin(self) -> str:
        """Key id of the root CA, as join tokens carry it."""
        return keys.key_id(keys.require_tls_key((await self.roots())[0].public_key()))

    async def outpost_ca(self) -> IssuingCA:
        """The CA that signs outposts."""
        return IssuingCA((await self._vault.certificates(OUTPOSTS))[0], await self._vault.signer(OUTPOSTS))

    async def witness(self) -> Signer:
        """The Ed25519 key that cosigns checkpoints."""
        return await self._vault.signer(WITNESS)

    async def _server(
        self, trust_domain: str, hosts: Sequence[str], issuing: IssuingCA, root: x509.Certificate
    ) -> VaultEntry:
        """A new server certificate with a new key, not stored yet."""
        key = generate_tls_key()
        template = CertificateTemplate(
            kind=CertificateKind.SERVER,
            trust_domain=trust_domain,
            public_key=key.public_key(),
            serial=self._serial(),
            now=self._clock.now_ms() // 1000,
            identity=ServerIdentity(trust_domain),
            hosts=tuple(hosts),
        )
        leaf = await self._issue(template, issuing.certificate, issuing.signer)
        return VaultEntry(server_name(hosts), key, (leaf, issuing.certificate, root))

    def _is_due(self, leaf: x509.Certificate) -> bool:
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        left_s = leaf.not_valid_after_utc.timestamp() - self._clock.now_ms() / 1000
        return left_s < life.total_seconds() / RENEW_SHARE

    async def _ca(
        self,
        kind: CertificateKind,
        trust_domain: str,
        key: keys.PrivateKey,
        issuer: tuple[x509.Certificate | None, Signer],
    ) -> x509.Certificate:
        public_key = keys.require_tls_key(key.public_key())
        now_s = self._clock.now_ms() // 1000
        return await self._issue(CertificateTemplate(kind, trust_domain, public_key, self._serial(), now_s), *issuer)

    async def _issue(
        self, template: CertificateTemplate, issuer: x509.Certificate | None, signer: Signer
    ) -> x509.Certificate:
        token = prepare(template, issuer)
        await self._store.record_issuance(token.intent)
        return sign(token, signer).certificate

    def _serial(self) -> int:
        return serial_from(self._chance.token_bytes(SERIAL_BYTES))


def server_name(hosts: Sequence[str]) -> str:
    """Where the server certificate of these names is kept: replicas with the same names share it."""
    return f"{SERVER}/{sha256(' '.join(sorted(set(hosts))).encode()).hexdigest()[:16]}"
