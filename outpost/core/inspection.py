"""Texts + findings + policy -> verdict, for prompts and for answers. The same functions at the edge, in the canary
and in replay.

What is inspected is what is sent: a prompt's redacted copy is made from the very tree whose texts were scanned, and
whatever cannot be redacted although policy asks for it (a key, a number, the model's name) is a denial.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from outpost.core.chat.fields import (
    FieldKind,
    TextField,
    TextFields,
    list_fields,
    param_of,
    refuse_uninspectable,
    replace_texts,
)
from outpost.core.chat.messages import Json, JsonObject
from outpost.core.decision import Action, Decision, Direction, EntityCount, Features
from outpost.core.detect.finding import Finding
from outpost.core.detect.pattern import Scanner
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.errors import DeniedError
from outpost.core.policy.compile import Program
from outpost.core.policy.evaluate import evaluate

TIERS = (1,)  # inspection tiers of this build
BYTES_PER_TOKEN = 4  # estimate for features before a provider has counted
UNBOUNDED = "unbounded_candidate"  # entity type of a candidate without an end
_TOKEN_LISTS = frozenset({"content", "refusal"})  # of ``logprobs``, named like the texts of the message
_DENIALS = frozenset({Action.BLOCK, Action.CANCEL, Action.PROMPT, Action.ALLOW_WITH_OVERRIDE})


class PolicyDeniedError(DeniedError):
    """Policy says no; leaves carry the code of the decision."""

    code = "policy.blocked"

    def __init__(self, decision: Decision, message: str, param: str = "") -> None:
        super().__init__(message, field=param)
        self.decision = decision


class PolicyCancelledError(PolicyDeniedError):
    """The client is asked to revise the request."""

    code = "policy.cancelled"


class PolicyHeldError(PolicyDeniedError):
    """A reviewer would have to decide."""

    code = "policy.held"


class PolicyOverrideRequiredError(PolicyDeniedError):
    """The user would have to give a reason."""

    code = "policy.override_required"


class PolicyDefaultBlockedError(PolicyDeniedError):
    """No rule allowed it, and the default is to block."""

    code = "policy.default_blocked"


class PolicyUnredactableError(PolicyDeniedError):
    """Policy asks to redact what stands where nothing can be replaced."""

    code = "policy.unredactable"


class PolicyUnboundedError(PolicyDeniedError):
    """Something began like a secret and went on beyond what can be judged."""

    code = "policy.unbounded"


class PolicyUnroutableError(PolicyDeniedError):
    """Policy routes to a model that no provider serves."""

    code = "policy.unroutable"


_LEAVES: Mapping[str, type[PolicyDeniedError]] = {
    leaf.code: leaf
    for leaf in (
        PolicyCancelledError,
        PolicyHeldError,
        PolicyOverrideRequiredError,
        PolicyDefaultBlockedError,
        PolicyUnredactableError,
        PolicyUnboundedError,
        PolicyUnroutableError,
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class Inspector:
    """What judges the texts of one org.

    Attributes:
        policy: compiled policy.
        scanner: compiled detectors; one scan at a time, so one per event loop.
        disabled: ids of detectors that the vendor role switched off.
    """

    policy: Program
    scanner: Scanner
    disabled: frozenset[str] = frozenset()

    def find(self, text: str) -> Sequence[Finding]:
        """Findings of one text. Escapes are read through whatever the text is: people paste JSON, and models write it
        into plain answers, so that a value behind an escape is read by whoever parses it.
        """
        found = self.scanner.scan(text, json_string=True)
        if self.disabled and found:
            return [finding for finding in found if finding.detector not in self.disabled]
        return found


@dataclass(frozen=True, slots=True)
class FieldFindings:
    """What was found in one text."""

    field: TextField
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A judged tree.

    Attributes:
        decision: the verdict.
        features: what the verdict looked at.
        findings: per text, only texts with findings.
        tree: copy in which everything was replaced that policy wants replaced; unchanged when denied.
        placeholders: what was replaced by what, for the life of the request.
        bytes_inspected: UTF-8 bytes of all texts.
    """

    decision: Decision
    features: Features
    findings: tuple[FieldFindings, ...]
    tree: JsonObject
    placeholders: PlaceholderMap
    bytes_inspected: int

    @property
    def denied(self) -> bool:
        """Whether nothing may be sent."""
        return is_denial(self.decision)

    @property
    def param(self) -> str:
        """The first parameter in which something was found, as the chat API names it."""
        return param_of(self.findings[0].field.pointer) if self.findings else ""


def is_denial(decision: Decision) -> bool:
    """Whether a decision stops what it was made about; holds and overrides deny until they are served."""
    return decision.action in _DENIALS


def inspect_request(inspector: Inspector, tree: JsonObject, base: Features) -> Inspection:
    """Judge a prompt.

    Args:
        inspector: of the caller's org.
        tree: the parsed body, untrusted.
        base: features that are known without looking at texts.

    Raises:
        UninspectableError: a part that cannot be inspected.
    """
    texts = list_fields(tree)
    refuse_uninspectable(texts)
    found = _scan(inspector, texts.fields)
    features = _features(inspector, texts, found, base)
    placeholders = PlaceholderMap(field.text for field in texts.fields)
    decision = judge(inspector.policy, features)
    if decision.redact and not is_denial(decision):
        to_redact = _of_types(found, decision.redact)
        if any(not item.field.replaceable or item.field.pointer == "/model" for item in to_redact):
            decision = unredactable(decision)
        else:
            tree = replace_texts(
                tree,
                {
                    item.field.pointer: placeholders.redact(
                        item.field.text, item.findings, json_string=item.field.kind is FieldKind.JSON
                    )
                    for item in to_redact
                },
            )
    return Inspection(decision, features, found, tree, placeholders, texts.bytes_inspected)


def inspect_answer(inspector: Inspector, tree: JsonObject, base: Features, placeholders: PlaceholderMap) -> Inspection:
    """Judge a whole answer, redact what policy wants redacted, then put the request's values back.

    Args:
        inspector: the one that judged the request.
        tree: the parsed answer, untrusted.
        base: features of the request with ``direction`` output.
        placeholders: of the request.
    """
    texts = list_fields(tree)
    found = _scan(inspector, texts.fields)
    features = _features(inspector, texts, found, base)
    decision = judge(inspector.policy, features)
    if not is_denial(decision):
        to_redact = _of_types(found, decision.redact)
        if any(not item.field.replaceable for item in to_redact):
            decision = unredactable(decision)
        else:
            tree = _rewrite(tree, texts.fields, to_redact, placeholders)
    return Inspection(decision, features, found, tree, placeholders, texts.bytes_inspected)


def _rewrite(
    tree: JsonObject, fields: Iterable[TextField], to_redact: Sequence[FieldFindings], placeholders: PlaceholderMap
) -> JsonObject:
    by_pointer = {item.field.pointer: item.findings for item in to_redact}
    changed: dict[str, str] = {}
    for field in fields:
        if not field.replaceable:
            continue
        text = field.text
        json_string = field.kind is FieldKind.JSON
        if field.pointer in by_pointer:
            text = mask(text, by_pointer[field.pointer])
        text = placeholders.restore(text, json_string=json_string)
        if text != field.text:
            changed[field.pointer] = text
    drop = _untold(tree, redacted=bool(to_redact))
    return _without_logprobs(replace_texts(tree, changed) if changed else tree, drop)


def _untold(tree: JsonObject, *, redacted: bool) -> frozenset[int]:
    """Find the choices whose token lists must go: they give a text in pieces, and only the message was judged.

    Args:
        tree: an answer as the provider sent it.
        redacted: something of it is redacted; otherwise lists that repeat the message to the letter may stay.
    """
    choices = tree.get("choices")
    return frozenset(
        place
        for place, choice in enumerate(choices if isinstance(choices, list) else ())
        if isinstance(choice, dict) and "logprobs" in choice and (redacted or not _repeats_message(choice))
    )


def _without_logprobs(tree: JsonObject, places: frozenset[int]) -> JsonObject:
    choices = tree.get("choices")
    if not places or not isinstance(choices, list):
        return tree
    cleaned: list[Json] = [
        {**choice, "logprobs": None} if place in places and isinstance(choice, dict) else choice
        for place, choice in enumerate(choices)
    ]
    return {**tree, "choices": cleaned}


def _repeats_message(choice: JsonObject) -> bool:
    logprobs, message = choice["logprobs"], choice.get("message")
    if not isinstance(logprobs, dict) or not isinstance(message, dict):
        return logprobs is None
    for name, tokens in logprobs.items():
        if tokens is None:
            continue
        if name not in _TOKEN_LISTS or not isinstance(tokens, list):
            return False
        pieces = [token.get("token") if isinstance(token, dict) else None for token in tokens]
        if "".join(piece for piece in pieces if isinstance(piece, str)) != message.get(name):
            return False
    return True


def _scan(inspector: Inspector, fields: Iterable[TextField]) -> tuple[FieldFindings, ...]:
    results = []
    for field in fields:
        found = inspector.find(field.text)
        if found:
            results.append(FieldFindings(field, tuple(found)))
    return tuple(results)


def _of_types(found: Iterable[FieldFindings], types: Sequence[str]) -> list[FieldFindings]:
    wanted = frozenset(types)
    narrowed = (
        FieldFindings(item.field, tuple(finding for finding in item.findings if finding.entity_type in wanted))
        for item in found
    )
    return [item for item in narrowed if item.findings]


def count_entities(findings: Iterable[Finding]) -> tuple[EntityCount, ...]:
    """Sum findings by type, types in order of the alphabet."""
    counts: Counter[str] = Counter()
    confidence: dict[str, int] = {}
    for finding in findings:
        counts[finding.entity_type] += 1
        confidence[finding.entity_type] = max(confidence.get(finding.entity_type, 0), finding.confidence)
    return tuple(EntityCount(name, counts[name], confidence[name]) for name in sorted(counts))


def _features(inspector: Inspector, texts: TextFields, found: Sequence[FieldFindings], base: Features) -> Features:
    return replace(
        base,
        entities=count_entities(finding for item in found for finding in item.findings),
        content_matches=inspector.policy.match_content(field.text for field in texts.fields),
        tokens=texts.bytes_inspected // BYTES_PER_TOKEN,
        model="*" if any(item.field.pointer == "/model" for item in found) else base.model,
    )


def judge(policy: Program, features: Features) -> Decision:
    """Evaluate, and deny what no rule can judge: a candidate that outgrew every bound of its detector."""
    decision = evaluate(policy, features)
    if any(entity.entity_type == UNBOUNDED for entity in features.entities) and not is_denial(decision):
        return replace(
            decision,
            action=Action.BLOCK,
            code=PolicyUnboundedError.code,
            reason="Something that begins like a private key is too long to be judged.",
        )
    return decision


def unredactable(decision: Decision) -> Decision:
    """Turn a redaction that cannot be done into a block."""
    return replace(
        decision,
        action=Action.BLOCK,
        code=PolicyUnredactableError.code,
        reason="A value that must be replaced stands where nothing can be replaced.",
    )


def unroutable(decision: Decision) -> Decision:
    """Turn a route to nowhere into a block."""
    return replace(
        decision,
        action=Action.BLOCK,
        code=PolicyUnroutableError.code,
        reason="Policy routes this request to a model that no provider serves.",
    )


def denial(decision: Decision, features: Features, param: str = "") -> PolicyDeniedError:
    """The error that tells the client of a denial: rule, reason, types and place, never a value."""
    found = ", ".join(f"{entity.count} {entity.entity_type}" for entity in features.entities)
    prompt = features.direction is Direction.INPUT
    effect = "Nothing was sent to the provider." if prompt else "The provider's answer was withheld."
    what = f" Found: {found}." if found else ""
    leaf = _LEAVES.get(decision.code, PolicyDeniedError)
    return leaf(decision, f"{decision.reason}{what} {effect}", param)


def mask(text: str, findings: Iterable[Finding]) -> str:
    """Replace findings for good by typed tokens; what a provider made up has no way back."""
    for finding in sorted(findings, key=lambda each: each.start, reverse=True):
        text = f"{text[: finding.start]}{mask_token(finding)}{text[finding.end :]}"
    return text


def mask_token(finding: Finding) -> str:
    """The token that stands for a redacted value in an answer."""
    return f"[REDACTED_{finding.entity_type.upper()}]"
