"""Replacing CAs: prepare, activate, taint, retire; who has taken up what; revocation lists.

Each step is one transaction on the registry, so a server that dies in the middle of anything finds a whole generation
or none. Running servers of every replica take a step up within a second (``services.trust``).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from certs import crl, keys
from certs.profiles import CertificateKind
from certs.signer import KeySigner, Signer
from controlplane.domain import authorities, outposts
from controlplane.domain.authorities import (
    ABSENT_MS,
    Authority,
    AuthorityBusyError,
    AuthorityKind,
    AuthorityOrderError,
    AuthorityState,
)
from controlplane.domain.errors import ConfigurationError, ConflictError
from controlplane.domain.ingress import in_use
from controlplane.domain.outposts import OutpostState
from controlplane.domain.vault import KeyLabel, VaultEntry
from controlplane.ports.authorities import KeyMaker
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.certification import Certifier
from controlplane.services.trust import TrustBoard, certificate_of, entry_name, key_id

MOST_NAMED = 5  # ingresses that an error names
_KINDS = {AuthorityKind.OUTPOSTS: CertificateKind.OUTPOST_CA, AuthorityKind.SERVERS: CertificateKind.SERVER_CA}


class RootKeyAwayError(ConflictError):
    """A step needs the key of a root that is kept elsewhere."""

    code = "authority.root_key"


@dataclass(frozen=True, slots=True)
class Uptake:
    """How far outposts are with what holds now.

    Attributes:
        active: outposts that were seen within the longest life of a leaf.
        current: of those, how many believe exactly the roots that are believed now.
        away: active ones that were not seen for longer: they adopt and recover by themselves when they come back.
        leaves: certificates in use by key id of the CA that signed them.
        ingresses: names of ingresses, and key id of the CA that signed the newest certificate of each.
    """

    active: int
    current: int
    away: int
    leaves: dict[str, int]
    ingresses: dict[str, str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was prepared.

    Attributes:
        root_key_pem: private key of a new root that is to be kept elsewhere; else empty.
    """

    added: tuple[Authority, ...]
    root_key_pem: bytes = b""


class Authorities:
    """The use case."""

    def __init__(self, store: Store, board: TrustBoard, certifier: Certifier, maker: KeyMaker) -> None:
        self._store = store
        self._board = board
        self._certifier = certifier
        self._maker = maker

    @property
    def _clock(self) -> Clock:
        return self._certifier.clock

    async def all(self) -> tuple[Authority, ...]:
        """Every generation."""
        await self._board.refresh()
        return self._board.current.authorities

    async def prepare(self, kind: AuthorityKind, root_key: Signer | None, *, root_stays: bool = True) -> Prepared:
        """Make the next generation of a kind; with a root both issuing CAs below it, and its cross-certificate.

        Args:
            kind: what it signs.
            root_key: of the root in use, when it is kept elsewhere.
            root_stays: keep the key of a new root where those of the other CAs are.

        Raises:
            AuthorityOrderError: one is prepared already, or another process was faster.
            RootKeyAwayError: the root's key is not at hand.
        """
        known = await self.all()
        root = authorities.signing(known, AuthorityKind.ROOT)
        signer = await self._root_signer(root, root_key)
        if kind is AuthorityKind.ROOT:
            added, entries, root_key_pem = await self._root(known, root, signer, root_stays=root_stays)
        else:
            one, entry = await self._issuing(known, kind, root, signer)
            added, entries, root_key_pem = (one,), (entry,), b""
        if not await self._store.authorities.add(added, entries, len(known)):
            raise _overtaken()
        await self._board.refresh()
        return Prepared(added, root_key_pem)

    async def activate(self, kind: AuthorityKind, *, force: bool = False) -> tuple[Authority, ...]:
        """Let the prepared generation sign.

        Raises:
            AuthorityOrderError: nothing is prepared.
            AuthorityBusyError: a root that outposts in contact do not know yet, unless forced.
        """
        known = await self.all()
        after = authorities.activated(known, kind, self._clock.now_ms())
        if kind is AuthorityKind.ROOT and not force:
            await self._require_uptake()
        return await self._changed(known, after)

    async def taint(self, kind: AuthorityKind) -> tuple[Authority, ...]:
        """Put the generations before the signing one on their way out: who depends on them is asked to renew.

        Raises:
            AuthorityOrderError: there is only the one that signs.
        """
        known = await self.all()
        return await self._changed(known, authorities.tainted(known, kind, self._clock.now_ms()))

    async def retire(self, kind: AuthorityKind, *, force: bool = False) -> tuple[Authority, ...]:
        """Believe the tainted generations, or one that was only prepared, no longer.

        Raises:
            AuthorityOrderError: nothing is tainted or prepared.
            AuthorityBusyError: outposts in contact or ingresses depend on them, unless forced.
        """
        known = await self.all()
        after = authorities.retired(known, kind, self._clock.now_ms())
        before = {(each.kind, each.generation): each.state for each in known}
        in_use = [each for each in after if before[each.kind, each.generation] is AuthorityState.TAINTED]
        if in_use and not force:
            await self._require_uptake(in_use)
        return await self._changed(known, after)

    async def uptake(self) -> Uptake:
        """How far outposts are."""
        await self._board.refresh()
        current, now_ms = self._board.current.bundle_sha256.hex(), self._clock.now_ms()
        active = having = away = 0
        leaves: dict[str, int] = {}
        for org in await self._store.orgs():
            async with self._store.for_org(org.id).read() as transaction:
                everyone = {each.id: each for each in await transaction.outposts.all()}
                statuses = await transaction.outposts.statuses()
                alive = await transaction.certificates.alive(now_ms // 1000)
            for outpost in everyone.values():
                if outpost.state is not OutpostState.ACTIVE:
                    continue
                if now_ms - max(outpost.last_seen_ms, outpost.activated_ms) > ABSENT_MS:
                    away += 1
                    continue
                active += 1
                having += statuses.get(outpost.id, {}).get("trust_bundle") == current
            for record in alive:
                holder = everyone[record.outpost_id]
                if holder.state is OutpostState.ACTIVE and record.serial == holder.serial:
                    leaves[record.issuer] = leaves.get(record.issuer, 0) + 1
        ingresses = in_use(await self._store.ingresses.all(), now_ms)
        return Uptake(active, having, away, leaves, {each.name: each.issuer for each in ingresses})

    async def revocation_lists(self, root_key: Signer | None = None) -> bytes:
        """Lists of the issuing CA for outposts and of its root, PEM: what a reader outside needs for the whole path.

        Args:
            root_key: of the root, when it is kept elsewhere.

        Raises:
            AuthorityOrderError: that is not the root's key.
            RootKeyAwayError: the root's key is not at hand.
        """
        known = await self._store.authorities.all()  # with the numbers of their newest lists
        issuing = authorities.signing(known, AuthorityKind.OUTPOSTS)
        root = next(each for each in known if each.kind is AuthorityKind.ROOT and each.generation == issuing.root)
        above = await self._root_signer(root, root_key)
        below = await self._store.vault.signer(issuing.name)
        revoked = await self._revoked(issuing)
        return crl.lists_pem([await self._list(issuing, below, revoked), await self._list(root, above, {})])

    async def _root_signer(self, root: Authority, given: Signer | None) -> Signer:
        """The key of a root, here or given. Raises AuthorityOrderError, RootKeyAwayError."""
        if given is None:
            try:
                return await self._store.vault.signer(root.name)
            except ConfigurationError as error:
                raise RootKeyAwayError(
                    f"the key of {root.label} is not here: {error.message}",
                    field="root_key",
                    next_step="name the file that holds it: --root-key FILE",
                ) from error
        if given.public_key() != certificate_of(root).public_key():
            raise AuthorityOrderError(
                f"that is not the key of {root.label}", field="root_key", next_step="name the file that holds its key"
            )
        return given

    async def _list(self, authority: Authority, signer: Signer, revoked: dict[int, int]) -> bytes:
        now_s = self._clock.now_ms() // 1000
        number = crl.next_number(authority.list_number, now_s)
        if not await self._store.authorities.next_list(authority, number):
            raise _overtaken()
        return await asyncio.to_thread(crl.build_list, certificate_of(authority), signer, revoked, number, now_s)

    async def _revoked(self, issuing: Authority) -> dict[int, int]:
        """Serials below an issuing CA that are refused, and since when: of outposts that are revoked or locked, of
        enrollments that a newer one replaced, and of ingresses.
        """
        now_ms, own = self._clock.now_ms(), key_id(certificate_of(issuing))
        found: dict[int, int] = {}
        for org in await self._store.orgs():
            async with self._store.for_org(org.id).read() as transaction:
                everyone = {each.id: each for each in await transaction.outposts.all()}
                for record in await transaction.certificates.alive(now_ms // 1000):
                    since_ms = outposts.refused_since_ms(everyone[record.outpost_id], record.sequence)
                    if since_ms and record.issuer == own:
                        found[int(record.serial, 16)] = since_ms // 1000
        for ingress in await self._store.ingresses.all():
            if ingress.revoked_ms and ingress.not_after_ms > now_ms and ingress.issuer == own:
                found[int(ingress.serial, 16)] = ingress.revoked_ms // 1000
        return found

    async def _root(
        self, known: Sequence[Authority], before: Authority, before_key: Signer, *, root_stays: bool
    ) -> tuple[tuple[Authority, ...], tuple[VaultEntry, ...], bytes]:
        number = authorities.next_generation(known, AuthorityKind.ROOT)
        name = entry_name(AuthorityKind.ROOT, number)
        place, signer, root_key_pem = self._root_key(name, stays=root_stays)
        certificate = await self._certifier.ca(CertificateKind.ROOT_CA, signer.public_key(), None, signer)
        cross = await self._certifier.ca(
            CertificateKind.ROOT_CROSS, signer.public_key(), certificate_of(before), before_key
        )
        root = self._made(AuthorityKind.ROOT, number, number, (certificate, cross))
        added, entries = [root], [VaultEntry(name, place, (certificate,))]
        for kind in _KINDS:
            one, entry = await self._issuing(known, kind, root, signer)
            added.append(one)
            entries.append(entry)
        return tuple(added), tuple(entries), root_key_pem

    def _root_key(self, name: str, *, stays: bool) -> tuple[keys.PrivateKey | KeyLabel | None, Signer, bytes]:
        if stays:
            place, signer = self._maker.make(name)
            return place, signer, b""
        from certs.shell.signers import generate_tls_key

        key = generate_tls_key()
        return None, KeySigner(key), keys.private_key_pem(key)

    async def _issuing(
        self, known: Sequence[Authority], kind: AuthorityKind, root: Authority, root_key: Signer
    ) -> tuple[Authority, VaultEntry]:
        number = authorities.next_generation(known, kind)
        name = entry_name(kind, number)
        place, signer = self._maker.make(name)
        above = certificate_of(root)
        certificate = await self._certifier.ca(_KINDS[kind], signer.public_key(), above, root_key)
        return self._made(kind, number, root.generation, (certificate,)), VaultEntry(name, place, (certificate, above))

    def _made(
        self, kind: AuthorityKind, number: int, root: int, certificates: tuple[x509.Certificate, ...]
    ) -> Authority:
        now_ms = self._clock.now_ms()
        ders = [keys.certificate_der(each) for each in certificates]
        cross = ders[1] if len(ders) > 1 else b""
        name = entry_name(kind, number)
        return Authority(kind, number, AuthorityState.PREPARED, root, name, ders[0], cross, now_ms, now_ms)

    async def _changed(self, known: Sequence[Authority], after: tuple[Authority, ...]) -> tuple[Authority, ...]:
        if not await self._store.authorities.change(known, after):
            raise _overtaken()
        await self._board.refresh()
        return after

    async def _require_uptake(self, doomed: Sequence[Authority] = ()) -> None:
        """Raises AuthorityBusyError: outposts in contact believe other roots, or leaves of CAs that go are in use."""
        uptake = await self.uptake()
        roots = not doomed or any(each.kind is AuthorityKind.ROOT for each in doomed)
        missing = uptake.active - uptake.current if roots else 0
        going = {key_id(certificate_of(each)) for each in doomed}
        held = sum(uptake.leaves.get(key, 0) for key in going)
        ingresses = [name for name, issuer in uptake.ingresses.items() if issuer in going]
        if ingresses:
            raise AuthorityBusyError(
                f"{len(ingresses)} ingresses hold a certificate of what goes: {', '.join(ingresses[:MOST_NAMED])}",
                field="kind",
                next_step="give each a new one: controlplane ingress issue NAME --csr FILE --out FILE; or use --force",
            )
        if missing or held:
            raise AuthorityBusyError(
                f"{missing} of {uptake.active} outposts in contact have not taken up the new roots, and {held} hold a "
                "certificate of what goes",
                field="kind",
                next_step="wait: they were asked to renew; look at it: controlplane ca show; or use --force",
            )


def _overtaken() -> AuthorityOrderError:
    return AuthorityOrderError(
        "another process changed the CAs at the same time; nothing was done",
        field="kind",
        next_step="look at them: controlplane ca show",
    )
