"""Whatever is sent to the control plane gets a typed answer, nothing of our inside, and the next caller is served."""

import gc
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outpost_wire.v1 import audit_pb2, enrollment_pb2, sync_pb2

from certs import keys
from certs.csr import build_request
from certs.recover import RecoverClaim, recover_message
from certs.shell import tls
from certs.shell.signers import generate_tls_key
from controlplane.domain.throttle import Rate
from controlplane.services import enroll, recover
from outpost import issuing
from outpost.rpc import client
from tests.contract.control_planes import pem
from tests.fuzz.wire import Answer, Pool, Target, bodies, messages, target
from tests.unit.controlplane.bed import Log

ALLOWED = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enroll, "BAD_TOKENS_PER_SOURCE", 1_000_000)  # examples are many, and shall get further in
        patch.setattr(enroll, "BAD_TOKENS_PER_ORG", 1_000_000)
        patch.setattr(recover, "REFUSALS_PER_SOURCE", Rate(0.001, 1_000_000))
        with target(tmp_path_factory.mktemp("fuzz")) as made:
            yield made


@pytest.fixture(autouse=True)
def others_are_served(there: Target) -> Iterator[None]:
    yield
    assert there.serves()


@pytest.fixture(scope="module")
def pool(there: Target) -> Pool:
    """Values that get past the first checks."""
    log = there.victim.log
    log.grow(40)
    token = there.submit(there.cp.token("acme", "spare"))
    other = Log(log.origin, log.outpost)
    other.records = log.records
    return {
        "token_org": ["acme"],
        "token_secret": [token.secret, bytes(32)],
        "csr_der": [build_request(generate_tls_key()), b"\x30\x80"],
        "audit_log_public_key": [log.public_key, bytes(32)],
        "now_ms": [time.time_ns() // 1_000_000],
        "join_sequence": [1],
        "software_version": ["0.1.0"],
        "origin": [log.origin],
        "first": [0, 1, 39, 255],
        "entries": [*log.records[:3], log.records[0] + b" ", b"{}"],
        "checkpoint": [b"", log.checkpoint(1), log.checkpoint(3), log.checkpoint(40), other.checkpoint(1)],
        "size": [0, 1, 3],
        "protocol_min": [1],
        "protocol_max": [1],
        "boot_id": ["0" * 32],
        "sha256": [bytes(32)],
    }


@pytest.fixture(scope="module")
def recovery(there: Target, pool: Pool) -> Pool:
    """All that a recovery of the victim is made of; another request than the renewals' would be a clone's."""
    victim = there.victim
    told = there.submit(challenge(there))
    claim = RecoverClaim("acme", victim.answer.outpost_id, told.nonce, pool["csr_der"][0], 1, "0" * 32)
    key = keys.private_key_from_pem(victim.key_pem)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return {
        "org": ["acme", "globex"],
        "outpost_id": [claim.outpost, there.healthy.answer.outpost_id],
        "nonce": [claim.nonce, claim.nonce[:-1] + b"x"],
        "serial": [f"{keys.certificate_from_der(victim.answer.chain[0]).serial_number:x}", "1"],
        "proof": [key.sign(recover_message(claim), ec.ECDSA(hashes.SHA256())), b"\x30\x06\x02\x01\x01\x02\x01\x01"],
    }


async def challenge(there: Target) -> issuing.Challenge:
    credentials = tls.channel_credentials(pem(there.victim.answer.trust_bundle))
    desk = client.GrpcRecoveryDesk(str(there.cp.ready["enroll"]), credentials)
    try:
        return await desk.challenge("acme", there.victim.answer.outpost_id)
    finally:
        await desk.close()


HELLO = sync_pb2.SyncUp(
    hello=sync_pb2.Hello(protocol_min=1, protocol_max=1, software_version="1", boot_id="0" * 32, join_sequence=1)
).SerializeToString()


def harmless(answer: Answer) -> None:
    """A typed refusal or an answer; never a word of ours about our inside."""
    assert answer.code in ALLOWED, answer
    if answer.code is grpc.StatusCode.OK:
        return
    assert answer.error is not None, answer
    assert answer.details == answer.error.code != "internal"
    assert "." in answer.error.code or answer.error.code == "throttled"
    told = str(answer.error)
    assert not any(word in told for word in ("Traceback", "Error:", "<class", ".py", "object at", "line "))


def in_status(status: bytes) -> bytes:
    return sync_pb2.SyncUp(status=sync_pb2.Status.FromString(status)).SerializeToString()


UNARY = {
    "Enrollment/Enroll": enrollment_pb2.EnrollRequest,
    "Audit/Append": audit_pb2.AppendRequest,
    "Audit/Root": audit_pb2.RootRequest,
    "Sync/Renew": sync_pb2.RenewRequest,
}


@pytest.mark.parametrize("method", UNARY)
def test_plain_calls(method: str, there: Target, pool: Pool) -> None:
    @FUZZ
    @given(bodies(UNARY[method], pool))
    def run(body: bytes) -> None:
        harmless(there.unary(method, body))

    run()


RECOVERIES = {
    "Enrollment/Challenge": enrollment_pb2.ChallengeRequest,
    "Enrollment/Recover": enrollment_pb2.RecoverRequest,
}


@pytest.mark.parametrize("method", RECOVERIES)
def test_recoveries(method: str, there: Target, pool: Pool, recovery: Pool) -> None:
    """Every field is right or nearly so, alone and together; some examples do recover the victim."""

    @settings(FUZZ, max_examples=200)
    @given(bodies(RECOVERIES[method], {**pool, **recovery}))
    def run(body: bytes) -> None:
        harmless(there.unary(method, body))

    run()
    every = {name: values[0] for name, values in recovery.items()}
    right = enrollment_pb2.RecoverRequest(**every, csr_der=pool["csr_der"][0], join_sequence=1, boot_id="0" * 32)
    assert there.unary("Enrollment/Recover", right.SerializeToString()).code is grpc.StatusCode.OK
    assert there.submit(there.cp.plane.administration.show("acme", there.victim.name)).outpost.alert == ""


def test_fetches(there: Target, pool: Pool) -> None:
    @FUZZ
    @given(bodies(sync_pb2.FetchRequest, pool))
    def run(body: bytes) -> None:
        harmless(there.fetch(body))

    run()


def test_streams_from_the_first_message_on(there: Target, pool: Pool) -> None:
    @settings(FUZZ, max_examples=50)
    @given(st.lists(bodies(sync_pb2.SyncUp, pool), max_size=4))
    def run(sent: list[bytes]) -> None:
        harmless(there.stream("Sync/Sync", sent))

    run()


def test_streams_after_a_proper_hello(there: Target, pool: Pool) -> None:
    statuses = messages(sync_pb2.Status, pool).map(lambda made: made.SerializeToString())
    after = bodies(sync_pb2.SyncUp, pool) | statuses.map(in_status)

    @settings(FUZZ, max_examples=50)
    @given(st.lists(after, max_size=4))
    def run(sent: list[bytes]) -> None:
        harmless(there.stream("Sync/Sync", [HELLO, *sent], wait=True))

    run()


def answering(nonce: str, kind: str, body: bytes) -> bytes:
    """An answer to the very offer, with whatever else in it."""
    message = sync_pb2.SyncUp()
    if kind == "ack":
        message.ack.MergeFrom(sync_pb2.Ack.FromString(body))
        message.ack.nonce = nonce
    else:
        message.nack.MergeFrom(sync_pb2.Nack.FromString(body))
        message.nack.nonce = nonce
    return message.SerializeToString()


def test_answers_to_the_very_offer_in_any_order(there: Target, pool: Pool) -> None:
    acks = messages(sync_pb2.Ack, pool).map(lambda made: ("ack", made.SerializeToString()))
    nacks = messages(sync_pb2.Nack, pool).map(lambda made: ("nack", made.SerializeToString()))
    raw = bodies(sync_pb2.SyncUp, pool).map(lambda body: ("raw", body))

    @settings(FUZZ, max_examples=80)
    @given(st.lists(acks | nacks | raw, max_size=5))
    def run(sent: list[tuple[str, bytes]]) -> None:
        def reply(first: bytes) -> list[bytes]:
            nonce = sync_pb2.SyncDown.FromString(first).offer.nonce
            return [body if kind == "raw" else answering(nonce, kind, body) for kind, body in sent]

        harmless(there.converse(HELLO, reply))

    run()
    there.submit(settled(there))


async def settled(there: Target) -> None:
    """Whatever was said is in the store: no text of a peer is one that the store refuses."""
    words = there.cp.server._words
    await words.settle()
    assert (words.failed, words.dropped) == (0, 0)


def bad_calls(there: Target) -> None:
    """One of each kind."""
    there.unary("Audit/Append", b"\xff")
    there.unary("Audit/Root", sync_pb2.FetchRequest(sha256=b"x" * 40).SerializeToString())
    there.unary("Sync/Renew", b"\x0a\x02\x30\x80")
    there.unary("Enrollment/Enroll", b"\xff\xff")
    there.unary("Enrollment/Recover", b"\x1a\x01x")
    there.unary("Sync/Nothing", b"")
    there.fetch(sync_pb2.FetchRequest(sha256=bytes(32)).SerializeToString())
    there.stream("Sync/Sync", [b"\xff"])
    there.stream("Sync/Sync", [sync_pb2.SyncUp(status=sync_pb2.Status()).SerializeToString()])
    held = [sync_pb2.HeldFile(name=os.urandom(4).hex(), sha256=os.urandom(32)) for _ in range(50)]
    hello = sync_pb2.Hello(protocol_min=1, protocol_max=1, boot_id="0" * 32, join_sequence=1, held=held)
    there.stream("Sync/Sync", [sync_pb2.SyncUp(hello=hello).SerializeToString(), b"\xff"])


def resident_kib() -> int:
    """Memory of this process, in which both sides run."""
    fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(each[1]) for each in fields if each[0] == "VmRSS:")


def grown(there: Target, rounds: int) -> tuple[int, int]:
    """Objects and KiB that are there after so many rounds of bad calls, and were not before."""
    logging.disable()  # a test's log is kept, and so are its lines
    gc.collect()
    objects, memory = len(gc.get_objects()), resident_kib()
    for _ in range(rounds):
        bad_calls(there)
    there.submit(settled(there))
    gc.collect()
    logging.disable(logging.NOTSET)
    return len(gc.get_objects()) - objects, resident_kib() - memory


def test_a_bad_call_leaves_nothing_behind(there: Target) -> None:
    rounds = 40  # of 10 calls
    grown(there, rounds)
    # What is left by chance (timers, weak references) comes and goes; a leak grows each time.
    spans = [grown(there, rounds) for _ in range(5)]
    assert min(objects for objects, _ in spans) < rounds, spans
    assert min(kib for _, kib in spans) < rounds * 16, spans
    streams = there.cp.server._sync._streams if there.cp.server._sync else None
    assert streams is not None
    assert streams.count() == 0


OVERSIZED: dict[str, tuple[str, int]] = {
    "an enrollment beyond its bound": ("Enrollment/Enroll", 64 * 1024 + 1),
    "a recovery beyond its bound": ("Enrollment/Recover", 64 * 1024 + 1),
    "an upload beyond its bound": ("Audit/Append", 20 * 1024 * 1024 + 1),
}


@pytest.mark.parametrize("what", OVERSIZED)
def test_a_message_is_refused_before_it_is_read(what: str, there: Target) -> None:
    method, size = OVERSIZED[what]
    assert there.unary(method, bytes(size)).code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_unknown_methods_are_unimplemented(there: Target) -> None:
    assert there.unary("Audit/Erase", b"").code is grpc.StatusCode.UNIMPLEMENTED
    assert there.unary("Inference/Score", b"").code is grpc.StatusCode.UNIMPLEMENTED
