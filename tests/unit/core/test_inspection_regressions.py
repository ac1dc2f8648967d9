"""Answers and prompts that once passed too much, or cost too much."""

import time
from typing import Any

import pytest

from outpost.core.chat.fields import replace_texts
from outpost.core.chat.messages import FieldTypeError
from outpost.core.decision import Direction, Features
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.inspection import inspect_answer, inspect_request
from tests.unit.gateway.harness import AWS_KEY, CARD, program, rule

PROGRAM = program()
OUTPUT = Features(Direction.OUTPUT)


def tokens(*pieces: str) -> dict[str, Any]:
    return {"content": [{"token": piece} for piece in pieces]}


def answer(content: str, logprobs: Any) -> Any:
    return {"choices": [{"index": 0, "message": {"content": content}, "logprobs": logprobs}]}


LISTS: dict[str, tuple[str, Any, bool]] = {
    "tokens that are the message stay": ("a key", tokens("a", " key"), True),
    "tokens that say something else go": ("a key", tokens(AWS_KEY[:7], AWS_KEY[7:]), False),
    "tokens of a text that the message has not go": ("a", {"refusal": [{"token": "b"}]}, False),
    "an unknown list goes": ("a", {"tokens": ["a"]}, False),
    "a list that is none goes": ("a", ["a"], False),
    "no list stays none": ("a", None, True),
    "empty lists stay": ("a", {"content": None, "refusal": None}, True),
}


@pytest.mark.parametrize("case", LISTS)
def test_token_lists_stay_only_where_they_repeat_the_message(case: str) -> None:
    content, logprobs, stays = LISTS[case]
    tree = answer(content, logprobs)
    sent: Any = inspect_answer(PROGRAM.inspector, tree, OUTPUT, PlaceholderMap()).tree
    assert sent["choices"][0]["logprobs"] == (logprobs if stays else None)


def test_a_redacted_answer_loses_its_token_list() -> None:
    redacting = program(rules=(rule("mail", "REDACT", "output", entity_types=["email"]),))
    mail = "ada@" + "example.com"
    sent: Any = inspect_answer(redacting.inspector, answer(mail, tokens(mail)), OUTPUT, PlaceholderMap()).tree
    assert sent["choices"][0] == {"index": 0, "message": {"content": "[REDACTED_EMAIL]"}, "logprobs": None}


def test_many_redactions_cost_one_copy_of_the_conversation() -> None:
    parts = [{"type": "text", "text": f"u{number}@example.com"} for number in range(12_000)]
    tree: Any = {"model": "gpt-x", "messages": [{"role": "user", "content": parts}]}
    began = time.process_time()
    sent: Any = inspect_request(PROGRAM.inspector, tree, Features(Direction.INPUT)).tree
    assert sent["messages"][0]["content"][-1]["text"] == "[EMAIL_12000]"
    assert time.process_time() - began < 6  # seconds; a copy per redaction took ten times as long as the scan itself


def test_exchanging_texts_leaves_the_original_alone() -> None:
    tree: Any = {"a": [{"b": "1"}, {"b": "2"}], "c": {"d~/": "3"}, "e": {}}
    changed = replace_texts(tree, {"/a/1/b": "x", "/c/d~0~1": "y"})
    assert changed == {"a": [{"b": "1"}, {"b": "x"}], "c": {"d~/": "y"}, "e": {}}
    assert tree["a"][1] == {"b": "2"}
    assert changed["e"] is tree["e"]


@pytest.mark.parametrize("pointers", [("",), ("/a",), ("/z",), ("/a/7",), ("/a/x",), ("/b/c",), ("/b", "/b/c")])
def test_pointers_that_lead_to_no_string_are_refused(pointers: tuple[str, ...]) -> None:
    with pytest.raises(FieldTypeError):
        replace_texts({"a": ["1"], "b": "2"}, dict.fromkeys(pointers, "new"))


ESCAPED = "".join(f"\\u{ord(char):04x}" for char in AWS_KEY)
DIGITS = CARD.replace(" ", "")
ESCAPES: dict[str, str] = {
    "a card behind a pasted line end": "log: \\n" + DIGITS,
    "a card behind a pasted tabulator in half an object": '{"a": "x\\t' + DIGITS + '"',
    "a key in an object inside prose": 'Here: {"key": "' + ESCAPED + '"}',
    "a key in escapes alone": ESCAPED,
}


@pytest.mark.parametrize("case", ESCAPES)
def test_escapes_are_read_through_in_plain_texts(case: str) -> None:
    tree: Any = {"model": "gpt-x", "messages": [{"role": "user", "content": ESCAPES[case]}]}
    assert inspect_request(PROGRAM.inspector, tree, Features(Direction.INPUT)).denied
    assert inspect_answer(PROGRAM.inspector, answer(ESCAPES[case], None), OUTPUT, PlaceholderMap()).denied
