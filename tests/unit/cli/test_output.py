"""Exit codes: one per kind of failure; messages with cause and next step."""

import json

import pytest

from certs.join_token import JoinTokenFormatError
from certs.shell.tls import ServerUnreachableError
from certs.verify import PinError
from outpost.cli import output
from outpost.core.errors import (
    BundleError,
    DeniedError,
    InternalError,
    OutpostError,
    PeerError,
    RequestError,
    StoreError,
)
from outpost.rpc.codec import ControlPlaneUnreachableError
from outpost.settings import SettingsError
from outpost.sync.identity import IdentityUnreadableError

CODES: dict[str, tuple[Exception, int]] = {
    "bad settings": (SettingsError("x"), 8),
    "a token that is none": (JoinTokenFormatError("x"), 3),
    "an identity that is none": (IdentityUnreadableError("x"), 3),
    "a control plane that is away": (ControlPlaneUnreachableError("x"), 6),
    "a server that does not answer": (ServerUnreachableError("x"), 6),
    "another peer": (PeerError("x"), 6),
    "a server that is not the pinned one": (PinError("x"), 5),
    "a bundle that is refused": (BundleError("x"), 5),
    "a wrong request": (RequestError("x"), 5),
    "a denial": (DeniedError("x"), 5),
    "a disk": (StoreError("x"), 1),
    "ourselves": (InternalError("x"), 1),
}


@pytest.mark.parametrize("what", CODES)
def test_the_exit_code_of(what: str) -> None:
    error, code = CODES[what]
    assert output.exit_code(error) == code  # type: ignore[arg-type]


ERROR = StoreError("the disk is full", field="audit", next_step="make room")


def test_people_read_cause_place_and_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        output.fail(ERROR)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "error store.failed: the disk is full\n  where: audit\n  → make room\n"


def test_programs_read_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        output.fail(OutpostError("x"), "json")
    told = json.loads(capsys.readouterr().err)
    assert told["schema"] == "outpost.error/1"
    assert told["error"]["code"] == "internal"


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_table(("A", "LONG"), [("xxx", 1), ("y", 22)])
    assert capsys.readouterr().out == "A    LONG\nxxx  1\ny    22\n"
