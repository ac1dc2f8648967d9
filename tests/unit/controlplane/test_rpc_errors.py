"""Errors at the edge: the table is total, and nothing but typed words reaches a client."""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from outpost_wire.v1 import types_pb2

import certs
import controlplane
from certs.errors import KeyStoreError, TrustError
from certs.issue import TemplateError
from controlplane.domain.errors import ControlPlaneError, InputError, StateError
from controlplane.domain.join import TokenExpiredError
from controlplane.rpc.errors import ERROR_KEY, STATUS, detail_of, status_of
from controlplane.rpc.interceptor import ErrorInterceptor
from outpost.core.errors import OutpostError

SECRET = "canary-" + "secret-value"


def load(package: Any) -> None:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def every(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from every(child)


load(certs)
load(controlplane)
ERRORS = sorted(
    {each for root in (ControlPlaneError, TrustError, OutpostError) for each in every(root)},
    key=lambda each: (each.__module__, each.__qualname__),
)
# What this process can meet: other programs' classes may have been loaded by other tests.
MET = [each for each in ERRORS if each.__module__.startswith(("controlplane.", "certs.", "outpost.core."))]
OURS = [each for each in ERRORS if each.__module__.startswith(("controlplane.", "certs."))]


def test_the_table_of_statuses_is_total() -> None:
    missing = [each for each in MET if not any(parent in STATUS for parent in each.__mro__)]
    assert missing == []


def test_codes_are_dotted_and_fit_the_wire() -> None:
    bad = {each.code for each in OURS if len(each.code) > 64 or each.code != each.code.lower()}  # type: ignore[attr-defined]
    assert bad == set()


def test_leaves_of_one_tree_do_not_share_a_code() -> None:
    seen: dict[str, type[Exception]] = {}
    for each in OURS:
        if "code" in vars(each):
            other = seen.setdefault(each.code, each)  # type: ignore[attr-defined]
            assert other is each or issubclass(each, other) or issubclass(other, each), (each, other)


def test_what_is_our_own_fault_keeps_its_words() -> None:
    for error in (TemplateError(SECRET), KeyStoreError(SECRET), ControlPlaneError(SECRET)):
        status, detail = detail_of(error)
        assert status is grpc.StatusCode.INTERNAL
        assert detail.code == "internal"
        assert SECRET not in str(detail)


def test_details_are_cut_to_the_bounds_of_the_wire() -> None:
    error = InputError("ä" * 2000, field="f" * 500, next_step="n" * 500)
    detail = detail_of(error)[1]
    sizes = [len(text.encode()) for text in (detail.message, detail.field, detail.next_step)]
    assert sizes == [512, 128, 256]


RAISED: dict[str, tuple[Exception, grpc.StatusCode, str]] = {
    "a typed refusal": (TokenExpiredError("too late"), grpc.StatusCode.PERMISSION_DENIED, "token.expired"),
    "a busy store": (StateError("locked"), grpc.StatusCode.UNAVAILABLE, "store.failed"),
    "a key that does not open": (KeyStoreError(SECRET), grpc.StatusCode.INTERNAL, "internal"),
    "an unknown exception": (ValueError(SECRET), grpc.StatusCode.INTERNAL, "internal"),
    "a lookup that failed": (KeyError(SECRET), grpc.StatusCode.INTERNAL, "internal"),
}


class Failing(grpc.GenericRpcHandler):
    """Raises whatever it is asked for, from all kinds of calls."""

    def service(self, handler_call_details: Any) -> Any:
        kind, name = handler_call_details.method.strip("/").split("/")

        async def fail(request: Any, context: Any) -> Any:
            if kind == "late":
                await context.write(b"first")
            raise RAISED[name.replace("-", " ")][0]

        if kind == "unary":
            return grpc.unary_unary_rpc_method_handler(fail)
        return grpc.stream_stream_rpc_method_handler(fail)


@asynccontextmanager
async def failing() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=(ErrorInterceptor(),))
    server.add_generic_rpc_handlers((Failing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def called(channel: grpc.aio.Channel, kind: str, method: str) -> None:
    if kind == "unary":
        await channel.unary_unary(method)(b"", timeout=10)
        return
    call = channel.stream_stream(method)(timeout=10)
    while await call.read() is not grpc.aio.EOF:
        pass


@pytest.mark.parametrize("kind", ["unary", "stream", "late"])
@pytest.mark.parametrize("name", RAISED)
async def test_exceptions_never_leak_their_text(kind: str, name: str) -> None:
    _, status, code = RAISED[name]
    async with failing() as channel:
        method = f"/{kind}/{name.replace(' ', '-')}"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await called(channel, kind, method)
    error = caught.value
    detail = types_pb2.ErrorDetail()
    trailing = dict(error.trailing_metadata() or ())
    detail.ParseFromString(trailing[ERROR_KEY])
    assert (error.code(), error.details(), detail.code) == (status, code, code)
    assert SECRET not in f"{error.details()}{error.debug_error_string()}{detail}{trailing}"


async def test_an_unknown_method_is_unimplemented() -> None:
    server = grpc.aio.server(interceptors=(ErrorInterceptor(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/nothing/Here")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.stop(None)


def test_a_family_decides_for_its_leaves() -> None:
    assert status_of(TokenExpiredError) is grpc.StatusCode.PERMISSION_DENIED
