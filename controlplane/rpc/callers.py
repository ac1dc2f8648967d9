"""Who calls on the mTLS listener, read from what TLS proved."""

import hashlib
from typing import Any

from certs.errors import IdentityError
from certs.shell.tls import peer_chain
from certs.spiffe import OutpostIdentity, parse
from controlplane.domain.outposts import Act
from controlplane.services.identity import Gatekeeper, Principal

SHOWN = ("x509_pem_cert", "x509_pem_cert_chain")


async def identified(gatekeeper: Gatekeeper, context: Any, act: Act) -> Principal:
    """The caller of a call, proved and authorised.

    Raises:
        RefusedError: as ``Gatekeeper.prove`` and ``admit``.
    """
    shown = context.auth_context()
    digest = hashlib.sha256()
    for name in SHOWN:
        for pem in shown.get(name, ()):
            digest.update(pem)
        digest.update(b"\0")
    key = digest.digest()
    principal = gatekeeper.known(key) or gatekeeper.prove(peer_chain(shown), key)
    await gatekeeper.admit(principal, act)
    return principal


def org_of(context: Any) -> str:
    """The org that a certificate names, before anything expensive is done; empty when it names none.

    Nothing is granted by it: it only says whose turn a throttle counts.
    """
    uris = context.auth_context().get("peer_spiffe_id", ())
    if len(uris) != 1:
        return ""
    try:
        identity = parse(uris[0].decode(errors="replace"))
    except IdentityError:
        return ""
    return identity.org if isinstance(identity, OutpostIdentity) else ""
