"""The life of an outpost: enrolled once, renewed under load, revoked; and what its commands say at each stage."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec

from certs import csr, keys
from certs.csr import read_request
from certs.join_token import parse
from certs.spiffe import OutpostIdentity
from controlplane.bootstrap import plane as planes
from controlplane.services.administer import Terms
from controlplane.services.issuance import OutpostIssuer
from controlplane.settings import Settings
from outpost.cli.stack import free_port, stack, wait_ready
from outpost.sync import identity as identities
from tests.e2e.conftest import CARD, ORG, Site, install, outcome, until

HOUR_MS = 3_600_000
CA_AGE_HOURS = 48  # older than every leaf certificate that is made here
LEAF_AGE_HOURS = 15  # of a life of 24 hours: renewal is due at 60 % at the latest
OTHER = "other"


@contextlib.contextmanager
def hours_ago(hours: int) -> Any:
    """Within it, a control plane that is opened in this process lives so many hours ago."""

    class Clock(planes.SystemClock):
        def now_ms(self) -> int:
            return super().now_ms() - hours * HOUR_MS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planes, "SystemClock", Clock)
        yield


@dataclass
class Life:
    """The installation, and the file with its settings."""

    site: Site
    settings: Path

    @property
    def options(self) -> tuple[str, ...]:
        return ("--workers", "1", "--config", str(self.settings))

    def state(self, name: str = "outpost") -> str:
        return str(self.site.stack.outpost_state(name))

    async def token(self, name: str, *options: str) -> Path:
        """A join token in a file."""
        file = self.site.stack.folder / f"{name}.token"
        await self.site.stack.controlplane(
            "outpost", "register", name, "--org", ORG, "--token-file", str(file), *options
        )
        return file

    async def start_other(self) -> Site:
        """The second outpost; its provider key is that of the first."""
        program = await self.site.stack.start_outpost(OTHER, *self.options)
        return replace(self.site, url=program.ready["url"])

    async def other(self) -> Site:
        """The second outpost, enrolled and started when it is not yet."""
        if OTHER in self.site.stack.programs:
            return replace(self.site, url=self.site.stack.programs[OTHER].ready["url"])
        await self.site.stack.enroll(ORG, OTHER)
        made = await self.start_other()
        await wait_ready(made.url)
        return made

    async def told(self, name: str = "outpost") -> dict[str, Any]:
        """`outpost status` of one of them."""
        _, out, _ = await outcome("outpost", "status", "--state", self.state(name), "--output", "json")
        return dict(json.loads(out)["orgs"][ORG])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def life(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Life]:
    folder = tmp_path_factory.mktemp("life")
    settings = folder / "outpost.toml"
    secrets = folder / "site" / "outpost" / "secrets"  # of the first outpost; the second uses it, too
    settings.write_text(f'reconnect_cap_seconds = 0.5\nheartbeat_seconds = 0.5\nsecrets_dir = "{secrets}"\n')
    async with stack(folder / "site") as running:
        with hours_ago(CA_AGE_HOURS):
            made = Settings(enroll_port=free_port(), grpc_port=free_port(), api_port=free_port())
            await planes.initialise(running.controlplane_state, made, None)
        site = (await install(running, ORG))[ORG]
        one = Life(site, settings)
        await site.restart(*one.options)
        await wait_ready(site.url)
        yield one


def error_of(text: str) -> dict[str, Any]:
    """The error object of a command that was asked for JSON."""
    return dict(json.loads(text)["error"])


@pytest.mark.asyncio(loop_scope="module")
class TestEnrollment:
    async def test_enrolling_twice_is_harmless_and_a_spent_token_is_refused_elsewhere(self, life: Life) -> None:
        file = await life.token("twice")
        again = ("outpost", "enroll", "--token-file", str(file), "--output", "json", "--state")
        first = await outcome(*again, life.state("twice"))
        second = await outcome(*again, life.state("twice"))
        assert (first[0], second[0]) == (0, 0)
        assert json.loads(first[1]) == json.loads(second[1])
        status, _, errors = await outcome(*again, life.state("thief"))
        assert (status, error_of(errors)["code"]) == (3, "token.used")
        assert "revoke" in error_of(errors)["next"]
        assert file.read_text().strip() not in errors

    async def test_an_expired_token_is_refused_with_its_age(self, life: Life) -> None:
        with hours_ago(1):
            async with planes.opened(life.site.stack.controlplane_state) as plane:
                registered = await plane.administration.register(ORG, "late", Terms(), await plane.door())
        told = await outcome(
            *("outpost", "enroll", "--token-file", "-", "--output", "json", "--state", life.state("late")),
            text=registered.token,
        )
        assert (told[0], error_of(told[2])["code"]) == (3, "token.expired")
        assert "45 min" in error_of(told[2])["message"]

    async def test_an_invented_token_and_a_life_too_short_have_codes_of_their_own(self, life: Life) -> None:
        known = parse((await life.token("invented")).read_text().strip())
        state, short_state = life.state("invented"), str(life.site.stack.controlplane_state)
        short = ("outpost", "register", "brief", "--org", ORG, "--ttl", "30s", "--state", short_state)
        invented, brief = await asyncio.gather(
            outcome(
                *("outpost", "enroll", "--token-file", "-", "--output", "json", "--state", state),
                text=replace(known, secret=bytes(len(known.secret))).encode(),
            ),
            outcome("controlplane", *short, "--output", "json"),
        )
        assert (invented[0], error_of(invented[2])["code"]) == (3, "token.refused")
        assert (brief[0], error_of(brief[2])["code"]) == (5, "token.ttl")


@pytest.mark.asyncio(loop_scope="module")
class TestCommands:
    async def test_a_serving_outpost_is_healthy_by_every_command(self, life: Life) -> None:
        port = life.site.url.rsplit(":", 1)[1]

        async def fine() -> bool:
            return (await outcome("outpost", "status", "--state", life.state()))[0] == 0

        await until(fine)
        (status, table, _), (alive, _, _), (ready, reasons, _), (doctor, report, _) = await asyncio.gather(
            outcome("outpost", "status", "--state", life.state()),
            outcome("outpost", "health", "--port", port),
            outcome("outpost", "health", "--port", port, "--ready"),
            outcome("outpost", "doctor", "--state", life.state(), "--output", "json"),
        )
        assert (status, alive, ready, doctor) == (0, 0, 0, 0), report
        assert ORG in table
        assert {"ledger", "agent", "worker"} <= {line.split()[0] for line in table.splitlines() if line}
        assert json.loads(reasons)["ready"] is True
        lines = json.loads(report)["lines"]
        assert {line["level"] for line in lines} <= {"ok", "warn"}
        assert {"identity", "network", "bundle", "audit"} <= {line["group"] for line in lines}

    async def test_where_nothing_runs_each_command_says_so(self, life: Life, tmp_path: Path) -> None:
        empty, port = str(tmp_path / "empty"), str(free_port())
        (status, _, said), (alive, _, _), (doctor, report, _), (run, _, why) = await asyncio.gather(
            outcome("outpost", "status", "--state", empty, "--output", "json"),
            outcome("outpost", "health", "--port", port),
            outcome("outpost", "doctor", "--state", empty, "--output", "json"),
            outcome("outpost", "run", "--state", empty, "--port", "0"),
        )
        assert (status, error_of(said)["code"]) == (8, "state.not_enrolled")
        assert alive == 6
        assert doctor == 7
        assert "state.not_enrolled" in {line["code"] for line in json.loads(report)["lines"]}
        assert run == 8
        assert "state.not_enrolled" in why
        assert f"outpost enroll --state {empty} --token-file" in why

    async def test_a_second_outpost_on_the_same_folder_is_refused_and_the_first_serves_on(self, life: Life) -> None:
        second = asyncio.create_task(outcome("outpost", "run", "--state", life.state(), "--port", "0"))
        statuses = []
        while not second.done():
            statuses.append((await life.site.chat("hello"))[0])
        status, out, errors = await second
        assert (status, out) == (8, "")
        assert "state.in_use" in errors
        assert set(statuses) == {200}


async def age_certificate(life: Life, name: str) -> identities.Identity:
    """Give a stopped outpost the certificate that the control plane would have issued to it hours ago."""
    folder = life.site.stack.outpost_state(name) / "orgs" / ORG / "identity"
    identity = identities.load(folder)
    key = keys.private_key_from_pem(identity.key_pem)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    request = read_request(csr.build_request(key))
    with hours_ago(LEAF_AGE_HOURS):
        async with planes.opened(life.site.stack.controlplane_state) as plane:
            domain, trust = plane.settings.trust_domain, await plane.trust()
            issuer = OutpostIssuer(domain, lambda: trust, plane.chance)
            who = OutpostIdentity(domain, ORG, identity.enrollment.outpost_id)
            issuance = issuer.prepare(who, request, plane.clock.now_ms() // 1000)
            space = plane.store.for_org(ORG)
            async with space.write() as transaction:
                known = await transaction.outposts.get(who.outpost)
                record = replace(issuance.record, sequence=known.join_sequence)
                await transaction.certificates.intend(record)
                await transaction.outposts.save(replace(known, serial=record.serial, next_serial=""))
            chain = await issuer.finish(space, replace(issuance, record=record))
    pem = keys.certificates_pem([keys.certificate_from_der(der) for der in chain.leaf_and_issuers])
    aged = replace(identity, chain_pem=pem)
    identities.save(folder, aged)
    return aged


@pytest.mark.asyncio(loop_scope="module")
class TestLaterLife:
    """In this order: the second outpost is renewed, then revoked."""

    async def test_a_certificate_is_renewed_without_a_failed_request(self, life: Life) -> None:
        running = life.site.stack
        await life.other()
        await running.programs[OTHER].stop()
        aged = await age_certificate(life, OTHER)
        await running.programs["controlplane"].stop()  # so that requests run before the renewal, too
        site = await life.start_other()
        statuses = [(await site.chat("hello"))[0]]
        assert (await life.told(OTHER))["certificate_expires_ms"] < _now_ms() + (24 - LEAF_AGE_HOURS) * HOUR_MS
        back = asyncio.create_task(running.start_controlplane())

        async def renewed() -> bool:
            statuses.append((await site.chat(f"hello {len(statuses)}"))[0])
            return load(life, OTHER).enrollment.join_sequence > aged.enrollment.join_sequence

        async def in_use() -> bool:
            statuses.append((await site.chat(f"hello {len(statuses)}"))[0])
            known = await life.told(OTHER)
            linked = known["functions"]["control_link"] == "ok"
            return bool(linked and known["certificate_expires_ms"] > _now_ms() + 23 * HOUR_MS)

        await until(renewed)
        await back
        await until(in_use)
        assert set(statuses) == {200}
        assert load(life, OTHER).key_pem != aged.key_pem
        shown = json.loads(await running.controlplane("outpost", "show", OTHER, "--org", ORG, "--output", "json"))
        assert shown["join_sequence"] > aged.enrollment.join_sequence
        assert shown["alert"] == ""
        assert '"certificate.renewed"' in (running.folder / f"{OTHER}.log").read_text()

    async def test_a_revoked_outpost_loses_the_link_and_goes_on_enforcing(self, life: Life) -> None:
        site, running = await life.other(), life.site.stack
        revoke = ("outpost", "revoke", OTHER, "--org", ORG, "--output", "json", "--yes", "--reason")
        told = json.loads(await running.controlplane(*revoke, "sold"))
        assert (told["state"], told["reason"]) == ("revoked", "sold")

        async def cut_off() -> bool:
            return bool((await life.told(OTHER))["functions"]["control_link"] == "outpost.revoked")

        await until(cut_off, 5.0)
        _, table, _ = await outcome("outpost", "status", "--state", life.state(OTHER))
        assert "control_link: outpost.revoked" in table
        assert (await site.chat("hello"))[0] == 200
        assert (await site.chat(f"my card is {CARD}"))[0] == 403
        again = json.loads(await running.controlplane(*revoke, "another reason"))
        assert (again["state"], again["reason"], again["revoked_ms"]) == ("revoked", "sold", told["revoked_ms"])

        async def linked() -> bool:
            return bool((await life.told())["functions"]["control_link"] == "ok")

        await until(linked, 5.0)  # nobody else is cut off


def load(life: Life, name: str) -> identities.Identity:
    return identities.load(life.site.stack.outpost_state(name) / "orgs" / ORG / "identity")


def _now_ms() -> int:
    return planes.SystemClock().now_ms()
