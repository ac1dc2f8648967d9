"""A draft as bytes: what a plan keeps until it is signed, and what its approval binds to."""

import json
from typing import Any

from controlplane.domain.errors import StateError
from controlplane.domain.releases import Draft
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.release_document import Release, SelfTest

TERMS = ("required_tiers", "seal_after_seconds", "max_body_bytes", "self_tests", "fail_mode", "on_revoked")
"""Fields of a release that are its own, and neither its place in the order of releases nor its files."""


class DraftCorruptError(StateError):
    """A stored draft cannot be read."""

    code = "release.draft"
    fatal = True


def draft_bytes(draft: Draft) -> bytes:
    """One form for one draft."""
    terms = {name: _plain(value) for name, value in draft.terms.items()}
    return encode({"resources": {name: data.decode() for name, data in draft.resources.items()}, "terms": terms})


def read_draft(data: bytes) -> Draft:
    """Back from bytes. Raises DraftCorruptError."""
    try:
        value = json.loads(data)
        resources = {str(name): str(text).encode() for name, text in value["resources"].items()}
        return Draft(resources, {str(name): _value(name, each) for name, each in value["terms"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DraftCorruptError("a stored draft cannot be read", field="plan") from error


def terms_of(release: Release) -> dict[str, object]:
    """The terms of a release, for a draft that repeats it."""
    return {name: getattr(release, name) for name in TERMS}


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, SelfTest):
        return {"text": value.text, "entity_type": value.entity_type}
    return value


def _value(name: str, value: Any) -> object:
    if name == "self_tests":
        return tuple(SelfTest(str(each["text"]), str(each["entity_type"])) for each in value)
    return tuple(value) if isinstance(value, list) else value
