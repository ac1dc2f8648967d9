"""Pieces of a text outside the deltas, items with odd indexes, figures that cannot be: what slipped through once."""

from typing import Any

import orjson
import pytest

from outpost.core.chat.fields import list_fields
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.gateway.envelope import MAX_PLACES, Envelope, usage_of
from outpost.gateway.judging import AnswerJudge
from outpost.gateway.translate import StreamTranslator
from tests.unit.gateway.harness import AWS_KEY
from tests.unit.gateway.test_translate import BASE, PROGRAM

HEAD, TAIL = AWS_KEY[:7], AWS_KEY[7:]


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def run(*events: dict[str, Any]) -> tuple[StreamTranslator, bytes]:
    data = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    translator = StreamTranslator(AnswerJudge(PROGRAM.inspector, BASE, PlaceholderMap()))
    return translator, translator.feed(data) + translator.finish()


def choice_with(**fields: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "finish_reason": None, **fields}]}


PIECES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the text of a completion": (choice_with(text=HEAD), choice_with(text=TAIL)),
    "a message beside the delta": (choice_with(message={"content": HEAD}), choice_with(message={"content": TAIL})),
    "a field of the event": ({"text": HEAD}, {"text": TAIL}),
    "a delta outside the choices": ({"delta": {"text": HEAD}}, {"delta": {"text": TAIL}}),
    "the id": ({**chunk({}), "id": HEAD}, {**chunk({}), "id": TAIL}),
    "the reason of the end": (chunk({"content": "a"}, HEAD), chunk({}, TAIL)),
    "a piece that was judged at another place": ({"text": HEAD, "other": TAIL}, {"text": TAIL}),
    "items whose index is a float": (
        chunk({"tool_calls": [{"index": 5, "function": {"arguments": HEAD}}]}),
        chunk({"tool_calls": [{"index": 5.0, "function": {"arguments": TAIL}}]}),
    ),
    "items whose index is a string": (
        chunk({"tool_calls": [{"index": 5, "function": {"arguments": HEAD}}]}),
        chunk({"tool_calls": [{"index": "5", "function": {"arguments": TAIL}}]}),
    ),
    "tokens inside a delta": (chunk({"logprobs": {"content": [{"token": HEAD}, {"token": TAIL}]}}), chunk({})),
}


@pytest.mark.parametrize("case", PIECES)
def test_the_rest_of_a_text_that_comes_in_pieces_stays_behind(case: str) -> None:
    _, out = run(*PIECES[case], chunk({}, "stop"))
    assert out.decode().count(TAIL) == (1 if case == "a piece that was judged at another place" else 0)
    assert out.endswith(b"data: [DONE]\n\n") or b"[DONE]" not in out


def test_choices_that_share_an_event_position_keep_their_own_reasons() -> None:
    second = {"id": "c", "choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "content_filter"}]}
    translator, out = run(chunk({"content": "a"}, "other_reason"), second)
    assert translator.done
    assert b'"content_filter"' in out
    assert b'"other_reason"' in out


def test_what_repeats_itself_passes_unchanged() -> None:
    translator, out = run(
        chunk({"content": "a"}, system_fingerprint="fp_1"), chunk({"content": "b"}, "stop", system_fingerprint="fp_1")
    )
    assert translator.done
    assert out.count(b'"fp_1"') >= 2


def test_places_beyond_the_bound_say_nothing() -> None:
    envelope = Envelope()
    wide: Any = {f"k{number}": f"v{number}" for number in range(MAX_PLACES + 1)}
    steady = envelope.steady(wide, list_fields(wide).fields, [])
    assert [name for name, value in steady.items() if not value] == [f"k{MAX_PLACES}"]


FIGURES: dict[str, tuple[Any, tuple[int, int]]] = {
    "counts": ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4)),
    "truth values": ({"prompt_tokens": True, "completion_tokens": False}, (0, 0)),
    "beyond what a record holds": ({"prompt_tokens": 2**63, "completion_tokens": 1}, (0, 1)),
    "negative": ({"prompt_tokens": -1, "completion_tokens": 1}, (0, 1)),
    "no object": ([1], (0, 0)),
}


@pytest.mark.parametrize("case", FIGURES)
def test_usage_is_what_can_be_believed(case: str) -> None:
    usage, expected = FIGURES[case]
    assert usage_of({"usage": usage}) == expected
    translator, _ = run(chunk({"content": "a"}, "stop"), {"choices": [], "usage": usage})
    assert (translator.done, translator.usage) == (True, expected)


ESCAPED = '{"key": "' + "".join(f"\\u{ord(char):04x}" for char in AWS_KEY) + '"}'


@pytest.mark.parametrize("cut", range(1, len(ESCAPED)))
def test_a_value_in_escapes_is_read_through_in_streamed_content(cut: int) -> None:
    translator, out = run(chunk({"content": ESCAPED[:cut]}), chunk({"content": ESCAPED[cut:]}), chunk({}, "stop"))
    assert translator.stopped
    assert b"u0041" not in out  # the first letter of the key
