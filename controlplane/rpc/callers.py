"""Who calls on the mTLS listener, read from what TLS proved.

Behind an ingress TLS ends there. What it passes on of an outpost's certificate (``x-ssl-client-cert``, URL-encoded PEM)
counts only when the ingress itself proved who it is, on this very connection, with a certificate of its own kind; then
the outpost's certificate passes the same judgement as in a handshake with us. From anybody else the header is nothing,
and so is ``x-forwarded-for``.
"""

import asyncio
import hashlib
from collections.abc import Callable
from time import monotonic
from typing import Any
from urllib.parse import unquote_to_bytes

from cryptography import x509

from certs import keys
from certs.errors import IdentityError, TrustError
from certs.shell.tls import peer_chain
from certs.spiffe import IngressIdentity, OutpostIdentity, parse
from controlplane.domain.errors import ControlPlaneError, RefusedError
from controlplane.domain.outposts import Act, IdentityRefusedError
from controlplane.domain.sources import is_address, plain_address
from controlplane.domain.throttle import Admission, CallPace, Claim
from controlplane.services.identity import Gatekeeper, Principal

SHOWN = ("x509_pem_cert", "x509_pem_cert_chain")
PASSED_ON = "x-ssl-client-cert"
FORWARDED_FOR = "x-forwarded-for"
MAX_PASSED_ON_BYTES = 12_288  # a leaf of 4096 bytes in PEM, every third of its bytes escaped
CALLS_OF = {Act.RENEW: 10}  # calls that one of an act counts as: a renewal signs
MOST_ADDRESS = 64  # characters of the last one; an address has 45, and may come with a port


class Callers:
    """Names callers.

    Args:
        behind_ingress: whether an ingress may pass certificates on; read at each call.
    """

    def __init__(self, gatekeeper: Gatekeeper, behind_ingress: Callable[[], bool] = lambda: False) -> None:
        self._gatekeeper = gatekeeper
        self._behind_ingress = behind_ingress
        self._pace = CallPace()

    async def identified(self, context: Any, act: Act) -> Principal:
        """The caller of a call, proved and authorised.

        Raises:
            RefusedError: as ``Gatekeeper.prove`` and ``admit``.
        """
        principal = self.proved(context)
        await self._gatekeeper.admit(principal, act)
        return principal

    async def admitted(self, context: Any, admission: Admission) -> Principal:
        """``identified`` for a stream: one whose identity is refused takes no place of another.

        Raises:
            RefusedError: as ``identified``.
            ThrottledError: too many streams; nothing was judged.
        """
        claim = self.claim(context)
        places = admission.admit(claim, monotonic() * 1000)
        try:
            return await self.identified(context, Act.SYNC)
        except ControlPlaneError as error:
            places.give_back()
            if isinstance(error, RefusedError):
                admission.refused(claim, monotonic() * 1000)
            raise

    async def paced(self, context: Any, act: Act) -> Principal:
        """``identified`` for a plain call: it waits for the pace of its outpost, and counts before it is judged.

        Raises:
            RefusedError: as ``identified``.
            ThrottledError: the outpost calls far too often.
        """
        claim = self.claim(context)
        wait_ms = self._pace.take(claim, monotonic() * 1000, CALLS_OF.get(act, 1))
        if wait_ms:
            await asyncio.sleep(wait_ms / 1000)
        try:
            return await self.identified(context, act)
        except RefusedError:
            self._pace.refused(claim, monotonic() * 1000)
            raise

    def proved(self, context: Any) -> Principal:
        """The caller of a call, proved; nothing is authorised by that. Raises IdentityRefusedError."""
        shown = context.auth_context()
        if not self._is_ingress(context):
            return self._prove(_digest(shown, b""), lambda: peer_chain(shown))
        passed_on = _header(context, PASSED_ON)
        self._gatekeeper.prove_ingress(peer_chain(shown), _digest(shown, b"ingress"))
        if not 0 < len(passed_on) <= MAX_PASSED_ON_BYTES:
            raise IdentityRefusedError(
                "the ingress passed on no certificate of an outpost",
                field=PASSED_ON,
                next_step="let it ask outposts for their certificate, and pass it on: docs/ingress.md",
            )
        return self._prove(_digest(shown, passed_on), lambda: _leaf(passed_on))

    def leaf(self, context: Any) -> bytes:
        """The certificate of a caller that was proved, DER."""
        if self._is_ingress(context):
            return _leaf(_header(context, PASSED_ON))[0]
        return peer_chain(context.auth_context())[0]

    def source(self, context: Any) -> str:
        """Address that a call comes from; behind an ingress the one that it passes on.

        Raises:
            IdentityRefusedError: an ingress passed on no address.
        """
        if self._is_ingress(context):
            return _last_address(_header(context, FORWARDED_FOR))
        return plain_address(context.peer())

    def claim(self, context: Any) -> Claim:
        """Whom a certificate names, before anything expensive is done.

        Nothing is granted by it: it only says whose turn a throttle counts. The certificate itself is the key: nobody
        uses up the turns of an outpost with a name that is not proved, or with a certificate that it has no more.
        """
        if self._is_ingress(context):
            passed_on = _header(context, PASSED_ON)
            return Claim(_org_in(passed_on), hashlib.sha256(passed_on).hexdigest())
        identity = _named(context)
        leaf = b"".join(context.auth_context().get(SHOWN[0], ()))
        return Claim(identity.org if isinstance(identity, OutpostIdentity) else "", hashlib.sha256(leaf).hexdigest())

    def _is_ingress(self, context: Any) -> bool:
        """Whether the peer says that it is an ingress, and that counts here; it is proved before it is believed."""
        return self._behind_ingress() and isinstance(_named(context), IngressIdentity)

    def _prove(self, key: bytes, chain: Callable[[], tuple[bytes, ...]]) -> Principal:
        known = self._gatekeeper.known(key)
        if known is not None:
            return known
        try:
            shown = chain()
        except TrustError as error:
            raise IdentityRefusedError(error.message, field=error.field, next_step=error.next_step) from error
        return self._gatekeeper.prove(shown, key)


def _digest(shown: Any, passed_on: bytes) -> bytes:
    digest = hashlib.sha256()
    for name in SHOWN:
        for pem in shown.get(name, ()):
            digest.update(pem)
        digest.update(b"\0")
    digest.update(passed_on)
    return digest.digest()


def _named(context: Any) -> object:
    """The identity in the peer's certificate, as TLS took it."""
    uris = context.auth_context().get("peer_spiffe_id", ())
    if len(uris) != 1:
        return None
    try:
        return parse(uris[0].decode(errors="replace"))
    except IdentityError:
        return None


def _header(context: Any, name: str) -> bytes:
    """A header that came once; one that came more often says nothing."""
    values = [value for key, value in context.invocation_metadata() or () if key == name]
    if len(values) != 1:
        return b""
    value = values[0]
    return value if isinstance(value, bytes) else value.encode("ascii", "replace")


def _last_address(passed_on: bytes) -> str:
    """The last one of a list: what the ingress itself saw. Whatever stands before it, the caller may have written."""
    last = passed_on.rpartition(b",")[2].strip()
    address = plain_address(last.decode("ascii", "replace")) if len(last) <= MOST_ADDRESS else ""
    if not is_address(address):
        raise IdentityRefusedError(
            "the ingress passed on no address of the caller",
            field=FORWARDED_FOR,
            next_step="let it write the address that it sees into this header: docs/ingress.md",
        )
    return address


def _leaf(passed_on: bytes) -> tuple[bytes, ...]:
    certificates = keys.certificates_from_pem(unquote_to_bytes(passed_on), field=PASSED_ON)
    if len(certificates) != 1:
        raise IdentityRefusedError("the ingress passed on more than one certificate", field=PASSED_ON)
    return (keys.certificate_der(certificates[0]),)


def _org_in(passed_on: bytes) -> str:
    try:
        if len(passed_on) > MAX_PASSED_ON_BYTES:
            return ""
        leaf = keys.certificates_from_pem(unquote_to_bytes(passed_on), field=PASSED_ON)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        identity = parse(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
    except (TrustError, ValueError, x509.ExtensionNotFound, IndexError):
        return ""
    return identity.org if isinstance(identity, OutpostIdentity) else ""
