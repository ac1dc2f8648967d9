"""The shape of a match: a small, bounded subset of regular expressions that can be reasoned about.

A rule's confirm pattern is parsed once. From the tree come three facts that a regular expression alone does not give:

* ``width``: the most characters that a match can have. Unbounded quantifiers are refused, so every rule has one.
* ``regex``: the same pattern for ``re``, with letter case already spelled out, so that rules can be combined.
* ``prefixes``: patterns that together match every non-empty prefix of every match, the match itself included. A stream
  may release a character only if no text from there to the end of what has arrived is such a prefix.

Grammar: literals, escapes, ``[...]``, ``(?:...)``, ``(?P<value>...)``, ``|``, ``?``, ``{m}``, ``{m,n}``. No look-around
(a rule names its neighbours apart), no back-references, no ``*``, ``+`` or ``.``.
"""

import re
from dataclasses import dataclass

from outpost.core.errors import InternalError


class ShapeError(InternalError):
    """A pattern leaves the grammar: a rule was written wrongly."""

    code = "detect.shape"


@dataclass(frozen=True, slots=True)
class Char:
    """Exactly one character: a literal, an escape or a class, ready for ``re``."""

    text: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other."""

    items: tuple["Node", ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these, the first that fits."""

    items: tuple["Node", ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Repeat:
    """``low`` to ``high`` times."""

    item: "Node"
    low: int
    high: int


Node = Char | Sequence | Choice | Repeat

_QUANTIFIER = re.compile(r"\?|\{(\d+)(?:,(\d+))?\}")
_CLASS = re.compile(r"\[\^?(?:\\.|[^\]\\])+\]", re.DOTALL)
_CLASS_UNIT = re.compile(r"\\.|.", re.DOTALL)


class _Parser:
    """Recursive descent over one pattern."""

    def __init__(self, pattern: str, *, caseless: bool) -> None:
        self.pattern = pattern
        self.caseless = caseless
        self.at = 0

    def fail(self, why: str) -> ShapeError:
        return ShapeError(f"{why} at offset {self.at} of a detector pattern", field="confirm")

    def choice(self, name: str = "") -> Node:
        branches = [self.sequence()]
        while self.pattern.startswith("|", self.at):
            self.at += 1
            branches.append(self.sequence())
        if len(branches) == 1:
            return Sequence(branches[0].items, name)
        return Choice(tuple(branches), name)

    def sequence(self) -> Sequence:
        items: list[Node] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            items.append(self.quantified(self.atom()))
        return Sequence(tuple(items))

    def quantified(self, node: Node) -> Node:
        found = _QUANTIFIER.match(self.pattern, self.at)
        if found is None:
            return node
        self.at = found.end()
        if found[1] is None:
            return Repeat(node, 0, 1)
        low = int(found[1])
        high = int(found[2]) if found[2] is not None else low
        if high < max(low, 1):
            raise self.fail("an empty quantifier stands")
        return Repeat(node, low, high)

    def atom(self) -> Node:
        char = self.pattern[self.at]
        if char == "(":
            return self.group()
        if char == "[":
            return self.char_class()
        if char == "\\":
            self.at += 2
            return Char(self.pattern[self.at - 2 : self.at])
        if char in "*+.^$?{":
            raise self.fail(f"{char!r} is outside the bounded grammar")
        self.at += 1
        if self.caseless and char.isascii() and char.isalpha():
            return Char(f"[{char.lower()}{char.upper()}]")
        return Char(re.escape(char))

    def group(self) -> Node:
        for opening, name in (("(?:", ""), ("(?P<value>", "value")):
            if self.pattern.startswith(opening, self.at):
                self.at += len(opening)
                node = self.choice(name)
                if not self.pattern.startswith(")", self.at):
                    raise self.fail("a group is not closed")
                self.at += 1
                return node
        raise self.fail("an unknown kind of group stands")

    def char_class(self) -> Char:
        found = _CLASS.match(self.pattern, self.at)
        if found is None:
            raise self.fail("a character class is not closed")
        self.at = found.end()
        text = found[0]
        return Char(_both_cases(text)) if self.caseless else Char(text)


def _both_cases(text: str) -> str:
    """Spell out both letter cases of a character class; escapes stay."""
    body = text[2:-1] if text.startswith("[^") else text[1:-1]
    swapped = _CLASS_UNIT.sub(lambda unit: unit[0] if len(unit[0]) > 1 else unit[0].swapcase(), body)
    added = "" if swapped == body else swapped
    return text[:-1] + ("" if not added else _hyphen_safe(added)) + "]"


def _hyphen_safe(body: str) -> str:
    """Keep a leading hyphen of an appended class body from making a range with what stands before it."""
    return "\\" + body if body.startswith("-") else body


def parse(pattern: str, *, caseless: bool = False) -> Node:
    """Read a pattern.

    Args:
        pattern: in the grammar of this module.
        caseless: ASCII letters match in both cases.

    Raises:
        ShapeError: outside the grammar, so without a bound.
    """
    parser = _Parser(pattern, caseless=caseless)
    node = parser.choice()
    if parser.at != len(pattern):
        raise parser.fail("an unmatched bracket stands")
    return node


def width(node: Node) -> int:
    """Most characters that the node can match."""
    if isinstance(node, Char):
        return 1
    if isinstance(node, Repeat):
        return node.high * width(node.item)
    widths = [width(item) for item in node.items]
    return max(widths) if isinstance(node, Choice) else sum(widths)


def regex(node: Node, *, capture: bool = True) -> str:
    """The node for ``re``. Named groups only when ``capture``."""
    if isinstance(node, Char):
        return node.text
    if isinstance(node, Repeat):
        return _counted(regex(node.item, capture=capture), node.low, node.high, item=node.item)
    named = capture and node.name
    if isinstance(node, Choice):
        body = "|".join(regex(item, capture=capture) for item in node.items)
        return f"(?P<{node.name}>{body})" if named else f"(?:{body})"
    body = "".join(regex(item, capture=capture) for item in node.items)
    return f"(?P<{node.name}>{body})" if named else body


def _counted(body: str, low: int, high: int, *, item: Node) -> str:
    unit = body if isinstance(item, Char) else f"(?:{body})"
    if (low, high) == (1, 1):
        return unit
    return unit + (f"{{{low}}}" if low == high else f"{{{low},{high}}}")


def prefixes(node: Node) -> list[str]:
    """Patterns whose union, anchored at both ends, is the set of non-empty prefixes of all matches of the node."""
    return [branch for branch in _nonempty((node,)) if branch]


def first_chars(node: Node) -> list[str]:
    """Single-character patterns; each match of the node starts with one of them."""
    return sorted({_leading_char(branch) for branch in prefixes(node)})


def _leading_char(branch: str) -> str:
    found = _CLASS.match(branch) or re.match(r"\\.|.", branch, re.DOTALL)
    if found is None:  # a branch is never empty
        raise ShapeError("a detector pattern can match nothing", field="confirm")
    return found[0]


def _nonempty(items: tuple[Node, ...]) -> list[str]:
    """Prefixes with at least one character, as branches that each begin with a plain character (fast to reject)."""
    if not items:
        return []
    head, rest = items[0], items[1:]
    if isinstance(head, Char):
        return [head.text + _open(rest)]
    if isinstance(head, Choice):
        return [branch for item in head.items for branch in _nonempty((item, *rest))]
    if isinstance(head, Sequence):
        return _nonempty((*head.items, *rest))
    fewer: tuple[Node, ...] = () if head.high == 1 else (Repeat(head.item, max(head.low - 1, 0), head.high - 1),)
    branches = _nonempty((head.item, *fewer, *rest))
    return branches if head.low else branches + _nonempty(rest)


def _open(items: tuple[Node, ...]) -> str:
    """Pattern for every prefix, the empty one and the whole included, of the items in a row."""
    if not items:
        return ""
    head, rest = items[0], _open(items[1:])
    full = regex(head, capture=False)
    if isinstance(head, Char):
        return f"(?:{full}{rest})?"
    if isinstance(head, Repeat) and isinstance(head.item, Char):
        if head.low == 0:
            return full + rest
        return f"(?:{full}{rest}|{head.item.text}{{0,{head.low - 1}}})"
    return f"(?:{full}{rest}|{_partial(head)})"


def _partial(node: Node) -> str:
    """Pattern for every prefix of one node."""
    if isinstance(node, Choice):
        return "(?:" + "|".join(_open((item,)) for item in node.items) + ")"
    if isinstance(node, Repeat):
        return f"(?:{regex(node.item, capture=False)}){{0,{node.high - 1}}}{_open((node.item,))}"
    if isinstance(node, Sequence):
        return _open(node.items)
    return f"(?:{node.text})?"
