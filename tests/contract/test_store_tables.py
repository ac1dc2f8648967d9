"""Every table of the store, on every engine: what goes in comes out, whole."""

import time
from dataclasses import replace
from hashlib import sha256

import pytest

from certs.keys import key_id
from certs.shell.dev import create_hierarchy
from certs.shell.signers import SealError, generate_signing_key, generate_tls_key
from controlplane.domain import errors
from controlplane.domain.offers import SignedRelease
from controlplane.domain.quotas import Quotas
from controlplane.domain.records import Delivery, DeliveryState, Heartbeat, LogHead
from controlplane.domain.replicas import Replica
from controlplane.domain.vault import KeyLabel, VaultEntry
from controlplane.store.audit import KEPT_REFUSALS
from controlplane.store.blobs import CHUNK_BYTES
from controlplane.store.errors import DatabaseRefusedError, KeyKindError, VaultLaidError, VaultTakenError
from controlplane.store.sealing import Keyring
from controlplane.store.store import DatabaseStore
from tests.contract.stores import (
    ORG,
    Place,
    a_certificate,
    a_client_key,
    a_release,
    a_token,
    an_active_outpost,
    an_outpost,
)

NOW_S = 1_795_000_000


async def test_outposts(place: Place) -> None:
    full, plain = an_active_outpost(1), an_outpost(2)
    async with place.opened(ORG) as store:
        async with store.for_org(ORG).write() as transaction:
            table = transaction.outposts
            await table.add(full)
            await table.add(plain)
            with pytest.raises(errors.ConflictError):
                await table.add(an_outpost(3, name=plain.name))
        async with store.for_org(ORG).read() as transaction:
            table = transaction.outposts
            assert await table.all() == (full, plain)
            assert await table.get(full.id) == await table.find(full.id) == await table.find(full.name) == full
            assert await table.named(plain.name) == plain
            assert await table.named("nobody") is None
            assert await table.some([plain.id, "op-of-nobody", 'an "odd" id']) == (plain,)
            assert await table.some([]) == ()
            for missing in (table.get("op-x"), table.find("x")):
                with pytest.raises(errors.NotFoundError):
                    await missing
        changed = replace(plain, name="other", alert="x", superseded_boots=("1" * 32,))
        async with store.for_org(ORG).write() as transaction:
            await transaction.outposts.save(changed)
            await transaction.outposts.save(an_outpost(9))
        async with store.for_org(ORG).read() as transaction:
            assert await transaction.outposts.all() == (full, changed)


async def test_heartbeats_come_many_at_once_and_the_newest_counts(place: Place) -> None:
    everyone = [an_outpost(number) for number in range(1, 1001)]
    beats = [Heartbeat(each.id, {"state": "ACTIVE", "n": at}, 100) for at, each in enumerate(everyone)]
    async with place.opened(ORG) as store:
        async with store.for_org(ORG).write() as transaction:
            for each in everyone:
                await transaction.outposts.add(each)
        async with store.for_org(ORG).write("presence") as transaction:
            await transaction.outposts.keep_statuses(beats)
            await transaction.outposts.keep_statuses([])
            await transaction.outposts.keep_statuses(
                [
                    Heartbeat(everyone[0].id, {"n": "newer"}, 200),
                    Heartbeat(everyone[0].id, {"n": "late"}, 150),
                    Heartbeat("op-of-nobody", {"n": "lost"}, 200),
                ]
            )
        async with store.for_org(ORG).read() as transaction:
            statuses = await transaction.outposts.statuses()
            assert len(statuses) == 1000
            assert statuses[everyone[5].id] == await transaction.outposts.status(everyone[5].id) == beats[5].status
            assert (await transaction.outposts.get(everyone[0].id)).last_seen_ms == 200
            assert statuses[everyone[0].id] == {"n": "newer"}
            assert await transaction.outposts.status("op-of-nobody") == {}
            assert [each.last_seen_ms for each in await transaction.outposts.some([everyone[7].id])] == [100]
        assert (await store.heads([ORG]))[ORG] == 1000  # a heartbeat is no change


async def test_join_tokens_are_spent_once(place: Place) -> None:
    outpost = an_outpost()
    token, other = a_token(outpost.id), a_token(outpost.id, "9" * 64)
    async with place.opened(ORG) as store, store.for_org(ORG).write() as transaction:
        table = transaction.tokens
        await transaction.outposts.add(outpost)
        await table.add(token)
        await table.add(other)
        assert await table.match(token.digest) == token
        assert await table.match("0" * 64) is None
        assert not await table.spend(token, "c" * 64, "1", token.expires_ms)
        assert await table.spend(token, "c" * 64, "1", token.expires_ms - 1)
        assert not await table.spend(token, "d" * 64, "2", 1_500)
        assert await table.match(token.digest) == replace(token, spent_ms=1_999, csr_sha256="c" * 64, serial="1")
        assert await table.void(outpost.id) == 1
        assert await table.match(other.digest) == replace(other, expires_ms=other.created_ms)


async def test_certificates_are_intended_then_completed_once(place: Place) -> None:
    outpost = an_outpost()
    first, second = a_certificate(outpost.id), a_certificate(outpost.id, "5b", 9)
    async with place.opened(ORG) as store, store.for_org(ORG).write() as transaction:
        table = transaction.certificates
        await transaction.outposts.add(outpost)
        await table.intend(first)
        await table.intend(second)
        assert await table.get("5a") == first
        assert await table.get("ff") is None
        assert await table.complete("5a", b"leaf") == b"leaf"
        assert await table.complete("5a", b"other") == b"leaf"
        with pytest.raises(LookupError):
            await table.complete("ff", b"leaf")
        assert await table.of_outpost(outpost.id) == (second, replace(first, leaf_der=b"leaf"))


async def test_client_keys(place: Place) -> None:
    alice, bob = a_client_key(), replace(a_client_key("bob", "key-2", "7" * 64), groups=(), models=())
    async with place.opened(ORG) as store, store.for_org(ORG).write() as transaction:
        table = transaction.keys
        await table.add(alice)
        await table.add(bob)
        with pytest.raises(errors.ConflictError):
            await table.add(replace(alice, id="key-3", sha256="8" * 64))
        assert await table.revoke("alice") == replace(alice, revoked=True)
        with pytest.raises(errors.NotFoundError):
            await table.revoke("alice")
        again = replace(alice, id="key-0", sha256="9" * 64)
        await table.add(again)
        assert await table.revoke("key-0") == replace(again, revoked=True)
        assert await table.all() == (replace(alice, revoked=True), bob, replace(again, revoked=True))


async def test_signed_sets_and_their_files(place: Place) -> None:
    large = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"tail"
    first, contents = a_release(1, large=large, exact=large[:CHUNK_BYTES], empty=b"", small=b"s")
    second, more = a_release(2, large=large, small=b"s")
    async with place.opened(ORG) as store:
        async with store.for_org(ORG).write() as transaction:
            assert await transaction.releases.newest() is None
            await transaction.releases.add(first, contents)
            await transaction.releases.add(second, more)
        async with store.for_org(ORG).read() as transaction:
            table = transaction.releases
            assert await table.newest() == second
            assert await table.contents(first) == contents
            assert await table.contents(second) == more
            assert await table.contents(SignedRelease(3, "", 0, 0, ())) == {}
            for body in contents.values():
                assert await table.size_of(sha256(body).digest()) == len(body)
            assert await table.size_of(b"?" * 32) is None


PARTS: dict[str, tuple[int, int]] = {
    "the beginning": (0, 10),
    "nothing": (5, 0),
    "within a chunk": (100, 1000),
    "up to the end of a chunk": (CHUNK_BYTES - 10, 10),
    "over the border of two chunks": (CHUNK_BYTES - 10, 20),
    "a whole chunk": (CHUNK_BYTES, CHUNK_BYTES),
    "over three chunks": (CHUNK_BYTES - 1, CHUNK_BYTES + 2),
    "the tail": (2 * CHUNK_BYTES, CHUNK_BYTES),
    "more than there is": (0, 10 * CHUNK_BYTES),
    "from the end": (2 * CHUNK_BYTES + 4, 10),
    "from beyond the end": (9 * CHUNK_BYTES, 10),
}


async def test_parts_of_a_file(place: Place) -> None:
    large = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"tail"
    release, contents = a_release(1, large=large)
    digest = sha256(large).digest()
    async with place.opened(ORG) as store, store.for_org(ORG).write() as transaction:
        await transaction.releases.add(release, contents)
        for name, (offset, size) in PARTS.items():
            assert await transaction.releases.part(digest, offset, size) == large[offset : offset + size], name
        assert await transaction.releases.part(b"?" * 32, 0, 10) == b""


async def test_a_number_of_a_set_is_never_used_twice(place: Place) -> None:
    release, contents = a_release(1)
    async with place.opened(ORG) as store:

        async def twice() -> None:
            async with store.for_org(ORG).write() as transaction:
                await transaction.releases.add(release, contents)
                await transaction.releases.add(release, contents)

        with pytest.raises(DatabaseRefusedError):
            await twice()


async def test_words_of_outposts_come_many_at_once(place: Place) -> None:
    everyone = [an_outpost(number) for number in range(1, 1001)]
    words = [Delivery(each.id, 3, "1.3", DeliveryState.ACTIVE, 5) for each in everyone]
    refused = Delivery(everyone[0].id, 4, "1.4", DeliveryState.REFUSED, 6, "bundle.x", "why", "policy/x")
    async with place.opened(ORG) as store:
        async with store.for_org(ORG).write() as transaction:
            for each in everyone:
                await transaction.outposts.add(each)
        async with store.for_org(ORG).write("deliveries") as transaction:
            await transaction.releases.keep_deliveries(words)
            await transaction.releases.keep_deliveries([words[0], refused, replace(refused, outpost_id="op-nobody")])
            await transaction.releases.keep_deliveries([])
        async with store.for_org(ORG).read() as transaction:
            assert set(await transaction.releases.deliveries()) == {*words[1:], refused}


async def test_audit_logs(place: Place) -> None:
    outpost = an_active_outpost()
    head = LogHead(outpost.id, "domain/org/acme/outpost/x", 300, (b"1" * 32, b"2" * 32), 256, b"note\n")
    async with place.opened(ORG) as store, store.for_org(ORG).write(f"log/{outpost.id}") as transaction:
        await transaction.outposts.add(outpost)
        table = transaction.audit
        assert await table.head(outpost.id) is None
        await table.save_head(replace(head, size=1, frontier=()))
        await table.save_head(head)
        assert await table.head(outpost.id) == head
        entries = [b"entry %d" % at for at in range(300)]
        leaves = [sha256(each).digest() for each in entries]
        await table.append(outpost.id, 0, entries[:200], leaves[:200])
        await table.append(outpost.id, 200, entries[200:], leaves[200:])
        assert await table.entries(outpost.id, 198, 4) == tuple(entries[198:202])
        assert await table.leaves(outpost.id, 0, 300) == tuple(leaves)
        assert await table.leaves("op-of-nobody", 0, 300) == ()
        await table.add_tile(outpost.id, 0, b"r" * 32)
        assert await table.tiles(outpost.id, 5) == (b"r" * 32,)
        for size, note in ((256, b"old"), (300, b"more"), (256, b"new")):
            await table.keep_checkpoint(outpost.id, size, note, 7)
        assert await table.checkpoints(outpost.id) == ((256, b"new"), (300, b"more"))
        for number in range(KEPT_REFUSALS + 5):
            await table.keep_refusal(outpost.id, 409, number, 8)
        refusals = await table.refusals(outpost.id)
        assert (len(refusals), refusals[0]) == (KEPT_REFUSALS, (409, KEPT_REFUSALS + 4, 8))


async def test_a_place_in_a_log_is_never_written_twice(place: Place) -> None:
    async with place.opened(ORG) as store:

        async def twice() -> None:
            async with store.for_org(ORG).write() as transaction:
                await transaction.audit.append("op-1", 0, [b"a"], [b"1" * 32])
                await transaction.audit.append("op-1", 0, [b"b"], [b"2" * 32])

        with pytest.raises(DatabaseRefusedError):
            await twice()


async def test_quotas(place: Place) -> None:
    async with place.opened(ORG) as store, store.for_org(ORG).write() as transaction:
        assert await transaction.quotas.get() == Quotas()
        for quotas in (Quotas(1, 2, 3, 4), Quotas(outposts=5)):
            await transaction.quotas.put(quotas)
            assert await transaction.quotas.get() == quotas
        with pytest.raises(errors.InputError):
            await transaction.quotas.put(Quotas(outposts=0))


async def test_role_keys_are_made_once_and_sign(place: Place) -> None:
    async with place.opened(ORG) as store:
        async with store.for_org(ORG).write() as transaction:
            assert await transaction.role_keys.all() == {}
            made = [await transaction.role_keys.create("root", number) for number in (1, 2, 3)]
            again = await transaction.role_keys.create("root", 2)
            assert key_id(again.public_key()) == key_id(made[1].public_key())
            await transaction.role_keys.create("policy", 1)
        async with store.for_org(ORG).read() as transaction:
            held = await transaction.role_keys.all()
        assert sorted(held) == ["policy", "root"]
        assert [key_id(each.public_key()) for each in held["root"]] == [key_id(each.public_key()) for each in made]
        assert held["root"][0].sign(b"message") == made[0].sign(b"message")


async def test_a_role_key_in_another_place_does_not_open(place: Place) -> None:
    engine = await place.engine()
    store = DatabaseStore(engine, place.keyring)
    await store.add_org(ORG, 1)
    async with store.for_org(ORG).write() as transaction:
        await transaction.role_keys.create("policy", 1)
        await transaction.role_keys.create("access", 1)
    async with engine.org(ORG, write=True) as session:
        stolen = await session.fetch_one("SELECT sealed FROM role_keys WHERE org = $1 AND role = 'access'")
        assert stolen is not None
        await session.execute("UPDATE role_keys SET sealed = $2 WHERE org = $1 AND role = 'policy'", stolen[0])
    async with store.for_org(ORG).read() as transaction:
        with pytest.raises(SealError):
            await transaction.role_keys.all()
    await store.close()


async def test_the_vault(place: Place) -> None:
    hierarchy = create_hierarchy(NOW_S)
    chain = (hierarchy.root.certificate, hierarchy.outposts.certificate)
    signing, tls = generate_signing_key(), generate_tls_key()
    async with place.opened() as store:
        vault = store.vault
        await vault.lay([VaultEntry("ca/root", None, chain[:1]), VaultEntry("witness", signing)])
        with pytest.raises(VaultLaidError):
            await vault.lay([VaultEntry("other", None)])
        assert (await vault.signer("witness")).sign(b"m") == signing.sign(b"m")
        assert await vault.certificates("ca/root") == chain[:1]
        with pytest.raises(errors.ConfigurationError):
            await vault.signer("ca/root")  # the key is elsewhere
        for missing in (vault.signer("other"), vault.certificates("other"), vault.certificates("witness")):
            with pytest.raises(errors.ConfigurationError):
                await missing
        assert await vault.find_certificates("other") == ()
        await vault.keep(VaultEntry("server/1", tls, chain))
        with pytest.raises(VaultTakenError):
            await vault.keep(VaultEntry("server/1", tls, chain))
        pem, kept = await vault.key_and_certificates("server/1")
        assert (b"PRIVATE KEY" in pem, kept) == (True, chain)
        with pytest.raises(errors.ConfigurationError):
            await vault.key_and_certificates("ca/root")


async def test_of_two_that_replace_one_entry_one_wins(place: Place) -> None:
    hierarchy = create_hierarchy(NOW_S)
    first, second = (hierarchy.root.certificate,), (hierarchy.outposts.certificate,)
    async with place.opened() as ours, place.opened() as theirs:
        key = generate_tls_key()
        assert await ours.vault.replace(VaultEntry("server/1", key, first), ())
        assert not await theirs.vault.replace(VaultEntry("server/1", key, second), ())
        assert await theirs.vault.replace(VaultEntry("server/1", key, second), first)
        assert not await ours.vault.replace(VaultEntry("server/1", key, first), first)
        assert await ours.vault.certificates("server/1") == second


async def test_keys_in_a_module_are_opened_by_their_label(place: Place) -> None:
    signing = generate_signing_key()

    class Module:
        def public_key(self) -> object:
            return signing.public_key()

        def sign(self, message: bytes) -> bytes:
            return signing.sign(message)

    def opener(label: str) -> Module:
        assert label == "issuing-1"
        return Module()

    async with place.opened() as store:
        await store.vault.keep(VaultEntry("ca/issuing", KeyLabel("issuing-1")))
        with pytest.raises(KeyKindError):
            await store.vault.signer("ca/issuing")
    engine = await place.engine()
    able = DatabaseStore(engine, place.keyring, {"pkcs11": opener})  # type: ignore[dict-item]
    assert (await able.vault.signer("ca/issuing")).sign(b"m") == signing.sign(b"m")
    await able.close()


async def test_under_another_key_encryption_key_nothing_opens(place: Place) -> None:
    async with place.opened(ORG) as store:
        await store.vault.keep(VaultEntry("witness", generate_signing_key()))
        async with store.for_org(ORG).write() as transaction:
            await transaction.role_keys.create("root", 1)
    other = Keyring(place.folder / "other-kek")
    other.create()
    thief = DatabaseStore(await place.engine(), other)
    with pytest.raises(SealError):
        await thief.vault.signer("witness")
    async with thief.for_org(ORG).read() as transaction:
        with pytest.raises(SealError):
            await transaction.role_keys.all()
    await thief.close()


async def test_replicas_are_compared_by_one_clock(place: Place) -> None:
    wrong_ms = 12_345  # the clock of a replica that is decades behind
    async with place.opened() as store:
        told = await store.replicas.now_ms(wrong_ms)
    if place.server is None:
        assert told == wrong_ms  # who shares files shares a machine
    else:
        assert abs(told - time.time() * 1000) < 60_000


async def test_replicas(place: Place) -> None:
    async with place.opened() as ours, place.opened() as theirs:
        await ours.replicas.register(Replica("a", "a:1", 10))
        await theirs.replicas.register(Replica("b", "b:1", 20))
        await ours.replicas.register(Replica("a", "a:2", 30))
        assert await theirs.replicas.live(0) == (Replica("a", "a:2", 30), Replica("b", "b:1", 20))
        assert await theirs.replicas.live(21) == (Replica("a", "a:2", 30),)
        assert await ours.replicas.expire(30) == 1
        await ours.replicas.remove("a")
        assert await ours.replicas.live(0) == ()
