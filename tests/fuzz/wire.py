"""A real control plane in a thread of its own, so that examples come from plain code; and messages of any kind."""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from outpost_wire.v1 import types_pb2

from certs.shell import tls
from tests.contract.control_planes import Outpost, enroll, pem
from tests.integration.controlplane_client import Running, running

SECONDS = 20.0
SERVICE = "/outpost_wire.v1."
ERROR_KEY = "outpost-error-bin"
Result = TypeVar("Result")


@dataclass
class Target:
    """What examples are sent to."""

    cp: Running
    victim: Outpost  # the one that misbehaves
    healthy: Outpost
    enrollment: grpc.Channel
    channel: grpc.Channel
    healthy_channel: grpc.Channel
    submit: Callable[[Coroutine[Any, Any, Any]], Any]

    def unary(self, method: str, body: bytes) -> "Answer":
        """One request, raw bytes in and out."""
        channel = self.enrollment if method.startswith("Enrollment/") else self.channel
        call: Any = channel.unary_unary(SERVICE + method)
        return answer_of(lambda: [call(body, timeout=SECONDS)])

    def stream(self, method: str, bodies: list[bytes], *, wait: bool = False) -> "Answer":
        """A stream of raw requests; with ``wait`` the first answer is read before the requests end."""
        call: Any = self.channel.stream_stream(SERVICE + method)
        arrived = threading.Event()

        def requests() -> Iterator[bytes]:
            yield from bodies
            if wait:
                arrived.wait(SECONDS)

        def read() -> list[bytes]:
            found = []
            try:
                for message in call(requests(), timeout=SECONDS):
                    found.append(message)
                    arrived.set()
            finally:
                arrived.set()
            return found

        return answer_of(read)

    def converse(self, hello: bytes, reply: Callable[[bytes], list[bytes]]) -> "Answer":
        """A stream whose later requests are made of the first answer; it ends when all of them are sent."""
        call: Any = self.channel.stream_stream(SERVICE + "Sync/Sync")
        first: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

        def requests() -> Iterator[bytes]:
            yield hello
            arrived = first.get(timeout=SECONDS)
            if arrived is not None:
                yield from reply(arrived)

        def read() -> list[bytes]:
            found = []
            try:
                for message in call(requests(), timeout=SECONDS):
                    found.append(message)
                    first.put(message)
            finally:
                first.put(None)
            return found

        return answer_of(read)

    def fetch(self, body: bytes) -> "Answer":
        """A request with a stream of answers."""
        call: Any = self.channel.unary_stream(SERVICE + "Sync/Fetch")
        return answer_of(lambda: list(call(body, timeout=SECONDS)))

    def serves(self) -> bool:
        """Another outpost gets its answer."""
        call: Any = self.healthy_channel.unary_unary(SERVICE + "Audit/Root")
        return call(b"", timeout=SECONDS) is not None


@dataclass(frozen=True)
class Answer:
    """How a call ended."""

    code: grpc.StatusCode
    details: str = ""
    error: types_pb2.ErrorDetail | None = None
    messages: tuple[bytes, ...] = ()


def answer_of(call: Callable[[], list[bytes]]) -> Answer:
    """Make a call; refusals become answers."""
    try:
        return Answer(grpc.StatusCode.OK, messages=tuple(call()))
    except grpc.RpcError as failed:
        error: Any = failed
        raw = dict(error.trailing_metadata() or ()).get(ERROR_KEY)
        detail = None if raw is None else types_pb2.ErrorDetail.FromString(raw)
        return Answer(error.code(), error.details() or "", detail)


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """Start, enroll two outposts, stop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def submit(work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    stack = AsyncExitStack()
    try:
        cp = submit(stack.enter_async_context(running(folder / "cp")))
        victim, healthy = submit(enroll(cp)), submit(enroll(cp))
        roots = pem(victim.answer.trust_bundle)
        channels = [grpc.secure_channel(str(cp.ready["enroll"]), tls.channel_credentials(roots))]
        for each in (victim, healthy):
            own = tls.TLSIdentity(each.key_pem, pem(each.answer.chain))
            channels.append(grpc.secure_channel(each.answer.sync_endpoint, tls.channel_credentials(roots, own)))
        enrollment, channel, healthy_channel = channels
        yield Target(cp, victim, healthy, enrollment, channel, healthy_channel, submit)
        for channel in channels:
            channel.close()
        submit(victim.plane.close())
        submit(healthy.plane.close())
    finally:
        submit(stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# messages of any kind

TEXTS = st.text(max_size=20) | st.sampled_from(["", "acme", "../acme", "x" * 300, "\x00", "0" * 32, "1.1", "ü" * 40])
BYTES = st.binary(max_size=40) | st.sampled_from([b"", bytes(31), bytes(32), bytes(33), bytes(5000)])
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: TEXTS,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]),
    FieldDescriptor.CPPTYPE_UINT32: st.sampled_from([0, 1, 2, 2**32 - 1]),
    FieldDescriptor.CPPTYPE_INT64: st.sampled_from([0, 1, -1, 2**53, 2**63 - 1, -(2**63)]),
    FieldDescriptor.CPPTYPE_UINT64: st.sampled_from([0, 1, 255, 256, 257, 2**53, 2**63 - 1, 2**63, 2**64 - 1]),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 600),
}
Pool = dict[str, list[Any]]


def _field(field: Any, pool: Pool) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(GetMessageClass(field.message_type), pool)
    plain = BYTES if field.type == FieldDescriptor.TYPE_BYTES else _SCALARS[field.cpp_type]
    good = pool.get(field.name)
    if good is None:
        return plain
    return st.integers(0, 7).flatmap(lambda odd: st.sampled_from(good) if odd else plain)


def messages(kind: type[Message], pool: Pool) -> st.SearchStrategy[Message]:
    """Messages of a type with any of their fields set; ``pool`` has values, by field name, that lead further in."""

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        made = kind()
        for field in kind.DESCRIPTOR.fields:
            if not draw(st.integers(0, 9)):
                continue
            value = _field(field, pool)
            if field.is_repeated:
                items = draw(st.lists(value, max_size=4))
                (getattr(made, field.name)).extend(items)
            elif field.message_type is not None:
                getattr(made, field.name).CopyFrom(draw(value))
            else:
                setattr(made, field.name, draw(value))
        return made

    return build()


def bodies(kind: type[Message], pool: Pool) -> st.SearchStrategy[bytes]:
    """Bytes of such messages: whole, cut, altered, with fields that nobody knows, or no message at all."""
    whole = messages(kind, pool).map(lambda made: made.SerializeToString())

    @st.composite
    def spoilt(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(whole))
        act = draw(st.sampled_from(["cut", "flip", "append"]))
        if act == "append" or not data:
            return bytes(data) + draw(st.binary(min_size=1, max_size=12))
        at = draw(st.integers(0, len(data) - 1))
        if act == "cut":
            return bytes(data[:at])
        data[at] ^= draw(st.integers(1, 255))
        return bytes(data)

    return whole | whole | spoilt() | st.binary(max_size=60)
