"""The machine of the control plane is lost and made again from a backup: outposts notice nothing but a pause.

What happened after the backup is the point: certificates were renewed, a release was published, keys were made and
revoked, an outpost was withdrawn, logs grew. No command is run on any outpost.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.bootstrap import plane as planes
from controlplane.settings import Settings
from outpost.cli.stack import free_port, stack, wait_ready
from tests.e2e.conftest import CARD, ORG, Site, install, outcome, until
from tests.e2e.test_lifecycle import CA_AGE_HOURS, Life, age_certificate, hours_ago, load
from tests.fakes.postgres_server import APP, OWNER, Server

PASSPHRASE = "correct horse battery staple"
STEADY, RENEWED, WITHDRAWN, LATE = "outpost", "renewed", "withdrawn", "late"
BACK_SECONDS = 60.0
DATABASES = ("sqlite", "postgres")
TEST_SECONDS = 300.0  # five programs, three of them started, and a control plane made twice; 35 s on a quiet machine


@asynccontextmanager
async def fleet(folder: Path) -> AsyncIterator[Life]:
    """A control plane, and three outposts of one org that are enrolled; the first two serve, the third did not yet."""
    settings = folder / "outpost.toml"
    secrets = folder / "site" / STEADY / "secrets"
    settings.write_text(f'reconnect_cap_seconds = 0.5\nheartbeat_seconds = 0.5\nsecrets_dir = "{secrets}"\n')
    async with stack(folder / "site") as running:
        with hours_ago(CA_AGE_HOURS):
            made = Settings(enroll_port=free_port(), grpc_port=free_port(), api_port=free_port())
            await planes.initialise(running.controlplane_state, made, None)
        life = Life((await install(running, ORG))[ORG], settings)
        await life.site.restart(*life.options)
        for name in (WITHDRAWN, RENEWED):
            await running.enroll(ORG, name)
        await age_certificate(life, RENEWED)
        await started(life, WITHDRAWN)
        await wait_ready(life.site.url)
        yield life


async def started(life: Life, name: str) -> Site:
    """One more outpost, serving."""
    program = await life.site.stack.start_outpost(name, *life.options)
    site = replace(life.site, url=program.ready["url"])
    await wait_ready(site.url)
    return site


async def linked(life: Life, name: str, code: str = "ok") -> None:
    """Wait until the link of an outpost is in this state."""

    async def asked() -> bool:
        return bool((await life.told(name))["functions"]["control_link"] == code)

    await until(asked, BACK_SECONDS)


async def revision(life: Life) -> str:
    """What the control plane offers."""
    _, out, _ = await outcome("controlplane", "status", "--state", life.state("controlplane"), "--output", "json")
    return str(json.loads(out)["orgs"][0]["revision"])  # whatever needs attention there


async def runs(life: Life, name: str) -> None:
    """Wait until an outpost runs what is offered."""

    async def asked() -> bool:
        known = await life.told(name)
        return bool(known["revision"] == await revision(life) and known["functions"]["policy"] == "ok")

    await until(asked, BACK_SECONDS)


async def whole(life: Life, name: str) -> None:
    """Wait until the whole log of an outpost is at the control plane, found unaltered on both sides."""
    identity = load(life, name).enrollment.outpost_id

    async def asked() -> bool:
        command = ("outpost", "verify-audit", "--state", life.state(name), "--output", "json")
        local = json.loads(await life.site.stack.command(*command))["logs"][0]["records"]
        out = await life.site.stack.controlplane("audit", "verify", "--org", ORG, "--output", "json")
        return {log["outpost_id"]: log["size"] for log in json.loads(out)["logs"]}.get(identity) == local

    await until(asked, BACK_SECONDS)


async def grown(site: Site, count: int = 6) -> None:
    """More records of an outpost, half of them of blocked prompts."""
    for number in range(count):
        status, _ = await site.chat(f"my card is {CARD}" if number % 2 else f"hello {number}")
        assert status == (403 if number % 2 else 200)


async def live_keys(life: Life) -> dict[str, bool]:
    """Each client key, and whether it lives."""
    shown = json.loads(await life.site.stack.controlplane("key", "list", "--org", ORG, "--output", "json"))
    return {each["name"]: not each["revoked"] for each in shown["keys"]}


async def publish_policy(life: Life, name: str) -> None:
    """A newer release, everywhere at once."""
    running = life.site.stack
    document = running.folder / f"{name}.yaml"
    text = await running.controlplane("policy", "show", "--org", ORG)
    document.write_text(text.replace("Baseline protection", f"Baseline protection, {name}"))
    await running.controlplane("policy", "publish", str(document), "--org", ORG, "--at-once")


async def backed_up(life: Life) -> tuple[Path, Path]:
    """A backup beside the running server, and the file with its passphrase."""
    folder = life.site.stack.folder
    file, passphrase = folder / "cp.backup", folder / "passphrase"
    passphrase.write_text(PASSPHRASE + "\n")
    passphrase.chmod(0o600)
    await life.site.stack.controlplane("backup", "--out", str(file), "--passphrase-file", str(passphrase))
    return file, passphrase


async def restored(life: Life, backup: tuple[Path, Path], options: tuple[str, ...]) -> dict[str, Any]:
    """The control plane in an empty directory, from the backup; serving."""
    file, passphrase = map(str, backup)
    command = ("restore", file, "--passphrase-file", passphrase, *options, "--output", "json")
    told = json.loads(await life.site.stack.controlplane(*command))
    await life.site.stack.start("controlplane", "controlplane", "serve", "--state", life.state("controlplane"))
    return dict(told)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """Options of a restore that name the database."""
    if request.param == "sqlite":
        return ()
    server: Server = request.getfixturevalue("postgres")
    name = asyncio.run(server.empty())
    words: list[str] = []
    for option, role in (("--database-url-file", APP), ("--owner-url-file", OWNER)):
        path = tmp_path / f"{role}.url"
        path.write_text(server.url(name, role))
        path.chmod(0o600)
        words += [option, str(path)]
    return tuple(words)


@pytest.mark.timeout(TEST_SECONDS)
async def test_outposts_come_back_by_themselves(tmp_path: Path, database: tuple[str, ...]) -> None:
    async with fleet(tmp_path) as life:
        running, steady = life.site.stack, life.site
        await running.create_key(ORG, name="doomed")
        await grown(steady)
        await whole(life, STEADY)
        backup = await backed_up(life)

        aged = load(life, RENEWED)
        second = await started(life, RENEWED)
        young = await running.create_key(ORG, name="young")
        await running.controlplane("key", "revoke", "doomed", "--org", ORG, "--yes")
        await publish_policy(life, "newer")
        await running.controlplane("outpost", "revoke", WITHDRAWN, "--org", ORG, "--yes")
        await running.enroll(ORG, LATE)
        await linked(life, WITHDRAWN, "outpost.revoked")

        async def renewed() -> bool:
            return load(life, RENEWED).enrollment.join_sequence > aged.enrollment.join_sequence

        await until(renewed)
        for name, site in ((STEADY, steady), (RENEWED, second)):
            await runs(life, name)
            await grown(site)
            await whole(life, name)
        before = await revision(life)

        await running.programs["controlplane"].kill()
        shutil.rmtree(running.controlplane_state)
        await grown(steady)
        told = await restored(life, backup, database)
        assert [each["org"] for each in told["orgs"]] == [ORG]

        for name, site in ((STEADY, steady), (RENEWED, second)):
            await linked(life, name)
            await runs(life, name)
            await grown(site)
            await whole(life, name)
        assert [int(part) for part in (await revision(life)).split(".")] > [int(part) for part in before.split(".")]
        await linked(life, WITHDRAWN, "outpost.revoked")
        assert await live_keys(life) == {"developer": True, "doomed": False, "young": True}
        assert (await replace(steady, key=young).chat("hello"))[0] == 200
        shown = json.loads(await running.controlplane("outpost", "list", "--org", ORG, "--output", "json"))
        states = {each["name"]: (each["state"], each["attention"]) for each in shown["outposts"]}
        assert {name: state for name, (state, _) in states.items()} == {
            STEADY: "active",
            RENEWED: "active",
            WITHDRAWN: "revoked",
        }
        await publish_policy(life, "after")
        for name in (STEADY, RENEWED):
            await runs(life, name)
