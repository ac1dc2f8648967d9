import pytest

from outpost.core.chat.sse import (
    MAX_EVENT_BYTES,
    MAX_LINE_BYTES,
    ServerSentEvent,
    SSEParser,
    StreamEncodingError,
    StreamOversizedError,
    StreamTruncatedError,
    encode_event,
)
from outpost.core.errors import InternalError, PeerError


def parse(*chunks: bytes) -> list[ServerSentEvent]:
    parser = SSEParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


CASES: dict[str, tuple[bytes, list[ServerSentEvent]]] = {
    "one event": (b"data: a\n\n", [ServerSentEvent("a")]),
    "CRLF": (b"data: a\r\n\r\n", [ServerSentEvent("a")]),
    "CR": (b"data: a\r\r", [ServerSentEvent("a")]),
    "mixed line ends": (b"data: a\r\ndata: b\r\n\n", [ServerSentEvent("a\nb")]),
    "data lines are joined": (b"data: a\ndata\ndata:  b\n\n", [ServerSentEvent("a\n\n b")]),
    "no blank after the colon": (b"data:a\n\n", [ServerSentEvent("a")]),
    "comments": (b": ping\n\n:\ndata: a\n\n", [ServerSentEvent("a")]),
    "an event's type and id": (
        b"event: x\nid: 7\ndata: a\n\ndata: b\n\n",
        [ServerSentEvent("a", "x", "7"), ServerSentEvent("b", "", "7")],
    ),
    "an id with NUL is ignored": (b"id: a\x00b\ndata: a\n\n", [ServerSentEvent("a")]),
    "without data nothing is dispatched": (b"event: x\n\ndata: a\n\n", [ServerSentEvent("a")]),
    "empty data is an event": (b"data\n\n", [ServerSentEvent("")]),
    "a byte order mark at the start": (b"\xef\xbb\xbfdata: a\n\n", [ServerSentEvent("a")]),
    "a second mark belongs to the field's name": (
        b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
        [ServerSentEvent("b")],
    ),
    "unknown fields": (b"foo: 1\ndata: a\n\n", [ServerSentEvent("a")]),
    "text of several bytes": ("data: é😀\n\n".encode(), [ServerSentEvent("é😀")]),
    "a line separator of Unicode ends no line": (
        "data: a\u2028b\u0085c\n\n".encode(),
        [ServerSentEvent("a\u2028b\u0085c")],
    ),
}


@pytest.mark.parametrize(("raw", "events"), CASES.values(), ids=CASES)
def test_events_are_the_same_wherever_the_bytes_are_cut(raw: bytes, events: list[ServerSentEvent]) -> None:
    assert parse(raw) == events
    for cut in range(len(raw) + 1):
        assert parse(raw[:cut], raw[cut:]) == events
    assert parse(*(raw[index : index + 1] for index in range(len(raw)))) == events


def test_retry_is_kept_when_it_is_a_number() -> None:
    parser = SSEParser()
    parser.feed(b"retry: soon\nretry: 1500\nretry: 99999999999\n\n")
    assert parser.retry_ms == 1500


def test_invalid_utf8_is_refused() -> None:
    with pytest.raises(StreamEncodingError):
        parse(b"data: \xff\xfe\n\n")


def test_a_line_at_the_limit_passes_and_one_beyond_is_refused() -> None:
    line = b"data: " + b"a" * (MAX_LINE_BYTES - 6)
    assert len(parse(line, b"\n\n")[0].data) == MAX_LINE_BYTES - 6
    with pytest.raises(StreamOversizedError):
        parse(line, b"a")


def test_an_event_at_the_limit_passes_and_one_beyond_is_refused() -> None:
    half = b"data: " + b"a" * (MAX_EVENT_BYTES // 2 - 6) + b"\n"
    assert len(parse(half, half, b"\n")) == 1
    with pytest.raises(StreamOversizedError):
        parse(half, half, b"data: a\n")


TRUNCATED = {"inside a line": b"data: a", "inside an event": b"data: a\n", "inside a comment": b": ping"}


@pytest.mark.parametrize("raw", TRUNCATED.values(), ids=TRUNCATED)
def test_a_stream_that_ends_inside_an_event_is_an_error(raw: bytes) -> None:
    parser = SSEParser()
    parser.feed(raw)
    with pytest.raises(StreamTruncatedError):
        parser.finish()


def test_a_stream_that_ends_after_an_event_is_fine() -> None:
    parser = SSEParser()
    parser.feed(b"data: a\n\n: bye\n")
    parser.finish()


def test_errors_are_the_peers() -> None:
    assert all(
        issubclass(kind, PeerError) for kind in (StreamEncodingError, StreamOversizedError, StreamTruncatedError)
    )


@pytest.mark.parametrize(("data", "event"), [("a", ""), ("a\nb", "x"), ("", "done"), ("a\r\n\nb\r", "")])
def test_what_is_encoded_parses_back(data: str, event: str) -> None:
    (parsed,) = parse(encode_event(data, event))
    assert parsed == ServerSentEvent(data.replace("\r\n", "\n").replace("\r", "\n"), event)


def test_an_event_type_cannot_forge_a_field() -> None:
    with pytest.raises(InternalError):
        encode_event("a", "x\ndata: forged")
