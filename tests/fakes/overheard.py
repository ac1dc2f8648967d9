"""Ears on every side of an outpost: a provider, the control plane's wire and the control plane's log."""

import logging
from typing import Any

import grpc
import grpc.aio
from aiohttp import web

from controlplane import telemetry
from outpost.simulator.script import Script
from outpost.simulator.server import Simulator


class Provider(Simulator):
    """A provider whose error bodies and headers say what a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.error_body = b""
        self.error_headers: dict[str, str] = {}

    async def _answer(
        self, request: web.Request, script: Script, events: list[bytes], *, stream: bool
    ) -> web.StreamResponse:
        if script.status != 200:
            headers = {"Content-Type": "application/json", **self.error_headers}
            return web.Response(status=script.status, body=self.error_body, headers=headers)
        return await super()._answer(request, script, events, stream=stream)


class Recording(grpc.aio.ServerInterceptor):
    """Keeps the bytes of every message of the control plane, both ways."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        read, write = handler.request_deserializer, handler.response_serializer

        def reading(data: bytes) -> Any:
            self.messages.append(data)
            return read(data)

        def writing(message: Any) -> bytes:
            self.messages.append(write(message))
            return self.messages[-1]

        return handler._replace(request_deserializer=reading, response_serializer=writing)


class Lines(logging.Handler):
    """What the control plane would write to its log, as it would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(telemetry.JSONFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
