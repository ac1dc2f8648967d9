"""`access/kill.json`: providers and models that are switched off at once, by one online signature.

A kill list is bound to the routes document that it was made for. Whoever signs new routes confirms what stands in
them, so a kill list does not reach over to those; and as long as the old routes are in force, no entry goes away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.documents import PROVIDER_NAME, open_document
from outpost.core.bundle.fields import Fields

KILL_SCHEMA = "outpost.kill/1"


@dataclass(frozen=True, slots=True)
class KillList:
    """What is switched off under one routes document.

    Attributes:
        providers: names of providers.
        models: globs of models.
    """

    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KillDocument:
    """All kill lists of an org.

    Attributes:
        org: audience.
        lists: SHA-256 of a routes document (64 hex digits) to its kill list.
    """

    org: str
    lists: Mapping[str, KillList] = field(default_factory=dict)

    def under(self, routes_sha256: str) -> KillList:
        """What is switched off under a routes document."""
        return self.lists.get(routes_sha256, KillList())


def parse_kill(data: bytes, org: str) -> KillDocument:
    """Read `access/kill.json`.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, names.KILL_PATH, KILL_SCHEMA, org)
    pairs = [_list(item) for item in fields.objects("lists", limits.MAX_KILLS)]
    if len(dict(pairs)) != len(pairs):
        raise fields.fail("lists", "must not hold a routes document twice")
    fields.done()
    return KillDocument(org, dict(pairs))


def _list(fields: Fields) -> tuple[str, KillList]:
    routes = fields.sha256("routes_sha256")
    found = KillList(
        providers=fields.texts("providers", limits.MAX_KILLED, pattern=PROVIDER_NAME),
        models=fields.texts("models", limits.MAX_KILLED),
    )
    fields.done()
    return routes, found


def build_kill(document: KillDocument) -> bytes:
    """Canonical bytes of the kill lists.

    Raises:
        BundleError: a value that ``parse_kill`` would refuse.
    """
    lists = [
        {"routes_sha256": routes, "providers": list(each.providers), "models": list(each.models)}
        for routes, each in sorted(document.lists.items())
    ]
    data = encode({"schema": KILL_SCHEMA, "org": document.org, "lists": lists})
    parse_kill(data, document.org)
    return data
