"""`access/revocations.json`: outposts that lost their identity. Entries never go away."""

import re
from dataclasses import asdict, dataclass

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.documents import open_document
from outpost.core.bundle.fields import Fields

REVOCATIONS_SCHEMA = "outpost.revocations/1"
LOCKED, REVOKED = "locked", "revoked"
KINDS = (LOCKED, REVOKED)
"""From the weaker to the stronger: only a locked outpost can come back, by enrolling again."""
OUTPOST_ID = re.compile(r"op-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class RevokedOutpost:
    """One outpost.

    Attributes:
        id: id of the outpost.
        kind: "revoked" for ever, or "locked" until it enrolls again.
        join_sequence: identities of the outpost up to this join sequence are meant.
    """

    id: str
    kind: str
    join_sequence: int


@dataclass(frozen=True, slots=True)
class RevocationsDocument:
    """All outposts of an org that were ever revoked or locked."""

    org: str
    outposts: tuple[RevokedOutpost, ...] = ()

    def of(self, outpost_id: str, join_sequence: int) -> RevokedOutpost | None:
        """The entry that an identity falls under."""
        return next(
            (each for each in self.outposts if each.id == outpost_id and join_sequence <= each.join_sequence), None
        )


def parse_revocations(data: bytes, org: str) -> RevocationsDocument:
    """Read `access/revocations.json`.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, names.REVOCATIONS_PATH, REVOCATIONS_SCHEMA, org)
    outposts = tuple(_outpost(item) for item in fields.objects("outposts", limits.MAX_REVOCATIONS))
    if len({each.id for each in outposts}) != len(outposts):
        raise fields.fail("outposts", "must not hold an id twice")
    fields.done()
    return RevocationsDocument(org, outposts)


def _outpost(fields: Fields) -> RevokedOutpost:
    entry = RevokedOutpost(
        id=fields.match("id", OUTPOST_ID),
        kind=fields.choice("kind", KINDS),
        join_sequence=fields.integer("join_sequence", 0, limits.MAX_INTEGER),
    )
    fields.done()
    return entry


def build_revocations(document: RevocationsDocument) -> bytes:
    """Canonical bytes of the revocations.

    Raises:
        BundleError: a value that ``parse_revocations`` would refuse.
    """
    head: dict[str, object] = {"schema": REVOCATIONS_SCHEMA, "org": document.org}
    data = encode(head | {"outposts": [asdict(each) for each in document.outposts]})
    parse_revocations(data, document.org)
    return data
