"""What a stranger with a bad join token sees on the wire: one answer, to the last byte of its metadata."""

import secrets
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from outpost_wire.v1 import enrollment_pb2, enrollment_pb2_grpc

from certs import keys
from certs.csr import build_request
from certs.join_token import JoinToken
from certs.shell.signers import generate_signing_key, generate_tls_key
from tests.integration.controlplane_client import SECONDS, Running, channel, detail, running

STRANGERS: dict[str, dict[str, Any]] = {
    "an unknown secret": {"token_secret": secrets.token_bytes(32)},
    "another org's token": {"token_org": "globex"},
    "an org that is not here": {"token_org": "initech"},
    "an org that is no name": {"token_org": "../acme"},
    "the operator's org": {"token_org": "operator"},
    "no org": {"token_org": ""},
    "a secret that is too short": {"token_secret": b"x"},
    "a bad request besides": {"token_secret": bytes(32), "csr_der": b"rubbish"},
    "a clock that is wrong besides": {"token_secret": bytes(32), "now_ms": 1},
}


async def refusal(cp: Running, token: JoinToken, **changes: Any) -> grpc.aio.AioRpcError:
    values: dict[str, Any] = {
        "token_org": token.org,
        "token_secret": token.secret,
        "csr_der": build_request(generate_tls_key()),
        "audit_log_public_key": generate_signing_key().public_key().public_bytes_raw(),
        "now_ms": cp.plane.clock.now_ms(),
        "software_version": "1",
    }
    roots = keys.certificates_pem((await cp.plane.trust()).roots)
    async with channel(token.endpoint, roots) as bare:
        stub = enrollment_pb2_grpc.EnrollmentStub(bare)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Enroll(enrollment_pb2.EnrollRequest(**{**values, **changes}), timeout=SECONDS)
    return caught.value


def shown(error: grpc.aio.AioRpcError) -> tuple[object, ...]:
    """Everything that an answer shows."""
    metadata = [
        tuple((key, bytes(value) if isinstance(value, bytes) else value) for key, value in each or ())
        for each in (error.initial_metadata(), error.trailing_metadata())
    ]
    return error.code(), error.details(), error.debug_error_string(), *metadata


async def test_bad_tokens_cannot_be_told_apart(tmp_path: Path) -> None:
    async with running(tmp_path / "cp", "acme", "globex") as cp:
        token = await cp.token()
        answers = {name: await refusal(cp, token, **changes) for name, changes in STRANGERS.items()}
        assert len({shown(error) for error in answers.values()}) == 1
        assert detail(answers["no org"])[1].code == "token.refused"
        told = await refusal(cp, token, now_ms=1)  # whoever holds the secret learns the cause
        assert detail(told)[1].code == "token.clock"
