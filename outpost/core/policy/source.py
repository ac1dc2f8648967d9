"""From the text of a policy document, YAML or JSON, to plain data: strictly and within bounds.

Text that opens with ``{"`` is JSON, everything else YAML. YAML is read event by event, never composed or constructed:
tags, anchors and aliases are refused, a key may stand once, and plain words follow the JSON schema of YAML 1.2, so
that the country code NO stays a text and 010 is not eight. Input is untrusted.
"""

import json
import re
from collections.abc import Iterator

import yaml

from outpost.core.errors import BundleError

# 1 MiB of text: about 3,000 rules. Above every other bound of `document`, so that this one only stops floods.
MAX_DOCUMENT_BYTES = 1024 * 1024
# Levels of nesting; a policy document needs 7 (document, packs, pack, rules, rule, conditions, list).
MAX_DEPTH = 16
# Nodes (keys and values) in one document; each costs about 200 bytes of memory.
MAX_NODES = 200_000
# Longest key shown in a path, in characters: keys are the author's text.
_SHOWN_KEY_CHARS = 40

_JSON = re.compile(r'\s*\{\s*["}]')
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}

Data = None | bool | int | float | str | list["Data"] | dict[str, "Data"]


class PolicyTooLargeError(BundleError):
    """The document is larger or deeper than a policy may be."""

    code = "policy.document_too_large"


class PolicySyntaxError(BundleError):
    """The text is not the YAML or JSON that a policy is written in."""

    code = "policy.document_syntax"


def read_source(text: bytes) -> Data:
    """Read one document.

    Args:
        text: UTF-8, at most `MAX_DOCUMENT_BYTES`; untrusted.

    Returns:
        Plain data; mappings keep their order and have text keys only.

    Raises:
        PolicyTooLargeError: over a bound on bytes, depth or nodes.
        PolicySyntaxError: not UTF-8, not YAML or JSON, a repeated key, an anchor, a tag, several documents.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise PolicyTooLargeError(
            f"the policy document has {len(text)} bytes, the limit is {MAX_DOCUMENT_BYTES}",
            field="document",
            next_step="divide the rules over fewer packs or shorten the lists",
        )
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicySyntaxError(
            f"the policy document is not UTF-8: byte {error.start} is invalid",
            field="document",
            next_step="save the file as UTF-8",
        ) from None
    return _read_json(decoded) if _JSON.match(decoded) else _read_yaml(decoded)


def shown(key: str) -> str:
    """Return a key as it may stand in a message: printable ASCII, bounded."""
    printable = "".join(c if " " < c < "\x7f" else "?" for c in key[:_SHOWN_KEY_CHARS])
    return printable + ("..." if len(key) > _SHOWN_KEY_CHARS else "")


def _repeated(key: str, where: str) -> PolicySyntaxError:
    return PolicySyntaxError(
        f"the key {shown(key)} stands twice in one mapping{where}",
        field=shown(key),
        next_step="remove one of the two, since readers disagree on which counts",
    )


def _read_json(text: str) -> Data:
    def once(pairs: list[tuple[str, Data]]) -> dict[str, Data]:
        mapping: dict[str, Data] = {}
        for key, value in pairs:
            if key in mapping:
                raise _repeated(key, "")
            mapping[key] = value
        return mapping

    def constant(_name: str) -> Data:
        raise PolicySyntaxError(
            "NaN and Infinity are no JSON numbers", field="document", next_step="write a plain number"
        )

    try:
        data: Data = json.loads(text, object_pairs_hook=once, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise PolicySyntaxError(
            f"the policy document is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            field="document",
            next_step="correct the text at that place",
        ) from None
    except (RecursionError, ValueError):
        # json raises plain ValueError for a number of more than 4,300 digits.
        raise PolicyTooLargeError(
            "the policy document is nested too deeply or holds a number that is too long",
            field="document",
            next_step="docs/policy.md shows the form of a document",
        ) from None
    _bound(data)
    return data


def _bound(data: Data) -> None:
    """Refuse a tree over `MAX_DEPTH` or `MAX_NODES`, without recursion."""
    level: list[Data] = [data]
    nodes = 0
    for _ in range(MAX_DEPTH + 1):
        nodes += len(level)
        _bound_nodes(nodes)
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise _too_deep()


def _children(item: Data) -> list[Data]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else []


def _too_deep() -> PolicyTooLargeError:
    return PolicyTooLargeError(
        f"the policy document is nested more than {MAX_DEPTH} levels deep",
        field="document",
        next_step="docs/policy.md shows the form of a document",
    )


def _bound_nodes(nodes: int) -> None:
    if nodes > MAX_NODES:
        raise PolicyTooLargeError(
            f"the policy document has more than {MAX_NODES} keys and values",
            field="document",
            next_step="divide the rules over fewer packs or shorten the lists",
        )


def _read_yaml(text: str) -> Data:
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.YAMLError as error:
        raise _not_yaml(error) from None
    except RecursionError:
        raise _too_deep() from None
    return builder.result()


def _events(text: str) -> Iterator[yaml.Event]:
    # libyaml where the wheel has it: ten times faster, same events.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    yield from yaml.parse(text, Loader=loader)


def _not_yaml(error: yaml.YAMLError) -> PolicySyntaxError:
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return PolicySyntaxError(
        f"the policy document is not YAML{where}",
        field="document",
        next_step="correct the text at that place; texts with : # * & or { need quotes",
    )


class _Builder:
    """Builds plain data from YAML events on an explicit stack."""

    def __init__(self) -> None:
        self._root: list[Data] = []
        self._stack: list[list[Data] | dict[str, Data]] = [self._root]
        self._keys: list[str | None] = [None]
        self._nodes = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Add one event."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refused(event, "holds more than one document", "keep one and remove ---")
        elif isinstance(event, yaml.AliasEvent):
            raise self._refused(event, "uses an alias (*name)", "write the value out")
        elif isinstance(event, yaml.NodeEvent):
            self._node(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()
            self._keys.pop()

    def result(self) -> Data:
        """Return the document; an empty text is null."""
        return self._root[0] if self._root else None

    def _node(self, event: yaml.NodeEvent) -> None:
        self._nodes += 1
        _bound_nodes(self._nodes)
        if event.anchor is not None:
            raise self._refused(event, "uses an anchor (&name)", "write the value out")
        if getattr(event, "tag", None) is not None:
            raise self._refused(event, "uses a tag (!name)", "leave the tag out")
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
            return
        opened: list[Data] | dict[str, Data] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._add(opened, event)
        self._stack.append(opened)
        self._keys.append(None)
        if len(self._stack) > MAX_DEPTH + 1:
            raise _too_deep()

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        top = self._stack[-1]
        if isinstance(top, dict) and self._keys[-1] is None:
            if event.value in top:
                raise _repeated(event.value, _line(event))
            self._keys[-1] = event.value
            return
        self._add(_resolve(event.value) if event.implicit[0] else event.value, event)

    def _add(self, value: Data, event: yaml.NodeEvent) -> None:
        top = self._stack[-1]
        if isinstance(top, list):
            top.append(value)
            return
        key = self._keys[-1]
        if key is None:
            raise self._refused(event, "uses a list or mapping as a key", "use a plain word as the key")
        top[key] = value
        self._keys[-1] = None

    def _refused(self, event: yaml.Event, what: str, next_step: str) -> PolicySyntaxError:
        message = f"the policy document {what}{_line(event)}"
        return PolicySyntaxError(message, field="document", next_step=next_step)


def _line(event: yaml.Event) -> str:
    mark = event.start_mark
    return f" at line {mark.line + 1}" if mark is not None else ""


def _resolve(word: str) -> Data:
    """Read a plain (unquoted) scalar by the JSON schema of YAML 1.2."""
    if word in _WORDS:
        return _WORDS[word]
    if _INT.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    return word
