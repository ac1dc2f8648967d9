"""What people hand to `outpost policy`: files within bounds, and features as JSON."""

import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from outpost.core.decision import Direction, EntityCount, Features
from outpost.core.errors import BundleError, RequestError
from outpost.core.policy.source import read_source

STANDARD_INPUT = "-"
MAX_FEATURES_BYTES = 256 * 1024  # bytes; a record of the audit log, which holds the same, has at most 64 KiB
MAX_TEXT_BYTES = 16 * 1024 * 1024  # bytes; sixteen times the default bound of a request
MAX_NAME_CHARS = 256  # of a name in features; policy documents allow fewer
MAX_NAMES = 10_000  # groups, entities or content ids; far above what a key or a release can hold

Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=2**31)]


class InputUnreadableError(RequestError):
    """A file given to a command cannot be read, or is too large."""

    code = "input.unreadable"


class FeaturesError(RequestError):
    """The features are not what rules look at."""

    code = "input.features"


class _Entity(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    entity_type: Name
    count: Count = 1
    confidence: Percent = 100


class _Features(BaseModel):
    """``Features`` as a file; every field has the same default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    direction: Annotated[Direction, Field(strict=False)] = Direction.INPUT
    user: Name = ""
    user_groups: Annotated[list[Name], Field(max_length=MAX_NAMES)] = []
    agent: Name = ""
    entities: Annotated[list[_Entity], Field(max_length=MAX_NAMES)] = []
    content_matches: Annotated[list[Name], Field(max_length=MAX_NAMES)] = []
    provider: Name = ""
    model: Name = ""
    channel: Name = "api"
    risk: Percent = 0
    intent: Name = ""
    country: Name = ""
    anonymous_ip: bool = False
    data_class: Name = "internal"
    tokens: Count = 0


def read_bounded(name: str, limit_bytes: int) -> bytes:
    """Content of a file or of standard input.

    Raises:
        InputUnreadableError: unreadable, or over the limit.
    """
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(limit_bytes + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(limit_bytes + 1)
    except OSError as error:
        raise InputUnreadableError(
            f"the file cannot be read: {error.strerror}", field=name, next_step="check the path and its permissions"
        ) from error
    if len(data) > limit_bytes:
        raise InputUnreadableError(f"the file is larger than {limit_bytes} bytes", field=name)
    return data


def read_text(name: str) -> str:
    """A prompt or an answer.

    Raises:
        InputUnreadableError: unreadable, too large or not UTF-8. The message shows nothing of it.
    """
    try:
        return read_bounded(name, MAX_TEXT_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise InputUnreadableError("the text is not UTF-8", field=name) from None


def read_features(name: str) -> Features:
    """Features from JSON or YAML.

    Raises:
        InputUnreadableError: unreadable or too large.
        FeaturesError: not JSON, an unknown field or a value out of bounds; names the field, never the value.
    """
    data = read_bounded(name, MAX_FEATURES_BYTES)
    try:
        found = _Features.model_validate(read_source(data))
    except BundleError as error:
        raise FeaturesError(f"the features are unreadable: {error.message}", field=name) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FeaturesError(
            f"features {where}: {first['msg']}", field=where, next_step="docs/cli.md lists the features"
        ) from None
    values = found.model_dump()
    entities = tuple(EntityCount(**entity) for entity in values.pop("entities"))
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Features(entities=entities, **plain)
