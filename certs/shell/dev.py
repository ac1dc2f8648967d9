"""A throw-away hierarchy: root, two issuing CAs, a server, outposts and ingresses, for tests and the demo.

It goes the way of every issuance (prepare, lint, sign), so that tests meet the certificates that users meet.
Keys live in memory and end with it.
"""

from dataclasses import dataclass, field, replace

from cryptography import x509

from certs import keys
from certs.issue import CertificateTemplate, SignedCertificate, prepare, sign
from certs.profiles import CertificateKind
from certs.shell.signers import generate_tls_key, random_serial
from certs.shell.tls import TLSIdentity
from certs.signer import KeySigner, Signer
from certs.spiffe import Identity, IngressIdentity, OutpostIdentity, ServerIdentity
from certs.verify import TrustAnchors


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA's certificate with its signer."""

    certificate: x509.Certificate
    signer: Signer = field(repr=False)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf with its key and issuers."""

    issued: SignedCertificate
    chain: tuple[x509.Certificate, ...]
    key_pem: bytes = field(repr=False)

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """DER, leaf first."""
        return tuple(keys.certificate_der(certificate) for certificate in self.chain)

    @property
    def tls(self) -> TLSIdentity:
        """For TLS credentials."""
        return TLSIdentity(self.key_pem, keys.certificates_pem(self.chain))


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A whole hierarchy of one trust domain."""

    trust_domain: str
    root: Authority
    outposts: Authority
    servers: Authority

    @property
    def pin(self) -> str:
        """Key id of the root, as a join token carries it."""
        return keys.key_id(self.root.signer.public_key())

    @property
    def anchors(self) -> TrustAnchors:
        """What a peer of this hierarchy believes."""
        return TrustAnchors(self.trust_domain, (self.root.certificate,))

    @property
    def roots_pem(self) -> bytes:
        """The root in PEM."""
        return keys.certificates_pem([self.root.certificate])

    def outpost(self, org: str, outpost: str, now: int, lifetime_seconds: int | None = None) -> Leaf:
        """Issue an outpost's leaf, with its issuing CA in the chain."""
        identity = OutpostIdentity(self.trust_domain, org, outpost)
        return self._leaf(CertificateKind.OUTPOST, identity, now, (), lifetime_seconds)

    def ingress(self, name: str, now: int, lifetime_seconds: int | None = None) -> Leaf:
        """Issue an ingress's leaf, with its issuing CA in the chain."""
        identity = IngressIdentity(self.trust_domain, name)
        return self._leaf(CertificateKind.INGRESS, identity, now, (), lifetime_seconds)

    def server(
        self, now: int, hosts: tuple[str, ...] = ("localhost", "127.0.0.1"), lifetime_seconds: int | None = None
    ) -> Leaf:
        """Issue a server's leaf, with issuing CA and root in the chain, as the enrollment listener sends it."""
        identity = ServerIdentity(self.trust_domain)
        return self._leaf(CertificateKind.SERVER, identity, now, hosts, lifetime_seconds)

    def cross(self, old: "Hierarchy", now: int, lifetime_seconds: int | None = None) -> x509.Certificate:
        """Let the root of an older hierarchy certify this one's."""
        public_key = keys.require_tls_key(self.root.signer.public_key())
        kind = CertificateKind.ROOT_CROSS
        template = CertificateTemplate(kind, self.trust_domain, public_key, random_serial(), now)
        template = replace(template, lifetime_seconds=lifetime_seconds)
        return sign(prepare(template, old.root.certificate), old.root.signer).certificate

    def _leaf(
        self, kind: CertificateKind, identity: Identity, now: int, hosts: tuple[str, ...], lifetime_seconds: int | None
    ) -> Leaf:
        key = generate_tls_key()
        template = CertificateTemplate(
            kind=kind,
            trust_domain=self.trust_domain,
            public_key=key.public_key(),
            serial=random_serial(),
            now=now,
            identity=identity,
            hosts=hosts,
            lifetime_seconds=lifetime_seconds,
        )
        is_server = kind is CertificateKind.SERVER
        issuer = self.servers if is_server else self.outposts
        issued = sign(prepare(template, issuer.certificate), issuer.signer)
        tail = (issuer.certificate, self.root.certificate) if is_server else (issuer.certificate,)
        return Leaf(issued, (issued.certificate, *tail), keys.private_key_pem(key))


def create_hierarchy(now: int, trust_domain: str = "outpost.internal") -> Hierarchy:
    """Make a hierarchy with fresh keys.

    Args:
        now: Unix seconds; everything is valid from an hour before.
        trust_domain: of all its identities.

    Raises:
        TrustError: a name or time that certificates cannot hold.
    """
    root = _authority(CertificateKind.ROOT_CA, trust_domain, now, None)
    return Hierarchy(
        trust_domain=trust_domain,
        root=root,
        outposts=_authority(CertificateKind.OUTPOST_CA, trust_domain, now, root),
        servers=_authority(CertificateKind.SERVER_CA, trust_domain, now, root),
    )


def _authority(kind: CertificateKind, trust_domain: str, now: int, issuer: Authority | None) -> Authority:
    key = generate_tls_key()
    signer = KeySigner(key)
    template = CertificateTemplate(kind, trust_domain, key.public_key(), random_serial(), now)
    token = prepare(template, None if issuer is None else issuer.certificate)
    return Authority(sign(token, signer if issuer is None else issuer.signer).certificate, signer)
