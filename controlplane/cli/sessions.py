"""The session of a login: an access token in a file that only its owner may read."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certs.errors import KeyStoreError
from certs.shell.private_files import read_private_file, replace_private_file
from controlplane.cli.target import Target
from controlplane.domain.errors import RefusedError

SCHEMA = "controlplane.session/1"


class SessionError(RefusedError):
    """There is no session for this API, or its file cannot be used."""

    code = "session.missing"


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A login.

    Attributes:
        ca_file: roots that were believed then.
    """

    api: str = ""
    token: str = field(default="", repr=False)
    expires_ms: int = 0
    ca_file: Path | None = None


def read_session(target: Target) -> StoredSession:
    """The session for the API of a command; an empty one when there is none. Raises SessionError: unreadable."""
    if not target.session.exists():
        return StoredSession()
    try:
        document: Any = json.loads(read_private_file(target.session))
        if document["schema"] != SCHEMA or document["api"] != target.api:
            return StoredSession()  # of another control plane
        ca_file = Path(document["ca_file"]) if document["ca_file"] else None
        return StoredSession(document["api"], document["access_token"], int(document["expires_ms"]), ca_file)
    except (KeyStoreError, ValueError, KeyError, TypeError) as error:
        raise SessionError(
            f"the session file cannot be used ({type(error).__name__})",
            field=str(target.session),
            next_step="sign in again: controlplane login --api URL --user NAME@ORG",
        ) from error


def keep_session(target: Target, session: dict[str, Any]) -> None:
    """Write the session, mode 0600. Raises KeyStoreError."""
    target.session.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_file = str(target.ca_file.absolute()) if target.ca_file else ""
    document = {**session, "schema": SCHEMA, "api": target.api, "ca_file": ca_file}
    replace_private_file(target.session, json.dumps(document, sort_keys=True).encode())
