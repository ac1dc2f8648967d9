"""Every text of a tree is listed once, with a pointer that leads back to it."""

import pytest

from outpost.core.chat.fields import (
    FieldKind,
    TextField,
    list_fields,
    param_of,
    refuse_uninspectable,
    replace_text,
)
from outpost.core.chat.messages import FieldTypeError, Json, UninspectableError

LISTED: dict[str, tuple[Json, list[tuple[str, str, FieldKind]]]] = {
    "a value under a known key": (
        {"messages": [{"role": "user", "content": "hi"}]},
        [("/messages/0/content", "hi", FieldKind.VALUE)],
    ),
    "an unknown key is a text, below the pointer of its object": (
        {"x": {"secret key": True}},
        [("", "x", FieldKind.KEY), ("/x", "secret key", FieldKind.KEY)],
    ),
    "slash and tilde are escaped in pointers": (
        {"a/b~c": "v"},
        [("", "a/b~c", FieldKind.KEY), ("/a~1b~0c", "v", FieldKind.VALUE)],
    ),
    "a long integer": ({"seed": 4111111111111111}, [("/seed", "4111111111111111", FieldKind.NUMBER)]),
    "a long float as it will be sent": ({"seed": 4111111111111.5}, [("/seed", "4111111111111.5", FieldKind.NUMBER)]),
    "nine digits": ({"seed": 123456789}, [("/seed", "123456789", FieldKind.NUMBER)]),
    "eight digits are no text": ({"seed": 12345678}, []),
    "true is no number": ({"stream": True}, []),
    "arguments are JSON": (
        {"tool_calls": [{"function": {"arguments": '{"a":1}'}}]},
        [("/tool_calls/0/function/arguments", '{"a":1}', FieldKind.JSON)],
    ),
    "a tool result with escapes is JSON": (
        {"content": r'{"a":"\u0034"}'},
        [("/content", r'{"a":"\u0034"}', FieldKind.JSON)],
    ),
    "a text with a backslash is no JSON": ({"content": r"[C:\temp"}, [("/content", r"[C:\temp", FieldKind.VALUE)]),
    "strings in nested arrays": (
        {"stop": [["one"], "two"]},
        [
            ("/stop/0/0", "one", FieldKind.VALUE),
            ("/stop/1", "two", FieldKind.VALUE),
        ],
    ),
}


@pytest.mark.parametrize("case", LISTED)
def test_texts_are_listed_in_order(case: str) -> None:
    tree, wanted = LISTED[case]
    assert list(list_fields(tree).fields) == [TextField(*item) for item in wanted]


def test_bytes_count_protocol_words_too() -> None:
    assert list_fields({"role": "user", "content": "é"}).bytes_inspected == len("roleusercontent") + 2


def test_replacing_copies_the_path_and_shares_the_rest() -> None:
    tree: dict[str, Json] = {"a": [{"b": "old"}, {"c": "x"}], "d/e": {"f": "y"}}
    changed = replace_text(tree, "/a/0/b", "new")
    assert changed == {"a": [{"b": "new"}, {"c": "x"}], "d/e": {"f": "y"}}
    assert tree["a"][0] == {"b": "old"}  # type: ignore[index]
    assert changed["d/e"] is tree["d/e"]
    assert replace_text(tree, "/d~1e/f", "z")["d/e"] == {"f": "z"}


@pytest.mark.parametrize("pointer", ["/a", "/missing", "/a/9", "/a/x", "/a/0/b/c", ""])
def test_a_pointer_that_names_no_string_is_an_error(pointer: str) -> None:
    with pytest.raises(FieldTypeError):
        replace_text({"a": [{"b": "old"}]}, pointer, "new")


DATA_URLS = {
    "a picture": "data:image/png;base64,iVBORw0KGgo=",
    "in capitals and behind spaces": "  DATA:image/png;BASE64,iVBORw0KGgo=",
    "with parameters": "data:text/plain;charset=utf-8;base64,aGVsbG8=",
}


@pytest.mark.parametrize("case", DATA_URLS)
def test_base64_cannot_be_inspected_wherever_it_stands(case: str) -> None:
    with pytest.raises(UninspectableError) as refused:
        refuse_uninspectable(list_fields({"metadata": {"x": [DATA_URLS[case]]}}))
    assert refused.value.field == "metadata.*[0]"


def test_plain_text_about_data_urls_passes() -> None:
    refuse_uninspectable(list_fields({"content": "data: the URL data:image/png;base64 is short"}))


PARAMS = {
    "/messages/2/content": "messages[2].content",
    "/messages/0/tool_calls/1/function/arguments": "messages[0].tool_calls[1].function.arguments",
    "/metadata/4111111111111111": "metadata[*]",
    "/metadata/ada@example.com": "metadata.*",
    "": "",
}


@pytest.mark.parametrize("pointer", PARAMS)
def test_params_show_only_words_of_the_api(pointer: str) -> None:
    assert param_of(pointer) == PARAMS[pointer]
