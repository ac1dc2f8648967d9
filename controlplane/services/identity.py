"""Who a caller on the mTLS listener is, and what it may do now: judged on every call and every message, from memory.

A chain that was proved once is known again by its digest, so that the calls of one connection cost one verification;
what may change meanwhile (expiry, revocation, a newer certificate) is judged each time. A refusal is never given by an
old view: before it is, the view is compared with the store once.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass

from cryptography import x509

from certs.errors import TrustError
from certs.verify import TrustAnchors, VerifiedOutpost, verify_ingress_chain, verify_outpost_chain
from controlplane import telemetry
from controlplane.domain import outposts
from controlplane.domain.errors import ControlPlaneError, NotFoundError
from controlplane.domain.outposts import Act, IdentityRefusedError, OutpostLockedError, OutpostRevokedError
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.views import OrgView, Views

KEPT_INGRESSES = 64  # proofs of ingresses that are kept
INGRESS_PROOF_SECONDS = 1  # how long one is kept: an ingress that was revoked is refused after this time
KEPT_PROOFS = 50_000  # chains known again by digest, the oldest go first; a record has 0.5 KiB


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that proved who it is.

    Attributes:
        org: org id.
        outpost_id: whose certificate it is.
        serial: of the certificate, hex.
        not_after_ms: end of the certificate; no stream outlives it.
        issuer: name of the CA that signed it.
        not_before_ms: start of the certificate.
    """

    org: str
    outpost_id: str
    serial: str
    not_after_ms: int
    issuer: str = ""
    not_before_ms: int = 0


class Gatekeeper:
    """Turns a presented chain into a principal, and authorises what it does.

    Args:
        anchors: whom to believe, at the moment of the call.
        revoked: serials of ingresses that are refused.
    """

    def __init__(
        self,
        store: Store,
        views: Views,
        anchors: Callable[[], TrustAnchors],
        clock: Clock,
        revoked: Callable[[], Container[int]] = frozenset,
    ) -> None:
        self._store = store
        self._revoked = revoked
        self._ingresses: dict[bytes, int] = {}  # proved ones by digest, and until when
        self._ingresses_under: TrustAnchors | None = None
        self._views = views
        self._anchors = anchors
        self._clock = clock
        self._proved: dict[bytes, Principal] = {}
        self._proved_under: TrustAnchors | None = None

    def known(self, digest: bytes) -> Principal | None:
        """The principal behind a chain that was proved before; nothing is authorised by that."""
        anchors = self._anchors()
        if anchors is not self._proved_under:  # who is believed changed: every chain is judged anew
            self._proved.clear()
            self._proved_under = anchors
        return self._proved.get(digest)

    def prove(self, chain: tuple[bytes, ...], digest: bytes = b"") -> Principal:
        """Verify a chain again, after the handshake; nothing is authorised by that.

        Args:
            chain: untrusted DER, leaf first.
            digest: of the very bytes that the peer showed, to know them again; empty to forget them.

        Raises:
            IdentityRefusedError: the chain proves no outpost of this control plane.
        """
        try:
            peer = verify_outpost_chain(chain, self._anchors(), self._clock.now_ms() // 1000)
        except TrustError as error:
            raise IdentityRefusedError(error.message, field=error.field, next_step=error.next_step) from error
        principal = principal_of(peer)
        if digest:
            self._proved[digest] = principal
            while len(self._proved) > KEPT_PROOFS:
                del self._proved[next(iter(self._proved))]
        return principal

    def prove_ingress(self, chain: tuple[bytes, ...], digest: bytes) -> None:
        """Verify the chain of an ingress: what it says of others counts only then.

        Raises:
            IdentityRefusedError: the chain proves no ingress of this control plane, or one that was revoked.
        """
        now_s = self._clock.now_ms() // 1000
        known = self._ingresses.get(digest, 0)
        self.known(digest)  # forgets what was proved under other roots
        if known > now_s and self._ingresses_under is self._proved_under:
            return
        try:
            peer = verify_ingress_chain(chain, self._anchors(), now_s, self._revoked())
        except TrustError as error:
            raise IdentityRefusedError(error.message, field=error.field, next_step=error.next_step) from error
        if self._ingresses_under is not self._proved_under or len(self._ingresses) >= KEPT_INGRESSES:
            self._ingresses.clear()
            self._ingresses_under = self._proved_under
        self._ingresses[digest] = min(peer.not_after, now_s + INGRESS_PROOF_SECONDS)

    async def identify(self, chain: tuple[bytes, ...], act: Act) -> Principal:
        """Prove and admit: for callers that come once. Raises as ``prove`` and ``admit``."""
        principal = self.prove(chain)
        await self.admit(principal, act)
        return principal

    async def admit(self, principal: Principal, act: Act) -> None:
        """Authorise a call; note the first use of a certificate.

        Raises:
            IdentityRefusedError: the certificate expired, or is of no outpost of this control plane.
            OutpostRevokedError: revoked.
            IdentitySupersededError: another certificate took this one's place.
            StateError: the store cannot be asked.
        """
        try:
            if self._views.is_behind(principal.org):
                await self._ask(principal)  # what changed may be that this one was revoked
            first = await self._judged(principal, act)
        except OutpostRevokedError:
            raise  # final, whatever else changed
        except ControlPlaneError:
            await self._ask(principal)
            first = await self._judged(principal, act)
        if first:
            await self._first_use(principal)

    async def _judged(self, principal: Principal, act: Act) -> bool:
        """As ``authorise``; for the audit tail certificates count too that were issued for it, which no view holds."""
        try:
            return self.authorise(principal, act)
        except (OutpostLockedError, OutpostRevokedError):
            if act is not Act.DRAIN or not await self.is_of_tail(principal):
                raise
            return False

    async def is_of_tail(self, principal: Principal) -> bool:
        """Whether a certificate may deliver the audit tail of its outpost, as the store knows it."""
        async with self._store.for_org(principal.org).read() as transaction:
            record = await transaction.certificates.get(principal.serial)
            outpost = await transaction.outposts.get(principal.outpost_id)
        if record is None or record.outpost_id != outpost.id:
            return False
        return outposts.is_of_tail(outpost, record.serial, record.sequence, self._clock.now_ms())

    def authorise(self, principal: Principal, act: Act, view: OrgView | None = None) -> bool:
        """Whether a principal may do this now, judged from memory.

        Args:
            principal: who proved itself.
            act: what it is about to do.
            view: what was just read of its org, however long that took; by default what is held, if it is fresh.

        Returns:
            True when this is the first use of its certificate.

        Raises:
            as ``admit``; ViewStaleError: our own state is not known well enough.
        """
        now_ms = self._clock.now_ms()
        outpost = (view or self._views.held(principal.org)).outposts.get(principal.outpost_id)
        if outpost is None:
            raise unknown_identity()
        if now_ms >= principal.not_after_ms:
            raise IdentityRefusedError(
                "the certificate of this outpost expired",
                field="certificate",
                next_step="register the outpost again: controlplane outpost register NAME --org ORG",
            )
        return outposts.authorise(outpost, principal.serial, act, now_ms)

    async def _ask(self, principal: Principal) -> None:
        try:
            await self._views.refresh(principal.org)
        except NotFoundError:
            raise unknown_identity() from None

    async def _first_use(self, principal: Principal) -> None:
        """Advance the join sequence: the old certificate is retired from here on."""
        async with self._store.for_org(principal.org).write() as transaction:
            outpost = await transaction.outposts.get(principal.outpost_id)
            if outpost.next_serial == principal.serial:  # not yet advanced by a call beside this one
                now_ms = self._clock.now_ms()
                await transaction.outposts.save(outposts.advanced(outpost, principal.serial, now_ms))
        await self._views.refresh(principal.org)
        telemetry.log(
            telemetry.Event.FIRST_USE, org=principal.org, outpost=principal.outpost_id, serial=principal.serial
        )


def principal_of(peer: VerifiedOutpost) -> Principal:
    """The principal behind a verified peer."""
    identity = peer.spiffe_id
    issuer = x509.load_der_x509_certificate(peer.leaf_der).issuer.rfc4514_string()
    return Principal(
        identity.org, identity.outpost, f"{peer.serial:x}", peer.not_after * 1000, issuer, peer.not_before * 1000
    )


def unknown_identity() -> IdentityRefusedError:
    """The certificate is genuine, but its outpost is not here."""
    return IdentityRefusedError(
        "this control plane does not know the outpost of this certificate", next_step="register it again"
    )


def retired_issuer() -> IdentityRefusedError:
    """The CA of a certificate that counted is believed no longer."""
    return IdentityRefusedError(
        "the CA that signed the certificate of this outpost is believed no longer",
        field="certificate",
        next_step="nothing: the outpost recovers by itself when its certificate ends",
    )
