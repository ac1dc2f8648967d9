"""Puts enrollment together: token in, identity out."""

import asyncio

from certs.shell import tls
from outpost.bootstrap.state import prepare_state, usable
from outpost.bootstrap.world import SystemClock
from outpost.issuing import EnrollmentAnswer, EnrollmentRequest
from outpost.paths import StatePaths
from outpost.rpc import client
from outpost.settings import Settings
from outpost.sync import enroll as enrolling
from outpost.sync.identity import Identity

HANDSHAKE_TIMEOUT_SECONDS = 10.0


async def enroll(
    settings: Settings, token_text: str, joining: enrolling.Joining, expected_root: bytes = b""
) -> tuple[Identity, bool]:
    """Spend a join token.

    Args:
        settings: of the outpost.
        token_text: the join token.
        joining: version of this software, and whether a good identity is replaced.
        expected_root: TUF root that was brought here by another way; empty believes the control plane's.

    Returns:
        The identity, and whether the token was spent for it; False means that it was there already.

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
        return await enrolling.enroll(StatePaths(settings.state), token_text, calls, SystemClock(), joining)
