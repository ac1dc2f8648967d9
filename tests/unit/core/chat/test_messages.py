"""Bodies are read in one way only, or refused with the cause."""

import orjson
import pytest

from outpost.core.chat import messages
from outpost.core.chat.messages import BodyLimits, check_content_type, parse_body, read_chat
from outpost.core.errors import RequestError

BAD_BODIES = {
    "a byte order mark before the text": (b'\xef\xbb\xbf{"a":1}', "body.bom"),
    "a byte that is no UTF-8": (b'{"a":"\xff"}', "body.not_utf8"),
    "an overlong encoding": (b'{"a":"\xc0\xaf"}', "body.not_utf8"),
    "a surrogate in UTF-8": (b'{"a":"\xed\xa0\x80"}', "body.not_utf8"),
    "UTF-16": ('{"a":1}'.encode("utf-16-le"), "body.malformed"),
    "nothing": (b"", "body.malformed"),
    "white space": (b"  \n", "body.malformed"),
    "half an object": (b'{"a":', "body.malformed"),
    "single quotes": (b"{'a':1}", "body.malformed"),
    "a comment": (b'{"a":1}//x', "body.trailing"),
    "a comma too many": (b'{"a":1,}', "body.malformed"),
    "a control character in a string": (b'{"a":"\n"}', "body.malformed"),
    "an unpaired surrogate escape": (rb'{"a":"\ud800"}', "body.malformed"),
    "a number with a leading zero": (b'{"a":01}', "body.malformed"),
    "a second object": (b'{"a":1}{"b":2}', "body.trailing"),
    "a zero byte behind the text": (b'{"a":1}\x00', "body.trailing"),
    "a key twice": (b'{"a":1,"a":2}', "body.duplicate_key"),
    "a key twice with equal values": (b'{"a":1,"a":1}', "body.duplicate_key"),
    "a key twice, once escaped": (rb'{"content":"x","c\u006fntent":"y"}', "body.duplicate_key"),
    "a key twice far below": (b'{"a":[{"b":{"c":1,"d":2,"c":3}}]}', "body.duplicate_key"),
    "a key twice beside escaped quotes": (rb'{"a":"\"\\\"","a":"\\"}', "body.duplicate_key"),
    "an empty key twice": (b'{"":1,"":2}', "body.duplicate_key"),
    "nesting beyond the limit": (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "body.too_deep"),
    "nesting beyond the parser": (b"[" * 5000 + b"]" * 5000, "body.too_deep"),
    "an integer beyond 64 bits": (b'{"a":18446744073709551616}', "body.number_range"),
    "a negative integer beyond 64 bits": (b'{"a":-9223372036854775809}', "body.number_range"),
    "a float without a fraction beyond 2^53": (b'{"a":9007199254740993.0}', "body.number_range"),
    "a number beyond every float": (b'{"a":1e400}', "body.number_range"),
    "not a number": (b'{"a":NaN}', "body.number_range"),
    "infinity": (b'{"a":Infinity}', "body.number_range"),
    "more values than the limit": (b'{"a":[' + b",".join([b"1"] * 100_000) + b"]}", "body.too_many_nodes"),
    "an array": (b"[1]", "body.not_an_object"),
    "a string": (b'"a"', "body.not_an_object"),
    "null": (b"null", "body.not_an_object"),
    "one byte too many": (b'{"a":"' + b"x" * (1_048_576 - 7) + b'"}', "body.too_large"),
}

GOOD_BODIES = {
    "the empty object": b"{}",
    "white space around": b' {"a":1}\n',
    "quotes and backslashes escaped": rb'{"a\"b":"\\\\\"","c":"\\"}',
    "the same key in two objects": b'{"a":{"k":1},"b":{"k":1}}',
    "a key equal to a value": b'{"a":"a"}',
    "numbers at the bounds": b'{"a":18446744073709551615,"b":-9223372036854775808,"c":9007199254740991.0,"d":1e-300}',
    "nesting at the limit": b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
    "the longest body": b'{"a":"' + b"x" * (1_048_576 - 8) + b'"}',
    "every kind of escape": rb'{"a":"\u0041\n\t\/\b\f\r\ud83d\ude00"}',
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_body_with_a_fault_is_refused_with_its_cause(case: str) -> None:
    raw, code = BAD_BODIES[case]
    with pytest.raises(RequestError) as refused:
        parse_body(raw, BodyLimits())
    assert refused.value.code == code


@pytest.mark.parametrize("case", GOOD_BODIES)
def test_a_correct_body_is_the_tree_that_json_says(case: str) -> None:
    assert parse_body(GOOD_BODIES[case], BodyLimits()) == orjson.loads(GOOD_BODIES[case])


def test_a_refusal_never_repeats_the_body() -> None:
    secret = "hunter2" * 3
    for raw in (f'{{"{secret}":1,"{secret}":2}}', f'{{"a":"{secret}"', f'{{"a":1}} {secret}', f'{{"a":{secret}}}'):
        with pytest.raises(RequestError) as refused:
            parse_body(raw.encode(), BodyLimits())
        assert secret not in str(refused.value.as_dict())


def test_every_leaf_has_a_code_of_its_own() -> None:
    leaves = [value for value in vars(messages).values() if isinstance(value, type) and issubclass(value, RequestError)]
    assert len({leaf.code for leaf in leaves}) == len(leaves)


CONTENT_TYPES = {
    "plain": ("application/json", True),
    "with a charset": ("application/json; charset=utf-8", True),
    "in capitals": ('Application/JSON; Charset="UTF-8"', True),
    "none": ("", False),
    "a form": ("application/x-www-form-urlencoded", False),
    "text": ("text/plain", False),
    "another charset": ("application/json; charset=utf-16", False),
    "multipart": ("multipart/form-data; boundary=x", False),
}


@pytest.mark.parametrize("case", CONTENT_TYPES)
def test_only_json_in_utf_8_is_accepted(case: str) -> None:
    value, accepted = CONTENT_TYPES[case]
    if accepted:
        check_content_type(value)
    else:
        with pytest.raises(messages.ContentTypeError):
            check_content_type(value)


def chat(**changes: object) -> dict[str, object]:
    return {"model": "gpt-x", "messages": [{"role": "user", "content": "hello"}], **changes}


def parts(*content: object) -> list[object]:
    return [{"role": "user", "content": list(content)}]


BAD_SHAPES = {
    "no model": ({"messages": []}, "request.field_missing", "model"),
    "a model that is a number": (chat(model=1), "request.field_type", "model"),
    "an empty model": (chat(model=""), "request.field_range", "model"),
    "a model with a line end": (chat(model="a\nb"), "request.field_range", "model"),
    "no messages": ({"model": "x"}, "request.field_missing", "messages"),
    "messages that are a string": (chat(messages="hello"), "request.field_type", "messages"),
    "an empty conversation": (chat(messages=[]), "request.field_range", "messages"),
    "a message that is a string": (chat(messages=["hello"]), "request.field_type", "messages[0]"),
    "a message without a role": (chat(messages=[{"content": "x"}]), "request.field_type", "messages[0].role"),
    "content that is a number": (
        chat(messages=[{"role": "user", "content": 1}]),
        "request.field_type",
        "messages[0].content",
    ),
    "a part without a type": (
        chat(messages=parts({"text": "x"})),
        "request.field_type",
        "messages[0].content[0]",
    ),
    "a picture": (
        chat(messages=parts({"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://x"}})),
        "content.uninspectable",
        "messages[0].content[1].type",
    ),
    "a sound": (chat(messages=parts({"type": "input_audio"})), "content.uninspectable", "messages[0].content[0].type"),
    "a file": (chat(messages=parts({"type": "file"})), "content.uninspectable", "messages[0].content[0].type"),
    "stream as a string": (chat(stream="true"), "request.field_type", "stream"),
    "n as a string": (chat(n="1"), "request.field_type", "n"),
    "n as true": (chat(n=True), "request.field_type", "n"),
    "n of zero": (chat(n=0), "request.field_range", "n"),
    "n beyond the limit": (chat(n=17), "request.field_range", "n"),
    "stream options that are a list": (chat(stream_options=[]), "request.field_type", "stream_options"),
    "include_usage as a number": (
        chat(stream_options={"include_usage": 1}),
        "request.field_type",
        "stream_options.include_usage",
    ),
}


@pytest.mark.parametrize("case", BAD_SHAPES)
def test_a_wrong_shape_names_the_parameter(case: str) -> None:
    tree, code, param = BAD_SHAPES[case]
    with pytest.raises(RequestError) as refused:
        read_chat(tree)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.field) == (code, param)


def test_unknown_fields_stay_in_the_tree() -> None:
    tree = chat(brand_new={"a": [1]}, stream=True, n=16, stream_options={"include_usage": True})
    request = read_chat(tree)  # type: ignore[arg-type]
    assert request.tree is tree
    assert (request.model, request.stream, request.include_usage) == ("gpt-x", True, True)


def test_content_may_be_absent_null_or_text_parts() -> None:
    tool_call: dict[str, object] = {"role": "assistant", "content": None, "tool_calls": []}
    conversation = [{"role": "user", "content": [{"type": "text", "text": "a"}]}, tool_call, {"role": "assistant"}]
    assert read_chat(chat(messages=conversation)).stream is False  # type: ignore[arg-type]
