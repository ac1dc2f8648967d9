"""Publish signed configuration: every act makes a new set in one transaction, and connected outposts get it offered.

A set holds all metadata and all documents. Policy and routes belong to the policy role: changing them makes a new
release and rolls it out. Client keys belong to the access role: changing them leaves the release as it is.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from controlplane.domain import keys
from controlplane.domain.errors import InputError, StateError
from controlplane.domain.offers import SetFile, SignedRelease
from controlplane.domain.orgs import checked_customer_id
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Chance, Clock
from controlplane.services.defaults import default_documents, resources_of
from controlplane.services.repository import ROOT_THRESHOLD, VALIDITY_MS, Repository
from outpost.core.bundle import names
from outpost.core.bundle.access import AccessDocument, ClientKey, build_access
from outpost.core.bundle.documents import (
    Provider,
    RolloutDocument,
    RoutesDocument,
    build_release,
    build_rollout,
    build_routes,
    parse_release,
    parse_routes,
)
from outpost.core.bundle.release import SignedSet
from outpost.core.detect.rules import ENTITY_TYPES
from outpost.core.policy.compile import compile_document
from outpost.core.policy.document import PolicyDocument, canonical_bytes, parse_document
from outpost.core.policy.lint import LintFinding, LintLevel, lint

ROOT_KEYS = ROOT_THRESHOLD + 1  # 2 of 3 must sign: one may be lost
ROLES = (names.TIMESTAMP, names.SNAPSHOT, names.TARGETS, *names.DELEGATED_ROLES)
REFRESH_SHARE = 2  # a timestamp is signed again when less than half of its validity is left

Changes = Mapping[str, bytes | None]


class PolicyLintError(InputError):
    """The linter found a denial that has no effect, or another certain mistake."""

    code = "policy.lint"

    def __init__(self, findings: Sequence[LintFinding]) -> None:
        first = findings[0]
        super().__init__(
            f"the policy has {len(findings)} certain mistake(s); the first: {first.message}",
            field=f"{first.pack}/{first.rule}".strip("/"),
            next_step=first.next_step or "see all: controlplane policy lint FILE",
        )
        self.findings = tuple(findings)


class PolicyAudienceError(InputError):
    """The policy names another org."""

    code = "policy.other_org"


class ConfigurationMissingError(StateError):
    """The org has no signed set yet."""

    code = "org.not_ready"
    fatal = True


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication did.

    Attributes:
        number: of the newest set.
        changed: false when the same content was in force already; then nothing was signed.
        findings: remarks of the linter on a policy, none of them an error.
    """

    number: int
    revision: str
    changed: bool
    findings: tuple[LintFinding, ...] = ()


def judge_policy(text: bytes) -> tuple[PolicyDocument, tuple[LintFinding, ...]]:
    """Read, compile and lint a policy document, as an outpost will.

    Raises:
        BundleError: it cannot be read or compiled.
    """
    document = parse_document(text)
    return document, lint(document, ENTITY_TYPES, compile_document(document))


class Publisher:
    """Signs and stores the configuration of every org."""

    def __init__(self, store: Store, clock: Clock, chance: Chance) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance

    async def create(self, org: str, providers: Sequence[Provider]) -> Published:
        """Make an org: its keys, its repository and the default release. Raises OrgExistsError, OrgReservedError."""
        now_ms = self._clock.now_ms()
        space = await self._store.add_org(checked_customer_id(org), now_ms)
        async with space.write() as transaction:
            if await transaction.releases.newest() is None:  # an interrupted creation may have come this far
                for role, number in (
                    *((role, 1) for role in ROLES),
                    *((names.ROOT, at + 1) for at in range(ROOT_KEYS)),
                ):
                    await transaction.role_keys.create(role, number)
                repository = await _repository(transaction)
                signed = repository.create(default_documents(org, providers), now_ms)
                await self._keep(transaction, repository, signed, 1)
            number, current = await self._current(transaction)
        await self._store.make_ready(org)
        return Published(number, _revision(org, current), changed=True)

    async def publish_policy(self, org: str, text: bytes) -> Published:
        """Lint, compile, sign and roll out a policy.

        Raises:
            BundleError: the document cannot be read or compiled.
            PolicyLintError: certain mistakes.
            PolicyAudienceError: it is for another org.
            OrgUnknownError: no such org.
        """
        async with self._store.for_org(org).read():
            pass  # an unknown org is the first mistake to be told
        document, findings = judge_policy(text)
        errors = [finding for finding in findings if finding.level is LintLevel.ERROR]
        if errors:
            raise PolicyLintError(errors)
        if document.org != org:
            raise PolicyAudienceError(
                f"the policy is for another org than {org}", field="org", next_step=f"set org: {org} in the document"
            )
        published = await self._release(org, {names.PACKS_PATH: canonical_bytes(document)})
        return replace(published, findings=findings)

    async def publish_routes(self, org: str, providers: Sequence[Provider]) -> Published:
        """Sign and roll out the providers of an org. Raises BundleError: a provider that an outpost would refuse."""
        return await self._release(org, {names.ROUTES_PATH: build_routes(RoutesDocument(org, tuple(providers)))})

    async def documents(self, org: str) -> Mapping[str, bytes]:
        """Documents in force, by path."""
        async with self._store.for_org(org).read() as transaction:
            _, current = await self._current(transaction)
        return current.targets

    async def providers(self, org: str) -> tuple[Provider, ...]:
        """Providers in force."""
        return parse_routes((await self.documents(org))[names.ROUTES_PATH], org).providers

    async def create_key(self, org: str, description: ClientKey) -> tuple[str, ClientKey, Published]:
        """Make a client key.

        Args:
            org: org id.
            description: all fields but ``id`` and ``sha256``, which are set here.

        Returns:
            The key text, to be shown once and stored nowhere; its record; the publication.

        Raises:
            KeyInvalidError: a field is not allowed.
            KeyExistsError: a live key has the name.
        """
        text = keys.key_text(org, self._chance.token_bytes(keys.KEY_BYTES))
        key_id = "key-" + self._chance.token_bytes(keys.KEY_ID_BYTES).hex()
        record = keys.checked(replace(description, id=key_id, sha256=keys.key_hash(text)))

        async def add(transaction: OrgTransaction) -> Changes:
            await transaction.keys.add(record)
            return await _access(transaction, org)

        return text, record, await self._publish(org, add)

    async def revoke_key(self, org: str, name_or_id: str) -> tuple[ClientKey, Published]:
        """Revoke a client key: one online signature. Raises KeyUnknownError."""
        revoked: list[ClientKey] = []

        async def revoke(transaction: OrgTransaction) -> Changes:
            revoked.append(await transaction.keys.revoke(name_or_id))
            return await _access(transaction, org)

        published = await self._publish(org, revoke)
        return revoked[0], published

    async def client_keys(self, org: str) -> tuple[ClientKey, ...]:
        """All client keys, revoked ones too."""
        async with self._store.for_org(org).read() as transaction:
            return await transaction.keys.all()

    async def refresh(self, org: str) -> Published | None:
        """Sign again what has used up half of its validity.

        Returns:
            The new set, or None when nothing was due.
        """
        now_ms = self._clock.now_ms()
        async with self._store.for_org(org).read() as transaction:
            if not _is_due(await transaction.releases.newest(), now_ms):
                return None
        async with self._store.for_org(org).write() as transaction:
            if not _is_due(await transaction.releases.newest(), now_ms):  # another replica was faster
                return None
            repository = await _repository(transaction)
            number, current = await self._current(transaction)
            signed = repository.refresh(current, now_ms)
            await self._keep(transaction, repository, signed, number + 1)
        return Published(number + 1, _revision(org, signed), changed=True)

    async def _release(self, org: str, documents: Mapping[str, bytes]) -> Published:
        """Publish changed documents of the policy role under a new release."""

        async def change(transaction: OrgTransaction) -> Changes:
            _, current = await self._current(transaction)
            if all(current.targets.get(path) == body for path, body in documents.items()):
                return {}
            merged = {**current.targets, **documents}
            before = parse_release(current.targets[names.RELEASE_PATH], org)
            release = replace(before, version=before.version + 1, resources=resources_of(merged))
            return {
                **documents,
                names.RELEASE_PATH: build_release(release),
                names.ROLLOUT_PATH: build_rollout(RolloutDocument(org, release.version, 100)),
            }

        return await self._publish(org, change)

    async def _publish(self, org: str, change: Callable[[OrgTransaction], Awaitable[Changes]]) -> Published:
        async with self._store.for_org(org).write() as transaction:
            changes = await change(transaction)
            number, current = await self._current(transaction)
            if not changes:
                return Published(number, _revision(org, current), changed=False)
            repository = await _repository(transaction)
            signed = repository.publish(current, changes, self._clock.now_ms())
            await self._keep(transaction, repository, signed, number + 1)
        return Published(number + 1, _revision(org, signed), changed=True)

    async def _current(self, transaction: OrgTransaction) -> tuple[int, SignedSet]:
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

    async def _keep(self, transaction: OrgTransaction, repository: Repository, signed: SignedSet, number: int) -> None:
        files = [
            SetFile(name, sha256(body).digest(), len(body), metadata)
            for contents, metadata in ((signed.metadata, True), (signed.targets, False))
            for name, body in sorted(contents.items())
        ]
        release = SignedRelease(
            number=number,
            revision=_revision(_org_of(signed), signed),
            created_ms=self._clock.now_ms(),
            timestamp_expires_ms=repository.expiries(signed)[names.TIMESTAMP],
            files=tuple(files),
        )
        await transaction.releases.add(release, {**signed.metadata, **signed.targets})


async def _repository(transaction: OrgTransaction) -> Repository:
    """The signing side of the org, with the keys that are at hand."""
    held = await transaction.role_keys.all()
    return Repository(transaction.org, {role: held.get(role, ()) for role in (names.ROOT, *ROLES)})


def _is_due(newest: SignedRelease | None, now_ms: int) -> bool:
    """Whether the newest set's timestamp has used up half of its validity."""
    return newest is not None and (
        newest.timestamp_expires_ms - now_ms <= VALIDITY_MS[names.TIMESTAMP] // REFRESH_SHARE
    )


def _org_of(signed: SignedSet) -> str:
    """Org that a set which we signed is for."""
    return str(json.loads(signed.targets[names.RELEASE_PATH])["org"])


def _revision(org: str, signed: SignedSet) -> str:
    """Release version, a dot, snapshot version."""
    release = parse_release(signed.targets[names.RELEASE_PATH], org).version
    snapshot = json.loads(signed.metadata[names.metadata_file(names.SNAPSHOT)])["signed"]["version"]
    return f"{release}.{snapshot}"


async def _access(transaction: OrgTransaction, org: str) -> Changes:
    """The access document of all keys; a revoked key stays listed, so that its denial can say so."""
    return {names.KEYS_PATH: build_access(AccessDocument(org, await transaction.keys.all(), 0))}
