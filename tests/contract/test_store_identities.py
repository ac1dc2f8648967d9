"""Identities in the store, on every engine: certificates by request and by day, generations of CAs, ingresses."""

from dataclasses import replace

from certs.shell.signers import generate_tls_key
from controlplane.domain.authorities import Authority, AuthorityKind, AuthorityState
from controlplane.domain.ingress import IngressCertificate
from controlplane.domain.vault import VaultEntry
from tests.contract.stores import ORG, OTHER, Place, a_certificate, an_outpost

ROOT = Authority(AuthorityKind.ROOT, 1, AuthorityState.ACTIVE, 1, "ca/root/1", b"root", b"", 1, 2)
OUTPOSTS = Authority(AuthorityKind.OUTPOSTS, 1, AuthorityState.PREPARED, 1, "ca/outposts/1", b"issuing", b"cross", 3, 4)


async def test_certificates_are_found_by_request_and_counted_by_day(place: Place) -> None:
    mine, theirs = an_outpost(1), an_outpost(2)
    made = [
        a_certificate(mine.id, "5a", 7),
        replace(a_certificate(mine.id, "5b", 9), sequence=6),
        replace(a_certificate(mine.id, "5c", 9), csr_sha256="9" * 64),
        a_certificate(theirs.id, "5d", 8),
    ]
    async with place.opened(ORG, OTHER) as store:
        async with store.for_org(ORG).write() as transaction:
            table = transaction.certificates
            for outpost in (mine, theirs):
                await transaction.outposts.add(outpost)
            for record in made:
                await table.intend(record)
            assert await table.answered(mine.id, made[0].csr_sha256) == made[1]  # the newest one for that request
            assert await table.answered(theirs.id, "9" * 64) is None
            assert [await table.count_since(mine.id, since) for since in (7, 8, 10)] == [3, 2, 0]
            over = made[0].not_after_s
            alive = await table.alive(over)
            assert sorted(record.serial for record in alive) == ["5b", "5c", "5d"]
        async with store.for_org(OTHER).read() as transaction:
            assert await transaction.certificates.answered(mine.id, made[0].csr_sha256) is None
            assert await transaction.certificates.alive(0) == ()


async def test_generations_are_added_whole_or_not_at_all(place: Place) -> None:
    async with place.opened() as store:
        table, vault = store.authorities, store.vault
        entry = VaultEntry(ROOT.name, generate_tls_key(), ())
        assert await table.all() == ()
        assert await table.add([ROOT, OUTPOSTS], [entry], known=0)
        assert await table.all() == (OUTPOSTS, ROOT)
        assert (await vault.signer(ROOT.name)).public_key() == entry.key.public_key()  # type: ignore[union-attr]
        late = replace(ROOT, generation=2, name="ca/root/2")
        unheard = VaultEntry("ca/root/2", generate_tls_key(), ())
        assert not await table.add([late], [unheard], known=0)  # two others are there by now
        assert not await table.add([ROOT], [unheard], known=2)
        assert await table.all() == (OUTPOSTS, ROOT)
        assert await vault.find_certificates("ca/root/2") == ()


async def test_states_change_from_what_was_read_only(place: Place) -> None:
    async with place.opened() as store:
        table = store.authorities
        await table.add([ROOT, OUTPOSTS], [], known=0)
        active = replace(OUTPOSTS, state=AuthorityState.ACTIVE, changed_ms=9)
        assert await table.change([OUTPOSTS], [active])
        assert await table.all() == (active, ROOT)
        gone = replace(ROOT, state=AuthorityState.TAINTED)
        assert not await table.change([ROOT, OUTPOSTS], [gone, replace(OUTPOSTS, state=AuthorityState.RETIRED)])
        assert await table.all() == (active, ROOT)  # the root too is as it was


async def test_a_number_of_a_list_is_used_once(place: Place) -> None:
    async with place.opened() as store:
        table = store.authorities
        await table.add([ROOT], [], known=0)
        assert [await table.next_list(ROOT, number) for number in (5, 5, 4, 6)] == [True, False, False, True]
        assert (await table.all())[0].list_number == 6


async def test_ingresses(place: Place) -> None:
    first, second = IngressCertificate("5a", "edge", "6" * 64, 1, 9), IngressCertificate("5b", "edge", "6" * 64, 2, 9)
    other = IngressCertificate("5c", "north", "6" * 64, 3, 9)
    async with place.opened() as store:
        for each in (first, second, other):
            await store.ingresses.add(each)
        assert await store.ingresses.revoke("edge", 7) == 2
        assert await store.ingresses.revoke("edge", 8) == 0
        gone = [replace(each, revoked_ms=7) for each in (second, first)]
        assert await store.ingresses.all() == (other, *gone)
