"""Texts from outside: chat bodies, provider streams, policies, join tokens. Each is understood or refused by name."""

import base64
import json
import traceback
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.join_token import PREFIX, JoinToken, JoinTokenFormatError, parse
from controlplane.services.configuration import judge_policy
from outpost.core.chat.messages import BodyLimits, parse_body, read_chat
from outpost.core.chat.sse import ServerSentEvent, SSEParser
from outpost.core.decision import Direction, Features
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.errors import BundleError, PeerError, RequestError
from outpost.core.inspection import Inspection, inspect_answer, inspect_request
from outpost.core.policy.compile import compile_document
from outpost.core.policy.evaluate import evaluate
from outpost.gateway.judging import AnswerJudge
from outpost.gateway.translate import StreamTranslator
from outpost.simulator import shapes
from outpost.simulator.script import Script, ToolCall
from tests.fuzz.damage import attempt, damaged, misshapen, paths, put
from tests.property.policy_strategies import FEATURES, documents
from tests.unit.gateway.harness import AWS_KEY, CARD, EMAIL, program

LIMITS = BodyLimits()
PROGRAM = program()
BASE = Features(Direction.INPUT, model="gpt-x")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["hello", CARD, EMAIL, AWS_KEY, '{"a": "b"}', "\\u0034", "data:image/png;base64,AAAA"]
)
MANY = settings(max_examples=250, deadline=None)

# chat bodies

MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "tool"])},
        optional={
            "content": TEXTS | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=2),
            "tool_calls": st.lists(
                st.fixed_dictionaries({"id": TEXTS, "function": st.fixed_dictionaries({"arguments": TEXTS})}),
                max_size=2,
            ),
            "name": TEXTS,
        },
    ),
    min_size=1,
    max_size=3,
)
CHATS = st.fixed_dictionaries(
    {"model": st.just("gpt-x") | TEXTS, "messages": MESSAGES},
    optional={"stream": st.booleans(), "n": st.integers(0, 3), "metadata": st.dictionaries(TEXTS, TEXTS, max_size=2)},
)
CHAT_BYTES = CHATS.map(lambda tree: json.dumps(tree).encode())


def served(raw: bytes) -> Any:
    """What a provider would get; None when the request is refused."""

    def inspect() -> Inspection:
        return inspect_request(PROGRAM.inspector, read_chat(parse_body(raw, LIMITS)).tree, BASE)

    inspection, refused = attempt(RequestError, inspect)
    if inspection is None:
        assert refused is not None
        assert CARD not in str(refused.as_dict())
        return None
    return None if inspection.denied else inspection.tree


@MANY
@given(CHAT_BYTES | damaged(CHAT_BYTES) | misshapen(CHATS).map(lambda tree: json.dumps(tree).encode()))
def test_chat_bodies_are_inspected_or_refused_by_name(raw: bytes) -> None:
    sent = served(raw)
    if sent is not None:
        assert orjson.loads(orjson.dumps(sent)) == sent
        assert served(orjson.dumps(sent)) == sent  # nothing is left to be found


@MANY
@given(misshapen(st.builds(lambda text: json.loads(shapes.chat_reply({"model": "m"}, Script(reply=text))), TEXTS)))
def test_answers_are_inspected_or_refused_by_name(tree: Any) -> None:
    def inspect() -> Inspection:
        parsed = parse_body(json.dumps(tree).encode(), LIMITS)
        return inspect_answer(PROGRAM.inspector, parsed, Features(Direction.OUTPUT), PlaceholderMap())

    inspection, refused = attempt(RequestError, inspect)
    assert inspection is None or inspection.denied or CARD not in json.dumps(inspection.tree)
    assert refused is None or CARD not in str(refused.as_dict())


# streams


def _stream(text: str, tool: bool, size: int) -> bytes:
    call = ToolCall(name="f", arguments=json.dumps({"a": text})) if tool else None
    return b"".join(shapes.chat_events({"model": "m"}, Script(reply=text, tool_call=call, chunk_chars=size)))


STREAMS = st.builds(_stream, TEXTS, st.booleans(), st.integers(1, 9))
CUTS = st.lists(st.integers(0, 2000), max_size=6)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@MANY
@given(st.binary(max_size=80) | damaged(STREAMS), CUTS)
def test_streams_give_events_or_a_fault_of_the_peer(data: bytes, cuts: list[int]) -> None:
    parser = SSEParser()
    events: list[ServerSentEvent] = []

    def read() -> None:
        for piece in pieces(data, cuts):
            events.extend(parser.feed(piece))
        parser.finish()

    _, refused = attempt(PeerError, read)
    assert refused is None or refused.code.startswith("peer.stream_")
    assert sum(len(event.data.encode()) for event in events) <= len(data)


@MANY
@given(st.binary(max_size=80) | damaged(STREAMS) | STREAMS, CUTS)
def test_a_translated_stream_ends_properly_whatever_came(data: bytes, cuts: list[int]) -> None:
    translator = StreamTranslator(AnswerJudge(PROGRAM.inspector, Features(Direction.OUTPUT), PlaceholderMap()))
    out = b"".join(translator.feed(piece) for piece in pieces(data, cuts)) + translator.finish()
    assert translator.ended
    assert translator.bytes_released == len(out)
    for event in out.split(b"\n\n")[:-1]:
        assert event == b"data: [DONE]" or isinstance(orjson.loads(event.removeprefix(b"data: ")), dict)
    assert out.endswith(b"\n\n") or not out


# policies

POLICIES = documents()
MARKER = "zq7" + "-marker"


def judged(text: bytes) -> str:
    """The message of the refusal; empty when the policy was understood."""
    _, refused = attempt(BundleError, lambda: judge_policy(text))
    if refused is None:
        return ""
    assert refused.code.startswith("policy.")
    assert refused.next_step
    return str(refused.as_dict())


@settings(MANY, max_examples=120)
@given(damaged(POLICIES.map(lambda tree: json.dumps(tree, indent=1).encode())))
def test_damaged_policies_are_understood_or_refused_by_name(text: bytes) -> None:
    judged(text)


@settings(MANY, max_examples=120)
@given(misshapen(POLICIES), FEATURES)
def test_misshapen_policies_are_understood_or_refused_by_name(tree: Any, features: Features) -> None:
    text = json.dumps(tree).encode()
    if judged(text) == "":
        evaluate(compile_document(judge_policy(text)[0]), features)


@settings(MANY, max_examples=80)
@given(POLICIES, st.data())
def test_a_refusal_never_repeats_a_value(tree: Any, data: st.DataObject) -> None:
    places = [path for path in paths(tree) if path]
    changed = put(
        tree, data.draw(st.sampled_from(places)), data.draw(st.sampled_from([MARKER, [MARKER], {"a": MARKER}]))
    )
    assert MARKER not in judged(json.dumps(changed).encode())


# join tokens

TOKEN = JoinToken("acme", "prod", "cp.example.com:8443", "ab" * 32, bytes(range(200, 232)))
SECRET = base64.urlsafe_b64encode(TOKEN.secret).rstrip(b"=").decode()
INNER = st.fixed_dictionaries(
    {
        "endpoint": st.just(TOKEN.endpoint),
        "name": st.just("prod"),
        "org": st.just("acme"),
        "pin": st.just(TOKEN.pin),
        "secret": st.just(SECRET),
    }
)


def encoded(tree: Any) -> str:
    return PREFIX + base64.urlsafe_b64encode(json.dumps(tree).encode()).rstrip(b"=").decode()


@MANY
@given(
    st.text(max_size=60)
    | damaged(st.just(TOKEN.encode().encode())).map(lambda data: data.decode("utf-8", "replace"))
    | misshapen(INNER).map(encoded)
    | st.binary(max_size=60).map(lambda data: PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode())
)
def test_a_text_is_exactly_a_join_token_or_refused_without_a_word_of_it(text: str) -> None:
    token, refused = attempt(JoinTokenFormatError, lambda: parse(text))
    if token is not None:
        assert token.encode() == text.strip()
        return
    assert refused is not None
    told = str(refused.as_dict()) + "".join(traceback.format_exception(refused))  # with every cause behind it
    assert SECRET not in told
    assert len(text) < 20 or text not in told


@pytest.mark.parametrize("inner", [{}, [], "x", 5, None, {"secret": SECRET}])
def test_other_shapes_are_no_join_token(inner: Any) -> None:
    with pytest.raises(JoinTokenFormatError) as refused:
        parse(encoded(inner))
    assert SECRET not in str(refused.value.as_dict())
