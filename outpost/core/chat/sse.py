"""Server-sent events: bytes of a stream in, events out, at whatever byte the network cut it.

Rules: UTF-8, one optional byte order mark at the start; lines end in LF, CR or CRLF; a line that begins with a colon is
a comment; ``data`` fields of one event are joined by LF; an empty line dispatches, unless no ``data`` came. Stricter
than a browser in three places: invalid UTF-8, oversized events and a stream that ends inside an event are errors,
because text that was not inspected must not be guessed at.

Errors: PeerError ← StreamEncodingError, StreamOversizedError, StreamTruncatedError.

Source: WHATWG HTML, section 9.2.6 (interpreting an event stream).
"""

import re
from dataclasses import dataclass

from outpost.core.errors import InternalError, PeerError

# Bytes of one line and of all data of one event. The largest events of providers carry an image of some 100 kB in
# Base64; 1 MiB is also the limit of a request's body (design.md section 8).
MAX_LINE_BYTES = 1_048_576
MAX_EVENT_BYTES = 1_048_576
_MAX_RETRY_DIGITS = 9  # a reconnection time of 11 days in ms; more is noise

_LINE_END = re.compile(rb"\r\n|\r|\n")
_TEXT_LINE_END = re.compile(r"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


class StreamEncodingError(PeerError):
    """The provider's stream is not UTF-8."""

    code = "peer.stream_encoding"


class StreamOversizedError(PeerError):
    """A line or an event of the provider's stream is too long."""

    code = "peer.stream_oversized"


class StreamTruncatedError(PeerError):
    """The provider's stream ended inside an event."""

    code = "peer.stream_truncated"


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One dispatched event.

    Attributes:
        data: lines joined by LF, never absent, maybe empty.
        event: its type; empty means "message".
        last_event_id: the last ``id`` field of the stream so far.
    """

    data: str
    event: str = ""
    last_event_id: str = ""


class SSEParser:
    """Incremental parser of one stream. Linear in the bytes read, memory bounded by the two limits."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # of the line that has not ended
        self._line_bytes = 0
        self._skip_lf = False  # the last byte read was a CR that ended a line
        self._started = False
        self._data: list[str] = []
        self._data_bytes = 0
        self._event = ""
        self._in_event = False
        self._last_event_id = ""
        self.retry_ms: int | None = None

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Read untrusted bytes.

        Returns:
            Events that this chunk completes.

        Raises:
            StreamEncodingError: a line is not UTF-8.
            StreamOversizedError: beyond MAX_LINE_BYTES or MAX_EVENT_BYTES.
        """
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[0] == 10:
                chunk = chunk[1:]
        if not chunk:
            return []
        self._skip_lf = chunk[-1] == 13
        pieces = _LINE_END.split(chunk) if b"\r" in chunk else chunk.split(b"\n")
        events: list[ServerSentEvent] = []
        for piece in pieces[:-1]:
            self._grow(piece)
            event = self._end_line()
            if event is not None:
                events.append(event)
        self._grow(pieces[-1])
        return events

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises:
            StreamTruncatedError: a line or an event was not finished; its content was not and will not be returned.
        """
        if self._line_bytes or self._in_event:
            raise StreamTruncatedError(
                "the provider's stream ended inside an event",
                field="body",
                next_step="retry; if it persists, check the provider and proxies in between",
            )

    def _grow(self, piece: bytes) -> None:
        self._line_bytes += len(piece)
        if self._line_bytes > MAX_LINE_BYTES:
            raise StreamOversizedError(f"a line of the provider's stream exceeds {MAX_LINE_BYTES} bytes", field="body")
        if piece:
            self._parts.append(piece)

    def _end_line(self) -> ServerSentEvent | None:
        raw = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._line_bytes = 0
        if not self._started:
            self._started = True
            raw = raw.removeprefix(_BOM)
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise StreamEncodingError("the provider's stream is not UTF-8", field="body") from error
        if not line:
            return self._dispatch()
        if not line.startswith(":"):
            self._in_event = True
            self._field(line, len(raw))
        return None

    def _field(self, line: str, size: int) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data_bytes += size
            if self._data_bytes > MAX_EVENT_BYTES:
                raise StreamOversizedError(
                    f"an event of the provider's stream exceeds {MAX_EVENT_BYTES} bytes", field="body"
                )
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            if "\0" not in value:
                self._last_event_id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self.retry_ms = int(value)

    def _dispatch(self) -> ServerSentEvent | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        self._data_bytes = 0
        self._in_event = False
        return ServerSentEvent("\n".join(data), event, self._last_event_id) if data else None


def encode_event(data: str, event: str = "") -> bytes:
    """Serialise one event; line ends inside ``data`` become several ``data`` fields.

    Raises:
        InternalError: the event's type has a line end, which would forge a field.
    """
    if "\n" in event or "\r" in event:
        raise InternalError("an event type has a line end", field="event")
    head = f"event: {event}\n" if event else ""
    lines = _TEXT_LINE_END.split(data) if "\n" in data or "\r" in data else [data]
    return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode()
