"""Operations over HTTPS: what a machine without the state directory uses."""

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx

from certs.shell.private_files import read_private_file
from certs.shell.tls import client_context
from controlplane.cli.sessions import read_session
from controlplane.cli.target import Target
from controlplane.domain.errors import ConfigurationError, InputError, RefusedError, StateError
from controlplane.web.api.operation import AnyOperation
from controlplane.web.api.registry import named

TIMEOUT_SECONDS: Final = 40.0  # the API answers within 30
TRIES: Final = 2  # a connection that broke is tried once more; an idempotency key makes that one act
KEY_BYTES: Final = 16


class ApiAddressError(InputError):
    """An address that is no https URL."""

    code = "api.address"


class ApiUnreachableError(StateError):
    """Nobody answers at the address, or the connection broke."""

    code = "api.unreachable"


class ApiUntrustedError(RefusedError):
    """The API's certificate leads to no root that is believed, or is for another name."""

    code = "api.untrusted"


class ApiAnswerError(StateError):
    """Something answered that is not the API of a control plane."""

    code = "api.answer"


class CaFileError(ConfigurationError):
    """The file of roots cannot be read."""

    code = "api.ca_file"


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """What came back."""

    status: int
    document: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str]


class RemoteApi:
    """Calls operations of another process."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def call(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        if_match: str = "",
    ) -> RemoteAnswer:
        """Carry out an operation.

        Raises:
            ApiUnreachableError: nobody answers; so is ApiUntrustedError for a chain that is not believed.
            ApiAnswerError: what answers is no control plane.
        """
        operation = named(name)
        values = {key: str(value) for key, value in (params or {}).items()}
        request = self._client.build_request(
            operation.method,
            path_of(operation, values),
            params={key: value for key, value in values.items() if key not in operation.path_fields},
            headers=headers_of(operation, if_match),
            data=dict(body or {}) if operation.form else None,
            json=body or {} if operation.takes_body and not operation.form else None,
        )
        return _answer(await self._send(request))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        for attempt in range(1, TRIES + 1):
            try:
                return await self._client.send(request)
            except httpx.ConnectError as error:
                raise _connect_error(error, self._url) from error
            except httpx.TransportError as error:
                if attempt == TRIES:
                    raise _unreachable(self._url, type(error).__name__) from error
                await asyncio.sleep(0)
        raise AssertionError


def path_of(operation: AnyOperation, values: Mapping[str, str]) -> str:
    """The path of a call, with its values encoded."""
    path = operation.path
    for name in operation.path_fields:
        path = path.replace("{" + name + "}", quote(values[name], safe=""))
    return path


def headers_of(operation: AnyOperation, if_match: str) -> dict[str, str]:
    """Headers of a call: acts carry an idempotency key of their own."""
    found = {"If-Match": if_match} if if_match else {}
    if operation.takes_key:
        found["Idempotency-Key"] = secrets.token_hex(KEY_BYTES)
    return found


@asynccontextmanager
async def remote_api(target: Target) -> AsyncIterator[RemoteApi]:
    """The API that a command names. Raises ApiAddressError, CaFileError, SessionError."""
    parts = urlsplit(target.api)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ApiAddressError(
            "the address of the API is an https URL", field="api", next_step="use --api https://HOST:8100"
        )
    session = read_session(target)
    token = _token(target.token_file) if target.token_file is not None else session.token
    ca_file = target.ca_file or session.ca_file
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(
        base_url=target.api,
        headers=headers,
        verify=_context(ca_file),
        timeout=TIMEOUT_SECONDS,
        follow_redirects=False,
        trust_env=False,
    ) as client:
        yield RemoteApi(client, target.api)


def _token(path: Path) -> str:
    return read_private_file(path).decode("ascii", "replace").strip()


def _context(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return ssl.create_default_context()
    try:
        return client_context(ca_file.read_bytes())
    except OSError as error:
        raise CaFileError(
            f"the file of roots cannot be read: {error.strerror}",
            field=str(ca_file),
            next_step="name it: --ca-file FILE",
        ) from error


def _connect_error(error: httpx.ConnectError, url: str) -> Exception:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ApiUntrustedError(
                f"the certificate of {url} is not believed: {cause.verify_message}",
                field="api",
                next_step="name the control plane's root: --ca-file FILE; or the name that its certificate has",
            )
        cause = cause.__cause__ or cause.__context__
    return _unreachable(url, "no connection")


def _unreachable(url: str, cause: str) -> ApiUnreachableError:
    return ApiUnreachableError(
        f"the API at {url} does not answer ({cause})",
        field="api",
        next_step="check address, port and firewall; does the control plane run, with api = true?",
    )


def _answer(response: httpx.Response) -> RemoteAnswer:
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ApiAnswerError(
            f"what answers is not the API of a control plane (status {response.status_code})",
            field="api",
            next_step="check the address",
        )
    return RemoteAnswer(response.status_code, document, {key.title(): value for key, value in response.headers.items()})
