"""Tier 1: one automaton over all rules, then an exact look at each place that it names.

Theory. A *match* of a rule is judged for every start position by itself: neighbours, ``confirm`` at that position,
check, entropy, context before it. So whether a position is a match depends on nothing but the text from CONTEXT_CHARS
before it to the rule's width after it: the same in a whole text and in a stream, wherever it is cut. The automaton
(Vectorscan, ends only) is a filter that misses no match; it decides nothing.

Cost. The automaton is linear. Each of its hits opens at most ``reach`` start positions, hits of one rule are joined
before they are visited, and each start costs at most the rule's width: linear in the text.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import hyperscan

from outpost.core.detect import shape
from outpost.core.detect.checks import CHECKS, entropy
from outpost.core.detect.finding import Finding
from outpost.core.detect.merge import merge
from outpost.core.detect.normalise import Normalised, normalise
from outpost.core.detect.rules_base import CONTEXT_CHARS, Rule
from outpost.core.errors import InternalError

_CONTEXT_BONUS = 10  # percent that a context word adds
_MOST_CONFIDENT = 99


class PatternError(InternalError):
    """The automaton could not be built, loaded or run."""

    code = "detect.pattern"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A rule, compiled."""

    rule: Rule
    heads: re.Pattern[str]  # one character: where a match can start
    confirm: re.Pattern[str]
    context: re.Pattern[str] | None
    check: Callable[[str], int]


def _behind(rule: Rule) -> str:
    return f"(?<!{rule.before})" if rule.before else ""


def _prepare(rule: Rule) -> _Prepared:
    node = shape.parse(rule.confirm, caseless=rule.caseless)
    ahead = f"(?!{rule.after})" if rule.after else ""
    words = "|".join(re.escape(word) for word in sorted(rule.context, key=len, reverse=True))
    return _Prepared(
        rule=rule,
        heads=re.compile(f"{_behind(rule)}(?:{'|'.join(shape.first_chars(node))})", re.ASCII),
        confirm=re.compile(shape.regex(node) + ahead, re.ASCII),
        context=re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])", re.ASCII | re.IGNORECASE) if words else None,
        check=CHECKS[rule.check],
    )


def open_candidate(rules: Iterable[Rule]) -> re.Pattern[str]:
    """Compile the pattern whose first match says where a text may still grow into a match.

    It always matches; at the very end (empty) if nothing is open. Every non-empty prefix of every match is found from
    its first character on, as is a whole match whose right neighbour has not arrived.
    """
    by_neighbour: dict[str, list[str]] = {}
    for rule in rules:
        node = shape.parse(rule.confirm, caseless=rule.caseless)
        by_neighbour.setdefault(rule.before, []).extend(shape.prefixes(node))
    groups: list[str] = []
    in_word: list[str] = []
    for before, branches in by_neighbour.items():
        group = (f"(?<!{before})" if before else "") + f"(?:{'|'.join(dict.fromkeys(branches))})"
        (in_word if before.startswith(r"[\w") else groups).append(group)
    if in_word:  # one look at the neighbour spares all of these inside words
        groups.append(rf"(?<!\w)(?:{'|'.join(in_word)})")
    return re.compile("(?:" + "|".join([*groups, ""]) + r")\Z", re.ASCII)


def compile_rules(rules: Sequence[Rule]) -> bytes:
    """Compile the automaton of all rules and serialise it.

    Raises:
        PatternError: a pattern is not one that Vectorscan takes.
    """
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    try:
        database.compile(
            expressions=[rule.pattern.encode() for rule in rules],
            ids=list(range(len(rules))),
            elements=len(rules),
            flags=[hyperscan.HS_FLAG_CASELESS if rule.caseless else 0 for rule in rules],
        )
        return bytes(hyperscan.dumpb(database))
    except hyperscan.HyperscanError as error:
        raise PatternError("the detector automaton does not compile", field="detectors") from error


class Scanner:
    """Finds all rules in a text.

    A scanner holds one scratch space and is for one thread at a time (a second one in it would be refused with
    ``detect.pattern``); ``clone`` makes another over the same rules.
    """

    def __init__(self, database: bytes, rules: Sequence[Rule]) -> None:
        """Load a compiled automaton.

        Args:
            database: from ``compile_rules`` of the very same rules, on the same kind of processor.
            rules: in the order in which they were compiled.

        Raises:
            PatternError: the bytes are no automaton of this library and processor.
        """
        try:
            self._database = hyperscan.loadb(database, mode=hyperscan.HS_MODE_BLOCK)
            self._database.scratch = hyperscan.Scratch(self._database)
        except hyperscan.HyperscanError as error:
            raise PatternError(
                "the detector automaton does not load", field="detectors", next_step="compile it again on this machine"
            ) from error
        self._serialised = database
        self.rules = tuple(rules)
        self._prepared = [_prepare(rule) for rule in self.rules]
        self.open_candidate = open_candidate(self.rules)
        self._hits: list[tuple[int, int]] = []
        self._note = self._make_callback()

    @classmethod
    def compile(cls, rules: Sequence[Rule]) -> "Scanner":
        """Compile and load in one step (about half a second for the built-in set).

        Raises:
            PatternError: see ``compile_rules``.
        """
        return cls(compile_rules(rules), rules)

    def clone(self) -> "Scanner":
        """Make an independent scanner for another thread."""
        return Scanner(self._serialised, self.rules)

    def scan(self, text: str, *, json_string: bool = False) -> list[Finding]:
        """Find everything in one text.

        Args:
            text: untrusted, as the client or the provider sent it.
            json_string: the text is a JSON document given as a string; escapes are read through.

        Returns:
            Findings by place, not overlapping, in characters of ``text``.
        """
        normalised = normalise(text, json_string=json_string)
        found = self.matches(normalised.text, 0, len(normalised.text))
        return [to_original(finding, normalised) for finding in merge(found)] if found else []

    def matches(self, text: str, low: int, high: int) -> list[Finding]:
        """Judge every start position of ``text[low:high]``.

        Args:
            text: normalised; all that precedes ``low`` serves as context only.
            low: first start position.
            high: one past the last start position. The text may go on beyond.

        Returns:
            All matches of all rules, overlapping, in characters of ``text``.
        """
        hits = self._hits
        hits.clear()
        data = text.encode("utf-8", "surrogatepass")
        try:
            self._database.scan(data, match_event_handler=self._note)
        except hyperscan.HyperscanError as error:
            raise PatternError("the detector automaton failed", next_step="restart the outpost") from error
        if not hits:
            return []
        found: list[Finding] = []
        for number, ends in _by_rule(hits, text, data).items():
            prepared = self._prepared[number]
            for first, last in _regions(ends, prepared.rule.reach, low, high):
                _confirm(prepared, text, first, last, found)
        return found

    def _make_callback(self) -> Callable[..., None]:
        append = self._hits.append

        def note(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            append((number, end))

        return note


def _by_rule(hits: list[tuple[int, int]], text: str, data: bytes) -> dict[int, list[int]]:
    """Ends in characters, ascending, by rule. The automaton counts bytes."""
    by_rule: dict[int, list[int]] = {}
    if len(data) == len(text):
        for number, end in hits:
            by_rule.setdefault(number, []).append(end)
        return by_rule
    at_byte = at_char = 0
    for number, end in sorted(hits, key=lambda hit: hit[1]):
        at_char += len(data[at_byte:end].decode("utf-8", "surrogatepass"))
        at_byte = end
        by_rule.setdefault(number, []).append(at_char)
    return by_rule


def _regions(ends: list[int], reach: int, low: int, high: int) -> Iterable[tuple[int, int]]:
    """Start positions to visit, as disjoint ascending ranges inside ``low`` to ``high``."""
    ends.sort()
    first, last = ends[0] - reach, ends[0]
    for end in ends:
        if end - reach > last:
            yield max(first, low), min(last, high)
            first = end - reach
        last = end
    yield max(first, low), min(last, high)


def _confirm(prepared: _Prepared, text: str, first: int, last: int, found: list[Finding]) -> None:
    """Append the matches that start in ``text[first:last]``."""
    search, match = prepared.heads.search, prepared.confirm.match
    start = first
    while head := search(text, start, last):
        start = head.start() + 1
        candidate = match(text, start - 1)
        if candidate is not None:
            finding = _judge(prepared, text, candidate)
            if finding is not None:
                found.append(finding)


def _judge(prepared: _Prepared, text: str, candidate: re.Match[str]) -> Finding | None:
    """Check, entropy, allow list, context."""
    rule = prepared.rule
    group = "value" if "value" in prepared.confirm.groupindex else 0
    value = candidate[group]
    accepted = prepared.check(value)
    if not accepted or (rule.allow and value.lower() in rule.allow) or (rule.entropy and entropy(value) < rule.entropy):
        return None
    confidence = rule.confidence
    if prepared.context is not None:
        start = candidate.start()
        if prepared.context.search(text, max(0, start - CONTEXT_CHARS), start):
            confidence = max(confidence, min(_MOST_CONFIDENT, confidence + _CONTEXT_BONUS))
        elif rule.context_required:
            return None
    begin = candidate.start(group)
    return Finding(rule.entity_type, rule.id, begin, begin + accepted, confidence)


def to_original(finding: Finding, normalised: Normalised) -> Finding:
    """Move a finding from normalised to original characters."""
    if normalised.starts is None:
        return finding
    return replace(finding, start=normalised.start_of(finding.start), end=normalised.end_of(finding.end - 1))
