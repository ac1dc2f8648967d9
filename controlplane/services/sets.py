"""Signed sets in the store: the newest one, and how a next one is kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from controlplane.domain.errors import StateError
from controlplane.domain.offers import SetFile, SignedRelease
from controlplane.ports.store import OrgTransaction
from controlplane.services.payloads import ALL_ROLES, expires_ms, stored
from controlplane.services.repository import Repository
from outpost.core.bundle import names
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.rollout import parse_rollout
from outpost.core.policy.lint import LintFinding


class ConfigurationMissingError(StateError):
    """The org has no signed set yet."""

    code = "org.not_ready"
    fatal = True


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication did.

    Attributes:
        number: of the newest set.
        revision: of the newest set.
        changed: false when the same content was in force already; then nothing was signed.
        findings: remarks of the linter on a policy, none of them an error.
        waiting: the draft is kept until those who hold the keys of the policy role have signed it.
        plan: id of the plan that it belongs to, empty for what is no release; ``stage`` is how far that is, in percent.
    """

    number: int
    revision: str
    changed: bool
    findings: tuple[LintFinding, ...] = ()
    waiting: bool = False
    plan: str = ""
    stage: int = 0


async def repository_of(transaction: OrgTransaction) -> Repository:
    """The signing side of an org with the keys that are here."""
    held = await transaction.role_keys.all()
    return Repository(transaction.org, {role: held.get(role, ()) for role in ALL_ROLES})


async def current_set(transaction: OrgTransaction) -> tuple[int, SignedSet]:
    """Number and content of the newest set.

    Raises:
        ConfigurationMissingError: there is none.
    """
    newest = await transaction.releases.newest()
    if newest is None:
        raise ConfigurationMissingError(
            "this org has no signed configuration: its creation was interrupted",
            field="org",
            next_step="run it again: controlplane org create ORG",
        )
    contents = await transaction.releases.contents(newest)
    metadata = {file.name: contents[file.name] for file in newest.files if file.metadata}
    targets = {file.name: contents[file.name] for file in newest.files if not file.metadata}
    return newest.number, SignedSet(metadata, targets)


async def keep_set(transaction: OrgTransaction, org: str, signed: SignedSet, number: int, now_ms: int) -> None:
    """Store a set that was just signed."""
    release = SignedRelease(
        number=number,
        revision=revision_of(org, signed),
        created_ms=now_ms,
        timestamp_expires_ms=expires_ms(stored(signed.metadata, names.TIMESTAMP)),
        files=set_files(signed),
    )
    await transaction.releases.add(release, {**signed.metadata, **signed.targets})


def set_files(signed: SignedSet) -> tuple[SetFile, ...]:
    """Every file of a set by name, hash and size."""
    groups: Sequence[tuple[dict[str, bytes], bool]] = ((dict(signed.metadata), True), (dict(signed.targets), False))
    return tuple(
        SetFile(name, sha256(body).digest(), len(body), metadata)
        for contents, metadata in groups
        for name, body in sorted(contents.items())
    )


def revision_of(org: str, signed: SignedSet) -> str:
    """Newest release that may run, a dot, version of the snapshot."""
    release = parse_rollout(signed.targets[names.ROLLOUT_PATH], org).newest
    snapshot = json.loads(signed.metadata[names.metadata_file(names.SNAPSHOT)])["signed"]["version"]
    return f"{release}.{snapshot}"
