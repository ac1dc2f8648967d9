import pytest

from outpost.core.detect.normalise import decode_json_text, normalise, whole_units

PLAIN = {
    "ASCII stays": ("hello\tworld\n", "hello\tworld\n"),
    "full-width letters": ("ＡＢ１", "AB1"),
    "a ligature becomes two letters": ("ﬁn", "fin"),
    "zero-width characters vanish": ("a\u200b\u2060\ufeffb", "ab"),
    "bidirectional controls and soft hyphens vanish": ("a\u202e\u00adb\u2066", "ab"),
    "tags and variation selectors vanish": ("a\U000e0041\ufe0fb", "ab"),
    "combining marks vanish": ("4\u0301\u20e31", "41"),
    "controls vanish": ("a\x00\x08b\x7f", "ab"),
    "Cyrillic and Greek look-alikes become Latin": ("ѕесrеt Αρι", "secret Api"),
    "other letters stay": ("Жук ñé", "Жyk ñé"),
    "dashes and quotes become ASCII": ("“a–b”", '"a-b"'),
    "digits of other scripts": ("१२٣", "123"),
    "a lone surrogate stays": ("a\ud83db", "a\ud83db"),
}


@pytest.mark.parametrize(("text", "expected"), PLAIN.values(), ids=PLAIN)
def test_plain(text: str, expected: str) -> None:
    result = normalise(text)
    assert result.text == expected
    assert result.size == len(text)


def test_the_way_back_names_the_unit_of_each_character() -> None:
    result = normalise("ﬁ\u200bx")
    assert [(result.start_of(i), result.end_of(i)) for i in range(3)] == [(0, 1), (0, 1), (2, 3)]
    assert result.start_of(3) == 3


JSON = {
    "short escapes": ('a\\"b\\\\\\/\\n', 'a"b\\/\n'),
    "code units": ("\\u0041\\u0062", "Ab"),
    "a pair of surrogates": ("\\ud83d\\ude00", "😀"),
    "a lone half": ("\\ud83dx", "\ud83dx"),
    "no escape": ("\\x41\\", "\\x41\\"),
    "an escaped backslash before u": ("\\\\u0041", "\\u0041"),
}


@pytest.mark.parametrize(("text", "expected"), JSON.values(), ids=JSON)
def test_json_text(text: str, expected: str) -> None:
    assert decode_json_text(text) == expected
    assert normalise(text, json_string=True).text == expected


WHOLE = {
    "no escape": ("abc", 3),
    "a backslash at the end": ("abc\\", 3),
    "an escaped backslash at the end": ("abc\\\\", 5),
    "three backslashes": ("\\\\\\", 2),
    "half a code unit": ("a\\u00", 1),
    "a high half may become a pair": ("a\\ud83d", 1),
    "a high half and part of a low one": ("a\\ud83d\\ude0", 1),
    "a high half and another escape": ("a\\ud83d\\n", 9),
    "a whole pair": ("a\\ud83d\\ude00", 13),
}


@pytest.mark.parametrize(("text", "size"), WHOLE.values(), ids=WHOLE)
def test_a_cut_escape_is_left_for_the_next_piece(text: str, size: int) -> None:
    assert whole_units(text) == size
