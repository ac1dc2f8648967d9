"""Every text of a tree, by JSON Pointer.

A text is whatever a model could read: string values, object keys, and numbers of nine digits and more (a
card number needs no quotes). Nothing is left out for its place in the tree: unknown fields are forwarded,
therefore they are inspected.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import orjson

from outpost.core.chat.messages import FieldTypeError, Json, JsonObject, UninspectableError

MIN_NUMBER_DIGITS = 9  # digits; the shortest number that a detector looks for is a social security number
_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)  # RFC 2397
_JSON_STARTS = frozenset('{["')
_ESCAPES = str.maketrans({"~": "~0", "/": "~1"})
_ARGUMENTS = "arguments"  # the field of a function call whose string is JSON text

# Words of the chat API itself. They are compared as a whole, so their text is known and a scan could find
# nothing.
_WORDS = """
annotations arguments assistant audio auto call_id chat.completion chat.completion.chunk choices code
completion_tokens completion_tokens_details content created delta description developer enum error
finish_reason frequency_penalty function function_call functions id include_usage index input items
json_object json_schema length logit_bias logprobs max_completion_tokens max_tokens message messages
metadata model modalities n name none object param parallel_tool_calls parameters presence_penalty
properties prompt_tokens prompt_tokens_details reasoning_effort refusal required response_format role
schema seed service_tier stop store stream stream_options strict string system system_fingerprint
temperature text tool tool_call_id tool_calls tool_choice tools top_logprobs top_p total_tokens type
usage user
"""
PROTOCOL_WORDS = frozenset(_WORDS.split())


class FieldKind(StrEnum):
    """What a text is in its tree: how it is read and whether it can be replaced."""

    VALUE = "value"
    KEY = "key"
    NUMBER = "number"
    JSON = "json"  # a string that holds JSON text: what is put back into it is escaped


@dataclass(frozen=True, slots=True)
class TextField:
    """One text.

    Attributes:
        pointer: RFC 6901 pointer of the value; of the containing object for a key, so that a pointer names
            no key twice.
        text: the text itself.
        kind: how to read it.
    """

    pointer: str
    text: str
    kind: FieldKind

    @property
    def replaceable(self) -> bool:
        """Whether a part of the text can be exchanged without changing the shape of the tree."""
        return self.kind in {FieldKind.VALUE, FieldKind.JSON}


@dataclass(frozen=True, slots=True)
class TextFields:
    """The texts of one tree and the bytes that were looked at (UTF-8 bytes of every text and protocol
    word).
    """

    fields: tuple[TextField, ...]
    bytes_inspected: int


def list_fields(tree: Json) -> TextFields:
    """List the texts of a tree in document order; the tree is not deeper than the limit of its parser."""
    fields: list[TextField] = []
    total = 0
    for field in _walk(tree, "", ""):
        text = field.text
        total += len(text) if text.isascii() else len(text.encode())
        if text not in PROTOCOL_WORDS:
            fields.append(field)
    return TextFields(tuple(fields), total)


def _walk(value: Json, pointer: str, key: str) -> Iterator[TextField]:
    if isinstance(value, str):
        yield TextField(pointer, value, kind_of(key, value))
    elif isinstance(value, dict):
        for name, member in value.items():
            yield TextField(pointer, name, FieldKind.KEY)
            yield from _walk(member, f"{pointer}/{name.translate(_ESCAPES)}", name)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _walk(member, f"{pointer}/{index}", key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = orjson.dumps(value).decode()  # exactly as it will be sent
        if len(text) >= MIN_NUMBER_DIGITS and sum(map(str.isdigit, text)) >= MIN_NUMBER_DIGITS:
            yield TextField(pointer, text, FieldKind.NUMBER)


def kind_of(key: str, text: str) -> FieldKind:
    """Decide whether a string value is JSON text: function arguments are, and whatever has escapes and
    parses (tool results).
    """
    if key == _ARGUMENTS:
        return FieldKind.JSON
    if "\\" in text and text.lstrip()[:1] in _JSON_STARTS:
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return FieldKind.VALUE
        return FieldKind.JSON
    return FieldKind.VALUE


def refuse_uninspectable(fields: TextFields) -> None:
    """Refuse data URLs: their base64 cannot be inspected.

    Raises:
        UninspectableError: names the field.
    """
    for field in fields.fields:
        if field.text[:64].lstrip()[:5].lower() == "data:" and _DATA_URL.match(field.text):
            raise UninspectableError(
                f"{param_of(field.pointer)} holds base64 data, which cannot be inspected",
                field=param_of(field.pointer),
                next_step="send the content as text",
            )


def replace_text(tree: JsonObject, pointer: str, text: str) -> JsonObject:
    """Exchange one string, as ``replace_texts`` does."""
    return replace_texts(tree, {pointer: text})


def replace_texts(tree: JsonObject, texts: Mapping[str, str]) -> JsonObject:
    """Give a copy of the tree with strings exchanged; everything beside the paths is shared with the original.

    Every object and array on the way is copied once, however many strings below it change: linear in the tree.

    Args:
        tree: not deeper than the limit of its parser.
        texts: pointer to new text.

    Raises:
        FieldTypeError: a pointer does not lead to a string.
    """
    ways: _Ways = {}
    for pointer, text in texts.items():
        at = ways
        *path, last = pointer.split("/")[1:] or [""]
        for token in path:
            below = at.setdefault(token, {})
            if isinstance(below, str):
                raise FieldTypeError("the pointer leads through a string", field="pointer")
            at = below
        at[last] = text
    if "" in texts:
        raise FieldTypeError("the pointer names the whole document", field="pointer")
    return _replaced(tree, ways)


_Ways: TypeAlias = "dict[str, _Ways | str]"  # reference token to what lies below, or to the new text


def _replaced(value: dict[str, Json], ways: _Ways) -> dict[str, Json]:
    copied = dict(value)
    for token, way in ways.items():
        name = token.replace("~1", "/").replace("~0", "~")
        if name not in copied:
            raise _nowhere()
        copied[name] = _exchanged(copied[name], way)
    return copied


def _exchanged(value: Json, way: "_Ways | str") -> Json:
    if isinstance(way, str):
        if not isinstance(value, str):
            raise FieldTypeError("the pointer does not lead to a string", field="pointer")
        return way
    if isinstance(value, dict):
        return _replaced(value, way)
    if not isinstance(value, list):
        raise _nowhere()
    items = list(value)
    for token, below in way.items():
        if not token.isdecimal() or int(token) >= len(items):
            raise _nowhere()
        items[int(token)] = _exchanged(items[int(token)], below)
    return items


def _nowhere() -> FieldTypeError:
    return FieldTypeError("the pointer leads nowhere", field="pointer")


def param_of(pointer: str) -> str:
    """Write a pointer the way the chat API names parameters: ``/messages/2/content`` becomes
    ``messages[2].content``.

    Keys that are no words of the API come from the caller and could be what was found: they become ``*``.
    """
    parts: list[str] = []
    for token in pointer.split("/")[1:]:
        if token.isdecimal():
            parts.append(f"[{token}]" if len(token) < MIN_NUMBER_DIGITS else "[*]")
        else:
            parts.append(f".{token if token in PROTOCOL_WORDS else '*'}")
    return "".join(parts).removeprefix(".")
