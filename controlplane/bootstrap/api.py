"""The admin API of a running control plane: its listener, and what runs beside it."""

import asyncio
import contextlib
import ssl
from typing import Final

from aiohttp import web

from certs.keys import certificates_pem
from certs.shell.tls import TLSIdentity, identity_context, replace_identity, server_context
from controlplane import telemetry
from controlplane.bootstrap.plane import Plane
from controlplane.bootstrap.workbench import REQUEST_ID_BYTES
from controlplane.domain.acts import CHECKPOINT_SECONDS
from controlplane.domain.errors import ConfigurationError, ControlPlaneError
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.signing_keys import LIFE_MS
from controlplane.web.api.context import Workbench
from controlplane.web.api.dispatch import Dispatcher, usual_rates
from controlplane.web.api.http import ApiHandler, start

ROOTS_FILE: Final = "api-ca.pem"  # in the state folder; public
ROTATION_SECONDS: Final = 3_600.0  # between two looks at the age of the key of access tokens


class ApiListenError(ConfigurationError):
    """The admin API's address cannot be listened on."""

    code = "api.listen"


class ApiRole:
    """The admin API of a running control plane."""

    def __init__(self, plane: Plane, bench: Workbench) -> None:
        self._plane = plane
        self._bench = bench
        self._runner: web.AppRunner | None = None
        self._tls: ssl.SSLContext | None = None

    async def start(self, identity: TLSIdentity) -> int:
        """Listen. Returns the port. Raises ApiListenError, ChainError."""
        settings = self._plane.settings
        self._tls = self._context(identity)
        handler = ApiHandler(Dispatcher(self._bench, usual_rates()), self._new_id)
        try:
            self._runner, port = await start(handler, settings.listen, settings.api_port, self._tls)
            self._write_roots()
        except OSError as error:
            raise ApiListenError(
                f"the admin API cannot listen on {settings.listen} port {settings.api_port}: {error.strerror}",
                field="api_port",
                next_step="free the port, set another api_port, or api = false",
            ) from error
        return port

    def renewed(self, identity: TLSIdentity) -> None:
        """Show a new server certificate from the next handshake on."""
        if self._tls is not None and not self._plane.settings.api_certificate_file:
            replace_identity(self._tls, identity)
            self._write_roots()

    async def stop(self) -> None:
        """End; requests that run get a moment."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self._sign()

    async def sign_heads(self) -> None:
        """Sign the heads of act logs each second, or after so many acts, until cancelled."""
        await self._sign_left()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bench.acts.due.wait(), CHECKPOINT_SECONDS)
            await self._sign()

    async def rotate_keys(self) -> None:
        """Let a new key sign access tokens once a month, until cancelled."""
        while True:
            try:
                if await self._bench.tokens.rotate_when_due(LIFE_MS):
                    telemetry.log(telemetry.Event.MAINTAINED, kind="token_key")
            except ControlPlaneError as error:
                telemetry.log(telemetry.Event.MAINTENANCE_FAILED, kind="token_key", code=error.code)
            await asyncio.sleep(ROTATION_SECONDS)

    async def _sign_left(self) -> None:
        """Sign what a process that died left unsigned."""
        try:
            orgs = await self._plane.store.orgs()
        except ControlPlaneError as error:
            telemetry.log(telemetry.Event.MAINTENANCE_FAILED, kind="acts", code=error.code)
            return  # each is signed with the next act that it grows by
        for org in (OPERATOR, *(each.id for each in orgs)):
            with contextlib.suppress(ControlPlaneError):
                await self._bench.acts.sign(org)

    async def _sign(self) -> None:
        try:
            await self._bench.acts.sign_grown()
        except ControlPlaneError as error:
            telemetry.log(telemetry.Event.MAINTENANCE_FAILED, kind="acts", code=error.code)

    def _context(self, identity: TLSIdentity) -> ssl.SSLContext:
        settings = self._plane.settings
        if settings.api_certificate_file:
            folder = self._plane.folder
            return server_context(folder / settings.api_certificate_file, folder / settings.api_key_file)
        return identity_context(identity)

    def _write_roots(self) -> None:
        """The roots that its own chain leads to, for whoever calls from here."""
        if not self._plane.settings.api_certificate_file:
            roots = certificates_pem(self._plane.board.current.roots)
            (self._plane.folder / ROOTS_FILE).write_bytes(roots)

    def _new_id(self) -> str:
        return self._bench.chance.token_bytes(REQUEST_ID_BYTES).hex()
