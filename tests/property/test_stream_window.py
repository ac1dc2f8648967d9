"""For every text and every way of cutting it: what comes out of a stream is what comes out of the whole."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.core.chat.window import ChannelWindow, Verdict
from outpost.core.detect.finding import Finding
from outpost.core.detect.pattern import Scanner
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.detect.rules import ENTITY_TYPES, RULES
from outpost.core.detect.stream import ScanStream

SCANNER = Scanner.compile(RULES)
EXAMPLES = sorted({text for rule in RULES for text in (*rule.positives, *rule.negatives) if len(text) < 2_000})
FRAGMENTS = [
    *" \n,.\"'-1aA/=",
    "",
    "[EMAIL_1]",
    "[CREDIT_CARD_1]",
    "[EMAIL_12]",
    "[EMA",
    "https://a.b/?q=",
    "<//x ",
    "é",
    "\u200b",
]
FRAGMENTS += [
    "ﬁ",
    "😀",
    "４１１１",
    "сard",
    "\\u0041",
    "\\",
    "\\\\",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\\n",
    '\\"',
    "password=",
    "-----",
    "ssn ",
]


def placeholders() -> PlaceholderMap:
    text = "bob@" + "example.org 4111" + "111111111111"
    made = PlaceholderMap()
    made.redact(text, SCANNER.scan(text))
    return made


PLACEHOLDERS = placeholders()


@st.composite
def texts(draw: st.DrawFn) -> str:
    example = st.sampled_from(EXAMPLES)
    prefix = st.builds(lambda text, size: text[: size % (len(text) + 1)], example, st.integers(0, 5_000))
    split = st.builds(
        lambda text, at, mark: text[: at % (len(text) + 1)] + mark + text[at % (len(text) + 1) :],
        example,
        st.integers(0, 5_000),
        st.sampled_from(["\u200b", "\\u200b", "\u0301", " "]),
    )
    parts = st.one_of(example, prefix, split, st.sampled_from(FRAGMENTS), st.text(max_size=8))
    return "".join(draw(st.lists(parts, max_size=7)))


def whole(text: str, judge: Callable[[Finding], Verdict], *, json_string: bool) -> tuple[str, Finding | None]:
    """The answer without any window: scan, then replace from left to right."""
    restorer = PLACEHOLDERS.stream(json_string=json_string)
    out, at, stopped = [], 0, None
    for finding in SCANNER.scan(text, json_string=json_string):
        verdict = judge(finding)
        if verdict is Verdict.RELEASE:
            continue
        start = max(finding.start, at)
        out.append(restorer.feed(text[at:start]))
        at = max(at, finding.end)
        if verdict is Verdict.STOP:
            stopped = finding
            break
        out.append(restorer.skip(f"[REDACTED_{finding.entity_type.upper()}]"))
    if stopped is None:
        out.append(restorer.feed(text[at:]))
    out.append(restorer.finish())
    return "".join(out), stopped


@settings(max_examples=250, deadline=None)
@given(
    text=texts(),
    json_string=st.booleans(),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    verdicts=st.lists(st.sampled_from(list(Verdict)), min_size=3, max_size=3),
)
def test_output_of_a_stream_is_output_of_the_whole(
    text: str, json_string: bool, sizes: list[int], verdicts: list[Verdict]
) -> None:
    by_type = {name: verdicts[index % 3] for index, name in enumerate(sorted(ENTITY_TYPES))}

    def judge(finding: Finding) -> Verdict:
        return by_type[finding.entity_type]

    expected, expected_stop = whole(text, judge, json_string=json_string)
    window = ChannelWindow(
        ScanStream(SCANNER, json_string=json_string), judge, PLACEHOLDERS.stream(json_string=json_string)
    )
    out, at, step = [], 0, 0
    while at < len(text):
        size = sizes[step % len(sizes)]
        out.append(window.feed(text[at : at + size]).text)
        at, step = at + size, step + 1
    last = window.finish()
    assert "".join(out) + last.text == expected
    assert last.stopped == expected_stop


@settings(max_examples=150, deadline=None)
@given(text=texts(), json_string=st.booleans(), cut=st.integers(0, 3_000))
def test_no_character_of_a_later_finding_has_left_before_it_is_known(text: str, json_string: bool, cut: int) -> None:
    released = ChannelWindow(ScanStream(SCANNER, json_string=json_string), lambda _finding: Verdict.RELEASE)
    before = len(released.feed(text[:cut]).text)
    judged = {
        finding
        for finding, _ in ChannelWindow(ScanStream(SCANNER, json_string=json_string), lambda _finding: Verdict.RELEASE)
        .feed(text[:cut])
        .judged
    }
    for finding in SCANNER.scan(text, json_string=json_string):
        assert finding in judged or finding.start >= before
