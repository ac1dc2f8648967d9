"""Start of a control plane: root CA, two issuing CAs, server certificate, witness key.

The root key signs the two issuing CAs and is not needed again for years: it may be written to a file of its own, to
be kept offline, and then never lies in the state directory. Every certificate goes intent -> lint -> sign -> store.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509

from certs import keys
from certs.issue import CertificateTemplate, prepare, sign
from certs.profiles import CertificateKind
from certs.shell.signers import generate_signing_key, generate_tls_key
from certs.shell.tls import TLSIdentity
from certs.signer import KeySigner, Signer
from certs.spiffe import ServerIdentity
from controlplane.ports import Chance, Clock, Store, Vault
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

    def __init__(self, vault: Vault, store: Store, clock: Clock, chance: Chance) -> None:
        self._vault = vault
        self._store = store
        self._clock = clock
        self._chance = chance

    async def create(self, trust_domain: str, hosts: Sequence[str], *, root_stays: bool) -> Foundation:
        """Make everything, once.

        Args:
            trust_domain: of all identities.
            hosts: names and addresses of the server certificate.
            root_stays: keep the root key sealed in the state directory; otherwise it is only returned.

        Raises:
            PrivateFileExistsError: it was made before.
            TrustError: a name that certificates cannot hold.
        """
        self._vault.create_kek()
        root_key = generate_tls_key()
        root_signer = KeySigner(root_key)
        root = await self._ca(CertificateKind.ROOT_CA, trust_domain, root_key, (None, root_signer))
        if root_stays:
            self._vault.keep(ROOT, root_key)
        self._vault.keep_certificates(ROOT, (root,))
        for name, kind in ((OUTPOSTS, CertificateKind.OUTPOST_CA), (SERVERS, CertificateKind.SERVER_CA)):
            key = generate_tls_key()
            certificate = await self._ca(kind, trust_domain, key, (root, root_signer))
            self._vault.keep(name, key)
            self._vault.keep_certificates(name, (certificate, root))
        self._vault.keep(WITNESS, generate_signing_key())
        await self.issue_server(trust_domain, hosts)
        return Foundation(keys.key_id(root_key.public_key()), b"" if root_stays else keys.private_key_pem(root_key))

    async def issue_server(self, trust_domain: str, hosts: Sequence[str]) -> None:
        """Issue a new server certificate with a new key."""
        issuer, root = self._vault.certificates(SERVERS)[:2]
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
        certificate = await self._issue(template, issuer, self._vault.signer(SERVERS))
        self._vault.keep_plain_key(SERVER, key)
        self._vault.keep_certificates(SERVER, (certificate, issuer, root))

    async def server_identity(self, trust_domain: str, hosts: Sequence[str]) -> TLSIdentity:
        """Key and chain (leaf, issuing CA, root) of the server; issued anew when half of its life is over."""
        leaf = self._vault.certificates(SERVER)[0]
        if self._is_due(leaf) or hosts_of(leaf) != set(hosts):
            await self.issue_server(trust_domain, hosts)
        chain = self._vault.certificates(SERVER)
        return TLSIdentity(self._vault.plain_key(SERVER), keys.certificates_pem(chain))

    def roots(self) -> tuple[x509.Certificate, ...]:
        """Root CAs that outposts are told to believe."""
        return self._vault.certificates(ROOT)

    def pin(self) -> str:
        """Key id of the root CA, as join tokens carry it."""
        return keys.key_id(keys.require_tls_key(self.roots()[0].public_key()))

    def outpost_ca(self) -> IssuingCA:
        """The CA that signs outposts."""
        return IssuingCA(self._vault.certificates(OUTPOSTS)[0], self._vault.signer(OUTPOSTS))

    def witness(self) -> Signer:
        """The Ed25519 key that cosigns checkpoints."""
        return self._vault.signer(WITNESS)

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


def hosts_of(leaf: x509.Certificate) -> set[str]:
    """DNS names and addresses of a server certificate."""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}
