r"""The expressions of ``content_regex``: one linear-time database for all of them.

Expressions are of the RE2 class (no look-around, no back-references), searched in each text by itself; ``\w``,
``\d`` and ``\b`` mean ASCII, case counts unless the expression opens with ``(?i)``. Matching is linear in the text.
Compiling is not linear in the expression: its size after unrolling repeats is bounded before the engine sees it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import hyperscan

from outpost.core.errors import BundleError

# Positions of one expression after its counted repeats are unrolled, and of all expressions together. Measured with
# hyperscan 0.9.1 on two shared cores: 400 positions of "." compile in 0.1 s, so the whole stays below about 10 s.
MAX_POSITIONS = 2_000
MAX_TOTAL_POSITIONS = 20_000
# \p{..}, \P and \X unroll to some hundred byte ranges: (?:\pL{1,50}\s){1,4} needed 36 s to be refused by the engine.
_PROPERTY_POSITIONS = 100
# The engine refuses larger counts itself; stated here so that the product below stays a small number.
_MAX_REPEAT = 32_767

_FLAGS = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_UTF8
_OPENING = re.compile(r"\((?:\?(?:[ims]+\)|[ims]*:))?")
_REPEAT = re.compile(r"\{(\d{1,6})(?:,(\d{0,6}))?\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\[\s\S]|\[:\^?[a-z]+:\]|[^\]\\])*\]")
_ESCAPE = re.compile(r"\\(?:[pP](?:\{\^?\w{1,40}\}|\w)|x\{[0-9a-fA-F]{1,6}\}|x[0-9a-fA-F]{0,2}|[\s\S])")


class ContentRegexError(BundleError):
    """An expression of content_regex cannot be compiled within the bounds."""

    code = "policy.content_regex"


@dataclass(frozen=True, slots=True)
class ContentPattern:
    """One expression of one rule; ``reference`` is "pack/rule" and is what a match is reported as."""

    reference: str
    expression: str


class ContentMatcher:
    """All expressions of a policy, compiled. Safe to share between threads; one scan at a time."""

    def __init__(self, patterns: Sequence[ContentPattern]) -> None:
        """Compile the expressions.

        Raises:
            ContentRegexError: an expression is too large, not linear, matches the empty text or is no expression;
                ``field`` is the "pack/rule" that holds it.
        """
        self._references = tuple(pattern.reference for pattern in patterns)
        self._lock = Lock()
        _bound(patterns)
        self._database = _compile(patterns) if patterns else None

    def match(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return the references ("pack/rule") of all expressions found in any of the texts, in document order."""
        if self._database is None:
            return ()
        found: set[int] = set()

        def collect(number: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            found.add(number)

        with self._lock:
            for text in texts:
                # Lone surrogates cannot be encoded; in the engine's UTF-8 mode invalid bytes are undefined behaviour.
                data = text.encode("utf-8", "replace")
                if data:
                    self._database.scan(data, match_event_handler=collect)
        return tuple(dict.fromkeys(self._references[number] for number in sorted(found)))


def _compile(patterns: Sequence[ContentPattern]) -> hyperscan.Database:
    try:
        return _database([pattern.expression for pattern in patterns])
    except hyperscan.error:
        # The engine does not say which expression it refused: ask for each.
        for pattern in patterns:
            try:
                _database([pattern.expression])
            except hyperscan.error as error:
                raise _refused(pattern, f"is refused by the engine: {error}") from None
        raise ContentRegexError(
            "the expressions of content_regex are too large together",
            field="content_regex",
            next_step="shorten expressions with counted repeats",
        ) from None


def _database(expressions: Sequence[str]) -> hyperscan.Database:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[expression.encode() for expression in expressions],
        ids=list(range(len(expressions))),
        flags=[_FLAGS] * len(expressions),
    )
    return database


def _refused(pattern: ContentPattern, why: str) -> ContentRegexError:
    return ContentRegexError(
        f"{pattern.reference}: an expression of content_regex {why}",
        field=pattern.reference,
        next_step="write it without look-around, back-references and large repeats; docs/policy.md has the syntax",
    )


def _bound(patterns: Sequence[ContentPattern]) -> None:
    total = 0
    for pattern in patterns:
        try:
            positions = expanded_positions(pattern.expression)
        except ValueError as error:
            raise _refused(pattern, str(error)) from None
        if positions > MAX_POSITIONS:
            raise _refused(pattern, f"has more than {MAX_POSITIONS} positions once repeats are unrolled")
        total += positions
    if total > MAX_TOTAL_POSITIONS:
        raise ContentRegexError(
            f"the expressions of content_regex have {total} positions, the limit is {MAX_TOTAL_POSITIONS}",
            field="content_regex",
            next_step="shorten expressions with counted repeats",
        )


def expanded_positions(expression: str) -> int:
    """Estimate the positions of an expression after unrolling its counted repeats.

    Raises:
        ValueError: it uses syntax outside the small allowed set; the message completes "the expression ...".
    """
    levels = [0]  # positions so far, for each open group
    last = 0  # positions of the atom that a repeat would multiply
    for kind, size in _tokens(expression):
        if kind == "(":
            levels.append(0)
            last = 0
        elif kind == ")":
            if len(levels) == 1:
                raise ValueError("closes a group that is not open")
            last = levels.pop()
            levels[-1] += last
        elif kind == "{":
            levels[-1] += last * max(size - 1, 0)
            last *= max(size, 1)
        else:
            levels[-1] += size
            last = size
    return sum(levels)


def _tokens(expression: str) -> Iterator[tuple[str, int]]:
    """Yield ("(" | ")" | "{" | "atom", size): size is the repeat count, or the positions of an atom."""
    at = 0
    while at < len(expression):
        char = expression[at]
        if char == "(":
            opening = _opening(expression, at)
            at += len(opening)
            if not opening.endswith(")"):
                yield "(", 0
        elif char == "\\":
            escape = _ESCAPE.match(expression, at)
            yield "atom", _escape_positions(escape)
            at += len(escape.group()) if escape else 1
        elif char == "[":
            yield "atom", _PROPERTY_POSITIONS if "\\p" in (text := _class(expression, at)).lower() else 1
            at += len(text)
        elif char == "{" and (repeat := _REPEAT.match(expression, at)):
            yield "{", min(int(repeat.group(2) or repeat.group(1)), _MAX_REPEAT)
            at += len(repeat.group())
        else:
            yield (")", 0) if char == ")" else ("atom", 0 if char in "*+?|^$" else 1)
            at += 1


def _opening(expression: str, at: int) -> str:
    opening = _OPENING.match(expression, at)
    if opening is None or (expression.startswith(("(?", "(*"), at) and opening.group() == "("):
        raise ValueError("uses a kind of group other than ( ), (?: ) and leading flags i, m, s")
    return opening.group()


def _class(expression: str, at: int) -> str:
    found = _CLASS.match(expression, at)
    if found is None:
        raise ValueError("opens a character class that is not closed")
    return found.group()


def _escape_positions(escape: re.Match[str] | None) -> int:
    if escape is None:
        raise ValueError("ends with a single backslash")
    letter = escape.group()[1]
    if letter in "QEgkcNC":
        raise ValueError(f"uses the escape \\{letter}")
    return _PROPERTY_POSITIONS if letter in "pPX" else 1
