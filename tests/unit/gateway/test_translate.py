"""The stream translator: what comes out does not depend on the cuts, and nothing that is stopped leaves."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.core.decision import Direction, Features
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.gateway.judging import AnswerJudge, AnswerSurvey, needs_whole_answer
from outpost.gateway.translate import MAX_CHANNELS, StreamTranslator
from outpost.simulator import shapes
from outpost.simulator.script import Script, ToolCall
from tests.unit.gateway.harness import AWS_KEY, CARD, EMAIL, program, rule

REDACTING = (
    rule("secrets", "BLOCK", "both", entity_types=["aws_access_key"]),
    rule("mail", "REDACT", "both", entity_types=["email"]),
)
BASE = Features(Direction.OUTPUT, model="gpt-x")
PROGRAM = program(rules=REDACTING)


def judge(placeholders: PlaceholderMap | None = None) -> AnswerJudge:
    return AnswerJudge(PROGRAM.inspector, BASE, placeholders or PlaceholderMap())


def translate(
    data: bytes, cuts: list[int] | None = None, placeholders: PlaceholderMap | None = None
) -> StreamTranslator:
    """Feed everything; the output hangs on the translator for the caller."""
    translator = StreamTranslator(judge(placeholders))
    edges = [0, *sorted(cut for cut in cuts or [] if 0 < cut < len(data)), len(data)]
    out = b"".join(translator.feed(data[start:end]) for start, end in pairwise(edges))
    translator.output = out + translator.finish()  # type: ignore[attr-defined]
    return translator


def output(translator: StreamTranslator) -> bytes:
    return translator.output  # type: ignore[attr-defined,no-any-return]


def text_of(data: bytes) -> str:
    """Join the content deltas of a stream."""
    text = ""
    for event in data.split(b"\n\n"):
        if event.startswith(b"data: {"):
            for choice in orjson.loads(event[6:])["choices"]:
                text += choice.get("delta", {}).get("content") or ""
    return text


def stream(reply: str, **script: Any) -> bytes:
    return b"".join(shapes.chat_events({"model": "gpt-x"}, Script(reply=reply, **script)))


SECRET_REPLY = f"the key is {AWS_KEY} and more"
SECRET_BODY = stream(SECRET_REPLY, chunk_chars=7)


def test_a_secret_cut_at_every_byte_never_leaves() -> None:
    for cut in range(1, len(SECRET_BODY)):
        translator = translate(SECRET_BODY, [cut])
        assert translator.stopped
        assert text_of(output(translator)) == "the key is "


def test_a_secret_cut_at_every_character_never_leaves() -> None:
    start = SECRET_REPLY.index(AWS_KEY)
    for first in range(start, start + len(AWS_KEY) + 1):
        translator = translate(stream(SECRET_REPLY, cuts=(first,)))
        assert translator.stopped
        assert text_of(output(translator)) == "the key is "


def test_a_secret_fed_byte_by_byte_never_leaves() -> None:
    translator = translate(SECRET_BODY, list(range(len(SECRET_BODY))))
    assert (translator.stopped, text_of(output(translator))) == (True, "the key is ")


PIECES = st.sampled_from(
    [
        EMAIL,
        "ada@",
        "example.com ",
        "[EMAIL_1]",
        "[EMA",
        "IL_1]",
        " and ",
        "é",
        "\U0001f600",
        AWS_KEY[:9],
        CARD[:9],
        "x" * 30,
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(PIECES, max_size=8).map("".join), st.lists(st.integers(1, 120), max_size=6), st.lists(st.integers(1, 4000))
)
def test_output_of_the_stream_is_output_of_the_whole(reply: str, cuts: list[int], byte_cuts: list[int]) -> None:
    placeholders = PlaceholderMap()
    finding = PROGRAM.inspector.find(EMAIL)
    placeholders.redact(EMAIL, finding)
    whole = translate(stream(reply, cuts=(10**6,)), None, placeholders)
    pieces = translate(stream(reply, cuts=tuple(cuts) or (3,)), byte_cuts, placeholders)
    assert text_of(output(pieces)) == text_of(output(whole))
    assert (pieces.stopped, pieces.done) == (whole.stopped, whole.done)


def test_held_text_leaves_before_the_finish_event() -> None:
    events = output(translate(stream("mail ada@exam", chunk_chars=3))).split(b"\n\n")
    reasons = [orjson.loads(e[6:])["choices"][0]["finish_reason"] for e in events if e.startswith(b"data: {")]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert events[-2] == b"data: [DONE]"
    assert text_of(b"\n\n".join(events)) == "mail ada@exam"


def test_usage_and_several_choices_pass() -> None:
    body = {"model": "gpt-x", "n": 3, "stream_options": {"include_usage": True}}
    translator = translate(b"".join(shapes.chat_events(body, Script(reply="one two"))))
    assert translator.done
    assert text_of(output(translator)) == "one two" * 3
    assert translator.usage == (0, 2)
    assert b'"usage":{"prompt_tokens":0' in output(translator)


def test_a_secret_in_tool_arguments_is_found_through_json_escapes() -> None:
    escaped = "".join(f"\\u{ord(char):04x}" for char in AWS_KEY)
    call = ToolCall(name="leak", arguments=f'{{"k":"{escaped}"}}')
    for size in (1, 2, 5, 7):
        script = Script(tool_call=call, chunk_chars=size)
        translator = translate(b"".join(shapes.chat_events({"model": "gpt-x"}, script)))
        assert translator.stopped
        assert b"\\\\u0041" not in output(translator)


def chunk(**fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"id": "c", "object": "chat.completion.chunk", **fields}) + b"\n\n"


def delta(content: Any, finish: str | None = None, **choice: Any) -> bytes:
    return chunk(choices=[{"index": 0, "delta": content, "finish_reason": finish, **choice}])


BROKEN = {
    "no JSON": b"data: {\n\n",
    "an array": b"data: []\n\n",
    "a repeated key": b'data: {"choices":[],"choices":[]}\n\n',
    "choices that are no array": b'data: {"choices":{}}\n\n',
    "a choice that is no object": b'data: {"choices":[1]}\n\n',
    "a delta that is a string": delta("text"),
    "an index beyond the limit": chunk(choices=[{"index": 16, "delta": {}}]),
    "an index that is a string": chunk(choices=[{"index": "0", "delta": {}}]),
    "an error object": b'data: {"error":{"message":"boom"}}\n\n',
    "invalid UTF-8": b'data: {"choices":[],"x":"\xff"}\n\n',
    "an id in pieces": delta({"tool_calls": [{"index": 0, "id": "a"}]})
    + delta({"tool_calls": [{"index": 0, "id": "b"}]}),
    "text after the end": delta({"content": "a"}, "stop") + delta({"content": "b"}),
    "an end without an end": delta({"content": "a"}),
    "an end inside an event": delta({}, "stop") + b"data: {",
    "nothing at all": b"",
    "too many texts": b"".join(delta({f"x{n}": "a"}) for n in range(MAX_CHANNELS + 1)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_stream_is_named_and_releases_nothing_that_is_held(case: str) -> None:
    translator = translate(chunk(choices=[{"index": 1, "delta": {"content": "x ada@"}}]) + BROKEN[case])
    assert translator.error is not None
    assert translator.error.code == "provider.bad_sse"
    assert not translator.done
    assert b"[DONE]" not in output(translator)
    assert b"ada@" not in output(translator)


def test_a_stream_without_terminator_is_accepted_when_every_choice_ended() -> None:
    translator = translate(delta({"content": "all"}) + delta({}, "stop"))
    assert translator.done
    assert output(translator).endswith(b"data: [DONE]\n\n")


SECRET_PLACES = {
    "a key of the delta": delta({AWS_KEY: "x"}),
    "an id of a tool call": delta({"tool_calls": [{"index": 0, "id": AWS_KEY}]}),
    "a function's name": delta({"tool_calls": [{"index": 0, "function": {"name": AWS_KEY}}]}),
    "a field of the envelope": chunk(system_fingerprint=AWS_KEY, choices=[]),
    "an unknown field of the choice": delta({}, note=[AWS_KEY]),
    "an unknown field of the delta": delta({"reasoning_content": AWS_KEY + " "}),
    "a finish reason": delta({}, AWS_KEY),
}


@pytest.mark.parametrize("case", SECRET_PLACES)
def test_a_secret_is_found_in_every_place_of_an_event(case: str) -> None:
    translator = translate(SECRET_PLACES[case] + delta({}, "stop") + b"data: [DONE]\n\n")
    assert translator.stopped
    assert AWS_KEY.encode() not in output(translator)


def test_token_lists_are_dropped() -> None:
    listed = delta({"content": "x"}, logprobs={"content": [{"token": AWS_KEY, "bytes": [65]}]})
    translator = translate(listed + delta({}, "stop"))
    assert translator.done
    assert AWS_KEY.encode() not in output(translator)


WHOLE = {
    "entity types alone": (rule("r", "BLOCK", "output", entity_types=["email"]), False),
    "a content expression": (rule("r", "BLOCK", "output", content_regex=["zebra"]), True),
    "a content expression for prompts": (rule("r", "BLOCK", "input", content_regex=["zebra"]), False),
    "a count": (rule("r", "BLOCK", "both", entity_types=["email"], entity_count_min=2), True),
    "a bound of tokens": (rule("r", "BLOCK", "output", tokens_min=5), True),
}


@pytest.mark.parametrize("case", WHOLE)
def test_streams_are_held_to_their_end_only_where_policy_needs_it(case: str) -> None:
    only, wanted = WHOLE[case]
    assert needs_whole_answer(program(rules=(only,)).inspector.policy) is wanted


def test_a_survey_sees_what_policy_asks_of_a_whole_answer() -> None:
    inspector = program(rules=(rule("zebra", "BLOCK", "output", content_regex=["ze.ra"]),)).inspector
    survey = AnswerSurvey(inspector)
    translator = StreamTranslator(survey)
    translator.feed(stream(f"a zebra, {EMAIL}, {AWS_KEY}", chunk_chars=2))
    translator.finish()
    features = survey.features(BASE)
    assert features.content_matches == ("base/zebra",)
    assert {entity.entity_type for entity in features.entities} == {"email", "aws_access_key"}
    assert features.tokens > 5
