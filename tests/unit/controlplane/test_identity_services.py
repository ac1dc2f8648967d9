"""Identities on the real store: bound tokens, clones, new enrollments, orders to wipe."""

from dataclasses import replace
from pathlib import Path

from controlplane.domain.outposts import Act
from controlplane.services.administer import Terms
from controlplane.services.clones import Sighting
from controlplane.services.identity import Principal
from outpost.core.bundle.lock import Addressee, verify_lock
from outpost.core.bundle.release import RoleKeys
from tests.unit.controlplane.bed import ask, bed, new_csr
from tests.unit.controlplane.machines import AWAY, DAY_MS, Machine, boot, refused


async def test_a_token_bound_to_a_network_is_spent_from_there_only(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        token = await plane.token(network="203.0.113.0/24", logical="site-1")
        with refused("token.source"):
            await plane.enrollment.enroll(plane.call(token))
        enrolled = await plane.enrollment.enroll(plane.call(token, source="203.0.113.9"))
        assert (enrolled.outpost.site, enrolled.outpost.boot_source) == ("site-1", "203.0.113.9")


async def test_a_second_key_locks_both_holders_and_names_both_addresses(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        copy = replace(original, source=AWAY)
        await original.renew()
        with refused("identity.locked"):
            await copy.renew()
        row = await original.row()
        assert (row.state.value, row.alert, row.alert_sources) == ("locked", "identity.second_key", ("192.0.2.1", AWAY))
        await plane.views.refresh("acme")
        for machine in (original, copy):
            with refused("identity.locked"):
                await machine.use()
            await machine.use(Act.DRAIN)


async def test_a_renewal_with_a_retired_certificate_locks(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        csr = new_csr()
        first = await plane.renewal.renew(await original.use(), ask(csr))
        await plane.gatekeeper.identify(first.chain.leaf_and_issuers, Act.SYNC)
        held = Principal("acme", original.id, original.serial, 2**60)
        with refused("identity.superseded"):  # an answered request that arrives late
            await plane.renewal.renew(held, ask(csr))
        with refused("identity.locked"):
            await plane.renewal.renew(held, ask(new_csr(), source=AWAY))
        row = await original.row()
        assert (row.alert, row.alert_sources) == ("identity.retired_certificate", ("192.0.2.1", AWAY))
        await plane.views.refresh("acme")
        await original.use(Act.DRAIN)  # whoever caused the lock may deliver its audit tail as well


async def test_a_retired_holder_that_lives_locks_and_late_bytes_do_not(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        copy = replace(original, source=AWAY)
        renewed = await original.renew()
        await renewed.hello(boot(1))
        held = Principal("acme", copy.id, copy.serial, 2**60)
        assert await plane.clones.is_retired(held)
        assert not await plane.clones.is_retired(replace(held, serial="77"))
        assert not await plane.clones.is_retired(await renewed.use())
        assert (await original.row()).state.value == "active"
        assert (await plane.clones.found(held, Sighting(boot(1), AWAY))).code == "identity.locked"
        assert (await original.row()).alert == "identity.retired_certificate"


async def test_two_starts_with_one_counter_lock(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        await original.hello(boot(4))
        with refused("identity.locked"):
            await replace(original, source=AWAY).hello(boot(4, "1"))
        row = await original.row()
        assert (row.alert, row.alert_sources) == ("identity.copied_start", ("192.0.2.1", AWAY))


async def test_an_earlier_start_is_refused_and_locks_only_when_it_lives(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        await original.hello(boot(4))
        await original.hello(boot(5))
        for _ in range(3):
            with refused("identity.superseded"):
                await original.hello(boot(4))
        assert (await original.row()).alert == ""
        principal = await original.use()
        current = await plane.clones.found(principal, Sighting(boot(5), AWAY))
        assert (current.code, (await original.row()).state.value) == ("identity.superseded", "active")
        assert (await plane.clones.found(principal, Sighting(boot(4), AWAY))).code == "identity.locked"
        assert (await original.row()).alert == "identity.earlier_start"


async def test_only_a_new_enrollment_unlocks_and_voids_what_was_before(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        original = await Machine.enroll(plane)
        thief = replace(original, source=AWAY)
        await original.renew()
        with refused("identity.locked"):
            await thief.renew()
        again = await plane.administration.reenroll("acme", "prod", Terms(), plane.door)
        with refused("outpost.audit_key"):
            await Machine.enroll(plane, token=again.token)
        fresh = await Machine.enroll(plane, token=again.token, log=original.log)
        assert fresh.id == original.id
        assert fresh.sequence == 3
        await fresh.use()
        with refused("identity.superseded"):
            await thief.use()
        with refused("identity.superseded"):
            await thief.recover()
        row = await fresh.row()
        assert (row.state.value, row.alert, row.locked_ms) == ("active", "", 0)


async def test_certificates_of_an_outpost_are_bounded_in_a_day(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        for _ in range(19):
            machine = await machine.renew()
            await machine.use()
        with refused("certificate.quota"):
            await machine.renew()
        plane.clock.ms += DAY_MS + 1000
        await machine.recover()


async def test_an_order_to_wipe_is_signed_sent_until_confirmed_and_names_the_identity(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        machine = await Machine.enroll(plane)
        await machine.renew()
        ordered = await plane.locks.order("acme", "prod", "machine.stolen")
        assert (ordered.state.value, ordered.reason, ordered.is_order_out) == ("locked", "machine.stolen", True)
        signatures = {key: bytes.fromhex(value) for key, value in ordered.lock_signatures}
        async with plane.store.for_org("acme").read() as transaction:
            signer = (await transaction.role_keys.all())["access"][0]
        access = RoleKeys(1, dict.fromkeys(signatures, signer.public_key().public_bytes_raw()))  # type: ignore[union-attr]
        addressee = Addressee("acme", machine.id, 2)  # the waiting certificate is meant too
        order = verify_lock(ordered.lock_order.encode(), signatures, access, addressee)
        assert (order.reason, order.join_sequence) == ("machine.stolen", 2)
        await plane.locks.confirmed(Principal("acme", machine.id, machine.serial, 2**60), Sighting(boot(1), AWAY))
        row = await machine.row()
        assert (row.is_order_out, row.lock_order, row.lock_confirmed_ms) == (False, ordered.lock_order, plane.clock.ms)
        with refused("lock.reason"):
            await plane.locks.order("acme", "prod", "Because!")
        token = (await plane.administration.reenroll("acme", "prod", Terms(), plane.door)).token
        fresh = await Machine.enroll(plane, token=token, log=machine.log)
        assert fresh.sequence > order.join_sequence


async def test_a_whole_fleet_is_ordered_at_once(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        for name in ("one", "two"):
            await Machine.enroll(plane, name)
        await plane.token(name="never-enrolled")
        ordered = await plane.locks.order_all("acme")
        assert {each.name for each in ordered} == {"one", "two"}
        assert all(each.is_order_out for each in ordered)
