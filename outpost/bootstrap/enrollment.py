"""Puts enrollment together: token in, identity out."""

import asyncio

from certs.shell import tls
from outpost.bootstrap.state import prepare_state, usable
from outpost.bootstrap.world import SystemClock
from outpost.cache.marker import clear_marker
from outpost.paths import StatePaths
from outpost.ports import EnrollmentAnswer, EnrollmentRequest
from outpost.rpc import client
from outpost.settings import Settings
from outpost.sync import enroll as enrolling
from outpost.sync.identity import Identity

HANDSHAKE_TIMEOUT_SECONDS = 10.0


async def enroll(
    settings: Settings, token_text: str, version: str, expected_root: bytes = b""
) -> tuple[Identity, bool]:
    """Spend a join token.

    Args:
        settings: of the outpost.
        token_text: the join token.
        version: of this software.
        expected_root: TUF root that was brought here by another way; empty believes the control plane's.

    Returns:
        The identity, and whether the token made it; False means that it was there already.

    Raises:
        OutpostError | TrustError: see `outpost.sync.enroll`.
    """
    prepare_state(settings.state)

    async def presented_chain(host: str, port: int) -> tuple[bytes, ...]:
        return await asyncio.to_thread(tls.fetch_server_chain, host, port, HANDSHAKE_TIMEOUT_SECONDS)

    async def call(endpoint: str, root_pem: bytes, request: EnrollmentRequest) -> EnrollmentAnswer:
        return await client.enroll(endpoint, tls.channel_credentials(root_pem), request)

    calls = enrolling.Calls(presented_chain=presented_chain, enroll=call, expected_root=expected_root)
    with usable(settings.state):  # the network's refusals have names of their own
        paths = StatePaths(settings.state)
        known = paths.orgs()
        identity = await enrolling.enroll(paths, token_text, calls, SystemClock(), version)
        files = paths.org(identity.enrollment.org)
        for mark in (files.locked, files.revoked):  # they were of the identity before
            if identity.enrollment.org not in known:
                clear_marker(mark)
    return identity, identity.enrollment.org not in known
