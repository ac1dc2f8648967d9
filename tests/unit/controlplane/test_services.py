"""Publishing, identity and ingest on the real store."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from certs.shell.dev import create_hierarchy
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import DRAIN_MS, Act
from controlplane.services.defaults import default_policy, default_provider
from controlplane.services.identity import Principal
from controlplane.services.ingest import MAX_ENTRY_BYTES, Appended, Ingest, Upload
from controlplane.services.payloads import VALIDITY_MS
from controlplane.services.views import MAX_AGE_SECONDS
from outpost.core.audit.merkle import CompactRange, leaf_hash
from outpost.core.bundle.access import ClientKey, parse_access
from outpost.core.bundle.release import Audience, HighWater, SignedSet
from outpost.core.errors import OutpostError
from outpost.core.policy.compile import compile_document
from outpost.core.policy.document import parse_document
from outpost.core.policy.lint import LintLevel, lint
from outpost.sync.tuf import verify
from tests.unit.controlplane.bed import START_MS, TRUST_DOMAIN, Bed, Log, bed

KEY = ClientKey("", "", "alice", "u-1", ("staff",), "", "api", "internal", (), 0, 86_400, revoked=False)


async def signed(plane: Bed, org: str = "acme") -> tuple[bytes, SignedSet]:
    async with plane.store.for_org(org).read() as transaction:
        newest = await transaction.releases.newest()
        assert newest is not None
        contents = await transaction.releases.contents(newest)
    metadata = {file.name: contents[file.name] for file in newest.files if file.metadata}
    targets = {file.name: contents[file.name] for file in newest.files if not file.metadata}
    return metadata["1.root.json"], SignedSet(metadata, targets)


async def test_every_publication_verifies_at_the_outpost(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        revisions = []
        root, _ = await signed(plane)
        text, record, published = await plane.publisher.create_key("acme", KEY)
        revisions.append(published.revision)
        assert (await plane.publisher.publish_policy("acme", default_policy("acme"))).changed is False
        other = default_policy("acme").replace(b"found.", b"seen.")
        revisions.append((await plane.publisher.publish_policy("acme", other)).revision)
        routes = [default_provider("http://127.0.0.1:10/v1", "")]
        revisions.append((await plane.publisher.publish_routes("acme", routes)).revision)
        _, published = await plane.publisher.revoke_key("acme", record.id)
        revisions.append(published.revision)
        assert revisions == ["1.2", "2.3", "3.4", "3.5"]
        verified = verify(root, (await signed(plane))[1], HighWater({}, 0), START_MS, Audience("acme"))
        assert verified.revision == "3.5"
        keys = parse_access(verified.documents["access/keys.json"], "acme").keys
        assert [(key.name, key.revoked, key.groups) for key in keys] == [("alice", True, ("staff",))]
        assert text not in str(verified.documents)


async def test_timestamps_are_signed_again_when_half_of_their_life_is_over(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        half = VALIDITY_MS["timestamp"] // 2
        plane.clock.ms += half - 1
        assert await plane.publisher.refresh("acme") is None
        plane.clock.ms += 1
        refreshed = await plane.publisher.refresh("acme")
        assert refreshed is not None
        root, current = await signed(plane)
        verified = verify(root, current, HighWater({}, 0), plane.clock.ms, Audience("acme"))
        assert verified.signed_at_ms == plane.clock.ms
        assert verified.timestamp_expires_ms > plane.clock.ms + half


def test_the_default_policy_has_no_certain_mistake() -> None:
    from outpost.core.detect.rules import ENTITY_TYPES

    document = parse_document(default_policy("acme"))
    compile_document(document)
    findings = lint(document, ENTITY_TYPES)
    assert {finding.level for finding in findings} <= {LintLevel.WARNING, LintLevel.INFO}
    assert {finding.code for finding in findings} == {"policy.lint.default_allow"}


def broken(change: Callable[[dict[str, object]], None]) -> bytes:
    document = json.loads(default_policy("acme"))
    change(document)
    return json.dumps(document).encode()


POLICIES: dict[str, tuple[bytes, str]] = {
    "no document at all": (b"\x00", "policy."),
    "another org's policy": (default_policy("globex"), "policy.other_org"),
    "a policy that lets cards pass": (default_policy("acme").replace(b'"credit_card",', b""), "policy.lint"),
    "a field that is misspelt": (broken(lambda d: d.update(pakcs=[])), "policy.document_invalid"),
    "a chain without its pack": (broken(lambda d: d.update(org_chain=["x"])), "policy.document_invalid"),
}


@pytest.mark.parametrize("name", POLICIES)
async def test_policies_that_are_not_signed(name: str, tmp_path: Path) -> None:
    text, code = POLICIES[name]
    async with bed(tmp_path) as plane:
        with pytest.raises((ControlPlaneError, OutpostError)) as caught:
            await plane.publisher.publish_policy("acme", text)
        assert caught.value.code.startswith(code)
        async with plane.store.for_org("acme").read() as transaction:
            newest = await transaction.releases.newest()
        assert newest is not None
        assert newest.number == 1


KEYS: dict[str, dict[str, object]] = {
    "a name with a line break": {"name": "a\nb"},
    "no name": {"name": ""},
    "a life of 10 years": {"expires": 10 * 366 * 86_400},
    "no life": {"expires": 0},
    "another channel": {"channel": "fax"},
    "another data class": {"data_class": "secret"},
    "a group that is none": {"groups": ("a b",)},
}


@pytest.mark.parametrize("name", KEYS)
async def test_keys_that_are_not_made(name: str, tmp_path: Path) -> None:
    from dataclasses import replace

    async with bed(tmp_path) as plane:
        with pytest.raises(ControlPlaneError) as caught:
            await plane.publisher.create_key("acme", replace(KEY, **KEYS[name]))  # type: ignore[arg-type]
        assert caught.value.code == "key.invalid_request"


async def test_a_name_of_a_key_is_free_again_after_its_revocation(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        await plane.publisher.create_key("acme", KEY)
        with pytest.raises(ControlPlaneError) as caught:
            await plane.publisher.create_key("acme", KEY)
        assert caught.value.code == "key.exists"
        await plane.publisher.revoke_key("acme", "alice")
        await plane.publisher.create_key("acme", KEY)
        assert [key.revoked for key in await plane.publisher.client_keys("acme")] == [True, False]


async def test_certificates_of_others_prove_nothing_here(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        enrolled = await plane.enrolled()
        stranger = create_hierarchy(START_MS // 1000).outpost("acme", enrolled.outpost.id, START_MS // 1000)
        chains = {
            "another root": stranger.chain_der,
            "nothing": (),
            "rubbish": (b"x",),
            "only the issuing CA": enrolled.chain.leaf_and_issuers[1:],
        }
        for name, chain in chains.items():
            with pytest.raises(ControlPlaneError) as caught:
                await plane.gatekeeper.identify(chain, Act.SYNC)
            assert caught.value.code == "identity.refused", name


async def test_a_certificate_ends_in_time_and_a_revocation_at_once(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        enrolled = await plane.enrolled()
        principal = await plane.principal(enrolled)
        plane.clock.ms = principal.not_after_ms + 1000
        with pytest.raises(ControlPlaneError, match="expired") as caught:
            await plane.principal(enrolled)
        assert caught.value.code == "identity.refused"
        plane.clock.ms = START_MS
        await plane.administration.revoke("acme", "prod", "stolen")
        await plane.views.refresh("acme")  # as the watch does several times a second
        for act, code in ((Act.SYNC, "outpost.revoked"), (Act.RENEW, "outpost.revoked")):
            with pytest.raises(ControlPlaneError) as caught:
                await plane.gatekeeper.identify(enrolled.chain.leaf_and_issuers, act)
            assert caught.value.code == code
        await plane.gatekeeper.identify(enrolled.chain.leaf_and_issuers, Act.DRAIN)


async def test_a_view_that_is_too_old_denies(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        principal = await plane.principal(await plane.enrolled())
        plane.clock.ms += int(MAX_AGE_SECONDS * 1000)
        plane.gatekeeper.authorise(principal, Act.SYNC)
        plane.clock.ms += 1
        with pytest.raises(ControlPlaneError) as caught:
            plane.gatekeeper.authorise(principal, Act.SYNC)
        assert (caught.value.code, caught.value.fatal) == ("identity.view_stale", False)


async def with_log(plane: Bed) -> tuple[Principal, Log]:
    log = Log("", "op")
    enrolled = await plane.enrolled(audit_public_key=log.public_key)
    log.origin = plane.ingest.origin("acme", enrolled.outpost.id)
    return await plane.principal(enrolled), log


class CountingStore:
    """The real store, and the most transactions that were open at once."""

    def __init__(self, store: Any) -> None:
        self._store, self.now, self.most = store, 0, 0

    def for_org(self, org: str) -> "CountingStore":
        return CountingSpace(self, self._store.for_org(org))  # type: ignore[return-value]


class CountingSpace:
    def __init__(self, owner: CountingStore, space: Any) -> None:
        self._owner, self._space = owner, space

    @asynccontextmanager
    async def write(self, scope: str) -> AsyncIterator[Any]:
        self._owner.now += 1
        self._owner.most = max(self._owner.most, self._owner.now)
        try:
            async with self._space.write(scope) as transaction:
                yield transaction
        finally:
            self._owner.now -= 1


async def test_uploads_of_a_whole_fleet_leave_connections_for_others(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        logs = [Log("", f"op{number}") for number in range(8)]
        found = [await plane.enrolled(f"o{at}", audit_public_key=log.public_key) for at, log in enumerate(logs)]
        principals = [await plane.principal(each) for each in found]
        store = CountingStore(plane.store)
        ingest = Ingest(store, TRUST_DOMAIN, await plane.setup.witness(), plane.clock, 2)  # type: ignore[arg-type]
        for log, principal in zip(logs, principals, strict=True):
            log.origin = ingest.origin("acme", principal.outpost_id)
            log.grow(3)
        uploads = [Upload(log.origin, 0, tuple(log.records), b"") for log in logs]
        said = await asyncio.gather(*map(ingest.append, principals, uploads))
        assert [each.status for each in said] == [200] * 8
        assert store.most == 2


async def send(plane: Bed, principal: Principal, log: Log, first: int, last: int, head: bytes = b"") -> Appended:
    return await plane.ingest.append(principal, Upload(log.origin, first, tuple(log.records[first:last]), head))


async def test_roots_are_known_at_every_size(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        principal, log = await with_log(plane)
        log.grow(600)
        for first in (0, 256, 512):
            last = min(first + 256, 600)
            await send(plane, principal, log, first, last, log.checkpoint() if last == 600 else b"")
        for size in (0, 1, 255, 256, 257, 511, 512, 600):
            known, root = await plane.ingest.root(principal, log.origin, size)
            assert (known, root) == (600, CompactRange().extend(map(leaf_hash, log.records[:size])).root()), size
        assert await plane.ingest.root(principal, log.origin, 601) == (600, b"")
        assert await plane.ingest.root(principal, "elsewhere", 1) == (0, b"")


async def test_an_upload_sent_twice_is_counted_once(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        principal, log = await with_log(plane)
        log.grow(10)
        first = await send(plane, principal, log, 0, 10, log.checkpoint())
        plane.clock.ms += 1000
        again = await send(plane, principal, log, 0, 10, log.checkpoint())
        assert (first.status, again.status, again.known_size) == (200, 200, 10)
        log.grow(5)
        more = await send(plane, principal, log, 8, 15, log.checkpoint())
        assert (more.status, more.known_size) == (200, 15)
        assert [each.fault for each in await plane.ingest.verify("acme")] == [""]


UPLOADS: dict[str, Upload] = {
    "too many entries": Upload("o", 0, (b"{}",) * 257, b""),
    "an entry that is too large": Upload("o", 0, (b"x" * (MAX_ENTRY_BYTES + 1),), b""),
    "a checkpoint that is too large": Upload("o", 0, (), b"x" * 4097),
    "an origin that is too long": Upload("o" * 256, 0, (), b""),
}


@pytest.mark.parametrize("name", UPLOADS)
async def test_uploads_out_of_bounds(name: str, tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        principal, _ = await with_log(plane)
        with pytest.raises(ControlPlaneError) as caught:
            await plane.ingest.append(principal, UPLOADS[name])
        assert caught.value.code == "audit.invalid"


async def test_a_revoked_outpost_delivers_its_tail_for_seven_days(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        enrolled = await plane.enrolled()
        await plane.administration.revoke("acme", "prod", "")
        chain = enrolled.chain.leaf_and_issuers
        await plane.gatekeeper.identify(chain, Act.DRAIN)
        await plane.views.refresh("acme")
        outpost = plane.views.held("acme").outposts[enrolled.outpost.id]
        assert outpost.revoked_ms + DRAIN_MS == START_MS + 7 * 86_400_000


TAMPERED: dict[str, tuple[str, str]] = {
    "a changed entry": ("UPDATE log_entries SET entry = x'7b7d' WHERE sequence = 7", "entry 7 "),
    "a changed entry and leaf hash": (
        "UPDATE log_entries SET entry = x'7b7d', leaf = zeroblob(32) WHERE sequence = 7",
        "entry 7 ",
    ),
    "a removed entry": ("DELETE FROM log_entries WHERE sequence = 12", "missing"),
    "a cut tail": ("UPDATE log_heads SET size = 15", "cosigned, but only 15"),
    "a changed head": ("UPDATE log_heads SET frontier = zeroblob(64)", "tree head"),
    "a changed checkpoint": ("UPDATE log_checkpoints SET cosigned = x'00'", "does not verify"),
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_a_changed_store_is_found_and_named(name: str, tmp_path: Path) -> None:
    sql, words = TAMPERED[name]
    async with bed(tmp_path) as plane:
        principal, log = await with_log(plane)
        log.grow(20)
        await send(plane, principal, log, 0, 20, log.checkpoint())
        async with plane.engine.org("acme", write=True) as session:
            await session.execute(sql)
        (report,) = await plane.ingest.verify("acme")
        assert words in report.fault


async def test_consistent_rewriting_is_found_by_the_cosigned_checkpoint(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        principal, log = await with_log(plane)
        log.grow(20)
        await send(plane, principal, log, 0, 20, log.checkpoint())
        forged = Log(log.origin, log.outpost)
        forged.grow(20, version="forged")
        async with plane.engine.org("acme", write=True) as session:
            for at, record in enumerate(forged.records):
                await session.execute(
                    "UPDATE log_entries SET entry = $2, leaf = $3 WHERE sequence = $4", record, leaf_hash(record), at
                )
        (report,) = await plane.ingest.verify("acme")
        assert "not those that were cosigned" in report.fault
