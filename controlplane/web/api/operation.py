"""What an operation is: a frozen description from which HTTP, the command line, OpenAPI and the tests are made.

Adding one: a file in ``operations`` with models, a handler and a tuple ``OPERATIONS``; and, when it is of a new kind, a
verb with its row in ``domain/rbac``. Nothing else has to know of it, but for docs/openapi.json, which is generated.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context

MAX_BODY_BYTES: Final = 1_048_576  # of a request; the largest is a policy document
PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
ORG_PATTERN: Final = "^[a-z][a-z0-9-]{1,30}$"  # domain/orgs
NAME_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"  # names and ids of everything below an org


def shaped(pattern: str, *, empty: bool = False) -> JsonDict:
    """What OpenAPI says of a text whose form the domain judges, with a code of its own for each mistake."""
    return {"pattern": f"^({pattern})?$" if empty else f"^{pattern}$"}


def one_line(text: str) -> str:
    """A text that people are shown: whatever could move a terminal's cursor or begin a line is refused."""
    if not text.isprintable():
        raise ValueError("only printable characters, on one line")
    return text


OneLine = AfterValidator(one_line)
OrgId = Annotated[str, Field(pattern=ORG_PATTERN, description="org id")]
NameOrId = Annotated[str, Field(pattern=NAME_PATTERN, description="name or id")]
Limit = Annotated[int, Field(ge=1, le=200, description="entries of a page")]
Cursor = Annotated[str, Field(max_length=512, description="of the page before; empty for the first page")]


class Model(BaseModel):
    """What is said over the API: nothing unknown is accepted, and no error shows a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


class NoParams(Model):
    """An operation without parameters."""


class OrgParams(Model):
    """Only the org."""

    org: OrgId


class PageParams(OrgParams):
    """A page of what an org has."""

    limit: Limit = 50
    cursor: Cursor = ""


class RollParams(OrgParams):
    """How a release is to roll out."""

    at_once: Annotated[bool, Field(description="everybody in one stage, instead of one outpost in twenty first")] = (
        False
    )
    supersede: Annotated[bool, Field(description="in the place of a release that is on its way")] = False


class NoBody(Model):
    """An operation without a body."""


class Scope(StrEnum):
    """Whose an operation is, and who may call it at all."""

    PUBLIC = "public"  # anybody, without a token
    OPERATOR = "operator"  # principals of the operator
    ORG = "org"  # principals of the org of the path, a customer's
    SPACE = "space"  # the same, and the operator's own space too


class Effect(StrEnum):
    """What an operation does to the store."""

    READ = "read"  # nothing; no record, but for refusals
    ACT = "act"  # one transaction on one org's data, with its record
    SPANNING = "spanning"  # more than one space: recorded before its first effect, and after its last
    OWN = "own"  # transactions of its own, because it waits for something slow; it records itself


Params = TypeVar("Params", bound=BaseModel)
Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Params, Body, Result]):
    """One operation.

    Attributes:
        name: ``outposts.revoke``; the command line calls it by this.
        summary: one sentence, for OpenAPI.
        verb: what it takes; None for public operations.
        method, path: of HTTP; placeholders are fields of ``params``, the other fields come from the query.
        scope: who may call it at all.
        effect: how it works on the store.
        params, body, result: models. ``body`` is NoBody for operations without one.
        handler: does it.
        schema: named in the answer; empty for shapes that a standard prescribes.
        status: of success.
        families: error families that the handler may raise beside those that every operation may.
        prepare: looks up, before the transaction of the act, what is not the org's own; ``context.prepared`` has it.
        ponder: slow work on what was sent, before the transaction of the act; it is found again within.
        target: what the record says that it was about; placeholders are fields of params or body.
        check: refuses, before an act waits for a second person, what would be refused afterwards.
        escalates: a further verb that this very body takes, such as granting an owner.
        about: name or id of the user that the act is about, who cannot be its second person.
        items: field of the result that pages split.
        versioned: the answer has an ETag.
        guards: name of the versioned operation whose ETag an If-Match is held against.
        must_match: without If-Match it is refused.
        form: the body is a form, as RFC 6749 asks.
        secret: the result holds something that is shown once.
        max_body_bytes: longest body of a request.
    """

    name: str
    summary: str
    verb: Verb | None
    method: str
    path: str
    params: type[Params]
    result: type[Result]
    handler: Callable[[Context, Params, Body], Awaitable[Result]]
    body: type[Body]
    scope: Scope = Scope.ORG
    effect: Effect = Effect.READ
    schema: str = ""
    status: int = 200
    families: tuple[type[Exception], ...] = ()
    prepare: Callable[[Context], Awaitable[Any]] | None = None
    ponder: Callable[[Context, Params, Body], Awaitable[None]] | None = None
    target: str = ""
    check: Callable[[Context, Params, Body], Awaitable[None]] | None = None
    escalates: Callable[[Context, Params, Body], Awaitable[Verb | None]] | None = None
    about: str = ""
    items: str = ""
    versioned: bool = False
    guards: str = ""
    must_match: bool = False
    form: bool = False
    secret: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    segments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Split the path once."""
        object.__setattr__(self, "segments", tuple(self.path.strip("/").split("/")))

    @property
    def path_fields(self) -> tuple[str, ...]:
        """Parameters that stand in the path."""
        return tuple(PLACEHOLDER.findall(self.path))

    @property
    def query_fields(self) -> tuple[str, ...]:
        """Parameters that stand in the query."""
        return tuple(name for name in self.params.model_fields if name not in self.path_fields)

    @property
    def takes_body(self) -> bool:
        """Whether a body is sent."""
        return self.body is not NoBody

    @property
    def takes_key(self) -> bool:
        """Whether an idempotency key counts."""
        return self.verb is not None and self.effect in (Effect.ACT, Effect.SPANNING)


async def never_refused(context: Context, params: BaseModel, body: BaseModel) -> None:
    """The check of an operation that, once it is allowed, nothing refuses."""


AnyOperation = Operation[Any, Any, Any]
