"""Where a text stands inside a URL, decided while it arrives.

Whoever renders an answer fetches the pictures that it names. So "inside" is read as the fetcher reads it: slashes in
either direction and as character references, a scheme whose slashes were forgotten, white space inside quotes and
angle brackets, which is dropped. When in doubt, a place counts as inside.

What is read depends on the text alone, not on how it was cut: a mark is read once, when all of it is there.

Source: WHATWG URL (basic URL parser: backslashes, missing slashes, tabs and line ends), CommonMark 0.31 sections 6.3
(link destinations) and 2.5 (character references).
"""

import re

_MAX_MARK_CHARS = 32  # characters of the longest mark: two slashes as character references
_LEFT_CHARS = 64  # before a mark: the longest scheme, its colon as a character reference, and the sign before it
_PENDING_CHARS = 4_096  # unread characters at which marks are read although nobody asks
_COLON = r"(?::|&colon;|&#0{0,4}(?:58|x3a);?|\\u003a)"
_SLASH = r"(?:[/\\]|&(?:sol|bsol);|&#0{0,4}(?:47|92|x2f|x5c);?|\\u00(?:2f|5c))"
_URL = rf"{_SLASH}{{2}}|(?<![a-z0-9+.\-])(?:https?|wss?|ftp){_COLON}"
_MARK = re.compile(rf"(?P<url>{_URL})|(?P<quote>[=(]\s{{0,16}}[\"'<`])|[\s<>\"'`]", re.IGNORECASE)
_SCHEME = re.compile(rf"[a-z][a-z0-9+.\-]{{0,20}}{_COLON}\Z", re.IGNORECASE)
_CLOSERS = {"<": ">", '"': '"', "'": "'", "`": "`"}


class UrlWatch:
    """Follows one text: linear in it, and keeps only its end."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0  # characters of ``_text`` that were read
        self._bare = False  # a URL that ends at white space
        self._closing: set[str] = set()  # a URL in quotes ends at one of these alone
        self._quoted: set[str] = set()  # an attribute's value or a link's destination is open until one of these

    def feed(self, text: str) -> None:
        """Take more text (untrusted; escapes decoded where it is JSON)."""
        self._text += text
        if len(self._text) - self._at > _PENDING_CHARS:
            self._read(len(self._text) - _MAX_MARK_CHARS)

    def inside(self) -> bool:
        """Whether what comes next, which begins with a bracket, belongs to a URL."""
        self._read(len(self._text))
        return self._bare or bool(self._closing)

    def _read(self, upto: int) -> None:
        """Read the marks that begin before a place."""
        text = self._text
        while (found := _MARK.search(text, self._at)) is not None and found.start() < upto:
            self._at = found.end()
            if found["url"]:
                self._open(found.start())
                continue
            sign = found[0][-1]
            self._bare = False
            self._closing.discard(sign)
            self._quoted.discard(sign)
            if found["quote"]:
                self._quoted.add(_CLOSERS[sign])
        self._at = max(self._at, upto)
        drop = max(self._at - _LEFT_CHARS, 0)
        self._text = text[drop:]
        self._at -= drop

    def _open(self, start: int) -> None:
        scheme = _SCHEME.search(self._text, max(start - _LEFT_CHARS // 2, 0), start)
        before = (scheme.start() if scheme else start) - 1
        closer = _CLOSERS.get(self._text[before]) if before >= 0 else None
        self._closing |= self._quoted
        if closer is None:
            self._bare = True
        else:
            self._closing.add(closer)
