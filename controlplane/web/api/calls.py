"""A call of an operation, before and after it was carried out; and the reading of what was sent."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from pydantic import BaseModel, ValidationError

from controlplane.domain.approvals import canonical
from controlplane.domain.rbac import Principal
from controlplane.web.api.context import Origin
from controlplane.web.api.operation import AnyOperation
from controlplane.web.problem import RequestInvalidError
from outpost.core.chat.messages import BodyLimits, parse_body

MAX_FIELD_CHARS: Final = 64  # of a field's name in an error: unknown names are the caller's text
SHOWN_ERRORS: Final = 3


@dataclass(frozen=True, slots=True)
class Call:
    """What somebody sent; nothing here is believed.

    Attributes:
        token: access token; empty when there was none.
        local: the principal of a command on the state directory; None for everybody else.
        path, query: parameters as text.
        read_body: reads and parses the body strictly; called once, and not before the caller may do this at all.
        idempotency_key, if_match: of the headers; empty when they were not sent.
    """

    operation: AnyOperation
    origin: Origin
    path: Mapping[str, str]
    query: Mapping[str, str]
    read_body: Callable[[], Awaitable[Mapping[str, object]]]
    token: str = field(default="", repr=False)
    local: Principal | None = None
    idempotency_key: str = ""
    if_match: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back.

    Attributes:
        document: JSON.
    """

    status: int
    document: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Content:
    """Parameters and body, checked.

    Attributes:
        if_match: what an act that waits was made from; it is held again when the act is done.
    """

    params: Any
    body: Any
    if_match: str = ""

    @property
    def plain(self) -> dict[str, object]:
        """Plain JSON; secrets are marks of one length."""
        return {"params": self.params.model_dump(mode="json"), "body": self.body.model_dump(mode="json")}

    @property
    def to_wait(self) -> dict[str, object]:
        """What an approval keeps, and its digest is over."""
        return {**self.plain, "if_match": self.if_match} if self.if_match else self.plain


def parsed(operation: AnyOperation, raw: bytes) -> Mapping[str, object]:
    """A JSON body, strictly read. Raises RequestError."""
    return parse_body(raw, BodyLimits(max_bytes=operation.max_body_bytes))


def checked_params(operation: AnyOperation, call: Call) -> Any:
    """Parameters of a call. Raises RequestInvalidError."""
    clash = set(call.query) & set(operation.path_fields)
    if clash:
        raise RequestInvalidError("a parameter of the path stands in the query, too", field=min(clash))
    return _checked(operation.params, lambda model: model.model_validate({**call.query, **call.path}))


def checked_body(operation: AnyOperation, tree: Mapping[str, object]) -> Any:
    """Body of a call: strict types, nothing unknown. Raises RequestInvalidError."""
    if operation.form:
        return _checked(operation.body, lambda model: model.model_validate(dict(tree)))
    return _checked(operation.body, lambda model: model.model_validate_json(orjson.dumps(tree), strict=True))


def document_of(operation: AnyOperation, result: BaseModel) -> dict[str, Any]:
    """The JSON of a result."""
    plain = result.model_dump(mode="json", by_alias=True)
    return {"schema": operation.schema, **plain} if operation.schema else plain


def etag_of(document: Mapping[str, object]) -> str:
    """A strong validator of a document. Source: RFC 9110 §8.8.3."""
    return f'"{hashlib.sha256(canonical(document).encode()).hexdigest()[:32]}"'


def matches(if_match: str, etag: str) -> bool:
    """Whether an If-Match header names a validator; a weak one never matches. Source: RFC 9110 §13.1.1."""
    return if_match.strip() == "*" or etag in [each.strip() for each in if_match.split(",")]


def target_of(operation: AnyOperation, content: Content) -> str:
    """What a record says that an act was about."""
    facts = {**content.body.model_dump(mode="json"), **content.params.model_dump(mode="json")}
    return _printable(operation.target.format_map(facts)) if operation.target else ""


def request_digest(operation: AnyOperation, content: Content) -> str:
    """Digest of a whole request, for its idempotency key."""
    text = json.dumps([operation.name, content.plain], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _checked(model: type[BaseModel], read: Callable[[type[BaseModel]], BaseModel]) -> BaseModel:
    try:
        return read(model)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)[:SHOWN_ERRORS]
        places = [_place(each["loc"]) for each in found]
        told = "; ".join(f"{place or 'body'}: {each['msg']}" for place, each in zip(places, found, strict=True))
        raise RequestInvalidError(
            f"the request is not acceptable: {told}", field=places[0], next_step="see /openapi.json"
        ) from None


def _place(location: tuple[int | str, ...]) -> str:
    text = ".".join(str(part) for part in location)
    return _printable(text)[:MAX_FIELD_CHARS]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
