"""What storms, bugs and attackers do to bytes and to JSON."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

Result = TypeVar("Result")
Refusal = TypeVar("Refusal", bound=Exception)


def attempt(kind: type[Refusal], call: Callable[[], Result]) -> tuple[Result | None, Refusal | None]:
    """The result, or the refusal of a kind; any other exception fails the test."""
    try:
        return call(), None
    except kind as refused:
        return None, refused


SPLINTERS = st.sampled_from(
    [
        *(b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b":", b",", b"\n\n", b"\r", b"\x00", b"\xff"),
        *(b"\xef\xbb\xbf", b"data: ", b"data: [DONE]\n\n", b"null", b"1e999", b"-", b"&a", b"*a", b"!!str ", b"- "),
        *(b'{"a":1}', b"9" * 400, b"[" * 80, b"\xed\xa0\x80", "😀".encode(), b"\xe2\x80\xae"),
    ]
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """The same bytes after one to four blows."""
    data = draw(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        act = draw(st.sampled_from(["cut", "drop", "repeat", "insert", "change"]))
        if act == "cut":
            data = data[:start]
        elif act == "drop":
            data = data[:start] + data[end:]
        elif act == "repeat":
            data = data[:end] + data[start:]
        elif act == "insert":
            data = data[:start] + draw(SPLINTERS) + data[start:]
        else:
            data = data[:start] + draw(st.binary(max_size=4)) + data[end:]
    return data


ODD: list[Any] = [None, True, 0, -1, 2**63, 1.5, "", "x" * 300, [], {}, [[]], {"a": {}}, ["a", "a"], "\u0000", "é" * 40]


def paths(tree: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place of a tree."""
    found = [at]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += paths(value, (*at, key))
    return found


def put(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with something else at one place."""
    if not path:
        return value
    copy = json.loads(json.dumps(tree))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


@st.composite
def misshapen(draw: st.DrawFn, whole: st.SearchStrategy[Any]) -> Any:
    """The same tree with one to three places holding what does not belong there."""
    tree = draw(whole)
    for _ in range(draw(st.integers(1, 3))):
        tree = put(tree, draw(st.sampled_from(paths(tree))), draw(st.sampled_from(ODD)))
    return tree
