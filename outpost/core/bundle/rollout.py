"""`rollout/current.json`: which signed release runs where. The online role that signs it can only choose.

Theory. Every logical outpost has a cohort value for each candidate, a number that nobody chooses: the first four bytes
of a hash over org, candidate and name. A candidate runs where the value is below the signed threshold. So the outposts
of a stage follow from two numbers, replicas of one logical outpost go together, a rising threshold only adds outposts,
and another candidate meets others first.

Whoever comes while a stage runs would join it by the same numbers, and then more outposts than the stage's share would
have met the candidate. So those are spared: the document lists their values, and the stable release runs there.
"""

import hashlib
from dataclasses import dataclass

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.documents import open_document
from outpost.core.bundle.fields import Fields

ROLLOUT_SCHEMA = "outpost.rollout/2"
COHORT_DOMAIN = "outpost.cohort/1"
EVERYBODY = limits.COHORT_VALUES
"""Threshold below which every cohort value is."""


@dataclass(frozen=True, slots=True)
class RolloutDocument:
    """The choice in force.

    Attributes:
        org: audience.
        stable: version of the release that runs wherever the candidate does not.
        candidate: version of the release that is tried, higher than ``stable``; None when there is none.
        threshold: the candidate runs where the cohort value is below it, 0 to 2^32.
        stage: share of outposts in percent, for people.
        spared: cohort values below the threshold where the stable release runs all the same; rising.
    """

    org: str
    stable: int
    candidate: int | None = None
    threshold: int = 0
    stage: int = 100
    spared: tuple[int, ...] = ()

    @property
    def named(self) -> tuple[int, ...]:
        """Versions that may run."""
        return (self.stable,) if self.candidate is None else (self.stable, self.candidate)

    @property
    def newest(self) -> int:
        """The highest version that may run."""
        return self.named[-1]


def parse_rollout(data: bytes, org: str) -> RolloutDocument:
    """Read `rollout/current.json`.

    Raises:
        BundleError: one of the leaves of ``errors.ContentError``, or OtherOrgError.
    """
    fields = open_document(data, names.ROLLOUT_PATH, ROLLOUT_SCHEMA, org)
    stable = fields.integer("stable", 1, limits.MAX_VERSION)
    document = RolloutDocument(
        org=org,
        stable=stable,
        candidate=fields.optional_integer("candidate", stable + 1, limits.MAX_VERSION),
        threshold=fields.integer("threshold", 0, EVERYBODY),
        stage=fields.integer("stage", 0, 100),
        spared=_spared(fields),
    )
    if document.candidate is None and document.threshold:
        raise fields.fail("threshold", "must be 0 without a candidate")
    if document.spared and document.spared[-1] >= document.threshold:
        raise fields.fail("spared", "must hold values below the threshold")
    fields.done()
    return document


def _spared(fields: Fields) -> tuple[int, ...]:
    items = fields.items("spared", limits.MAX_SPARED)
    values = tuple(item for item in items if isinstance(item, int) and not isinstance(item, bool))
    if len(values) != len(items) or list(values) != sorted(set(values)) or (values and values[0] < 0):
        raise fields.fail("spared", "must hold rising cohort values")
    return values


def build_rollout(document: RolloutDocument) -> bytes:
    """Canonical bytes of the roll-out.

    Raises:
        BundleError: a value that ``parse_rollout`` would refuse.
    """
    data = encode(
        {
            "schema": ROLLOUT_SCHEMA,
            "org": document.org,
            "stable": document.stable,
            "candidate": document.candidate,
            "threshold": document.threshold,
            "stage": document.stage,
            "spared": list(document.spared),
        }
    )
    parse_rollout(data, document.org)
    return data


def cohort_value(org: str, candidate: int, logical: str) -> int:
    """Where a logical outpost stands in the order in which outposts take a candidate: 0 to 2^32 - 1.

    Args:
        org: org id.
        candidate: version of the release.
        logical: name of the logical outpost; replicas share it.
    """
    text = "\n".join((COHORT_DOMAIN, org, str(candidate), logical))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def choose(document: RolloutDocument, logical: str) -> int:
    """Version of the release that runs on a logical outpost."""
    candidate = document.candidate
    if candidate is None:
        return document.stable
    value = cohort_value(document.org, candidate, logical)
    return candidate if value < document.threshold and value not in document.spared else document.stable
