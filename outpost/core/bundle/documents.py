"""Documents of a signed set, read strictly and built canonically: what all have in common, routes and detectors.

``parse_*`` reads untrusted or verified bytes alike and refuses unknown schemas, unknown fields, other orgs and values
out of bounds. ``build_*`` is its inverse for the control plane; it reads back what it wrote, so that nothing is signed
that an outpost would refuse. The other documents have modules of their own: ``release_document``, ``rollout``,
``caps``, ``access``, ``revocations``, ``kill``. Packs are read by ``outpost.core.policy``.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from outpost.core.bundle import limits
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.errors import OtherOrgError, OversizedError, SchemaError
from outpost.core.bundle.fields import Fields

ROUTES_SCHEMA = "outpost.routes/1"
DETECTORS_SCHEMA = "outpost.detectors/1"

PROVIDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Provider:
    """Where models are, and under which local secret.

    Attributes:
        name: unique in the document; policies name it.
        kind: translator ("openai").
        base_url: http or https, without user, query or fragment, without a slash at the end.
        key_secret: name of the local secret that holds the provider key; empty when it needs none.
        models: globs ("gpt-*"); the first provider with a match wins.
        connect_timeout_ms: until the connection stands.
        read_timeout_ms: between two pieces of the answer.
    """

    name: str
    kind: str
    base_url: str
    key_secret: str
    models: tuple[str, ...]
    connect_timeout_ms: int
    read_timeout_ms: int


@dataclass(frozen=True, slots=True)
class RoutesDocument:
    """`policy/routes-….json`.

    Attributes:
        org: audience.
        providers: in order of preference.
        edition: rises when the author confirms the same providers again, so that a kill list of before is lifted.
    """

    org: str
    providers: tuple[Provider, ...]
    edition: int = 1


@dataclass(frozen=True, slots=True)
class DetectorsDocument:
    """`vendor/detectors-….json`: which detector set runs, and what of it is switched off."""

    org: str
    set: str
    disabled: tuple[str, ...]


def open_document(data: bytes, path: str, schema: str, org: str) -> Fields:
    """Decode a document and check its head.

    Args:
        data: bytes as received.
        path: target path, for errors.
        schema: the schema that this reader knows.
        org: audience that the document must name.

    Raises:
        OversizedError: too large.
        MalformedError: not canonical JSON.
        SchemaError: another schema.
        OtherOrgError: for another org.
    """
    if len(data) > limits.MAX_TARGET_BYTES:
        raise OversizedError(f"{path} has more than {limits.MAX_TARGET_BYTES} bytes.", field=path)
    fields = Fields(decode(data, path), path)
    if fields.text("schema") != schema:
        raise SchemaError(f"{path} is not of schema {schema}.", field=f"{path}/schema", next_step="Update the outpost.")
    require_org(fields.text("org"), org, path)
    return fields


def require_org(found: str, org: str, where: str) -> None:
    """Refuse what is for somebody else.

    Raises:
        OtherOrgError: ``found`` is not ``org``.
    """
    if found != org:
        raise OtherOrgError(
            f"{where} is for another org than {org}.",
            field=where,
            next_step="Check which control plane and org this outpost is enrolled with.",
        )


def parse_routes(data: bytes, org: str, path: str) -> RoutesDocument:
    """Read a routes document.

    Args:
        data: bytes as received.
        org: audience that it must name.
        path: target path, for errors.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, path, ROUTES_SCHEMA, org)
    providers = tuple(_provider(item) for item in fields.objects("providers", limits.MAX_PROVIDERS))
    if len({provider.name for provider in providers}) != len(providers):
        raise fields.fail("providers", "must not name a provider twice")
    edition = fields.integer("edition", 1, limits.MAX_VERSION)
    fields.done()
    return RoutesDocument(org, providers, edition)


def _provider(fields: Fields) -> Provider:
    key_secret = fields.text("key_secret", limit=64, empty=True)
    if key_secret and not _ID.fullmatch(key_secret):
        raise fields.fail("key_secret", f"must be empty or match {_ID.pattern}: a file name, not a path")
    provider = Provider(
        name=fields.match("name", PROVIDER_NAME),
        kind=fields.match("kind", _WORD),
        base_url=_base_url(fields),
        key_secret=key_secret,
        models=fields.texts("models", limits.MAX_MODELS),
        connect_timeout_ms=fields.integer("connect_timeout_ms", 1, limits.MAX_TIMEOUT_MS),
        read_timeout_ms=fields.integer("read_timeout_ms", 1, limits.MAX_TIMEOUT_MS),
    )
    fields.done()
    return provider


def _base_url(fields: Fields) -> str:
    url = fields.text("base_url", limit=limits.MAX_URL_BYTES)
    rule = "must be an http or https URL without user, query, fragment, white space or a slash at the end"
    if not (url.isascii() and url.isprintable()) or set(' ?#@\\"<>') & set(url) or url.endswith("/"):
        raise fields.fail("base_url", rule)
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise fields.fail("base_url", rule)
    return url


def build_routes(document: RoutesDocument) -> bytes:
    """Canonical bytes of the routes.

    Raises:
        BundleError: a value that ``parse_routes`` would refuse.
    """
    providers = [
        {
            "name": each.name,
            "kind": each.kind,
            "base_url": each.base_url,
            "key_secret": each.key_secret,
            "models": list(each.models),
            "connect_timeout_ms": each.connect_timeout_ms,
            "read_timeout_ms": each.read_timeout_ms,
        }
        for each in document.providers
    ]
    head: dict[str, object] = {"schema": ROUTES_SCHEMA, "org": document.org, "edition": document.edition}
    data = encode(head | {"providers": providers})
    parse_routes(data, document.org, "routes")
    return data


def parse_detectors(data: bytes, org: str, path: str) -> DetectorsDocument:
    """Read a choice of detectors.

    Args:
        data: bytes as received.
        org: audience that it must name.
        path: target path, for errors.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, path, DETECTORS_SCHEMA, org)
    document = DetectorsDocument(
        org=org,
        set=fields.match("set", _ID),
        disabled=fields.texts("disabled", limits.MAX_DISABLED_DETECTORS, pattern=_ID),
    )
    fields.done()
    return document


def build_detectors(document: DetectorsDocument) -> bytes:
    """Canonical bytes of the choice of detectors.

    Raises:
        BundleError: a value that ``parse_detectors`` would refuse.
    """
    head: dict[str, object] = {"schema": DETECTORS_SCHEMA, "org": document.org}
    data = encode(head | {"set": document.set, "disabled": list(document.disabled)})
    parse_detectors(data, document.org, "detectors")
    return data
