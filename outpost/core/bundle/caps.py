"""`policy/caps-….json`: what the online keys may hand out, signed by the policy role."""

from dataclasses import dataclass

from outpost.core.bundle import limits
from outpost.core.bundle.access import CHANNELS, DATA_CLASSES
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.documents import open_document
from outpost.core.bundle.fields import Fields

CAPS_SCHEMA = "outpost.caps/1"


@dataclass(frozen=True, slots=True)
class CapsDocument:
    """Bounds on client keys. None = no bound.

    Attributes:
        org: audience.
        groups: groups that a key may name.
        data_classes: data classes that a key may have.
        channels: channels that a key may have.
        models: globs within which the globs of a key must lie; a key without globs may use all models.
        max_keys: keys that are not revoked.
        max_key_life_seconds: from ``not_before`` to ``expires`` of a key.
        max_requests_per_minute: of one key; then "no limit" is not allowed either.
    """

    org: str
    groups: tuple[str, ...] | None = None
    data_classes: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    max_keys: int | None = None
    max_key_life_seconds: int | None = None
    max_requests_per_minute: int | None = None


def parse_caps(data: bytes, org: str, path: str) -> CapsDocument:
    """Read a caps document.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, path, CAPS_SCHEMA, org)
    document = CapsDocument(
        org=org,
        groups=_texts(fields, "groups"),
        data_classes=_words(fields, "data_classes", DATA_CLASSES),
        channels=_words(fields, "channels", CHANNELS),
        models=_models(fields),
        max_keys=fields.optional_integer("max_keys", 0, limits.MAX_CLIENT_KEYS),
        max_key_life_seconds=fields.optional_integer("max_key_life_seconds", 1, limits.MAX_KEY_LIFE_SECONDS),
        max_requests_per_minute=fields.optional_integer("max_requests_per_minute", 1, limits.MAX_REQUESTS_PER_MINUTE),
    )
    fields.done()
    return document


def _texts(fields: Fields, name: str) -> tuple[str, ...] | None:
    return None if fields.raw(name) is None else fields.texts(name, limits.MAX_CAPPED)


def _models(fields: Fields) -> tuple[str, ...] | None:
    globs = _texts(fields, "models")
    if globs == ():
        raise fields.fail("models", "must be null or hold a glob: empty could mean nothing or everything")
    return globs


def _words(fields: Fields, name: str, allowed: tuple[str, ...]) -> tuple[str, ...] | None:
    words = _texts(fields, name)
    if words is not None and not set(words) <= set(allowed):
        raise fields.fail(name, f"must be null or hold some of {', '.join(allowed)}")
    return words


def build_caps(document: CapsDocument) -> bytes:
    """Canonical bytes of the caps.

    Raises:
        BundleError: a value that ``parse_caps`` would refuse.
    """
    data = encode(
        {
            "schema": CAPS_SCHEMA,
            "org": document.org,
            "groups": _listed(document.groups),
            "data_classes": _listed(document.data_classes),
            "channels": _listed(document.channels),
            "models": _listed(document.models),
            "max_keys": document.max_keys,
            "max_key_life_seconds": document.max_key_life_seconds,
            "max_requests_per_minute": document.max_requests_per_minute,
        }
    )
    parse_caps(data, document.org, "caps")
    return data


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def glob_within(glob: str, wider: str) -> bool:
    """Whether everything that one glob of models matches is matched by another; case does not count.

    The stars of the narrower glob are text that only a star of the wider one can take in, so the wider glob is tried
    on the narrower one as if that were a name. This never says yes wrongly.

    Args:
        glob: the narrower glob.
        wider: the wider glob.
    """
    first, *rest = wider.lower().split("*")
    text = glob.lower()
    if not rest:
        return text == first
    last = rest.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in rest:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def globs_within(globs: tuple[str, ...], wider: tuple[str, ...]) -> bool:
    """Whether a list of globs lies within another; an empty list stands for every model, on either side."""
    if not wider:
        return True
    return bool(globs) and all(any(glob_within(glob, each) for each in wider) for glob in globs)
