"""The policy document ("outpost.policy/1"): what an administrator writes and the policy role signs.

`parse_document` is the only door: bounds, spelling of every field and the rules between fields are checked
here, and an error names the field, the cause and the next step, never a value. docs/policy.md tells
what the rules mean.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError
from pydantic_core import ErrorDetails

from outpost.core.decision import Action, Direction
from outpost.core.errors import BundleError
from outpost.core.policy.source import read_source, shown

SCHEMA = "outpost.policy/1"
# Bounds of a document. They keep compiling below a second (without expressions), one evaluation below 5 ms even when
# every rule is asked in its most expensive form, and the ids that an audit record may repeat well below its 64 KiB
# (docs/design.md section 7).
MAX_PACKS = 64
MAX_RULES = 500  # over all packs
MAX_CONTENT_RULES = 128  # rules with content_regex; each may put its id (81 bytes) into the record
MAX_USER_CHAINS = 200
MAX_VALUES = 256  # entries of one condition list
MAX_ID_CHARS = 40  # pack and rule ids
MAX_NAME_CHARS = 128  # groups, users, agents, models, intents
MAX_MESSAGE_CHARS = 300  # goes to the client in the error body
MAX_REGEX_CHARS = 512
MAX_REGEXES_PER_RULE = 16
MAX_TOKENS = 100_000_000  # fifty times the longest context window sold today

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"


class PolicyDocumentError(BundleError):
    """A field of the policy document is missing, misspelt, out of bounds or at odds with another."""

    code = "policy.document_invalid"


class Combining(StrEnum):
    """How the rules of the chain become one decision."""

    FIRST_APPLICABLE = "first_applicable"
    DENY_OVERRIDES = "deny_overrides"


class AppliesTo(StrEnum):
    """Which of the two evaluations a rule takes part in."""

    INPUT = "input"
    OUTPUT = "output"
    BOTH = "both"

    def covers(self, direction: Direction) -> bool:
        """Tell whether a rule with this value is evaluated in a direction."""
        return self is AppliesTo.BOTH or self.value == direction.value


def _lower(value: str) -> str:
    return value.lower()


def _user_or_group(value: str) -> str:
    if not value.startswith(("user:", "group:")) or value.endswith(":"):
        raise ValueError("a key is user:NAME or group:NAME")
    return value


Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=MAX_ID_CHARS)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=_PRINTABLE)]
Chooser = Annotated[Name, AfterValidator(_user_or_group)]
EntityType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
# The client chooses the case of a model's name and most providers ignore it: a rule must not hang on it.
ModelGlob = Annotated[Name, AfterValidator(_lower)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
Regex = Annotated[str, Field(min_length=1, max_length=MAX_REGEX_CHARS)]
Flag = Annotated[bool, Strict()]
Percent = Annotated[int, Strict(), Field(ge=0, le=100)]
Tokens = Annotated[int, Strict(), Field(ge=0, le=MAX_TOKENS)]
# Hundredths, since findings carry whole percents; text in the canonical form, which has no fractions.
Fraction = Annotated[Decimal, Field(ge=0, le=1, max_digits=3, decimal_places=2), AfterValidator(Decimal.normalize)]
Message = Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARS, pattern=_PRINTABLE)]
Regexes = Annotated[tuple[Regex, ...], Field(min_length=1, max_length=MAX_REGEXES_PER_RULE)]
Chain = Annotated[tuple[Id, ...], Field(max_length=MAX_PACKS)]
# An empty list is refused: after the last group is removed from a list, "everybody" would be a surprise.
_VALUES = Field(default=None, min_length=1, max_length=MAX_VALUES)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Conditions(_Model):
    """When a rule matches: AND between fields, OR inside a field; no field at all matches always.

    Three fields speak of entities together: those count whose type is in ``entity_types`` (any type when absent) and
    whose confidence is at least ``entity_confidence_min``; ``entity_count_min`` of them (default 1) must be there.
    """

    user_groups: tuple[Name, ...] | None = _VALUES
    agents: tuple[Name, ...] | None = _VALUES
    entity_types: tuple[EntityType, ...] | None = _VALUES
    entity_confidence_min: Fraction = Decimal(0)
    entity_count_min: Annotated[int, Strict(), Field(ge=1, le=1_000_000)] | None = None
    content_regex: Regexes | None = None
    providers: tuple[Name, ...] | None = _VALUES
    models: tuple[ModelGlob, ...] | None = _VALUES
    channels: tuple[Literal["interactive", "api"], ...] | None = _VALUES
    risk_min: Percent | None = None
    intents: tuple[Name, ...] | None = _VALUES
    countries: tuple[Country, ...] | None = _VALUES
    anonymous_ip: Flag | None = None
    data_classes: tuple[Literal["public", "internal", "confidential", "phi"], ...] | None = _VALUES
    tokens_min: Tokens | None = None
    tokens_max: Tokens | None = None

    @property
    def confidence_percent(self) -> int:
        """The least confidence in percent, as findings carry it."""
        return int(self.entity_confidence_min * 100)

    @property
    def needs_entities(self) -> bool:
        """Whether the three entity fields ask for anything."""
        return bool(self.entity_types or self.entity_count_min or self.confidence_percent)


class Rule(_Model):
    """One rule: when, in which direction, and what then."""

    id: Id
    sequence: Annotated[int, Strict(), Field(ge=0, le=1_000_000)]
    applies_to: AppliesTo
    action: Action
    message: Message | None = None
    route_to: Name | None = None
    conditions: Conditions = Conditions()
    required: Flag = False


class Pack(_Model):
    """An ordered set of rules; ``bundle`` is the vendor's and read-only, ``custom`` the customer's."""

    id: Id
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=_PRINTABLE)]
    kind: Literal["bundle", "custom"]
    required: Flag = False
    rules: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)]


class Default(_Model):
    """What happens when no terminal rule matches: stated for both directions, never assumed."""

    input: Literal[Action.ALLOW, Action.BLOCK]
    output: Literal[Action.ALLOW, Action.BLOCK]


class PolicyDocument(_Model):
    """A whole policy of one org. Made by `parse_document` only."""

    schema_: Annotated[Literal["outpost.policy/1"], Field(alias="schema")]
    org: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,30}$")]
    default: Default
    combining: Combining
    packs: Annotated[tuple[Pack, ...], Field(max_length=MAX_PACKS)]
    user_chains: Annotated[dict[Chooser, Chain], Field(max_length=MAX_USER_CHAINS)] = Field(default_factory=dict)
    org_chain: Chain


def parse_document(text: bytes) -> PolicyDocument:
    """Read a policy document.

    Args:
        text: YAML or JSON in UTF-8, untrusted, at most `source.MAX_DOCUMENT_BYTES`.

    Raises:
        PolicyTooLargeError: more bytes, levels or nodes than a policy may have.
        PolicySyntaxError: not YAML or JSON, or a repeated key, an alias, a tag.
        PolicyDocumentError: a field is wrong; ``field`` is its path ("packs[0].rules[2].action").
    """
    data = read_source(text)
    if not isinstance(data, dict):
        raise PolicyDocumentError(
            "the policy document is not a mapping of fields",
            field="document",
            next_step="start from the example in docs/policy.md",
        )
    try:
        document = PolicyDocument.model_validate(data)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_input=False)) from None
    for field, message, next_step in _disagreements(document):
        raise PolicyDocumentError(f"{field}: {message}", field=field, next_step=next_step)
    return document


def canonical_bytes(document: PolicyDocument) -> bytes:
    """Return the canonical JSON: sorted keys, no white space, no fractions, no null, defaults left out."""
    data = document.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def document_digest(document: PolicyDocument) -> str:
    """Return the SHA-256 (hex) of the canonical form: one policy has one digest, as YAML or as JSON."""
    return hashlib.sha256(canonical_bytes(document)).hexdigest()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a policy document, for editors and for the command line."""
    schema = PolicyDocument.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **schema}


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + shown(part)
    return path or "document"


_NEXT_STEPS = {
    "extra_forbidden": "remove the field or correct its spelling; docs/policy.md lists the fields",
    "missing": "add the field; docs/policy.md lists the fields",
    "too_short": "leave the field out instead of giving an empty list",
    "too_long": "shorten the list",
    "string_too_long": "shorten the text",
    "string_pattern_mismatch": "write it as docs/policy.md says for this field",
}


# Words of the library for kinds that authors know by other names.
_KINDS = {
    "a valid tuple": "a list",
    "a valid dictionary or instance of ": "a mapping: ",
    "a valid dictionary": "a mapping",
}


def _nearest(name: str) -> str:
    models = (PolicyDocument, Default, Pack, Rule, Conditions)
    fields = [field.alias or key for model in models for key, field in model.model_fields.items()]
    near = difflib.get_close_matches(shown(name).lower(), fields, 1)
    return f"is {near[0]} meant? " if near else ""


def _in_words(error: ErrorDetails) -> tuple[str, str]:
    """Message and next step of one of pydantic's errors; its messages hold no input."""
    kind, message = error["type"], error["msg"].removeprefix("Value error, ")
    step = _NEXT_STEPS.get(kind, "correct the value; docs/policy.md describes the field")
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        return f"there is no field {shown(name)}", _nearest(name) + step
    for theirs, ours in _KINDS.items():
        message = message.replace(theirs, ours)
    return message, step


def _refusal(errors: list[ErrorDetails]) -> PolicyDocumentError:
    """Turn one of pydantic's errors into ours: a misspelt field first, since it often is why another is missing."""
    first = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    field = _path(first["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    message, step = _in_words(first)
    return PolicyDocumentError(f"{field}: {message}{more}", field=field, next_step=step)


Disagreement = tuple[str, str, str]


def _disagreements(document: PolicyDocument) -> Iterator[Disagreement]:
    """Yield what single fields cannot show: (field, message, next step)."""
    yield from _pack_disagreements(document)
    known = {pack.id for pack in document.packs}
    chains = {"org_chain": document.org_chain}
    chains |= {f"user_chains.{shown(key)}": chain for key, chain in document.user_chains.items()}
    for field, chain in chains.items():
        for index, pack_id in enumerate(chain):
            if pack_id not in known:
                yield (
                    f"{field}[{index}]",
                    "names a pack that is not in packs",
                    "add the pack or correct the id",
                )


def _pack_disagreements(document: PolicyDocument) -> Iterator[Disagreement]:
    seen: set[str] = set()
    rules = with_content = 0
    for number, pack in enumerate(document.packs):
        field = f"packs[{number}]"
        if pack.id in seen:
            yield f"{field}.id", "another pack has this id", "give each pack its own id"
        seen.add(pack.id)
        ids: set[str] = set()
        for index, rule in enumerate(pack.rules):
            if rule.id in ids:
                yield (
                    f"{field}.rules[{index}].id",
                    "another rule of the pack has this id",
                    "give it its own id",
                )
            ids.add(rule.id)
            yield from _rule_disagreements(f"{field}.rules[{index}]", pack, rule)
        rules += len(pack.rules)
        with_content += sum(rule.conditions.content_regex is not None for rule in pack.rules)
    if rules > MAX_RULES:
        yield "packs", f"{rules} rules, the limit is {MAX_RULES}", "join rules that differ in one list only"
    if with_content > MAX_CONTENT_RULES:
        message = f"{with_content} rules have content_regex, the limit is {MAX_CONTENT_RULES}"
        yield "packs", message, "put several expressions into one rule"


def _rule_disagreements(field: str, pack: Pack, rule: Rule) -> Iterator[Disagreement]:
    routed = rule.action is Action.ROUTE_TO
    if routed and rule.route_to is None:
        yield f"{field}.route_to", "is missing for the action ROUTE_TO", "name the model or tier to route to"
    if not routed and rule.route_to is not None:
        yield f"{field}.route_to", "has no meaning for this action", "remove it or use the action ROUTE_TO"
    if routed and rule.applies_to is not AppliesTo.INPUT:
        yield f"{field}.applies_to", "an answer cannot be routed", "use applies_to: input for ROUTE_TO"
    if rule.action is Action.ALLOW and (rule.required or pack.required):
        message = "a required rule cannot be ALLOW, since it could only weaken other rules"
        yield f"{field}.action", message, "remove required or choose a stricter action"
