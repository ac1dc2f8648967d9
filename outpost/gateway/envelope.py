"""What a stream says outside its deltas.

Clients join the deltas of a stream, and each of those texts is judged as one, however it is cut. Nothing joins what
stands outside (ids, the model, citations, a message repeated so far), so it is judged event by event. A text that came
there in pieces would slip through; therefore each place keeps the first text that stood there.
"""

from collections.abc import Sequence

from outpost.core.chat.fields import FieldKind, TextField, replace_texts
from outpost.core.chat.messages import JsonObject

MAX_PLACES = 4_096  # places remembered; ten times what the widest streams of today use, beyond it texts are emptied
MAX_TOKENS = 2**53  # tokens; what the audit record holds, and more than any model reads
_CHOICES = "/choices/"


class Envelope:
    """The places of one stream."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def steady(self, event: JsonObject, fields: Sequence[TextField], indexes: Sequence[int]) -> JsonObject:
        """Put the first text back where an event says something else.

        Args:
            event: one event, its deltas without growing texts.
            fields: the texts of the event that are no words of the API.
            indexes: of the event's choices, by position.
        """
        changed: dict[str, str] = {}
        for field in fields:
            if field.kind is FieldKind.KEY or field.kind is FieldKind.NUMBER or not field.text:
                continue
            place = _place(field.pointer, indexes)
            if place is None:
                continue
            first = self._places.get(place)
            if first is None and len(self._places) < MAX_PLACES:
                first = self._places[place] = field.text
            if first != field.text:
                changed[field.pointer] = first or ""
        return replace_texts(event, changed) if changed else event


def _place(pointer: str, indexes: Sequence[int]) -> str | None:
    """Name a place by the choice's own index, not by its position; None inside a delta."""
    if not pointer.startswith(_CHOICES):
        return pointer
    position, _, rest = pointer[len(_CHOICES) :].partition("/")
    if rest == "delta" or rest.startswith("delta/"):
        return None
    return f"{_CHOICES}{indexes[int(position)]}/{rest}"


def usage_of(tree: JsonObject) -> tuple[int, int]:
    """Prompt and completion tokens that the provider counted, 0 where it did not say or cannot be believed."""
    usage = tree.get("usage")
    if not isinstance(usage, dict):
        return 0, 0
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    prompt, completion = (
        count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < MAX_TOKENS else 0
        for count in counts
    )
    return prompt, completion
