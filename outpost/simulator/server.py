"""A provider that can misbehave: OpenAI- and Anthropic-shaped, scripted over an admin endpoint.

``POST /_sim/script`` sets the next behaviour, ``GET /_sim/requests`` shows exactly what arrived,
``DELETE /_sim/requests`` forgets both. For the demo and tests only; it listens on loopback and keeps what it sees
in memory.
"""

import asyncio
import base64
import signal
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from outpost.simulator import shapes
from outpost.simulator.script import FaultKind, Script, writes

MAX_REQUEST_BYTES = 64 * 1_048_576  # bytes; more than any gateway forwards
MAX_SEEN = 20_000  # requests remembered
MODELS = ("gpt-simulated", "gpt-4o-mini", "claude-simulated")
_OVERSIZED_HEAD_BYTES = 262_144  # bytes of one response header, beyond every client's bound


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request as it arrived: what a real provider would have learnt."""

    method: str
    path: str
    headers: dict[str, str]
    body: str  # invalid UTF-8 shows as U+FFFD; ``body_base64`` is exact
    body_base64: str


class Simulator:
    """The pretended provider."""

    def __init__(self) -> None:
        self.script = Script()
        self.seen: list[SeenRequest] = []
        self.connections: set[object] = set()  # peers that connected
        self.aborted = 0  # answers that the other side did not take to the end
        self._served = 0
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Base URL for a route, version prefix included."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/_sim/script", self._set_script)
        app.router.add_get("/_sim/requests", self._show)
        app.router.add_delete("/_sim/requests", self._reset)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Let hanging answers go and close."""
        self._stopping.set()
        if self._runner:
            await self._runner.cleanup()

    def reset(self) -> None:
        """Forget script and requests."""
        self.script = Script()
        self.seen.clear()
        self.aborted = 0
        self._served = 0

    def play(self, script: Script) -> None:
        """Behave like this from now on."""
        self.script = script
        self._served = 0

    def _next_script(self) -> Script:
        script = self.script
        if script.times and self._served >= script.times:
            script = Script()
        self._served += 1
        return script

    async def _set_script(self, request: web.Request) -> web.Response:
        try:
            self.play(Script.model_validate_json(await request.read()))
        except ValidationError as error:
            problems = [{"field": ".".join(map(str, e["loc"])), "problem": e["msg"]} for e in error.errors()]
            return web.json_response({"problems": problems}, status=422)
        return web.json_response({"ok": True})

    async def _show(self, _request: web.Request) -> web.Response:
        body = {"requests": [asdict(seen) for seen in self.seen], "aborted": self.aborted}
        return web.Response(body=orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), content_type="application/json")

    async def _reset(self, _request: web.Request) -> web.Response:
        self.reset()
        return web.json_response({"ok": True})

    async def _models(self, request: web.Request) -> web.Response:
        await self._see(request)
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in MODELS]
        return web.json_response({"object": "list", "data": data})

    async def _see(self, request: web.Request) -> dict[str, Any]:
        raw = await request.read()
        if request.transport:
            self.connections.add(request.transport.get_extra_info("peername"))
        seen = SeenRequest(
            request.method,
            request.path,
            dict(request.headers),
            raw.decode(errors="replace"),
            base64.b64encode(raw).decode(),
        )
        if len(self.seen) < MAX_SEEN:
            self.seen.append(seen)
        try:
            body = orjson.loads(raw) if raw else {}
        except orjson.JSONDecodeError:
            body = {}
        return body if isinstance(body, dict) else {}

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._see(request)
        script = self._next_script()
        if body.get("stream"):
            return await self._answer(request, script, shapes.chat_events(body, script), stream=True)
        return await self._answer(request, script, [shapes.chat_reply(body, script)], stream=False)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await self._see(request)
        script = self._next_script()
        if body.get("stream"):
            return await self._answer(request, script, shapes.message_events(body, script), stream=True)
        return await self._answer(request, script, [shapes.message_reply(body, script)], stream=False)

    async def _answer(
        self, request: web.Request, script: Script, events: list[bytes], *, stream: bool
    ) -> web.StreamResponse:
        if script.status != 200:
            error = {"message": "scripted failure", "type": "server_error", "code": "scripted", "param": None}
            return web.json_response({"error": error}, status=script.status)
        early = await self._before_head(request, script)
        if early is not None:
            return early
        response = web.StreamResponse(headers={"Cache-Control": "no-cache", "X-Request-Id": "simulated"})
        response.content_type = "text/event-stream" if stream else "application/json"
        if script.fault is FaultKind.CONTENT_TYPE:
            response.content_type = "text/html"
        if script.fault is FaultKind.OVERSIZED_HEAD:
            response.headers["X-Filler"] = "x" * _OVERSIZED_HEAD_BYTES
        try:
            await response.prepare(request)
            await self._body(request, response, script, _spoil(events, script))
        except (ConnectionResetError, asyncio.CancelledError):
            self.aborted += 1
            raise
        return response

    async def _before_head(self, request: web.Request, script: Script) -> web.Response | None:
        if script.fault is FaultKind.REDIRECT:
            return web.Response(status=307, headers={"Location": str(request.url)})
        if script.fault is FaultKind.HANG_BEFORE_HEAD:
            await self._hang()
        if script.fault is FaultKind.RESET_BEFORE_HEAD and request.transport:
            request.transport.abort()
        return None

    async def _hang(self) -> None:
        try:
            await self._stopping.wait()
        except asyncio.CancelledError:
            self.aborted += 1
            raise

    async def _body(
        self, request: web.Request, response: web.StreamResponse, script: Script, events: list[bytes]
    ) -> None:
        sent = 0
        for data in writes(events, script):
            if script.delay_ms:
                await asyncio.sleep(script.delay_ms / 1000)
            piece = data
            if script.fault in {FaultKind.RESET, FaultKind.HANG}:
                piece = data[: max(0, script.after_bytes - sent)]
            if piece:
                await response.write(piece)
                await asyncio.sleep(0)
            sent += len(piece)
            if len(piece) < len(data):
                await self._misbehave(request, script)
                return
        await response.write_eof()

    async def _misbehave(self, request: web.Request, script: Script) -> None:
        if script.fault is FaultKind.HANG:
            await self._stopping.wait()
        if request.transport:
            request.transport.abort()


def _spoil(events: list[bytes], script: Script) -> list[bytes]:
    """Put the scripted fault into the body."""
    middle = len(events) // 2
    if script.fault is FaultKind.BROKEN_SSE:
        return [*events[:middle], b'data: {"choices": [\n\n', *events[middle:]]
    if script.fault is FaultKind.INVALID_UTF8:
        spoilt = events[middle][:-8] + b"\xff\xfe" + events[middle][-8:]
        return [*events[:middle], spoilt, *events[middle + 1 :]]
    if script.fault is FaultKind.TRUNCATED:
        body = b"".join(events)
        return [body[: len(body) * 3 // 4]]
    return events


async def serve(host: str, port: int, announce: "asyncio.Future[int] | None" = None) -> None:
    """Run until SIGTERM or SIGINT.

    Args:
        host: address to listen on.
        port: port, 0 for a free one.
        announce: receives the port once the simulator listens.
    """
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, done.set)
    simulator = Simulator()
    await simulator.start(host, port)
    if announce is not None:
        announce.set_result(simulator.port)
    try:
        await done.wait()
    finally:
        await simulator.stop()
