"""Publish signed configuration: every act makes a new set in one transaction, and connected outposts get it offered.

A set holds all metadata and all documents. Policy and routes belong to the policy role: changing them makes a new
release, which rolls out by a plan (``plans``). Client keys belong to the access role: changing them leaves the release
as it is.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from controlplane.domain import keys, releases
from controlplane.domain.errors import InputError
from controlplane.domain.offers import SignedRelease
from controlplane.domain.orgs import checked_customer_id
from controlplane.domain.plans import PlanKind
from controlplane.domain.releases import Changes, Draft
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Chance, Clock
from controlplane.services.defaults import default_documents
from controlplane.services.payloads import VALIDITY_MS
from controlplane.services.plans import Planner, Wish
from controlplane.services.repository import ROOT_THRESHOLD
from controlplane.services.sets import (
    ConfigurationMissingError,
    Published,
    current_set,
    keep_set,
    repository_of,
    revision_of,
)
from outpost.core.bundle import names
from outpost.core.bundle.access import AccessDocument, ClientKey, build_access
from outpost.core.bundle.caps import CapsDocument, build_caps
from outpost.core.bundle.content import SetContent
from outpost.core.bundle.documents import Provider, RoutesDocument, build_routes
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.revocations import RevokedOutpost
from outpost.core.detect.rules import ENTITY_TYPES
from outpost.core.policy.compile import compile_document
from outpost.core.policy.document import PolicyDocument, canonical_bytes, parse_document
from outpost.core.policy.lint import LintFinding, LintLevel, lint

ROOT_KEYS = ROOT_THRESHOLD + 1  # 2 of 3 must sign: one may be lost
ROLES = (names.TIMESTAMP, names.SNAPSHOT, names.TARGETS, *names.DELEGATED_ROLES)
JUDGED_KEPT = 8  # judgements in memory, of 1 MiB of text at most: what is judged before an act is found within it
REFRESH_SHARE = 2  # a timestamp is signed again when less than half of its validity is left

Change = Callable[[OrgTransaction, SignedSet, SetContent], Awaitable[Changes]]
"""From what is in force to what changes; an empty change signs nothing."""
First = Callable[[OrgTransaction], Awaitable[None]]

AT_ONCE = Wish(at_once=True)
"""Everybody in one stage; the stable release is still there to go back to."""

__all__ = ["ConfigurationMissingError", "Published", "Publisher", "acceptable_policy", "judge_policy"]


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


@lru_cache(maxsize=JUDGED_KEPT)
def judge_policy(text: bytes) -> tuple[PolicyDocument, tuple[LintFinding, ...]]:
    """Read, compile and lint a policy document, as an outpost will; the same text is not judged twice in a row.

    Raises:
        BundleError: it cannot be read or compiled.
    """
    document = parse_document(text)
    return document, lint(document, ENTITY_TYPES, compile_document(document))


def acceptable_policy(org: str, text: bytes) -> tuple[PolicyDocument, tuple[LintFinding, ...]]:
    """A policy document that may be published for an org, with the linter's remarks.

    Raises:
        BundleError: it cannot be read or compiled.
        PolicyLintError: certain mistakes.
        PolicyAudienceError: it is for another org.
    """
    document, findings = judge_policy(text)
    errors = [finding for finding in findings if finding.level is LintLevel.ERROR]
    if errors:
        raise PolicyLintError(errors)
    if document.org != org:
        raise PolicyAudienceError(
            f"the policy is for another org than {org}", field="org", next_step=f"set org: {org} in the document"
        )
    return document, findings


def routes_draft(content: SetContent, providers: Sequence[Provider]) -> Draft:
    """Providers in the place of those of the newest release that may run.

    They get a new edition unless they are the same and nothing is switched off: whoever signs routes confirms all that
    stands in them.
    """
    newest = content.releases[content.rollout.newest]
    killed = content.kill.under(newest.routes_sha256)
    same = newest.routes.providers == tuple(providers) and not killed.providers and not killed.models
    edition = newest.routes.edition if same else newest.routes.edition + 1
    return Draft({names.ROUTES: build_routes(RoutesDocument(content.org, tuple(providers), edition))})


def terms_draft(terms: Mapping[str, object], caps: CapsDocument | None) -> Draft:
    """Other terms of the release, and other caps unless these are None."""
    return Draft({} if caps is None else {names.CAPS: build_caps(caps)}, terms)


class Publisher:
    """Signs and stores the configuration of every org."""

    def __init__(self, store: Store, clock: Clock, chance: Chance) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._planner = Planner(store, clock)

    async def create(self, org: str, providers: Sequence[Provider], first: First | None = None) -> Published:
        """Make an org: its keys, its repository and the default release.

        Args:
            org: id of a customer's org.
            providers: in order of preference.
            first: what else belongs to its beginning; done in the transaction that stores the first set, once.

        Raises:
            OrgExistsError: it exists; so is OrgReservedError for the operator's own.
        """
        now_ms = self._clock.now_ms()
        space = await self._store.add_org(checked_customer_id(org), now_ms)
        async with space.write() as transaction:
            if await transaction.releases.newest() is None:  # an interrupted creation may have come this far
                for role, number in (
                    *((role, 1) for role in ROLES),
                    *((names.ROOT, at + 1) for at in range(ROOT_KEYS)),
                ):
                    await transaction.role_keys.create(role, number)
                repository = await repository_of(transaction)
                signed = repository.create(default_documents(org, providers), now_ms)
                await keep_set(transaction, org, signed, 1, now_ms)
                if first is not None:
                    await first(transaction)
            number, current = await current_set(transaction)
        await self._store.make_ready(org)
        return Published(number, revision_of(org, current), changed=True)

    async def publish_policy(self, org: str, text: bytes, wish: Wish = AT_ONCE) -> Published:
        """Lint, compile, sign and roll out a policy.

        Raises:
            BundleError: the document cannot be read or compiled.
            PolicyLintError: certain mistakes.
            PolicyAudienceError: it is for another org.
            RollingError: another release is on its way.
            OrgUnknownError: no such org.
        """
        async with self._store.for_org(org).read():
            pass  # an unknown org is the first mistake to be told
        document, findings = acceptable_policy(org, text)
        draft = Draft({names.PACKS: canonical_bytes(document)})
        published = await self._release(org, PlanKind.POLICY, lambda content: draft, wish)
        return replace(published, findings=findings)

    async def publish_routes(self, org: str, providers: Sequence[Provider], wish: Wish = AT_ONCE) -> Published:
        """Sign and roll out the providers of an org.

        What was switched off is on again: whoever signs routes confirms all that stands in them.

        Raises:
            BundleError: a provider that an outpost would refuse.
            RollingError: another release is on its way.
        """
        return await self._release(org, PlanKind.ROUTES, lambda content: routes_draft(content, providers), wish)

    async def publish_terms(
        self, org: str, terms: Mapping[str, object], caps: CapsDocument | None, wish: Wish = AT_ONCE
    ) -> Published:
        """Sign and roll out other terms of the release, or other caps on what online keys may hand out.

        Args:
            org: org id.
            terms: fields of ``Release`` that change.
            caps: in the place of those in force; None leaves them.
            wish: how it rolls out.

        Raises:
            BundleError: a value that an outpost would refuse, or keys in force beyond the new caps.
            RollingError: another release is on its way.
        """
        draft = terms_draft(terms, caps)
        return await self._release(org, PlanKind.TERMS, lambda content: draft, wish)

    async def kill(self, org: str, providers: Iterable[str], models: Iterable[str]) -> Published:
        """Switch providers and models off under the routes in force: one online signature."""

        async def change(transaction: OrgTransaction, current: SignedSet, content: SetContent) -> Changes:
            return releases.with_killed(content, providers, models)

        return await self._publish(org, change)

    async def list_revoked(self, org: str, outposts: Iterable[RevokedOutpost]) -> Published:
        """Tell every outpost of the org who lost his identity: one online signature."""

        async def change(transaction: OrgTransaction, current: SignedSet, content: SetContent) -> Changes:
            return releases.with_revoked(content, outposts)

        return await self._publish(org, change)

    async def documents(self, org: str) -> Mapping[str, bytes]:
        """Documents in force, by path."""
        async with self._store.for_org(org).read() as transaction:
            _, current = await current_set(transaction)
        return current.targets

    async def content(self, org: str) -> SetContent:
        """What the documents in force say."""
        return read_documents(await self.documents(org), org)

    async def policy(self, org: str) -> bytes:
        """The policy document of the newest release that may run, as it was signed."""
        content = await self.content(org)
        return content.releases[content.rollout.newest].packs

    async def providers(self, org: str) -> tuple[Provider, ...]:
        """Providers of the newest release that may run."""
        content = await self.content(org)
        return content.releases[content.rollout.newest].routes.providers

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

        async def add(transaction: OrgTransaction, current: SignedSet, content: SetContent) -> Changes:
            await transaction.keys.add(record)
            return await _access(transaction, content)

        return text, record, await self._publish(org, add)

    async def revoke_key(self, org: str, name_or_id: str) -> tuple[ClientKey, Published]:
        """Revoke a client key: one online signature. Raises KeyUnknownError."""
        revoked: list[ClientKey] = []

        async def revoke(transaction: OrgTransaction, current: SignedSet, content: SetContent) -> Changes:
            revoked.append(await transaction.keys.revoke(name_or_id))
            return await _access(transaction, content)

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
            repository = await repository_of(transaction)
            number, current = await current_set(transaction)
            signed = repository.refresh(current, now_ms)
            await keep_set(transaction, org, signed, number + 1, now_ms)
        return Published(number + 1, revision_of(org, signed), changed=True)

    async def _release(
        self, org: str, kind: PlanKind, draft_of: Callable[[SetContent], Draft], wish: Wish
    ) -> Published:
        """Publish changed documents of the policy role as a new release; nothing happens when they are in force."""
        async with self._store.for_org(org).write() as transaction:
            number, current = await current_set(transaction)
            content = read_documents(current.targets, org)
            draft = draft_of(content)
            if releases.is_in_force(current.targets, content, draft):
                return Published(number, revision_of(org, current), changed=False)
            return await self._planner.release(transaction, kind, draft, wish)

    async def _publish(self, org: str, change: Change) -> Published:
        space = self._store.for_org(org)
        async with space.write() as transaction:
            repository = await repository_of(transaction)
            number, current = await current_set(transaction)
            changes = await change(transaction, current, read_documents(current.targets, org))
            if not changes:
                return Published(number, revision_of(org, current), changed=False)
            now_ms = self._clock.now_ms()
            signed = repository.publish(current, changes, now_ms)
            await keep_set(transaction, org, signed, number + 1, now_ms)
        return Published(number + 1, revision_of(org, signed), changed=True)


def _is_due(newest: SignedRelease | None, now_ms: int) -> bool:
    """Whether the newest set's timestamp has used up half of its validity."""
    return newest is not None and (
        newest.timestamp_expires_ms - now_ms <= VALIDITY_MS[names.TIMESTAMP] // REFRESH_SHARE
    )


async def _access(transaction: OrgTransaction, content: SetContent) -> Changes:
    """The access document of all keys; a revoked key stays listed, so that its denial can say so."""
    document = AccessDocument(content.org, await transaction.keys.all(), content.access.requests_per_minute)
    return {names.KEYS_PATH: build_access(document)}
