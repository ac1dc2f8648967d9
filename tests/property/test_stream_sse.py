"""Server-sent events do not depend on where the bytes are cut."""

from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.core.chat.sse import ServerSentEvent, SSEParser, encode_event

LINES = st.sampled_from(
    ["data: a", "data", "data:é😀", ": c", "event: x", "id: 1", "retry: 5", "", "", "foo", "\ufeffdata: b"]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(LINES, ENDS), max_size=20), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_cuts_do_not_matter(lines: list[tuple[str, str]], sizes: list[int]) -> None:
    raw = "".join(line + end for line, end in lines).encode()
    whole, pieces = SSEParser(), SSEParser()
    expected = whole.feed(raw)
    found: list[ServerSentEvent] = []
    at = step = 0
    while at < len(raw):
        size = sizes[step % len(sizes)]
        found += pieces.feed(raw[at : at + size])
        at, step = at + size, step + 1
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_encoded_data_comes_back_with_line_ends_as_lf(data: str) -> None:
    (event,) = SSEParser().feed(encode_event(data))
    assert event.data == data.replace("\r\n", "\n").replace("\r", "\n")
