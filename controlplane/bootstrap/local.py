"""Operations on a state directory: the same dispatcher, called by whoever owns the files.

The caller is ``local/<os user>`` with the role of an owner everywhere. Who has the files can do anything; this way it
is on record.
"""

import contextlib
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import orjson

from certs.keys import private_key_from_pem
from certs.shell.private_files import read_private_file
from certs.signer import KeySigner
from controlplane.bootstrap.plane import Plane, opened
from controlplane.bootstrap.workbench import REQUEST_ID_BYTES, workbench
from controlplane.domain.rbac import Principal, PrincipalKind, Role
from controlplane.web.api.calls import Answer, Call, parsed
from controlplane.web.api.context import Origin, Workbench
from controlplane.web.api.dispatch import Dispatcher, usual_rates
from controlplane.web.api.operation import AnyOperation
from controlplane.web.api.registry import named

LOCAL_SOURCE = "local"
ReadBody = Callable[[], Awaitable[Mapping[str, object]]]


def local_principal() -> Principal:
    """Whoever runs this process."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name  # never a variable: the two-person rule tells people apart by this
    except KeyError:
        name = f"uid-{os.getuid()}"  # a container's user has no entry
    return Principal(PrincipalKind.LOCAL, f"local/{name}", name, "", Role.OWNER)


class LocalApi:
    """Calls operations in this process."""

    def __init__(self, plane: Plane, bench: Workbench, principal: Principal) -> None:
        self.plane = plane
        self._bench = bench
        self._principal = principal
        self._dispatcher = Dispatcher(bench, usual_rates())

    async def call(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        if_match: str = "",
    ) -> Answer:
        """Carry out an operation; a refusal is an answer too."""
        operation = named(name)
        texts = {key: str(value) for key, value in (params or {}).items()}
        raw = orjson.dumps(body or {})

        async def read_body() -> Mapping[str, object]:
            return parsed(operation, raw)

        return await self._dispatcher.answer(self._call(operation, texts, read_body, if_match))

    def _call(self, operation: AnyOperation, texts: Mapping[str, str], read_body: ReadBody, if_match: str) -> Call:
        request_id = self._bench.chance.token_bytes(REQUEST_ID_BYTES).hex()
        return Call(
            operation=operation,
            origin=Origin(LOCAL_SOURCE, request_id),
            path={key: value for key, value in texts.items() if key in operation.path_fields},
            query={key: value for key, value in texts.items() if key not in operation.path_fields},
            read_body=read_body,
            local=self._principal,
            if_match=if_match,
        )


@contextlib.asynccontextmanager
async def local_api(folder: Path, root_key_file: Path | None = None) -> AsyncIterator[LocalApi]:
    """Operations on a state directory; what was done is signed for at the end.

    Args:
        folder: the state directory.
        root_key_file: private key of the root CA, when it is kept elsewhere.

    Raises:
        SettingsError, StateError: as ``opened``; KeyMaterialError, PrivateFileError: the root's key.
    """
    root_key = KeySigner(private_key_from_pem(read_private_file(root_key_file))) if root_key_file else None
    async with opened(folder) as plane, workbench(plane, root_key) as bench:
        try:
            yield LocalApi(plane, bench, local_principal())
        finally:
            await bench.acts.sign_grown()
