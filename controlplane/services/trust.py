"""Who is believed now, and who signs: read from the store, compared with it again and again, one value for everybody.

A server asks every half second whether generations of CAs changed, whatever process changed them: its listeners, its
judgement of chains and its answers all use the value in force, and nothing is restarted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509

from certs import keys
from certs.adoption import trust_bundle_digest
from certs.verify import TrustAnchors
from controlplane.domain import authorities
from controlplane.domain.authorities import Authority, AuthorityKind, AuthorityState
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.issuance import IssuingCA

MAX_CROSSES = 2  # certs.adoption: a chain holds those of the last two rotations


@dataclass(frozen=True, slots=True)
class Trust:
    """What holds at one moment.

    Attributes:
        authorities: every generation.
        roots: that are believed, newest first.
        issuers: issuing CAs for outposts that are believed, newest first.
        signing: signs outposts.
        signers: issuing CAs for outposts that are believed, by key id: to finish what was recorded before a change.
        server_issuer: signs servers.
        server_tail: what follows leaf and issuing CA in a server's chain: root, then cross-certificates, newest first.
        tainted: names of issuing CAs for outposts that are on their way out.
        anchors: whom to believe when an outpost or an ingress shows its chain: the roots, and below them only the
            issuing CAs that are believed now, whatever the peer sends along.
        bundle_sha256: digest of the roots.
    """

    trust_domain: str
    authorities: tuple[Authority, ...]
    roots: tuple[x509.Certificate, ...]
    issuers: tuple[x509.Certificate, ...]
    signing: IssuingCA
    signers: Mapping[str, IssuingCA] = field(repr=False)
    server_issuer: IssuingCA = field(repr=False)
    server_tail: tuple[x509.Certificate, ...]
    tainted: frozenset[str]
    anchors: TrustAnchors
    bundle_sha256: bytes

    @property
    def issuer_names(self) -> frozenset[str]:
        """Names of the issuing CAs for outposts that are believed."""
        return frozenset(each.subject.rfc4514_string() for each in self.issuers)

    @property
    def pin(self) -> str:
        """Key id of the root above the servers, as join tokens carry it."""
        return key_id(self.server_tail[0])


class TrustBoard:
    """The value in force.

    Args:
        trust_domain: of all identities.
    """

    def __init__(self, store: Store, clock: Clock, trust_domain: str) -> None:
        self._store = store
        self._clock = clock
        self._trust_domain = trust_domain
        self._current: Trust | None = None

    @property
    def current(self) -> Trust:
        """What was read last."""
        if self._current is None:
            raise RuntimeError("trust is read before it is used")
        return self._current

    async def refresh(self) -> bool:
        """Read again; returns whether anything changed.

        Raises:
            StateError: the store cannot be asked.
            AuthorityUnknownError: no CA of a kind is active.
            KeyStoreError: a signing key cannot be opened.
        """
        found = await self._store.authorities.all() or await self._founded()
        if self._current is not None and _states(found) == _states(self._current.authorities):
            return False
        self._current = await self._read(found)
        return True

    async def _founded(self) -> tuple[Authority, ...]:
        """The first generation: what ``init`` laid into the vault, also where an older version did."""
        now_ms, first = self._clock.now_ms(), []
        for kind in AuthorityKind:
            name = entry_name(kind, 1)
            certificate = (await self._store.vault.certificates(name))[0]
            der = keys.certificate_der(certificate)
            first.append(Authority(kind, 1, AuthorityState.ACTIVE, 1, name, der, b"", now_ms, now_ms))
        await self._store.authorities.add(first, (), 0)  # another process may be faster: it adds the same
        return await self._store.authorities.all()

    async def _read(self, found: tuple[Authority, ...]) -> Trust:
        kind = AuthorityKind
        issuing = authorities.trusted(found, kind.OUTPOSTS)
        signers = {}
        for each in issuing:
            if each.state is not AuthorityState.PREPARED:
                signers[key_id(certificate_of(each))] = await self._issuing(each)
        server = authorities.signing(found, kind.SERVERS)
        roots = tuple(certificate_of(each) for each in authorities.trusted(found, kind.ROOT))
        issuers = tuple(certificate_of(each) for each in issuing)
        tainted = (certificate_of(each) for each in issuing if each.state is AuthorityState.TAINTED)
        return Trust(
            trust_domain=self._trust_domain,
            authorities=found,
            roots=roots,
            issuers=issuers,
            signing=signers[key_id(certificate_of(authorities.signing(found, kind.OUTPOSTS)))],
            signers=signers,
            server_issuer=await self._issuing(server),
            server_tail=_tail(found, server.root),
            tainted=frozenset(each.subject.rfc4514_string() for each in tainted),
            anchors=TrustAnchors(self._trust_domain, roots, issuers, frozenset(map(key_id, issuers))),
            bundle_sha256=trust_bundle_digest(roots),
        )

    async def _issuing(self, authority: Authority) -> IssuingCA:
        return IssuingCA(certificate_of(authority), await self._store.vault.signer(authority.name))


def entry_name(kind: AuthorityKind, generation: int) -> str:
    """Where the key of a generation is kept in the vault; the first has the name that ``init`` gave it."""
    first = {
        AuthorityKind.ROOT: "ca/root",
        AuthorityKind.OUTPOSTS: "ca/issuing-outposts",
        AuthorityKind.SERVERS: "ca/issuing-servers",
    }[kind]
    return first if generation == 1 else f"{first}/{generation}"


def certificate_of(authority: Authority) -> x509.Certificate:
    """The certificate of a generation."""
    return keys.certificate_from_der(authority.certificate, field=authority.label)


def key_id(certificate: x509.Certificate) -> str:
    """Key id of a CA."""
    return keys.key_id(keys.require_tls_key(certificate.public_key()))


def _tail(found: Sequence[Authority], generation: int) -> tuple[x509.Certificate, ...]:
    """A root, and the cross-certificates that lead to it from the roots before."""
    roots = {each.generation: each for each in found if each.kind is AuthorityKind.ROOT}
    older = (roots.get(number) for number in range(generation, max(0, generation - MAX_CROSSES), -1))
    crosses = [each.cross_certificate for each in older if each is not None and each.cross_certificate]
    chain = (keys.certificate_from_der(der, field="cross") for der in crosses)
    return (certificate_of(roots[generation]), *chain)


def _states(found: Sequence[Authority]) -> tuple[tuple[str, int, str], ...]:
    return tuple((each.kind.value, each.generation, each.state.value) for each in found)
