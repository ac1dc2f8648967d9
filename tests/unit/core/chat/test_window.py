import pytest

from outpost.core.chat.window import ChannelWindow, Verdict
from outpost.core.detect.finding import Finding
from outpost.core.detect.pattern import Scanner
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.detect.rules import RULES
from outpost.core.detect.rules_secrets import PEM_BODY_CHARS
from outpost.core.detect.stream import ScanStream

SCANNER = Scanner.compile(RULES)
CARD = "4111" + " 1111 1111 1111"
BOB = "bob@" + "example.org"
KEY = "sk-" + "ant-api03-" + "aB3dE5gH7jK9mN1pQ2sT4vW6xY8zA0cD2eF4"


def stop(_finding: Finding) -> Verdict:
    return Verdict.STOP


def redact(_finding: Finding) -> Verdict:
    return Verdict.REDACT


def release(_finding: Finding) -> Verdict:
    return Verdict.RELEASE


def test_clean_text_comes_out_at_the_next_word() -> None:
    window = ChannelWindow(ScanStream(SCANNER), stop)
    assert window.feed("Hello wor").text == "Hello "
    assert window.feed("ld, how are ").text == "world, how are "
    assert window.pending_chars == 0
    assert window.feed("you").text == ""
    assert window.finish().text == "you"


@pytest.mark.parametrize("secret", [CARD, BOB, KEY], ids=["card", "e-mail", "key"])
def test_a_secret_cut_at_every_place_never_leaves_in_part(secret: str) -> None:
    text = f"Here it is: {secret}. Bye now."
    for cut in range(len(text) + 1):
        window = ChannelWindow(ScanStream(SCANNER), stop)
        parts = [window.feed(text[:cut]), window.feed(text[cut:]), window.finish()]
        assert "".join(part.text for part in parts) == "Here it is: "
        stopped = parts[-1].stopped
        assert stopped is not None
        assert text[stopped.start : stopped.end] == secret


def test_redaction_is_typed_and_the_text_goes_on() -> None:
    window = ChannelWindow(ScanStream(SCANNER), redact)
    out = "".join(window.feed(char).text for char in f"mail {BOB}, card {CARD}.") + window.finish().text
    assert out == "mail [REDACTED_EMAIL], card [REDACTED_CREDIT_CARD]."


def test_each_finding_is_judged_once_in_order_with_offsets_of_the_channel() -> None:
    text = f"x{' ' * 300}mail {BOB}, card {CARD}."
    seen: list[Finding] = []

    def judge(finding: Finding) -> Verdict:
        seen.append(finding)
        return Verdict.RELEASE

    window = ChannelWindow(ScanStream(SCANNER), judge)
    out = "".join(window.feed(char).text for char in text) + window.finish().text
    assert out == text
    assert seen == SCANNER.scan(text)


def test_nothing_follows_a_stop() -> None:
    window = ChannelWindow(ScanStream(SCANNER), stop)
    first = window.feed(f"a {CARD} b c")
    assert (first.text, first.stopped is not None) == ("a ", True)
    assert window.feed("more").text == ""
    assert window.finish().text == ""
    assert window.finish().stopped == first.stopped


def test_a_private_key_is_withheld_from_begin_to_end() -> None:
    begin = "-----BEGIN PRIV" + "ATE KEY-----\n"
    window = ChannelWindow(ScanStream(SCANNER), redact)
    assert window.feed("Key:\n" + begin).text == "Key:\n"
    assert all(window.feed("QUJDRA1x" * 8 + "\n").text == "" for _ in range(20))
    tail = window.feed("-----END PRIV" + "ATE KEY-----\nThat was it. " + " " * 300).text + window.finish().text
    assert tail.startswith("[REDACTED_PRIVATE_KEY]\nThat was it.")


def test_a_candidate_without_end_is_a_finding_and_what_is_held_stays_bounded() -> None:
    window = ChannelWindow(ScanStream(SCANNER), stop)
    pieces = ["-----BEGIN PRIV" + "ATE KEY-----\n", *["QUJDRA1x" * 16] * 400]
    held = 0
    parts = []
    for piece in pieces:
        parts.append(window.feed(piece))
        held = max(held, window.pending_chars)
    assert "".join(part.text for part in parts) == ""
    assert parts[-1].stopped is not None
    assert parts[-1].stopped.entity_type == "unbounded_candidate"
    assert held < PEM_BODY_CHARS * 1.25


def test_placeholders_are_restored_after_inspection_and_not_inspected_again() -> None:
    placeholders = PlaceholderMap()
    placeholders.redact(BOB, SCANNER.scan(BOB))
    window = ChannelWindow(ScanStream(SCANNER), stop, placeholders.stream())
    out = "".join(window.feed(char).text for char in "I wrote to [EMAIL_1] today") + window.finish().text
    assert out == f"I wrote to {BOB} today"


def test_a_secret_in_escaped_arguments_is_stopped() -> None:
    text = '{"to": "b\\u006fb@' + 'example.org"}'
    for cut in range(len(text) + 1):
        window = ChannelWindow(ScanStream(SCANNER, json_string=True), stop)
        out = window.feed(text[:cut]).text + window.feed(text[cut:]).text + window.finish().text
        assert out == '{"to": "'


def test_an_empty_channel_is_empty() -> None:
    window = ChannelWindow(ScanStream(SCANNER), release)
    assert window.feed("").text == ""
    assert window.finish().text == ""
