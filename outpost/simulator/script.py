"""What the pretended provider shall answer next."""

from enum import StrEnum
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field

MAX_REPLY_CHARS = 4_194_304  # characters; the simulator must be able to send more than the gateway accepts
MAX_DELAY_MS = 60_000  # one scripted pause


class FaultKind(StrEnum):
    """Ways in which a provider misbehaves."""

    RESET = "reset"  # the connection is torn down after ``after_bytes`` of the body
    HANG = "hang"  # nothing more comes after ``after_bytes`` of the body
    HANG_BEFORE_HEAD = "hang_before_head"
    RESET_BEFORE_HEAD = "reset_before_head"
    BROKEN_SSE = "broken_sse"  # an event that is no JSON stands in the middle of the stream
    TRUNCATED = "truncated"  # the body ends cleanly, but without its last quarter
    INVALID_UTF8 = "invalid_utf8"
    CONTENT_TYPE = "content_type"  # text/html
    OVERSIZED_HEAD = "oversized_head"
    REDIRECT = "redirect"


class ToolCall(BaseModel):
    """A function call in the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    arguments: str  # JSON text, as the API has it


class Script(BaseModel):
    """One scripted behaviour; the default echoes the last user message.

    Attributes:
        reply: text of the answer; None echoes "You said: …".
        tool_call: answer with this call instead of a text.
        cuts: character positions in the answer's text (or arguments) where a stream begins a new delta.
        chunk_chars: characters per delta where ``cuts`` is empty.
        byte_cuts: positions in the body where a new write to the socket begins.
        write_bytes: bytes per write where ``byte_cuts`` is empty; 0 writes event by event.
        delay_ms: pause before each write.
        status: HTTP status; other than 200 sends an error body of the provider's shape.
        fault: how to misbehave.
        after_bytes: bytes of body sent before RESET and HANG.
        times: requests that this script serves before the default returns; 0 = all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reply: str | None = Field(default=None, max_length=MAX_REPLY_CHARS)
    tool_call: ToolCall | None = None
    cuts: tuple[int, ...] = ()
    chunk_chars: int = Field(default=8, ge=1)
    byte_cuts: tuple[int, ...] = ()
    write_bytes: int = Field(default=0, ge=0)
    delay_ms: int = Field(default=0, ge=0, le=MAX_DELAY_MS)
    status: int = Field(default=200, ge=200, le=599)
    fault: FaultKind | None = None
    after_bytes: int = Field(default=0, ge=0)
    times: int = Field(default=0, ge=0)


def pieces(text: str, script: Script) -> list[str]:
    """Cut a text into the deltas of a stream."""
    cuts = [cut for cut in sorted(set(script.cuts)) if 0 < cut < len(text)]
    if not script.cuts:
        cuts = list(range(script.chunk_chars, len(text), script.chunk_chars))
    edges = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(edges) if end > start]


def writes(events: list[bytes], script: Script) -> list[bytes]:
    """Cut a body into the writes to the socket."""
    if not script.byte_cuts and not script.write_bytes:
        return events
    body = b"".join(events)
    cuts = [cut for cut in sorted(set(script.byte_cuts)) if 0 < cut < len(body)]
    if not script.byte_cuts:
        cuts = list(range(script.write_bytes, len(body), script.write_bytes))
    edges = [0, *cuts, len(body)]
    return [body[start:end] for start, end in pairwise(edges) if end > start]
