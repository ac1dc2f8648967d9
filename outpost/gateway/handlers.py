"""The HTTP surface of a worker: routes, and the one place where errors become answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import HttpVersion11, web

from outpost.core.errors import DeniedError, InternalError, OutpostError, PeerError
from outpost.core.policy.globs import glob_matches
from outpost.gateway import metrics, probes
from outpost.gateway.auth import may_use
from outpost.gateway.context import Gateway
from outpost.gateway.errors import (
    ExpectationError,
    MethodError,
    StoppingError,
    UnknownEndpointError,
    answer,
    is_own_fault,
    status_of,
)
from outpost.gateway.journey import CLIENT_GONE_STATUS, ENDPOINT, Caller, Journey, check_admission, identify
from outpost.telemetry import Event, emit

Serve = Callable[[web.Request, str, Caller], Awaitable[web.StreamResponse]]
CREATED = 0  # the models endpoint must name a second; routes have none


class Handlers:
    """Handlers over one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def add_routes(self, app: web.Application) -> None:
        """Everything that clients may call."""
        app.router.add_post(ENDPOINT, self.chat, expect_handler=self.expectation)
        app.router.add_get("/v1/models", self.models, expect_handler=self.expectation)
        self.add_probes(app)
        app.router.add_route("*", "/{path:.*}", self.unknown, expect_handler=self.expectation)

    def add_probes(self, app: web.Application) -> None:
        """Health, for orchestrators and people; no key needed, nothing secret told."""
        app.router.add_get("/healthz", self.alive)
        app.router.add_get("/readyz", self.ready)
        app.router.add_get("/health", self.health)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""

        async def serve(request: web.Request, request_id: str, caller: Caller) -> web.StreamResponse:
            return await self._counted(Journey(self._gateway, request, request_id, caller))

        return await self._guarded(request, serve)

    async def _counted(self, journey: Journey) -> web.StreamResponse:
        """Serve a journey and count it for the release that decides; what was refused before a decision does not."""
        failed = True  # whatever is not foreseen
        try:
            response = await journey.run()
            failed = is_own_fault(journey.failure)
            return response
        except OutpostError as error:
            failed = is_own_fault(error)
            raise
        except (ConnectionError, asyncio.CancelledError):
            failed = False
            raise
        finally:
            if journey.decided or failed:
                self._gateway.watch.finished(journey.caller.program, failed=failed)

    async def models(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/models: what the key may ask for."""

        async def serve(_request: web.Request, request_id: str, caller: Caller) -> web.StreamResponse:
            check_admission(self._gateway, caller)
            return _json({"object": "list", "data": list_models(caller)}, 200, request_id)

        return await self._guarded(request, serve)

    async def _guarded(self, request: web.Request, serve: Serve) -> web.StreamResponse:
        gateway = self._gateway
        request_id = gateway.request_id()
        try:
            caller = identify(gateway, request)
        except OutpostError as error:
            gateway.metrics.refused(error.code)
            return _refusal(error, request_id)
        began = gateway.ports.clock.monotonic()
        status = CLIENT_GONE_STATUS
        try:
            response = await self._served(request, request_id, caller, serve)
            status = response.status
            return response
        finally:
            gateway.metrics.in_flight(gateway.in_flight.count)
            gateway.metrics.finished(caller.org, status, gateway.ports.clock.monotonic() - began)

    async def _served(self, request: web.Request, request_id: str, caller: Caller, serve: Serve) -> web.StreamResponse:
        """Serve one request; whatever goes wrong before the head of the answer becomes an answer."""
        gateway = self._gateway
        task = asyncio.current_task()
        assert task is not None
        gateway.requests.add(task)
        try:
            with gateway.in_flight:
                gateway.metrics.in_flight(gateway.in_flight.count)
                return await serve(request, request_id, caller)
        except OutpostError as error:
            _log(error, caller.org, request_id)
            return _refusal(error, request_id)
        except ConnectionError:
            raise  # the client is gone
        except asyncio.CancelledError:
            if not gateway.stopping:
                raise
            task.uncancel()
            return _refusal(StoppingError("the outpost is shutting down"), request_id)
        except Exception:
            emit(Event.REQUEST_FAILED, logging.ERROR, org=caller.org, request_id=request_id, code=InternalError.code)
            return _refusal(InternalError("internal error"), request_id)
        finally:
            gateway.requests.discard(task)

    async def alive(self, _request: web.Request) -> web.Response:
        """GET /healthz: the event loop turns."""
        return _json({"status": "alive"}, 200)

    async def ready(self, _request: web.Request) -> web.Response:
        """GET /readyz: reasons, whatever the status."""
        readiness = await probes.readiness(self._gateway)
        return _json(readiness.as_dict(), 200 if readiness.ready else 503)

    async def health(self, _request: web.Request) -> web.Response:
        """GET /health: version and dates."""
        return _json(probes.health(self._gateway), 200)

    async def show_metrics(self, _request: web.Request) -> web.Response:
        """GET /metrics."""
        return web.Response(body=self._gateway.metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def expectation(self, request: web.Request) -> web.StreamResponse | None:
        """Expect: 100-continue is met; the library's answer to anything else would repeat it."""
        if request.headers.get("Expect", "").strip().lower() != "100-continue":
            error = ExpectationError("the only expectation that is met is 100-continue", field="Expect")
            return _refusal(error, self._gateway.request_id())
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer itself has not begun
        return None

    async def unknown(self, request: web.Request) -> web.Response:
        """Everything else, in the shape that clients expect."""
        known = {ENDPOINT: "POST", "/v1/models": "GET", "/healthz": "GET", "/readyz": "GET", "/health": "GET"}
        method = known.get(request.path)
        there = ", ".join(f"{verb} {path}" for path, verb in known.items())
        error: OutpostError = UnknownEndpointError(
            "there is no such endpoint", field="path", next_step=f"there are {there}"
        )
        if method is not None:
            error = MethodError(f"this endpoint takes {method} only", field="method")
        return _refusal(error, self._gateway.request_id())


def list_models(caller: Caller) -> list[dict[str, Any]]:
    """Names of models that the routes or the key spell out and that the key may use; a glob is no model."""
    found: dict[str, str] = {}
    for provider in caller.program.providers:
        for name in (*provider.models, *caller.key.models):
            served = any(glob_matches(entry.lower(), name.lower()) for entry in provider.models)
            if "*" not in name and served and may_use(caller.key, name) and caller.program.serves(name):
                owner = caller.program.route(name)
                found.setdefault(name, owner.name if owner is not None else provider.name)
    return [{"id": name, "object": "model", "created": CREATED, "owned_by": owner} for name, owner in found.items()]


def _json(body: object, status: int, request_id: str = "") -> web.Response:
    headers = {"X-Request-Id": request_id} if request_id else None
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def _refusal(error: OutpostError, request_id: str) -> web.Response:
    made = answer(error, request_id)
    return web.Response(body=made.body, status=made.status, headers=made.headers)


def _log(error: OutpostError, org: str, request_id: str) -> None:
    """Log what operators must act on; denials and callers' mistakes are audit records and metrics, not log lines."""
    if status_of(error) < 500 or isinstance(error, DeniedError | PeerError):  # providers' failures have their own line
        return
    emit(
        Event.REQUEST_FAILED,
        logging.WARNING,
        org=org,
        request_id=request_id,
        code=error.code,
        message=error.message,
        next=error.next_step,
    )
