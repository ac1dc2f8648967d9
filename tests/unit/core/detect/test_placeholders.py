import json

import pytest

from outpost.core.detect.finding import Finding
from outpost.core.detect.pattern import Scanner
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.detect.rules import RULES

SCANNER = Scanner.compile(RULES)
BOB = "bob@" + "example.org"
EVE = "eve@" + "example.net"


def redacted(placeholders: PlaceholderMap, text: str, *, json_string: bool = False) -> str:
    return placeholders.redact(text, SCANNER.scan(text, json_string=json_string), json_string=json_string)


def test_placeholders_are_numbered_by_first_appearance_and_stable_for_a_value() -> None:
    placeholders = PlaceholderMap()
    assert redacted(placeholders, f"{BOB}, {EVE}, {BOB}") == "[EMAIL_1], [EMAIL_2], [EMAIL_1]"
    assert redacted(placeholders, f"again {EVE} from 41.173.96" + ".26") == "again [EMAIL_2] from [IP_ADDRESS_1]"
    assert len(placeholders) == 3


def test_a_placeholder_that_the_request_already_has_is_not_given_out() -> None:
    text = f"[EMAIL_1] wrote to {BOB}"
    placeholders = PlaceholderMap([text])
    assert redacted(placeholders, text) == "[EMAIL_1] wrote to [EMAIL_2]"
    assert placeholders.restore("[EMAIL_1] [EMAIL_2]") == f"[EMAIL_1] {BOB}"


def test_overlapping_spans_of_one_unit_are_replaced_once() -> None:
    findings = [Finding("a", "a", 0, 3, 90), Finding("b", "b", 2, 5, 90)]
    assert PlaceholderMap().redact("abcdef", findings) == "[A_1][B_1]f"


def test_unknown_placeholders_stay() -> None:
    placeholders = PlaceholderMap()
    redacted(placeholders, BOB)
    assert placeholders.restore("[EMAIL_2] [PHONE_1] [EMAIL_1") == "[EMAIL_2] [PHONE_1] [EMAIL_1"


def test_json_text_keeps_values_unescaped_and_writes_them_escaped() -> None:
    finding = Finding("password", "x", 6, 16, 90)
    placeholders = PlaceholderMap()
    text = '{"p":"a\\"b\\\\c\\nd"}'
    assert placeholders.redact(text, [finding], json_string=True) == '{"p":"[PASSWORD_1]"}'
    restored = placeholders.restore('{"q": "[PASSWORD_1]"}', json_string=True)
    assert json.loads(restored) == {"q": 'a"b\\c\nd'}
    assert placeholders.restore("is [PASSWORD_1]") == 'is a"b\\c\nd'


URLS = {
    "a plain URL": "see https://evil.example/?q=",
    "a markdown image": "![x](https://evil.example/",
    "no scheme": "![x](//evil.example/",
    "backslashes": "https:\\\\evil.example\\",
    "angle brackets with a blank": "![x](<https://evil.example/a b",
    "an attribute over two lines": '<img src="https://evil.example/?a\n',
    "an unquoted attribute": "<img src=https://evil.example/?q=",
    "another scheme": "ftp://evil.example/",
    "after a slash run": "https:////evil.example/",
    "one slash after a scheme that browsers complete": "![x](https:/evil.example/",
    "no slash after such a scheme": "![x](https:evil.example/",
    "slashes as character references": "![x](&sol;&#x2F;evil.example/",
    "all punctuation as character references": "![x](https&colon;&sol;&sol;evil.example/",
    "slashes as escapes of JSON": "https:\\u002f\\u002Fevil.example/",
    "white space before it in an attribute": '<img src=" https://evil.example/ a ',
    "white space before it and around the sign": "<img src =\n' https://evil.example/ a ",
    "white space before it in angle brackets": "![x](< https://evil.example/ a ",
}
NOT_URLS = {
    "nothing": "",
    "prose": "write to ",
    "after a URL": "https://a.example/ and ",
    "after a quoted URL": '"https://a.example/" ',
    "after angle brackets": "<https://a.example/a b> ",
    "a link's text": "[mail ",
    "mailto": "mailto:",
    "a word that ends like a scheme": "news:",
    "after an attribute": '<img src=" https://a.example/ "> ',
    "after a quoted word": 'the "docs" https://a.example/ and ',
    "an assignment": 'mail="',
    "one slash": "and/or ",
}


@pytest.mark.parametrize("left", URLS.values(), ids=URLS)
def test_never_inside_a_url(left: str) -> None:
    placeholders = PlaceholderMap()
    redacted(placeholders, BOB)
    assert placeholders.restore(left + "[EMAIL_1]") == left + "[EMAIL_1]"


def test_never_inside_a_url_of_a_json_text() -> None:
    placeholders = PlaceholderMap()
    redacted(placeholders, BOB)
    for text in ('{"u": "https:\\/\\/evil.example\\/[EMAIL_1]"}', '{"u": "\\u0068ttps:\\u002f\\u002fevil/[EMAIL_1]"}'):
        assert placeholders.restore(text, json_string=True) == text


@pytest.mark.parametrize("left", NOT_URLS.values(), ids=NOT_URLS)
def test_outside_a_url_the_value_comes_back(left: str) -> None:
    placeholders = PlaceholderMap()
    redacted(placeholders, BOB)
    assert placeholders.restore(left + "[EMAIL_1]") == left + BOB


def test_a_url_counts_however_long_it_is() -> None:
    placeholders = PlaceholderMap()
    redacted(placeholders, BOB)
    text = "https://" + "a" * 20_000 + "[EMAIL_1]"
    assert placeholders.restore(text) == text


def test_a_split_placeholder_is_held_and_released_whole() -> None:
    placeholders = PlaceholderMap()
    redacted(placeholders, BOB)
    assert placeholders.restore_tail_start("to [EMA") == 3
    assert placeholders.restore_tail_start("to [EMAIL_1]") == len("to [EMAIL_1]")
    stream = placeholders.stream()
    assert [stream.feed(piece) for piece in ("to [EM", "AIL_1", "] now [", "x")] == ["to ", "", f"{BOB} now ", "[x"]
    assert stream.finish() == ""


def test_a_token_of_our_own_ends_what_is_held() -> None:
    placeholders = PlaceholderMap()
    redacted(placeholders, BOB)
    stream = placeholders.stream()
    assert stream.feed("a [EMAIL") == "a "
    assert stream.skip("[REDACTED_IBAN]") == "[EMAIL[REDACTED_IBAN]"
    assert stream.feed("_1]") == "_1]"
