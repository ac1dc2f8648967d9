"""What policy looks at and what it says: plain data, the same at the edge, in replay and upstream."""

from dataclasses import dataclass, field
from enum import StrEnum


class Direction(StrEnum):
    """Which of the two evaluations of a request this is."""

    INPUT = "input"
    OUTPUT = "output"


class Action(StrEnum):
    """The seven actions of a rule. REDACT alone is not terminal."""

    ALLOW = "ALLOW"
    BLOCK = "BLOCK"
    CANCEL = "CANCEL"
    REDACT = "REDACT"
    ROUTE_TO = "ROUTE_TO"
    PROMPT = "PROMPT"
    ALLOW_WITH_OVERRIDE = "ALLOW_WITH_OVERRIDE"


@dataclass(frozen=True, slots=True)
class EntityCount:
    """All findings of one entity type in one direction of a request."""

    entity_type: str
    count: int
    confidence: int  # highest, percent


@dataclass(frozen=True, slots=True)
class Features:
    """Everything a rule may look at; recorded in the audit, so that a decision can be replayed.

    Attributes:
        direction: input (prompt) or output (answer).
        user: id of the key's user, for the user chain; empty when the key has none.
        user_groups: groups of the caller's key.
        agent: identity of an AI agent, or empty.
        entities: findings, by type.
        content_matches: ids of the content patterns (of the compiled policy) that matched.
        provider: provider name of the route.
        model: model id as the client asked for it.
        channel: "interactive" or "api".
        risk: percent, 0 when no model ran.
        intent: label, empty when no model ran.
        country: ISO 3166-1 alpha-2 of the client, empty when unknown.
        anonymous_ip: client address is a known VPN, proxy, Tor exit or hosting range.
        data_class: public, internal, confidential or phi.
        tokens: estimated prompt tokens (input) or answer tokens (output).
    """

    direction: Direction
    user: str = ""
    user_groups: tuple[str, ...] = ()
    agent: str = ""
    entities: tuple[EntityCount, ...] = ()
    content_matches: tuple[str, ...] = ()
    provider: str = ""
    model: str = ""
    channel: str = "api"
    risk: int = 0
    intent: str = ""
    country: str = ""
    anonymous_ip: bool = False
    data_class: str = "internal"
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict of one evaluation, with its reasons.

    Attributes:
        action: the terminal action, or REDACT when redactions are all that fired before the default allowed.
        redact: entity types whose values must be replaced, in order of the rules that asked.
        pack: id of the pack whose rule decided, empty for the default.
        rule: id of the deciding rule, "default" when none matched.
        sequence: sequence number of the rule, 0 for the default.
        reason: one sentence for people; holds no value.
        code: stable dotted id ("policy.blocked", "policy.held" ...).
        route_to: model or tier of a ROUTE_TO, else empty.
        matched: ids "pack/rule" of every rule that contributed.
    """

    action: Action
    redact: tuple[str, ...] = ()
    pack: str = ""
    rule: str = "default"
    sequence: int = 0
    reason: str = ""
    code: str = "policy.allowed"
    route_to: str = ""
    matched: tuple[str, ...] = field(default=())
