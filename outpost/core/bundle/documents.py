"""The documents of a signed set, read strictly and built canonically.

``parse_*`` reads untrusted or verified bytes alike and refuses unknown schemas, unknown fields, other orgs and values
out of bounds.
``build_*`` is its inverse for the control plane; it reads back what it wrote, so that nothing is signed that an
outpost would refuse. `policy/packs.json` is read by ``outpost.core.policy``. Client keys stand in ``access``.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.errors import OtherOrgError, OversizedError, SchemaError
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.release import Release, Resource, SelfTest

RELEASE_SCHEMA = "outpost.release/1"
ROUTES_SCHEMA = "outpost.routes/1"
DETECTORS_SCHEMA = "outpost.detectors/1"
ROLLOUT_SCHEMA = "outpost.rollout/1"

FAIL_MODES = ("closed",)
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
    """`policy/routes.json`: providers in order of preference."""

    org: str
    providers: tuple[Provider, ...]


@dataclass(frozen=True, slots=True)
class DetectorsDocument:
    """`vendor/detectors.json`: which detector set runs, and what of it is switched off."""

    org: str
    set: str
    disabled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RolloutDocument:
    """`rollout/current.json`: which release, and the share of outposts that take it."""

    org: str
    release: int
    fraction_percent: int


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


def parse_release(data: bytes, org: str) -> Release:
    """Read `policy/release.json`.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, names.RELEASE_PATH, RELEASE_SCHEMA, org)
    release = Release(
        org=org,
        version=fields.integer("version", 1, limits.MAX_VERSION),
        required_tiers=_tiers(fields),
        seal_after_seconds=fields.optional_integer("seal_after_seconds", 1, limits.MAX_SEAL_SECONDS),
        max_body_bytes=fields.integer("max_body_bytes", 1, limits.MAX_BODY_BYTES),
        self_tests=tuple(_self_test(item) for item in fields.objects("self_tests", limits.MAX_SELF_TESTS)),
        fail_mode=fields.choice("fail_mode", FAIL_MODES),
        resources=_resources(fields),
    )
    fields.done()
    return release


def _tiers(fields: Fields) -> tuple[int, ...]:
    values = fields.items("required_tiers", limits.MAX_TIERS)
    tiers = tuple(v for v in values if isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= limits.MAX_TIERS)
    if len(tiers) != len(values) or list(tiers) != sorted(set(tiers)):
        raise fields.fail("required_tiers", f"must hold rising integers from 1 to {limits.MAX_TIERS}")
    return tiers


def _self_test(fields: Fields) -> SelfTest:
    test = SelfTest(
        text=fields.text("text", limit=limits.MAX_SELF_TEST_CHARS),
        entity_type=fields.match("entity_type", _WORD),
    )
    fields.done()
    return test


def _resources(fields: Fields) -> dict[str, Resource]:
    resources = {}
    for path, item in fields.mapping("resources", limits.MAX_RESOURCES).items():
        if not names.role_of_target(path):
            raise fields.fail("resources", "must have target paths as its keys")
        size = item.integer("size", 0, limits.MAX_TARGET_BYTES)
        resources[path] = Resource(sha256=item.sha256("sha256"), size=size)
        item.done()
    return resources


def build_release(release: Release) -> bytes:
    """Canonical bytes of a release.

    Raises:
        BundleError: a value that ``parse_release`` would refuse.
    """
    data = encode(
        {
            "schema": RELEASE_SCHEMA,
            "org": release.org,
            "version": release.version,
            "required_tiers": list(release.required_tiers),
            "fail_mode": release.fail_mode,
            "seal_after_seconds": release.seal_after_seconds,
            "max_body_bytes": release.max_body_bytes,
            "resources": {path: {"sha256": r.sha256, "size": r.size} for path, r in release.resources.items()},
            "self_tests": [{"text": test.text, "entity_type": test.entity_type} for test in release.self_tests],
        }
    )
    parse_release(data, release.org)
    return data


def parse_routes(data: bytes, org: str) -> RoutesDocument:
    """Read `policy/routes.json`.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, names.ROUTES_PATH, ROUTES_SCHEMA, org)
    providers = tuple(_provider(item) for item in fields.objects("providers", limits.MAX_PROVIDERS))
    if len({provider.name for provider in providers}) != len(providers):
        raise fields.fail("providers", "must not name a provider twice")
    fields.done()
    return RoutesDocument(org=org, providers=providers)


def _provider(fields: Fields) -> Provider:
    key_secret = fields.text("key_secret", limit=64, empty=True)
    if key_secret and not _ID.fullmatch(key_secret):
        raise fields.fail("key_secret", f"must be empty or match {_ID.pattern}: a file name, not a path")
    provider = Provider(
        name=fields.match("name", _ID),
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
    data = encode({"schema": ROUTES_SCHEMA, "org": document.org, "providers": providers})
    parse_routes(data, document.org)
    return data


def parse_detectors(data: bytes, org: str) -> DetectorsDocument:
    """Read `vendor/detectors.json`.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, names.DETECTORS_PATH, DETECTORS_SCHEMA, org)
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
    parse_detectors(data, document.org)
    return data


def parse_rollout(data: bytes, org: str) -> RolloutDocument:
    """Read `rollout/current.json`.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, names.ROLLOUT_PATH, ROLLOUT_SCHEMA, org)
    document = RolloutDocument(
        org=org,
        release=fields.integer("release", 1, limits.MAX_VERSION),
        fraction_percent=fields.integer("fraction_percent", 0, 100),
    )
    fields.done()
    return document


def build_rollout(document: RolloutDocument) -> bytes:
    """Canonical bytes of the roll-out.

    Raises:
        BundleError: a value that ``parse_rollout`` would refuse.
    """
    head: dict[str, object] = {"schema": ROLLOUT_SCHEMA, "org": document.org}
    data = encode(head | {"release": document.release, "fraction_percent": document.fraction_percent})
    parse_rollout(data, document.org)
    return data
