"""From the provider's stream to the client's: every event is parsed, judged and written anew.

Pure: bytes in, bytes out. Each string of a delta is a channel with a window of its own (`core/chat/window`), which
lets text through up to the earliest open candidate. Everything else of an event (keys, ids, roles, names, numbers,
unknown fields) is judged as a whole before anything of the event is released. Rules:

1. An id, role, type or name comes at once or not at all: repeated with another value it would be a text cut in pieces
   that no window holds together, and is refused as a broken stream.
2. Held text leaves before the finish event of its choice, so that the order of events stays what clients know.
3. Token lists (``logprobs``) repeat the text in pieces and are dropped, wherever they stand.
4. Outside the deltas each place keeps its first text (`envelope`): no client joins what comes there in pieces.
5. When something stops the stream, nothing that is held leaves. What had been released before is clean.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import orjson

from outpost.core.chat.fields import FieldKind, TextField, kind_of, list_fields
from outpost.core.chat.messages import MAX_CHOICES, BodyLimits, Json, JsonObject, parse_body
from outpost.core.chat.sse import ServerSentEvent, SSEParser
from outpost.core.chat.window import ChannelWindow
from outpost.core.detect.finding import Finding
from outpost.core.errors import PeerError, RequestError
from outpost.gateway.envelope import Envelope, usage_of

MAX_EVENT_BYTES = 1_048_576  # bytes of one event; the longest seen carry a whole tool call in one piece
MAX_CHANNELS = 512  # strings that grow at one time: choices times parallel tool calls, with room
MAX_SEEN_TEXTS = 4_096  # judged texts of envelopes remembered, so that ids and models are judged once
DONE = b"data: [DONE]\n\n"
_TOKENS = "logprobs"
_AT_ONCE = frozenset({"id", "role", "type", "name"})
_LIMITS = BodyLimits(max_bytes=MAX_EVENT_BYTES)

Path: TypeAlias = "tuple[str | int, ...]"


class ProviderBadSSEError(PeerError):
    """The provider's stream is not one of chat completion chunks, or ends in the middle."""

    code = "provider.bad_sse"


class Judges(Protocol):
    """What decides about the texts of a stream."""

    def window(self, *, json_string: bool) -> ChannelWindow[Finding]:
        """Open a window for a new channel; values put back into JSON text are escaped as it demands."""
        ...

    def find(self, text: str) -> Sequence[Finding]:
        """Findings of a whole text."""
        ...

    def stops(self, findings: Sequence[Finding]) -> bool:
        """Whether findings that cannot be redacted end the stream."""
        ...


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One string of a delta: where it stands in this event, and the channel that it belongs to."""

    path: Path
    channel: Path
    text: str
    json_string: bool


@dataclass(slots=True)
class _Choice:
    """State of one choice of the answer."""

    windows: dict[Path, ChannelWindow[Finding]] = field(default_factory=dict)
    at_once: dict[Path, str] = field(default_factory=dict)
    finished: bool = False


class StreamTranslator:
    """Feeds provider bytes, gives client bytes.

    Attributes:
        error: why the stream broke, None while it has not.
        stopped: a finding ended the stream.
        done: the terminator came.
        bytes_received, bytes_inspected, bytes_released: raw bytes in, UTF-8 bytes of texts judged, raw bytes out.
        usage: token counts that the provider sent last, prompt and completion.
    """

    def __init__(self, judges: Judges) -> None:
        self._judges = judges
        self._parser = SSEParser()
        self._choices: dict[int, _Choice] = {}
        self._channels = 0
        self._seen: set[str] = set()
        self._envelope: JsonObject = {}
        self._places = Envelope()
        self._out: list[bytes] = []
        self.error: PeerError | None = None
        self.stopped = False
        self.done = False
        self.bytes_received = 0
        self.bytes_inspected = 0
        self.bytes_released = 0
        self.usage = (0, 0)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come out."""
        return self.done or self.stopped or self.error is not None

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive, in pieces of any size; look at ``ended`` afterwards."""
        self.bytes_received += len(data)
        if not self.ended:
            self._guard(lambda: self._events(self._parser.feed(data)))
        return self._take()

    def finish(self) -> bytes:
        """The provider closed the stream: accept it when every choice had finished, else call it broken."""
        if not self.ended:
            self._guard(self._close)
        return self._take()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ProviderBadSSEError as error:
            self.error = error
        except PeerError as error:
            self.error = ProviderBadSSEError(error.message)

    def _take(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        self.bytes_released += len(data)
        return data

    def _close(self) -> None:
        self._parser.finish()
        if not self._choices or not all(choice.finished for choice in self._choices.values()):
            raise ProviderBadSSEError("the provider's stream ended before the answer did")
        self._terminate()

    def _terminate(self) -> None:
        for index, choice in self._choices.items():
            self._flush(index, choice)
            if self.stopped:
                return
        self._out.append(DONE)
        self.done = True

    def _events(self, events: Sequence[ServerSentEvent]) -> None:
        for event in events:
            if event.data == "[DONE]":
                self._terminate()
            else:
                self._chunk(_parse(event.data))
            if self.ended:
                return

    def _chunk(self, tree: JsonObject) -> None:
        if tree.get("error"):
            raise ProviderBadSSEError("the provider sent an error in the middle of its stream")
        choices = tree.get("choices", [])
        if not isinstance(choices, list):
            raise ProviderBadSSEError("an event's choices are no array")
        if tree.get("usage"):
            self.usage = usage_of(tree)
        skeletons: list[Json] = []
        leaves: list[tuple[int, int, list[_Leaf]]] = []
        for position, choice in enumerate(choices):
            index, skeleton, found = self._split(choice)
            skeletons.append(skeleton)
            leaves.append((position, index, found))
        event: JsonObject = {**tree, "choices": skeletons} if "choices" in tree else tree
        texts = list_fields(event).fields
        if self._envelope_stops(texts):
            self.stopped = True
            return
        event = self._places.steady(event, texts, [index for _, index, _ in leaves])
        self._envelope = {
            key: event[key] for key in ("id", "object", "created", "model", "system_fingerprint") if key in event
        }
        self._release(event, leaves)

    def _split(self, choice: Json) -> tuple[int, JsonObject, list[_Leaf]]:
        """Take the growing strings out of a choice; what is left is judged as a whole."""
        if not isinstance(choice, dict):
            raise ProviderBadSSEError("a choice of an event is no object")
        index = choice.get("index", 0)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < MAX_CHOICES:
            raise ProviderBadSSEError("a choice of an event has no usable index")
        state = self._choices.setdefault(index, _Choice())
        delta = choice.get("delta")
        leaves: list[_Leaf] = []
        skeleton: JsonObject = dict(choice)
        if skeleton.get(_TOKENS) is not None:
            skeleton[_TOKENS] = None
        if delta is not None:
            if not isinstance(delta, dict):
                raise ProviderBadSSEError("a delta of an event is no object")
            skeleton["delta"] = self._blank(delta, (), (), (state, leaves))
        if state.finished and any(leaf.text for leaf in leaves):
            raise ProviderBadSSEError("the provider went on with a choice that had finished")
        return index, skeleton, leaves

    def _blank(self, value: Json, path: Path, channel: Path, into: tuple[_Choice, list[_Leaf]]) -> Json:
        """Copy a delta with its growing strings emptied; collect them."""
        if isinstance(value, dict):
            return {
                key: None if key == _TOKENS else self._blank(member, (*path, key), (*channel, key), into)
                for key, member in value.items()
            }
        if isinstance(value, list):
            return [
                self._blank(member, (*path, place), (*channel, _slot(member, place)), into)
                for place, member in enumerate(value)
            ]
        if not isinstance(value, str):
            return value
        state, leaves = into
        key = next((part for part in reversed(channel) if isinstance(part, str)), "")
        if key in _AT_ONCE:
            known = state.at_once.setdefault(channel, value) or value
            if value and known != value:
                raise ProviderBadSSEError(f"the provider sent the {key} of a message in pieces")
            state.at_once[channel] = known
            return value
        leaves.append(_Leaf(path, channel, value, kind_of(key, "") is FieldKind.JSON))
        return ""

    def _envelope_stops(self, texts: Sequence[TextField]) -> bool:
        for text_field in texts:
            if text_field.text in self._seen:
                continue
            self.bytes_inspected += len(text_field.text.encode())
            found = self._judges.find(text_field.text)
            if found and self._judges.stops(found):
                return True
            if len(self._seen) < MAX_SEEN_TEXTS:
                self._seen.add(text_field.text)
        return False

    def _release(self, event: JsonObject, leaves: Sequence[tuple[int, int, list[_Leaf]]]) -> None:
        """Feed the windows, put what they let through into the event, send it if it says anything."""
        released = withheld = False
        for position, index, found in leaves:
            for leaf in found:
                text = self._feed(index, leaf)
                released = released or bool(text)
                withheld = withheld or (not text and bool(leaf.text))
                _put(event, position, leaf.path, text)
                if self.stopped:
                    self._send(_unfinished(event)) if released else None
                    return
        finishing = [index for position, index, _ in leaves if _finish_reason(event, position)]
        if not finishing:
            if released or not withheld or _says_something(event):
                self._send(event)
            return
        if released or _says_something(_unfinished(event)):
            self._send(_unfinished(event))
        for index in finishing:
            self._flush(index, self._choices[index])
            if self.stopped:
                return
            self._choices[index].finished = True
        self._send(_bare(event))

    def _feed(self, index: int, leaf: _Leaf) -> str:
        state = self._choices[index]
        window = state.windows.get(leaf.channel)
        if window is None:
            self._channels += 1
            if self._channels > MAX_CHANNELS:
                raise ProviderBadSSEError(f"the provider's stream has more than {MAX_CHANNELS} texts")
            window = state.windows[leaf.channel] = self._judges.window(json_string=leaf.json_string)
        self.bytes_inspected += len(leaf.text.encode())
        released = window.feed(leaf.text)
        self.stopped = released.stopped is not None
        return released.text

    def _flush(self, index: int, choice: _Choice) -> None:
        """Let the held rest of a choice leave, channel by channel."""
        for channel, window in choice.windows.items():
            released = window.finish()
            if released.text:
                delta = _nest(channel, released.text)
                flushed: Json = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
                self._send({**self._envelope, "choices": [flushed]})
            if released.stopped is not None:
                self.stopped = True
                return
        choice.windows = {}

    def _send(self, event: JsonObject) -> None:
        self._out.append(b"data: " + orjson.dumps(event) + b"\n\n")


def _parse(data: str) -> JsonObject:
    try:
        return parse_body(data.encode(), _LIMITS)
    except RequestError as error:
        raise ProviderBadSSEError(f"an event of the provider's stream is not acceptable ({error.code})") from None


def _slot(member: Json, place: int) -> int:
    """Items of a delta's arrays say themselves which one they continue.

    Raises:
        ProviderBadSSEError: an index such as 5.0 or "5", which some clients join with 5 and we would not.
    """
    index = member.get("index") if isinstance(member, dict) else None
    if index is None:
        return place
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        raise ProviderBadSSEError("an item of a delta has no usable index")
    return index


def _put(event: JsonObject, position: int, path: Path, text: str) -> None:
    """Set a string inside the delta of a choice; the event is ours alone."""
    target: Json = event["choices"]
    for part in (position, "delta", *path[:-1]):
        target = target[part]  # type: ignore[index]
    target[path[-1]] = text  # type: ignore[index]


def _nest(channel: Path, text: str) -> Json:
    """Build the delta that continues a channel."""
    value: Json = text
    for part in reversed(channel):
        if isinstance(part, str):
            value = {part: value}
        else:
            value = [{"index": part, **value}] if isinstance(value, dict) else [value]
    return value


def _choices(event: JsonObject) -> Iterator[JsonObject]:
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict):
            yield choice


def _finish_reason(event: JsonObject, position: int) -> bool:
    return bool(list(_choices(event))[position].get("finish_reason"))


def _unfinished(event: JsonObject) -> JsonObject:
    """The event's texts without its end."""
    choices: list[Json] = [{**choice, "finish_reason": None} for choice in _choices(event)]
    return {key: value for key, value in {**event, "choices": choices}.items() if key != "usage"}


def _bare(event: JsonObject) -> JsonObject:
    """The event's end without its texts."""
    choices: list[Json] = [{**choice, "delta": {}} if "delta" in choice else choice for choice in _choices(event)]
    return {**event, "choices": choices}


def _says_something(event: JsonObject) -> bool:
    """Whether an event carries more than emptied texts: usage, a finish reason, an id, a role or a name."""
    if event.get("usage"):
        return True
    for choice in _choices(event):
        if choice.get("finish_reason"):
            return True
        for text_field in list_fields(choice.get("delta")).fields:
            if text_field.kind is not FieldKind.KEY and text_field.text:
                return True
        delta = choice.get("delta")
        if isinstance(delta, dict) and delta.get("role"):
            return True
    return False
