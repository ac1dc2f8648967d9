"""Read a text the way an evader hopes that nobody does, and remember where each character came from.

Each unit of the original (one character; in a JSON string also one escape sequence) is normalised alone, without
looking at its neighbours. So normalising commutes with cutting: the pieces of a stream give the text of the whole.

Rules per character: NFKC (full-width, mathematical and other compatibility forms), decimal digits of any script to
ASCII, look-alike letters of Cyrillic and Greek to Latin, dashes and quotes to ASCII, and nothing for what has no width
(format controls, tags, bidirectional controls, soft hyphen, variation selectors, combining diacritics, C0 controls
except white space).

Source: Unicode TR15 (NFKC), TR36 and TR39 (confusables); reference/catalogue.md W23.
"""

import re
import unicodedata
from dataclasses import dataclass

# Entries of the memo; the code space has 1.1 million, and a hostile text may walk through it. About 6 MB when full.
_MEMO_LIMIT = 65_536

_LOOK_ALIKES = dict(
    zip(
        "аеорсухіјѕһԁԛԝѵӏвкмнтАВЕЅІЈКМНОРСТУХҮԌԚԜαοριυνκτχΑΒΕΖΗΙΚΜΝΟΡΤΥΧɡıℓǀ‐‑‒–—―−‘’‚‛“”„‟´",
        "aeopcyxijshdqwvlbkmhtABESIJKMHOPCTYXYGQWaopiuvktxABEZHIKMNOPTYXgill-------''''\"\"\"\"'",
        strict=True,
    )
)
_INVISIBLE_CATEGORIES = frozenset(("Cf", "Me", "Cc"))
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_SEPARATORS = {"\u2028": "\n", "\u2029": "\n", "\x85": "\n", "\u2800": " ", "\u1680": " "}
_CONTROLS = bytes(byte for byte in (*range(32), 127) if byte not in b"\t\n\r\x0b\x0c")

# Units of a JSON string: a pair of surrogates, one code unit, a short escape, a run of other characters, or a backslash
# that begins nothing. RFC 8259 section 7.
_UNIT = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[\"\\/bfnrt]|[^\\]+|\\",
    re.DOTALL,
)
_CUT_UNIT = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3})?\Z"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?\Z"
)
_UNIT_CHARS = 12  # characters of the longest unit, a pair of \\u escapes
_SHORT_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Normalised:
    """Normalised text and its way back.

    Attributes:
        text: what detectors read.
        starts: per character of ``text``, where its unit begins in the original; None when nothing changed place.
        ends: per character of ``text``, one past its unit; None likewise.
        size: original characters that were read.
    """

    text: str
    starts: list[int] | None
    ends: list[int] | None
    size: int

    def start_of(self, index: int) -> int:
        """Original offset where the character at ``index`` begins."""
        if self.starts is None:
            return index
        return self.starts[index] if index < len(self.starts) else self.size

    def end_of(self, index: int) -> int:
        """Original offset one past the character at ``index``."""
        return index + 1 if self.ends is None else self.ends[index]


def _normalise_char(char: str) -> str:
    if char in _LOOK_ALIKES:
        return _LOOK_ALIKES[char]
    if char in _SEPARATORS:
        return _SEPARATORS[char]
    code = ord(char)
    hidden = char in _FILLERS or 0x300 <= code <= 0x36F or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
    if hidden or (unicodedata.category(char) in _INVISIBLE_CATEGORIES and char not in "\t\n\r\x0b\x0c"):
        return ""
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    folded = unicodedata.normalize("NFKC", char)
    return folded if folded == char else "".join(_LOOK_ALIKES.get(part, part) for part in folded)


class _Memo(dict[str, str]):
    """Characters seen before."""

    def __missing__(self, char: str) -> str:
        value = _normalise_char(char)
        if len(self) < _MEMO_LIMIT:
            self[char] = value
        return value


_MEMO = _Memo({chr(code): chr(code) for code in range(32, 127)})


def is_plain(text: str) -> bool:
    """Whether normalising changes nothing (outside JSON strings): ASCII without control characters."""
    if not text.isascii():
        return False
    raw = text.encode("ascii")
    return len(raw.translate(None, _CONTROLS)) == len(raw)


def normalise(text: str, *, json_string: bool = False) -> Normalised:
    """Normalise one text.

    Args:
        text: untrusted; lone surrogates are allowed and kept.
        json_string: the text is a JSON document given as a string (tool-call arguments): escapes are decoded.
    """
    if json_string and "\\" in text:
        return _from_units(_UNIT.findall(text), len(text))
    if is_plain(text):
        return Normalised(text, None, None, len(text))
    pieces = list(map(_MEMO.__getitem__, text))
    joined = "".join(pieces)
    if len(joined) == len(text) and "" not in pieces:
        return Normalised(joined, None, None, len(text))
    return _from_units(list(text), len(text))


def _from_units(units: list[str], size: int) -> Normalised:
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for unit in units:
        end = at + len(unit)
        if len(unit) > 1 and unit[0] != "\\":
            run = normalise(unit)
            out.append(run.text)
            starts += range(at, end) if run.starts is None else [at + start for start in run.starts]
            ends += range(at + 1, end + 1) if run.ends is None else [at + end_ for end_ in run.ends]
        else:
            value = "".join(_MEMO[char] for char in decode_escape(unit))
            out.append(value)
            starts += [at] * len(value)
            ends += [end] * len(value)
        at = end
    return Normalised("".join(out), starts, ends, size)


def decode_escape(unit: str) -> str:
    """Decode one JSON escape sequence; a pair of surrogates becomes one character. Anything else stays."""
    if len(unit) == 1 or unit[0] != "\\":
        return unit
    if unit[1] != "u":
        return _SHORT_ESCAPES[unit[1]]
    high = int(unit[2:6], 16)
    if len(unit) == 6:
        return chr(high)
    return chr(0x10000 + ((high - 0xD800) << 10) + (int(unit[8:12], 16) - 0xDC00))


def decode_json_text(text: str) -> str:
    """Decode the escapes of a JSON text without normalising; what is no escape stays."""
    if "\\" not in text:
        return text
    return "".join(map(decode_escape, _UNIT.findall(text)))


def whole_units(text: str) -> int:
    """Length of the longest beginning of a JSON text that does not end inside an escape sequence."""
    at = text.find("\\", max(len(text) - _UNIT_CHARS, 0))
    while at > 0 and text[at - 1] == "\\":  # a run of backslashes is read from its first one
        at -= 1
    while 0 <= at < len(text):
        if _CUT_UNIT.match(text, at):
            return at
        unit = _UNIT.match(text, at)
        at = len(text) if unit is None else unit.end()
    return len(text)
