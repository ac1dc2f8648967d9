"""A real gRPC server that tells its callers which chain they showed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from certs.shell import tls
from certs.verify import ChainFormatError

METHOD = "/test.Service/WhoAmI"
TIMEOUT_SECONDS = 20.0


class WhoAmI(grpc.GenericRpcHandler):
    """Answers with the chain of the caller, DER in hex."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def answer(_: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                chain = tls.peer_chain(context.auth_context())
            except ChainFormatError as error:
                return error.code.encode()
            return b" ".join(der.hex().encode() for der in chain)

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def serving(credentials: grpc.ServerCredentials) -> AsyncIterator[int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((WhoAmI(),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def ask(port: int, credentials: grpc.ChannelCredentials, host: str = "localhost") -> bytes:
    async with grpc.aio.secure_channel(f"{host}:{port}", credentials) as channel:
        return await channel.unary_unary(METHOD)(b"", timeout=TIMEOUT_SECONDS)
