"""A request's journey, R1 to R10 of the house. One instance for one request; it keeps one program for its life."""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from aiohttp import web

from outpost.core.audit.record import Actor, Outcome, RequestDecided, RequestFinished, RequestRefused
from outpost.core.bundle.access import ClientKey
from outpost.core.bundle.documents import Provider
from outpost.core.bundle.trust import OrgState, State
from outpost.core.chat.messages import BodyLimits, ChatRequest, check_content_type, parse_body, read_chat
from outpost.core.decision import Action, Direction, Features
from outpost.core.errors import DeniedError, InternalError, OutpostError, PeerError
from outpost.core.inspection import (
    TIERS,
    Inspection,
    denial,
    inspect_answer,
    inspect_request,
    is_denial,
    unroutable,
)
from outpost.core.program import OrgProgram
from outpost.core.providers.registry import translator_for
from outpost.gateway import errors
from outpost.gateway.answers import AnswerFigures, StreamAnswer
from outpost.gateway.auth import check_key, check_model, read_credential, unknown_key
from outpost.gateway.bodies import read_body
from outpost.gateway.context import Gateway
from outpost.gateway.envelope import usage_of
from outpost.gateway.replies import check_head, forwarded_headers, parse_reply, serialise
from outpost.gateway.upstream import read_all
from outpost.ports import UpstreamRequest, UpstreamResponse
from outpost.telemetry import Event, emit

ENDPOINT = "/v1/chat/completions"
CLIENT_GONE_STATUS = 499  # nobody saw a status; nginx's number for it


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the program that decides for the whole life of the request."""

    program: OrgProgram
    key: ClientKey

    @property
    def org(self) -> str:
        """The caller's org."""
        return self.program.org


def identify(gateway: Gateway, request: web.Request) -> Caller:
    """R2 and R3: name the caller and take one snapshot of the program.

    Raises:
        DeniedError: no key, an unknown one, one whose time is over; the org has no configuration.
    """
    credential = read_credential(request.headers)
    program = gateway.programs.get(credential.org)
    if program is None:
        if credential.org not in gateway.orgs():
            raise unknown_key()
        state = gateway.functions.state_of(credential.org)
        if state.state in (State.SEALED, State.LOCKED):  # altered at rest: there is no program, but the cause is known
            raise _sealed(state)
        raise errors.UnconfiguredError(
            f"this outpost has no configuration for the org yet ({state.code or state.state.value})",
            next_step="run `outpost status`",
        )
    return Caller(program, check_key(program.keys, credential, gateway.ports.clock.now_ms()))


def check_admission(gateway: Gateway, caller: Caller) -> None:
    """Refuse while the org is sealed, while stopping, and beyond the key's requests per minute.

    Raises:
        SealedError, StoppingError, RequestLimitError: as named.
    """
    state = gateway.functions.state_of(caller.org)
    if not state.state.serves:
        raise _sealed(state)
    gateway.check_open()
    gateway.rate.take((caller.org, caller.key.id), caller.program.requests_per_minute, gateway.ports.clock.monotonic())


def _sealed(state: OrgState) -> errors.SealedError:
    refusal = errors.LockedError if state.state is State.LOCKED else errors.SealedError
    return refusal(
        f"the outpost is {state.state.value} ({state.code}): {state.reason}", next_step="run `outpost status`"
    )


@dataclass(slots=True)
class Journey:
    """One chat completion."""

    gateway: Gateway
    request: web.Request
    request_id: str
    caller: Caller
    received: int = 0
    began: float = 0.0
    figures: AnswerFigures = field(default_factory=AnswerFigures)
    decided: bool = False  # and on record
    failure: OutpostError | None = None  # what ended a stream whose head was sent already

    async def run(self) -> web.StreamResponse:
        """Serve the request.

        Raises:
            OutpostError: becomes the client's error; everything that had to be recorded is.
        """
        self.began = self.gateway.ports.clock.monotonic()
        try:
            chat, provider, inspection = await self._judge()
        except OutpostError as error:
            await self._record_refused(error)
            raise
        except ConnectionError:
            raise  # the client left before its request was here
        except Exception:  # a fault of ours in the middle of judging: nothing was sent, and the record says so
            await self._record_refused(InternalError("internal error"))
            raise
        try:
            await self._commit(chat, provider, inspection)
            return await self._serve(chat, provider, inspection)
        except asyncio.CancelledError:
            stopped = self.gateway.stopping
            self._finish(CLIENT_GONE_STATUS, Outcome.FAILED if stopped else Outcome.CLIENT_GONE)
            raise
        except ConnectionResetError:
            self._finish(CLIENT_GONE_STATUS, Outcome.CLIENT_GONE)
            raise
        except PeerError as error:
            self.gateway.metrics.provider_failed(self.caller.org, error.code)
            self._tell(error, provider)
            self._finish(errors.status_of(error), Outcome.PROVIDER_ERROR)
            raise
        except OutpostError as error:
            self._finish(errors.status_of(error), Outcome.FAILED)
            raise
        finally:  # whatever happened, a decided request has an outcome
            self._finish(500, Outcome.FAILED)

    async def _commit(self, chat: ChatRequest, provider: Provider, inspection: Inspection) -> None:
        """R6 and R7: the record, then the denial. A denied request has no other outcome than its decision."""
        try:
            await self._record_decided(chat, provider, inspection)
        except OutpostError:
            self.figures.finished = True  # an outcome without a decision would say nothing
            raise
        if inspection.denied:
            self.figures.finished = True
            raise denial(inspection.decision, inspection.features, inspection.param)

    async def _judge(self) -> tuple[ChatRequest, Provider, Inspection]:
        """R1, R4, R5: admission, body, shape, route, inspection, decision."""
        check_admission(self.gateway, self.caller)
        check_content_type(self.request.headers.get("Content-Type", ""))
        limits = BodyLimits(max_bytes=self.caller.program.release.max_body_bytes)
        raw = await read_body(self.request, limits.max_bytes)
        self.received = len(raw)
        chat = read_chat(parse_body(raw, limits))
        check_model(self.caller.key, chat.model)
        provider = self._route(chat.model)
        inspection = inspect_request(self.caller.program.inspector, chat.tree, self._features(chat, provider))
        self.gateway.metrics.moved(self.caller.org, "received", self.received)
        self.gateway.metrics.moved(self.caller.org, "inspected", inspection.bytes_inspected)
        return self._apply_route(chat, provider, inspection)

    def _route(self, model: str) -> Provider:
        provider = self.caller.program.route(model)
        if provider is None:
            raise errors.UnknownModelError(
                "no provider serves this model", field="model", next_step="GET /v1/models lists what there is"
            )
        return provider

    def _apply_route(
        self, chat: ChatRequest, provider: Provider, inspection: Inspection
    ) -> tuple[ChatRequest, Provider, Inspection]:
        """Follow ROUTE_TO: another model, maybe of another provider. The key's own globs do not bind policy."""
        decision = inspection.decision
        if decision.action is not Action.ROUTE_TO:
            return chat, provider, inspection
        program = self.caller.program
        target = program.route(decision.route_to) if program.serves(decision.route_to) else None
        if target is None:
            return chat, provider, replace(inspection, decision=unroutable(decision))
        tree = {**inspection.tree, "model": decision.route_to}
        return chat, target, replace(inspection, tree=tree)

    def _features(self, chat: ChatRequest, provider: Provider) -> Features:
        key = self.caller.key
        return Features(
            direction=Direction.INPUT,
            user=key.user,
            user_groups=key.groups,
            agent=key.agent,
            provider=provider.name,
            model=chat.model,
            channel=key.channel,
            data_class=key.data_class,
        )

    def _actor(self) -> Actor:
        return Actor(self.caller.key.id, self.caller.key.groups)

    async def _record_refused(self, error: OutpostError) -> None:
        record = RequestRefused(
            self.gateway.head(self.caller.org),
            self.request_id,
            self._actor(),
            ENDPOINT,
            errors.status_of(error),
            error.code,
            self.received,
        )
        await self.gateway.record(self.caller.org, record.to_bytes())

    async def _record_decided(self, chat: ChatRequest, provider: Provider, inspection: Inspection) -> None:
        """Durable before any effect, the client's own denial included."""
        features = inspection.features
        self.gateway.metrics.decided(
            self.caller.org, features.direction.value, inspection.decision.action.value, features.entities
        )
        record = RequestDecided(
            head=self.gateway.head(self.caller.org),
            request_id=self.request_id,
            actor=self._actor(),
            endpoint=ENDPOINT,
            model=features.model,
            provider=provider.name,
            stream=chat.stream,
            decision=inspection.decision,
            features=features,
            tiers=TIERS,
            revision=self.caller.program.revision,
            bytes_received=self.received,
            bytes_inspected=inspection.bytes_inspected,
        )
        await self.gateway.record(self.caller.org, record.to_bytes())
        self.decided = True
        self.gateway.watch.decided(self.caller.program, features, inspection.decision)

    def _finished(self, status: int, outcome: Outcome) -> bytes:
        figures = self.figures
        figures.finished = True
        if figures.decision is not None and figures.features is not None and not figures.remembered:
            figures.remembered = True
            self.gateway.watch.decided(self.caller.program, figures.features, figures.decision)
        elapsed = self.gateway.ports.clock.monotonic() - self.began
        return RequestFinished(
            head=self.gateway.head(self.caller.org),
            request_id=self.request_id,
            status=status,
            outcome=outcome,
            provider_status=figures.provider_status,
            decision=figures.decision,
            features=figures.features,
            tokens_prompt=figures.tokens_prompt,
            tokens_completion=figures.tokens_completion,
            bytes_from_provider=figures.bytes_from_provider,
            bytes_inspected=figures.bytes_inspected,
            bytes_released=figures.bytes_released,
            duration_ms=int(elapsed * 1000),
        ).to_bytes()

    def _finish(self, status: int, outcome: Outcome) -> None:
        """R10: the outcome; a clean end is not awaited."""
        if not self.figures.finished:
            self.gateway.record_later(self.caller.org, self._finished(status, outcome))

    async def _serve(self, chat: ChatRequest, provider: Provider, inspection: Inspection) -> web.StreamResponse:
        """R8 and R9."""
        response = await self.gateway.ports.upstream.send(self._call(provider, inspection))
        lingering = False
        try:
            self.figures.provider_status = response.status
            check_head(response, provider, stream=chat.stream)
            if not chat.stream:
                return await self._reply(response, inspection)
            answer = self._answer(inspection)
            out = await self._stream(answer, response, inspection)
            self.failure = answer.failure
            if isinstance(answer.failure, PeerError):
                self._tell(answer.failure, provider)
            lingering = answer.lingering
            return out
        finally:
            if not lingering:
                await response.close()

    def _tell(self, error: PeerError, provider: Provider) -> None:
        """A log line for whoever runs the outpost: which provider and what; never a path, a query or a key."""
        if errors.status_of(error) < 500:
            return  # too many requests, or the caller's mistake: a metric
        emit(
            Event.PROVIDER_FAILED,
            logging.WARNING,
            org=self.caller.org,
            request_id=self.request_id,
            provider=provider.name,
            host=urlsplit(provider.base_url).hostname or "",
            code=error.code,
            message=error.message,
            next=error.next_step,
        )

    def _call(self, provider: Provider, inspection: Inspection) -> UpstreamRequest:
        key = self.gateway.ports.secrets.get(provider.key_secret).decode().strip() if provider.key_secret else ""
        call = translator_for(provider.kind).chat(provider.base_url, inspection.tree, key)
        return UpstreamRequest(
            "POST",
            call.url,
            call.headers,
            call.body,
            provider.connect_timeout_ms / 1000,
            provider.read_timeout_ms / 1000,
        )

    async def _reply(self, response: UpstreamResponse, asked: Inspection) -> web.Response:
        """A whole answer: parse, judge, redact or withhold, restore."""
        raw = await read_all(response.chunks(), self.gateway.options.reply_seconds)
        self.figures.bytes_from_provider = len(raw)
        tree = parse_reply(raw)
        self.figures.tokens_prompt, self.figures.tokens_completion = usage_of(tree)
        base = replace(asked.features, direction=Direction.OUTPUT, entities=(), content_matches=(), tokens=0)
        judged = inspect_answer(self.caller.program.inspector, tree, base, asked.placeholders)
        self.figures.judged(judged.decision, judged.features, judged.bytes_inspected)
        self._count_output(judged)
        if is_denial(judged.decision):
            error = denial(judged.decision, judged.features)
            await self._record_blocked(errors.status_of(error))
            raise error
        body = serialise(judged.tree)
        self.figures.bytes_released = len(body)
        self.gateway.metrics.moved(self.caller.org, "released", len(body))
        self._finish(200, Outcome.RELEASED)
        headers = self._headers(response, asked)
        return web.Response(body=body, headers=headers, content_type="application/json")

    async def _record_blocked(self, status: int) -> None:
        """Durable before the client learns of it; when that fails, the failure is the outcome."""
        try:
            await self.gateway.record(self.caller.org, self._finished(status, Outcome.BLOCKED))
        except OutpostError:
            self.figures.finished = False
            raise

    def _count_output(self, judged: Inspection) -> None:
        action = judged.decision.action.value
        self.gateway.metrics.decided(self.caller.org, Direction.OUTPUT.value, action, judged.features.entities)

    def _headers(self, response: UpstreamResponse, asked: Inspection) -> dict[str, str]:
        return {
            **forwarded_headers(response.headers),
            "X-Request-Id": self.request_id,
            "X-Policy-Action": asked.decision.action.value,
        }

    def _answer(self, asked: Inspection) -> StreamAnswer:
        return StreamAnswer(
            gateway=self.gateway,
            request=self.request,
            request_id=self.request_id,
            inspector=self.caller.program.inspector,
            asked=asked,
            org=self.caller.org,
            figures=self.figures,
        )

    async def _stream(self, answer: StreamAnswer, response: UpstreamResponse, asked: Inspection) -> web.StreamResponse:
        """A streamed answer, see ``answers``."""
        try:
            out = await answer.run(response, self._headers(response, asked))
        except DeniedError as error:
            self._finish(errors.status_of(error), Outcome.BLOCKED)
            raise
        self._finish(200, answer.outcome)
        return out
