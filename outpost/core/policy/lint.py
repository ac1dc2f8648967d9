"""Questions to ask of a policy before it is signed: what can never happen, what contradicts, what is wide open.

Only what is certain is reported: a rule is called hidden when one other rule matches whenever it does; that several
rules hide it together is not searched for. A finding never stops a document from compiling; who publishes decides that
(an ERROR means that a denial which somebody wrote has no effect).
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from outpost.core.decision import Action, Direction
from outpost.core.policy import canary
from outpost.core.policy.compile import STRICTNESS, Program, compile_document, in_sequence, is_required
from outpost.core.policy.cover import broader_bits
from outpost.core.policy.document import AppliesTo, Combining, Pack, PolicyDocument, Rule

_DENIALS = frozenset({Action.BLOCK, Action.CANCEL, Action.PROMPT, Action.ALLOW_WITH_OVERRIDE})


class LintLevel(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One remark on a policy; ``pack`` and ``rule`` are empty when it concerns the whole document."""

    level: LintLevel
    code: str
    pack: str
    rule: str
    message: str
    next_step: str


@dataclass(frozen=True, slots=True)
class _Placed:
    """A rule with its pack and its bit among all rules."""

    pack: Pack
    rule: Rule
    bit: int

    @property
    def name(self) -> str:
        return f"{self.pack.id}/{self.rule.id}"


def lint(
    document: PolicyDocument, entity_types: Collection[str] | None = None, program: Program | None = None
) -> tuple[LintFinding, ...]:
    """Look for rules without effect, for risky defaults, and for what would close every outpost.

    Args:
        document: a parsed policy.
        entity_types: every type that the detectors can report; None when unknown, then types are not checked.
        program: the document compiled, when the caller has it; made here otherwise.

    Returns:
        Findings, errors first, then in document order. Codes start with ``policy.lint.``.

    Raises:
        ContentRegexError: it has to be compiled here, and cannot be.
    """
    placed = _placed(document)
    findings = [
        *_canary(program or compile_document(document)),
        *_defaults(document, placed),
        *_unused_packs(document),
        *_sequences(document),
        *_impossible(placed),
        *_unknown_types(placed, entity_types),
        *_HiddenRules(document, placed).findings(),
    ]
    order = [pack.id for pack in document.packs]
    levels = list(LintLevel)
    return tuple(sorted(findings, key=lambda f: (levels.index(f.level), order.index(f.pack) if f.pack else -1)))


def _placed(document: PolicyDocument) -> list[_Placed]:
    ordered = [(pack, rule) for pack in document.packs for rule in in_sequence(pack)]
    return [_Placed(pack, rule, 1 << number) for number, (pack, rule) in enumerate(ordered)]


def _of(level: LintLevel, code: str, placed: _Placed, message: str, next_step: str) -> LintFinding:
    return LintFinding(level, f"policy.lint.{code}", placed.pack.id, placed.rule.id, message, next_step)


def _canary(program: Program) -> Iterator[LintFinding]:
    decision = canary.passes(program)
    if decision is None:
        return
    cause = f"rule {decision.pack}/{decision.rule} ({decision.action})" if decision.pack else "the default (ALLOW)"
    yield LintFinding(
        LintLevel.ERROR,
        "policy.lint.canary_passes",
        decision.pack,
        decision.rule if decision.pack else "",
        f"{cause} lets a card number pass; every outpost would seal itself, since its continuous canary is one",
        "put a rule before it, into a pack of org_chain: id: cards, applies_to: input, action: BLOCK (or REDACT), "
        "conditions: {entity_types: [credit_card]}",
    )


def _defaults(document: PolicyDocument, placed: Sequence[_Placed]) -> Iterator[LintFinding]:
    for direction, action in (("input", document.default.input), ("output", document.default.output)):
        if action is Action.ALLOW:
            yield LintFinding(
                LintLevel.WARNING,
                "policy.lint.default_allow",
                "",
                "",
                f"default.{direction} is ALLOW: whatever no rule speaks of passes",
                f"set default.{direction} to BLOCK and allow what is wanted, or accept the risk knowingly",
            )
        elif not any(
            item.rule.action in (Action.ALLOW, Action.ROUTE_TO) and item.rule.applies_to.covers(Direction(direction))
            for item in placed
        ):
            yield LintFinding(
                LintLevel.WARNING,
                "policy.lint.nothing_allowed",
                "",
                "",
                f"default.{direction} is BLOCK and no rule allows anything: every {direction} is refused",
                f"add a rule with action ALLOW that applies to {direction}",
            )


def _unused_packs(document: PolicyDocument) -> Iterator[LintFinding]:
    used = set(document.org_chain).union(*document.user_chains.values())
    for pack in document.packs:
        idle = sum(not is_required(pack, rule) for rule in pack.rules)
        if pack.id not in used and idle:
            yield LintFinding(
                LintLevel.WARNING,
                "policy.lint.unreachable",
                pack.id,
                "",
                f"pack {pack.id} is in no chain: {idle} of its rules are never evaluated",
                "add the pack to org_chain or to a user's chain, or remove it",
            )


def _sequences(document: PolicyDocument) -> Iterator[LintFinding]:
    for pack in document.packs:
        counts = Counter(rule.sequence for rule in pack.rules)
        for rule in pack.rules:
            if counts[rule.sequence] > 1:
                yield LintFinding(
                    LintLevel.WARNING,
                    "policy.lint.duplicate_sequence",
                    pack.id,
                    rule.id,
                    f"another rule of the pack has sequence {rule.sequence} too: the order of the document decides",
                    "give every rule of a pack its own sequence",
                )


def _impossible(placed: Sequence[_Placed]) -> Iterator[LintFinding]:
    for item in placed:
        low, high = item.rule.conditions.tokens_min, item.rule.conditions.tokens_max
        if low is not None and high is not None and low > high:
            message = f"tokens_min {low} is above tokens_max {high}: the rule can never match"
            level = LintLevel.ERROR if item.rule.action in _DENIALS else LintLevel.WARNING
            yield _of(level, "unreachable", item, message, "exchange the two bounds")


def _unknown_types(placed: Sequence[_Placed], known: Collection[str] | None) -> Iterator[LintFinding]:
    if known is None:
        return
    for item in placed:
        unknown = sorted(set(item.rule.conditions.entity_types or ()) - set(known))
        if unknown:
            # A denial that waits for a type which nothing reports is a denial without effect.
            idle = item.rule.action in _DENIALS and len(unknown) == len(set(item.rule.conditions.entity_types or ()))
            yield _of(
                LintLevel.ERROR if idle else LintLevel.WARNING,
                "unknown_entity_type",
                item,
                f"no detector reports {', '.join(unknown)}",
                "correct the spelling or enable the detector",
            )


class _HiddenRules:
    """Finds rules that another rule always forestalls.

    Rules are bits, and for each rule the set of those that match whenever it does is computed once (``cover``); each
    chain is then one pass.
    """

    def __init__(self, document: PolicyDocument, placed: Sequence[_Placed]) -> None:
        self._document = document
        self._first = document.combining is Combining.FIRST_APPLICABLE
        self._placed = placed
        self._packs: dict[str, list[_Placed]] = {pack.id: [] for pack in document.packs}
        self._blocks = 0  # required rules that end the evaluation
        self._by_strictness = dict.fromkeys(STRICTNESS.values(), 0)
        for item in placed:
            if not is_required(item.pack, item.rule):
                self._packs[item.pack.id].append(item)
            elif item.rule.action is Action.BLOCK:
                self._blocks |= item.bit
            self._by_strictness[STRICTNESS[item.rule.action]] |= item.bit
        self._broader = broader_bits([item.rule.conditions for item in placed])
        self._masking = sum(item.bit for item in placed if item.rule.action is Action.REDACT)
        self._in_direction = {
            wanted: sum(item.bit for item in placed if item.rule.applies_to in (AppliesTo.BOTH, wanted))
            for wanted in AppliesTo
        }

    def findings(self) -> Iterator[LintFinding]:
        """Yield one finding for each rule that is hidden in every chain where it stands."""
        hidden: dict[int, int] = {}  # rule -> bits that hide it in every chain so far
        for chain in self._chains():
            rules = [item for pack_id in chain for item in self._packs[pack_id]]
            before = 0
            everything = sum(item.bit for item in rules if item.rule.action is not Action.REDACT)
            for item in rules:
                hiding = self._covering_bits(item) & self._forestalling(item, before, everything)
                hidden[item.bit] = hidden.get(item.bit, -1) & hiding if hiding else 0
                before |= item.bit if item.rule.action is not Action.REDACT else 0
        by_bit = {item.bit: item for item in self._placed}
        for bit, hiding in hidden.items():
            if hiding > 0:
                yield self._finding(by_bit[bit], by_bit[hiding & -hiding])

    def _chains(self) -> list[tuple[str, ...]]:
        """The org's chain, and each user's chain before the org's."""
        org = self._document.org_chain
        chains = [org, *((*chain, *org) for chain in self._document.user_chains.values())]
        return list(dict.fromkeys(tuple(dict.fromkeys(chain)) for chain in chains))

    def _forestalling(self, item: _Placed, before: int, everything: int) -> int:
        """Bits of the rules that would decide instead of this one, if they matched."""
        if self._first:
            return self._blocks | before
        own = STRICTNESS[item.rule.action]
        if own == STRICTNESS[Action.REDACT]:
            return self._blocks
        stricter = sum(bits for strictness, bits in self._by_strictness.items() if strictness > own)
        return self._blocks | (stricter & everything) | (self._by_strictness[own] & before)

    def _covering_bits(self, item: _Placed) -> int:
        others = ~(item.bit | self._masking) & self._in_direction[item.rule.applies_to]
        return self._broader_than(item) & others

    def _broader_than(self, item: _Placed) -> int:
        return self._broader[item.bit.bit_length() - 1]

    def _finding(self, item: _Placed, hider: _Placed) -> LintFinding:
        denial = item.rule.action in _DENIALS
        weaker = STRICTNESS[hider.rule.action] < STRICTNESS[item.rule.action]
        level = LintLevel.ERROR if denial and weaker else LintLevel.WARNING
        if item.rule.action is Action.REDACT and hider.rule.action not in _DENIALS:
            return _of(
                LintLevel.ERROR,
                "redact_unreached",
                item,
                f"{hider.name} ({hider.rule.action}) ends the evaluation before this rule can redact",
                "give the REDACT rule a lower sequence",
            )
        if self._broader_than(hider) & item.bit and hider.rule.action is not item.rule.action:
            message = f"{hider.name} ({hider.rule.action}) has the same conditions and decides first"
            return _of(level, "contradictory", item, message, "keep one of the two rules")
        message = f"{hider.name} ({hider.rule.action}) matches whenever this rule does and decides first"
        return _of(level, "shadowed", item, message, "move this rule before it, narrow the other, or remove this one")
