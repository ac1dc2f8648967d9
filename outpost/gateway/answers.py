"""R9 for streams: judge while it runs, record what stops it before anybody is told, end it properly in every case.

Once the head of the answer is sent, an error cannot be a status any more: it is the last event before ``[DONE]``.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from aiohttp import web

from outpost.core.audit.record import Outcome, StreamFinding
from outpost.core.decision import Decision, Direction, Features
from outpost.core.errors import InternalError, OutpostError, PeerError
from outpost.core.inspection import Inspection, Inspector, denial, is_denial, judge
from outpost.gateway.context import Gateway
from outpost.gateway.errors import StoppingError, error_event
from outpost.gateway.judging import AnswerJudge, AnswerSurvey, needs_whole_answer
from outpost.gateway.translate import StreamTranslator
from outpost.gateway.upstream import ProviderTimeoutError, read_all
from outpost.ports import UpstreamResponse
from outpost.telemetry import Event, emit

LINGER_SECONDS = 0.5  # for the provider's last bytes after its terminator, so that the connection can be kept
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(slots=True)
class AnswerFigures:
    """What the record of the outcome says about the answer."""

    provider_status: int = 0
    decision: Decision | None = None
    features: Features | None = None
    tokens_prompt: int = 0
    tokens_completion: int = 0
    bytes_from_provider: int = 0
    bytes_inspected: int = 0
    bytes_released: int = 0
    finished: bool = False
    remembered: bool = False

    def judged(self, decision: Decision, features: Features, bytes_inspected: int) -> None:
        """Note the verdict on the answer."""
        self.decision = decision
        self.features = features
        self.bytes_inspected = bytes_inspected

    def translated(self, translator: StreamTranslator) -> None:
        """Note the figures of a stream."""
        self.bytes_from_provider = translator.bytes_received
        self.bytes_inspected = translator.bytes_inspected
        self.bytes_released = translator.bytes_released
        self.tokens_prompt, self.tokens_completion = translator.usage


@dataclass(slots=True)
class StreamAnswer:
    """One streamed answer.

    Attributes:
        asked: the judged request: its features and placeholders.
        figures: filled while the stream runs.
        outcome: how it ended; set when ``run`` returns.
        failure: what ended it early, None when nothing did; set when ``run`` returns.
        lingering: the provider's connection is still being read, and is closed by whoever does.
    """

    gateway: Gateway
    request: web.Request
    request_id: str
    inspector: Inspector
    asked: Inspection
    org: str
    figures: AnswerFigures
    outcome: Outcome = Outcome.RELEASED
    failure: OutpostError | None = None
    lingering: bool = False

    @property
    def _base(self) -> Features:
        return replace(self.asked.features, direction=Direction.OUTPUT, entities=(), content_matches=(), tokens=0)

    async def run(self, response: UpstreamResponse, headers: dict[str, str]) -> web.StreamResponse:
        """Pass the answer on.

        Raises:
            PeerError: the provider failed before anything was sent.
            PolicyDeniedError: policy withholds the whole answer; recorded.
            ConnectionResetError, CancelledError: the client went away.
        """
        chunks = response.chunks()
        base, settled = self._base, None
        if needs_whole_answer(self.inspector.policy):
            raw = await read_all(chunks, self.gateway.options.reply_seconds)
            base, settled = self._survey(raw)
            chunks = _once(raw)
        verdicts = AnswerJudge(self.inspector, base, self.asked.placeholders, settled)
        self.figures.judged(verdicts.decision, verdicts.features, 0)
        if is_denial(verdicts.decision):
            error = denial(verdicts.decision, verdicts.features)
            await self._record_stop(verdicts)
            self.outcome = Outcome.BLOCKED
            raise error
        out = web.StreamResponse(headers={**headers, **_STREAM_HEADERS})
        out.content_type = "text/event-stream"
        await out.prepare(self.request)
        translator = StreamTranslator(verdicts)
        await self._pump(chunks, translator, out)
        await self._end(translator, verdicts, out)
        if translator.done:
            self.lingering = True
            self.gateway.spawn(_linger(chunks, response))
        return out

    def _survey(self, raw: bytes) -> tuple[Features, Decision]:
        """First pass over an answer that policy wants to see whole."""
        survey = AnswerSurvey(self.inspector)
        translator = StreamTranslator(survey)
        translator.feed(raw)
        translator.finish()
        if translator.error is not None:
            raise translator.error
        features = survey.features(self._base)
        return features, judge(self.inspector.policy, features)

    async def _pump(self, chunks: AsyncIterator[bytes], translator: StreamTranslator, out: web.StreamResponse) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(self.gateway.options.reply_seconds):
                await _copy(chunks, translator, out)
        except OutpostError as error:
            self.failure = error
        except TimeoutError:
            self.failure = ProviderTimeoutError("the provider did not finish its answer in time")
        except asyncio.CancelledError:
            if not self.gateway.stopping:
                raise
            task.uncancel()
            self.failure = StoppingError("the outpost is shutting down", next_step="send the request again")
        except ConnectionError:
            raise
        except Exception:  # the head is sent: whatever broke must end the stream, not start a second answer in it
            emit(Event.REQUEST_FAILED, logging.ERROR, org=self.org, request_id=self.request_id, code=InternalError.code)
            self.failure = InternalError("internal error")
        finally:
            self.figures.translated(translator)

    async def _end(self, translator: StreamTranslator, verdicts: AnswerJudge, out: web.StreamResponse) -> None:
        """Tell the client how it ended, after the record where one is due."""
        self.figures.judged(verdicts.decision, verdicts.features, translator.bytes_inspected)
        failure = self.failure or translator.error
        if translator.stopped:
            self.outcome = Outcome.BLOCKED
            failure = denial(verdicts.decision, verdicts.features)
            try:
                await self._record_stop(verdicts)
            except OutpostError as error:
                failure = error
        elif failure is not None:
            self.outcome = Outcome.PROVIDER_ERROR if isinstance(failure, PeerError) else Outcome.FAILED
        action = verdicts.decision.action.value
        self.gateway.metrics.decided(self.org, Direction.OUTPUT.value, action, verdicts.features.entities)
        if isinstance(failure, PeerError):
            self.gateway.metrics.provider_failed(self.org, failure.code)
        self.failure = failure
        if failure is not None:
            event = error_event(failure, self.request_id)
            await out.write(event)
            self.figures.bytes_released += len(event)
        await out.write_eof()
        self.gateway.metrics.moved(self.org, "released", self.figures.bytes_released)

    async def _record_stop(self, verdicts: AnswerJudge) -> None:
        record = StreamFinding(
            self.gateway.head(self.org),
            self.request_id,
            verdicts.decision,
            verdicts.features,
            self.figures.bytes_released,
        )
        await self.gateway.record(self.org, record.to_bytes())


async def _copy(chunks: AsyncIterator[bytes], translator: StreamTranslator, out: web.StreamResponse) -> None:
    """Write what comes out of the translator until one side has ended."""
    async for chunk in chunks:
        data = translator.feed(chunk)
        if data:
            await out.write(data)
        if translator.ended:
            return
    data = translator.finish()
    if data:
        await out.write(data)


async def _once(raw: bytes) -> AsyncIterator[bytes]:
    yield raw


async def _linger(chunks: AsyncIterator[bytes], response: UpstreamResponse) -> None:
    """Read the end that follows the terminator; a provider that has more to say loses its connection."""
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            async for _ in chunks:
                return
    except (TimeoutError, PeerError):
        return
    finally:
        await response.close()
