"""From a policy document to a program: what every request of an org is judged by until the next one is activated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from outpost.core.decision import Action, Decision, Direction
from outpost.core.policy.content import ContentMatcher, ContentPattern
from outpost.core.policy.document import Combining, Pack, PolicyDocument, Rule, document_digest
from outpost.core.policy.judge import Judge, NumberedRule, generate

# Deny-overrides: the highest wins. REDACT decides nothing and is below all.
STRICTNESS = {
    Action.REDACT: 0,
    Action.ALLOW: 1,
    Action.ROUTE_TO: 2,
    Action.ALLOW_WITH_OVERRIDE: 3,
    Action.PROMPT: 4,
    Action.CANCEL: 5,
    Action.BLOCK: 6,
}
CODES = {
    Action.REDACT: "policy.redacted",
    Action.ALLOW: "policy.allowed",
    Action.ROUTE_TO: "policy.routed",
    Action.ALLOW_WITH_OVERRIDE: "policy.override_required",
    Action.PROMPT: "policy.held",
    Action.CANCEL: "policy.cancelled",
    Action.BLOCK: "policy.blocked",
}
DEFAULT_BLOCKED = "policy.default_blocked"
_REASONS = {
    Action.REDACT: "Values were replaced by rule {rule} of pack {pack}.",
    Action.ALLOW: "Allowed by rule {rule} of pack {pack}.",
    Action.ROUTE_TO: "Routed by rule {rule} of pack {pack}.",
    Action.ALLOW_WITH_OVERRIDE: "Rule {rule} of pack {pack} asks for a reason before this may pass.",
    Action.PROMPT: "Rule {rule} of pack {pack} asks a reviewer before this may pass.",
    Action.CANCEL: "Rule {rule} of pack {pack} asks to revise the request.",
    Action.BLOCK: "Blocked by rule {rule} of pack {pack}.",
}


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """What the evaluator needs of a rule once its condition held.

    Attributes:
        reference: "pack/rule".
        strictness: rank under deny-overrides, 0 for REDACT.
        decision: the whole decision when this rule alone fired.
    """

    reference: str
    strictness: int
    decision: Decision


@dataclass(frozen=True, slots=True)
class Plan:
    """One direction of a program.

    Attributes:
        required: judge of all required rules of the document, or None when there are none.
        packs: judge of the other rules of each pack that has some for this direction.
        org_chain: the judges of the org's chain, in order: the plan of users without a chain of their own.
        default: decision when no terminal rule matched.
    """

    required: Judge | None
    packs: Mapping[str, Judge]
    org_chain: tuple[Judge, ...]
    default: Decision


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A compiled policy, made by `compile_document` and accepted by `evaluate`. Immutable; safe to share.

    Attributes:
        document: what it was compiled from.
        digest: SHA-256 (hex) of the document's canonical form.
        rules: every rule, packs in document order, each pack by ascending sequence; generated code uses the index.
    """

    document: PolicyDocument
    digest: str
    rules: tuple[CompiledRule, ...]
    plans: Mapping[Direction, Plan]
    content: ContentMatcher

    def match_content(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return the ids ("pack/rule") of the content expressions found, for ``Features.content_matches``."""
        return self.content.match(texts)


def compile_document(document: PolicyDocument) -> Program:
    """Compile a policy.

    Raises:
        ContentRegexError: an expression of content_regex is not linear, too large or no expression; names the rule.
    """
    ordered = [(pack, rule) for pack in document.packs for rule in in_sequence(pack)]
    return Program(
        document=document,
        digest=document_digest(document),
        rules=tuple(_compiled(pack, rule) for pack, rule in ordered),
        plans={direction: _plan(document, direction, ordered) for direction in Direction},
        content=ContentMatcher(
            [
                ContentPattern(reference(pack, rule), expression)
                for pack, rule in ordered
                for expression in rule.conditions.content_regex or ()
            ]
        ),
    )


def in_sequence(pack: Pack) -> list[Rule]:
    """Return the rules of a pack by ascending sequence; equal numbers keep the order of the document."""
    return sorted(pack.rules, key=lambda rule: rule.sequence)


def is_required(pack: Pack, rule: Rule) -> bool:
    """Tell whether a rule is evaluated for every request, whatever the chains say."""
    return pack.required or rule.required


def reference(pack: Pack, rule: Rule) -> str:
    """Return the id under which decisions and content matches name a rule."""
    return f"{pack.id}/{rule.id}"


def chain_of(document: PolicyDocument, user: str, groups: Sequence[str]) -> tuple[str, ...]:
    """Return the pack ids of a caller: the user's chain, his groups' by group name, the org's; each once."""
    chains = document.user_chains
    ids = list(chains.get(f"user:{user}", ()))
    for group in sorted(groups):
        ids += chains.get(f"group:{group}", ())
    return tuple(dict.fromkeys((*ids, *document.org_chain)))


def _compiled(pack: Pack, rule: Rule) -> CompiledRule:
    decision = Decision(
        action=rule.action,
        pack=pack.id,
        rule=rule.id,
        sequence=rule.sequence,
        reason=rule.message or _REASONS[rule.action].format(rule=rule.id, pack=pack.id),
        code=CODES[rule.action],
        route_to=rule.route_to or "",
        matched=(reference(pack, rule),),
    )
    return CompiledRule(reference(pack, rule), STRICTNESS[rule.action], decision)


def _default(action: Action) -> Decision:
    allowed = Decision(Action.ALLOW, reason="No rule matched, and the default of the policy is to allow.")
    if action is Action.ALLOW:
        return allowed
    reason = "No rule matched, and the default of the policy is to block."
    return replace(allowed, action=Action.BLOCK, reason=reason, code=DEFAULT_BLOCKED)


def _plan(document: PolicyDocument, direction: Direction, ordered: Sequence[tuple[Pack, Rule]]) -> Plan:
    required: list[NumberedRule] = []
    chained: dict[str, list[NumberedRule]] = {}
    for index, (pack, rule) in enumerate(ordered):
        if rule.applies_to.covers(direction):
            group = required if is_required(pack, rule) else chained.setdefault(pack.id, [])
            group.append(NumberedRule(index, reference(pack, rule), rule))
    first = document.combining is Combining.FIRST_APPLICABLE
    packs = {pack_id: generate(rules, stop_at_first=first) for pack_id, rules in chained.items()}
    default = document.default.input if direction is Direction.INPUT else document.default.output
    return Plan(
        required=generate(required, stop_at_first=False) if required else None,
        packs=packs,
        org_chain=tuple(packs[pack_id] for pack_id in dict.fromkeys(document.org_chain) if pack_id in packs),
        default=_default(default),
    )
