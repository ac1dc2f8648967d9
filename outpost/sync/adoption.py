"""Believing a new root: what an outpost does that slept through a rotation of roots.

Connected outposts get new roots with their certificates. One that was away finds a server below a root that it does not
know. Only then, and only when a root that it believes vouches for the new one by a cross-certificate in the server's
chain, is the new root believed too: stored beside the old ones, and put on record.
"""

import asyncio

from certs import keys
from certs.adoption import adopt_roots
from certs.join_token import split_endpoint
from certs.shell.tls import ServerUnreachableError
from certs.verify import PATH_CERTIFICATES, ChainUntrustedError, TrustAnchors, verify_server_chain
from outpost.core.audit.identity_record import RootsAdopted
from outpost.sync.identity import Identity
from outpost.sync.knowledge import Parts, Report
from outpost.telemetry import Event, emit


async def adopt(parts: Parts, report: Report, identity: Identity, now: int) -> bool:
    """Believe the root of the control plane's server, if it is not believed and a believed one vouches for it.

    Args:
        parts: for the network and the disk.
        report: takes note.
        identity: whose roots are believed.
        now: Unix seconds.

    Returns:
        Whether a root was adopted; False also when the server cannot be reached, or is believed as it is.

    Raises:
        ChainError: the server is none of a control plane that any believed root vouches for.
        KeyStoreError: the disk refused.
    """
    told = identity.enrollment
    try:
        host, port = split_endpoint(told.enroll_endpoint or told.sync_endpoint)
        chain = await parts.strangers.presented_chain(host, port)
    except ServerUnreachableError:
        return False
    try:
        verify_server_chain(chain[:PATH_CERTIFICATES], TrustAnchors(told.trust_domain, identity.roots), now)
        return False
    except ChainUntrustedError:
        roots = adopt_roots(chain, identity.roots, now, told.trust_domain)
    await asyncio.to_thread(parts.identity.believe, keys.certificates_pem(roots))
    believed = identity.roots
    added = tuple(keys.key_id(keys.require_tls_key(root.public_key())) for root in roots if root not in believed)
    report.held(await asyncio.to_thread(parts.identity.load))
    await report.owe(RootsAdopted(report.head(), added, report.known.trust_bundle_sha256.hex()))
    emit(Event.TRUST_ADOPTED, 30, org=told.org)
    return True
