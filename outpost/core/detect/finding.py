"""What a detector says it found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One span of one text that a detector recognised. It never holds the text itself.

    Attributes:
        entity_type: lower snake case, as policies name it ("credit_card").
        detector: id of the rule that fired ("aws-access-key").
        start: first character, zero-based, in the text as the client sent it.
        end: one past the last character.
        confidence: percent, 0 to 100.
        tier: inspection tier that found it (1 = patterns).
    """

    entity_type: str
    detector: str
    start: int
    end: int
    confidence: int
    tier: int = 1
