"""What a detector is: data, no code."""

from dataclasses import dataclass

CONTEXT_CHARS = 64  # normalised characters before a match in which a context word counts; one short line


@dataclass(frozen=True, slots=True)
class Rule:
    """One detector.

    Attributes:
        id: stable name, lower kebab case ("aws-access-key").
        entity_type: what policies call the thing, lower snake case.
        pattern: Vectorscan expression over UTF-8 bytes (ASCII semantics). Whenever ``confirm`` matches, ``pattern``
            ends inside that match, at most ``reach`` characters after its start, on a character boundary.
        confirm: the exact form, in the grammar of ``shape``; a group ``(?P<value>...)`` narrows the reported span.
        reach: see ``pattern``.
        before: character class that must not stand before the match ("" for none).
        after: character class that must not stand after the match ("" for none).
        caseless: ASCII letters of ``pattern`` and ``confirm`` match in both cases.
        check: name in ``checks.CHECKS``.
        entropy: least Shannon entropy of the value, bits per character.
        context: words (whole words, ASCII caseless) that speak for the finding in the CONTEXT_CHARS before it.
        context_required: without such a word there is no finding; otherwise the word raises the confidence.
        confidence: percent without context.
        allow: exact values, lower case, that are nobody's.
        positives: texts with exactly one finding of this rule's entity type.
        negatives: texts in which this rule finds nothing.
    """

    id: str
    entity_type: str
    pattern: str
    confirm: str
    reach: int
    before: str = r"[\w]"
    after: str = r"[\w]"
    caseless: bool = False
    check: str = ""
    entropy: float = 0.0
    context: tuple[str, ...] = ()
    context_required: bool = False
    confidence: int = 90
    allow: tuple[str, ...] = ()
    positives: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
