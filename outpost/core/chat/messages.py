"""Read a chat body strictly.

What was inspected is what is sent: the tree that this module returns is the one that is inspected, and its
serialisation is what a provider receives. So nothing may be ambiguous here: parsers differ on duplicated
keys, byte order marks, trailing bytes, numbers beyond 64 bits and unpaired surrogates, and each of these is
refused with a code of its own.

RequestError
├── BodyTooLargeError · BodyBomError · BodyNotUtf8Error · BodyMalformedError · BodyTrailingError
├── BodyDuplicateKeyError · BodyTooDeepError · BodyNumberRangeError · BodyTooManyNodesError
├── BodyNotAnObjectError
├── ContentTypeError
└── FieldMissingError · FieldTypeError · FieldRangeError · UninspectableError
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import orjson

from outpost.core.errors import RequestError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
JsonObject: TypeAlias = "dict[str, Json]"

MAX_BODY_BYTES = 1_048_576  # bytes of one chat body; design.md section 8 (a signed release may lower or raise it)
MAX_DEPTH = 64  # nested arrays and objects; orjson alone would accept 1,024
MAX_NODES = 100_000  # values of any kind in one body; keeps the walk below 50 ms
EXACT_FLOAT = 2.0**53  # IEEE 754 binary64: from here on neighbouring integers are one float
MAX_MODEL_CHARS = 256  # a model id; the longest published ones have about 80
MAX_MESSAGES = 10_000  # messages of one conversation
MAX_CHOICES = 16  # `n`: each choice is a stream channel of its own (OpenAI allows 128)
_BOM = b"\xef\xbb\xbf"
_INSPECTABLE_PARTS = frozenset({"text", "refusal"})


class BodyTooLargeError(RequestError):
    """More bytes than the limit."""

    code = "body.too_large"


class BodyBomError(RequestError):
    """A byte order mark stands before the JSON text (RFC 8259 §8.1 forbids sending one)."""

    code = "body.bom"


class BodyNotUtf8Error(RequestError):
    """The bytes are not UTF-8."""

    code = "body.not_utf8"


class BodyMalformedError(RequestError):
    """The bytes are not JSON."""

    code = "body.malformed"


class BodyTrailingError(RequestError):
    """Something stands behind the JSON text."""

    code = "body.trailing"


class BodyDuplicateKeyError(RequestError):
    """An object names a key twice; parsers disagree on which one counts."""

    code = "body.duplicate_key"


class BodyTooDeepError(RequestError):
    """Nested deeper than the limit."""

    code = "body.too_deep"


class BodyNumberRangeError(RequestError):
    """A number that a float cannot hold exactly, or that is not finite."""

    code = "body.number_range"


class BodyTooManyNodesError(RequestError):
    """More values than the limit."""

    code = "body.too_many_nodes"


class BodyNotAnObjectError(RequestError):
    """The JSON text is not an object."""

    code = "body.not_an_object"


class ContentTypeError(RequestError):
    """The media type is not application/json in UTF-8."""

    code = "content_type.unsupported"


class FieldMissingError(RequestError):
    """A field that the endpoint needs is absent."""

    code = "request.field_missing"


class FieldTypeError(RequestError):
    """A field has another JSON type than the API says."""

    code = "request.field_type"


class FieldRangeError(RequestError):
    """A field's value is outside the bounds."""

    code = "request.field_range"


class UninspectableError(RequestError):
    """A part that cannot be inspected (picture, sound, file): nothing passes uninspected."""

    code = "content.uninspectable"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds of one body.

    Attributes:
        max_bytes: longest accepted body, bytes.
        max_depth: deepest nesting of arrays and objects.
        max_nodes: most values of any kind.
    """

    max_bytes: int = MAX_BODY_BYTES
    max_depth: int = MAX_DEPTH
    max_nodes: int = MAX_NODES


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion request whose shape was checked; ``tree`` still holds every field that the client
    sent.
    """

    tree: JsonObject
    model: str
    stream: bool
    include_usage: bool


def check_content_type(value: str) -> None:
    """Accept application/json, with no charset or UTF-8.

    Raises:
        ContentTypeError: anything else.
    """
    media_type, _, parameters = value.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != "application/json" or charset not in {"", "charset=utf-8"}:
        raise ContentTypeError(
            "the content type is not application/json",
            field="Content-Type",
            next_step="send the body as JSON with Content-Type: application/json",
        )


def parse_body(raw: bytes, limits: BodyLimits) -> JsonObject:
    """Parse untrusted bytes into the one tree that they can mean.

    Args:
        raw: the body as received, untrusted.
        limits: bounds on size, depth and number of values.

    Raises:
        RequestError: a leaf of this module, one per cause.

    Source: RFC 8259; RFC 8259 §4 for why duplicated keys are refused.
    """
    if len(raw) > limits.max_bytes:
        raise BodyTooLargeError(
            f"the body is larger than {limits.max_bytes} bytes",
            field="body",
            next_step="send a shorter conversation",
        )
    try:
        tree: Json = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _classify(raw, error) from None
    except RecursionError:
        raise _too_deep(limits.max_depth) from None
    if not isinstance(tree, dict):
        raise BodyNotAnObjectError("the body is JSON, but not an object", field="body")
    strings = _census(tree, limits)
    if _quotes(raw) != 2 * strings:
        raise BodyDuplicateKeyError(
            "an object in the body names a key twice; which one counts is not defined",
            field="body",
            next_step="send each key once",
        )
    return tree


def _too_deep(limit: int) -> BodyTooDeepError:
    return BodyTooDeepError(f"the body nests deeper than {limit} levels", field="body")


def _classify(raw: bytes, error: orjson.JSONDecodeError) -> RequestError:
    """Name the cause of a refusal. The parser's texts are fixed and hold no payload."""
    if raw.startswith(_BOM):
        return BodyBomError("the body starts with a byte order mark", field="body", next_step="send UTF-8 without BOM")
    try:
        text = raw.decode()
    except UnicodeDecodeError as fault:
        return BodyNotUtf8Error(f"the body is not UTF-8 (byte {fault.start})", field="body")
    if error.msg.startswith("depth limit"):
        return _too_deep(MAX_DEPTH)
    rest = text[error.pos : error.pos + 9]
    if error.msg.startswith("number is infinity") or rest.startswith(("NaN", "Infinity")):
        return BodyNumberRangeError("the body has a number that is not finite", field="body")
    if error.pos and _is_json(text[: error.pos]):
        return BodyTrailingError(f"bytes stand behind the JSON text (character {error.pos})", field="body")
    return BodyMalformedError(
        f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})", field="body"
    )


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _quotes(raw: bytes) -> int:
    r"""Count the quotes that open or close strings in valid JSON.

    Backslashes stand only inside strings, in pairs or as escapes; without the pairs, each ``\\"`` left is an
    escaped quote.
    """
    quotes = raw.count(b'"')
    if b"\\" in raw:
        quotes -= raw.replace(b"\\\\", b"").count(b'\\"')
    return quotes


def _census(tree: JsonObject, limits: BodyLimits) -> int:
    """Count keys and string values, level by level, and check depth, number of values and floats.

    The parser keeps the last of two equal keys; a dropped key is a string that the bytes have and the tree
    has not.
    """
    strings = 0
    nodes = 1
    level: list[dict[str, Json] | list[Json]] = [tree]
    for _ in range(limits.max_depth):
        below: list[dict[str, Json] | list[Json]] = []
        for container in level:
            nodes += len(container)
            if isinstance(container, dict):
                strings += len(container)
                strings += _members(container.values(), below)
            else:
                strings += _members(container, below)
        if nodes > limits.max_nodes:
            raise BodyTooManyNodesError(f"the body has more than {limits.max_nodes} values", field="body")
        if not below:
            return strings
        level = below
    raise _too_deep(limits.max_depth)


def _members(values: Iterable[Json], below: list[dict[str, Json] | list[Json]]) -> int:
    strings = 0
    for value in values:
        if isinstance(value, str):
            strings += 1
        elif isinstance(value, dict | list):
            below.append(value)
        elif isinstance(value, float) and not -EXACT_FLOAT < value < EXACT_FLOAT:
            raise BodyNumberRangeError("the body has a number beyond 64 bits", field="body")
    return strings


def read_chat(tree: JsonObject) -> ChatRequest:
    """Check the fields that the gateway itself relies on; all others stay as they are.

    Raises:
        FieldMissingError, FieldTypeError, FieldRangeError: ``field`` names the path, such as
        ``messages[2].content``.
        UninspectableError: a part is not text.
    """
    model = _model(tree)
    _messages(tree)
    _modalities(tree.get("modalities"))
    stream = _flag(tree, "stream", "stream")
    choices = tree.get("n")
    if choices is not None:
        if not isinstance(choices, int) or isinstance(choices, bool):
            raise _wrong_type("n", "an integer")
        if not 1 <= choices <= MAX_CHOICES:
            raise FieldRangeError(f"n is not between 1 and {MAX_CHOICES}", field="n")
    options = tree.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise _wrong_type("stream_options", "an object")
    include_usage = _flag(options, "include_usage", "stream_options.include_usage") if options else False
    return ChatRequest(tree, model, stream, include_usage)


def _wrong_type(path: str, wanted: str) -> FieldTypeError:
    return FieldTypeError(f"{path} is not {wanted}", field=path)


def _flag(tree: JsonObject, key: str, path: str) -> bool:
    value = tree.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _wrong_type(path, "true or false")
    return value


def _modalities(wanted: Json) -> None:
    if wanted is None:
        return
    if not isinstance(wanted, list):
        raise _wrong_type("modalities", "an array")
    if any(each != "text" for each in wanted):
        raise UninspectableError(
            "an answer that is not text cannot be inspected", field="modalities", next_step="ask for text"
        )


def _model(tree: JsonObject) -> str:
    if "model" not in tree:
        raise FieldMissingError("model is missing", field="model", next_step="GET /v1/models lists your models")
    model = tree["model"]
    if not isinstance(model, str):
        raise _wrong_type("model", "a string")
    if not 1 <= len(model) <= MAX_MODEL_CHARS or not model.isprintable() or model != model.strip():
        raise FieldRangeError(
            f"model is not 1 to {MAX_MODEL_CHARS} printable characters without white space around them", field="model"
        )
    return model


def _messages(tree: JsonObject) -> None:
    if "messages" not in tree:
        raise FieldMissingError("messages is missing", field="messages")
    messages = tree["messages"]
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array")
    if not 1 <= len(messages) <= MAX_MESSAGES:
        raise FieldRangeError(f"messages does not have 1 to {MAX_MESSAGES} entries", field="messages")
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _wrong_type(path, "an object")
        if not isinstance(message.get("role"), str):
            raise _wrong_type(f"{path}.role", "a string")
        _content(message.get("content"), f"{path}.content")


def _content(content: Json, path: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _wrong_type(path, "a string or an array of parts")
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise _wrong_type(f"{path}[{index}]", "an object with a type")
        if part["type"] not in _INSPECTABLE_PARTS:
            raise UninspectableError(
                f"{path}[{index}] is not text and cannot be inspected",
                field=f"{path}[{index}].type",
                next_step="send the content as text",
            )
