"""`access/keys.json`: who may call. Only hashes of client keys, never a key."""

import re
from dataclasses import asdict, dataclass

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.documents import open_document
from outpost.core.bundle.fields import Fields

ACCESS_SCHEMA = "outpost.keys/1"
CHANNELS = ("interactive", "api")
DATA_CLASSES = ("public", "internal", "confidential", "phi")
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ClientKey:
    """What a client key stands for.

    Attributes:
        id: shown to people and recorded; not secret.
        sha256: hex SHA-256 over the whole key text.
        name: label.
        user: id of the user, or empty.
        groups: for conditions on groups.
        agent: identity of an AI agent, or empty.
        channel: "interactive" or "api".
        data_class: class of data that the key's traffic is assumed to hold.
        models: globs of models that it may ask for; empty = all.
        not_before: Unix seconds.
        expires: Unix seconds, first moment at which the key is no longer valid.
        revoked: never valid again.
    """

    id: str
    sha256: str
    name: str
    user: str
    groups: tuple[str, ...]
    agent: str
    channel: str
    data_class: str
    models: tuple[str, ...]
    not_before: int
    expires: int
    revoked: bool


@dataclass(frozen=True, slots=True)
class AccessDocument:
    """All client keys of an org.

    Attributes:
        org: audience.
        keys: in order of the document.
        requests_per_minute: allowance of each key; 0 = no limit.
    """

    org: str
    keys: tuple[ClientKey, ...]
    requests_per_minute: int


def parse_access(data: bytes, org: str) -> AccessDocument:
    """Read `access/keys.json`.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, names.KEYS_PATH, ACCESS_SCHEMA, org)
    keys = tuple(_client_key(item) for item in fields.objects("keys", limits.MAX_CLIENT_KEYS))
    if len({key.id for key in keys}) != len(keys) or len({key.sha256 for key in keys}) != len(keys):
        raise fields.fail("keys", "must not hold an id or a hash twice")
    allowance = fields.integer("requests_per_minute", 0, limits.MAX_REQUESTS_PER_MINUTE)
    fields.done()
    return AccessDocument(org=org, keys=keys, requests_per_minute=allowance)


def _client_key(fields: Fields) -> ClientKey:
    key = ClientKey(
        id=fields.match("id", _KEY_ID),
        sha256=fields.sha256("sha256"),
        name=fields.text("name", empty=True),
        user=fields.text("user", empty=True),
        groups=fields.texts("groups", limits.MAX_GROUPS),
        agent=fields.text("agent", empty=True),
        channel=fields.choice("channel", CHANNELS),
        data_class=fields.choice("data_class", DATA_CLASSES),
        models=fields.texts("models", limits.MAX_MODELS),
        not_before=fields.integer("not_before", 0, limits.MAX_INTEGER),
        expires=fields.integer("expires", 0, limits.MAX_INTEGER),
        revoked=fields.flag("revoked"),
    )
    fields.done()
    return key


def build_access(document: AccessDocument) -> bytes:
    """Canonical bytes of the client keys.

    Raises:
        BundleError: a value that ``parse_access`` would refuse.
    """
    data = encode(
        {
            "schema": ACCESS_SCHEMA,
            "org": document.org,
            "keys": [asdict(key) for key in document.keys],
            "requests_per_minute": document.requests_per_minute,
        }
    )
    parse_access(data, document.org)
    return data
