"""Journeys 26 and 13 as their pages tell them: every command of the page is run, beside a running outpost."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from controlplane.bootstrap.plane import opened
from outpost.core.bundle.access import ClientKey
from tests.e2e.conftest import CARD, ORG, Site, outcome
from tests.fakes.hostile_site import DAY_SECONDS, Besieged

JOURNEYS = Path(__file__).parents[2] / "docs" / "journeys"


def sections(page: str) -> dict[str, list[str]]:
    """Commands of each section of a page, in order; those before the first heading under an empty name."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^## ", (JOURNEYS / page).read_text(), flags=re.MULTILINE)[0:]:
        title = part.split("\n", 1)[0] if not part.startswith("# ") else ""
        blocks = re.findall(r"^```\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)
        found[title] = [line for block in blocks for line in block.splitlines()]
    return found


class Desk:
    """The folder in which the people of a journey work."""

    def __init__(self, site: Site, folder: Path, monkeypatch: Any) -> None:
        self.site = site
        self.folder = folder
        monkeypatch.setenv("CONTROLPLANE_STATE", str(site.stack.controlplane_state))
        monkeypatch.setenv("OUTPOST_STATE", str(site.stack.outpost_state()))

    async def run(self, command: str, status: int = 0) -> str:
        """One command line of the page, as it stands there."""
        program, *arguments = command.split()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", program, *arguments),
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        out, errors = await process.communicate()
        assert process.returncode == status, f"{command}: {errors.decode()}"
        return out.decode() + errors.decode()

    async def run_all(self, commands: list[str]) -> str:
        """Command lines one after the other; what the last one said."""
        said = ""
        for command in commands:
            said = await self.run(command)
        return said

    async def document(self, *arguments: str) -> Any:
        """What a command says for programs."""
        status, out, errors = await outcome(*arguments, "--output", "json")
        assert status in {0, 7}, errors
        return json.loads(out)


async def next_policy(site: Site, folder: Path) -> None:
    """What the security admin wrote: another message for cards."""
    out = await site.stack.controlplane("policy", "show", "--org", ORG)
    (folder / "policy.json").write_text(out.replace("Card or identity number found.", "Cards stay inside."))


async def test_the_customer_takes_over_publishes_and_rotates(
    new_site: Callable[..., AbstractAsyncContextManager[Site]], tmp_path: Path, monkeypatch: Any
) -> None:
    page = sections("26-customer-keys.md")
    assert list(page) == ["", "Make keys", "Take over", "Publish a policy", "Rotate a key"]
    async with new_site("--workers", "1") as site, opened(site.stack.controlplane_state) as plane:
        desk, besieged = Desk(site, tmp_path, monkeypatch), Besieged(site, plane, ORG, site.key)
        await desk.run_all(page["Make keys"])
        assert sorted(path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")) == [0o600] * 6

        propose, *signing, show, apply, roles = page["Take over"]
        await desk.run(propose)
        await desk.run_all(signing[:-1])
        assert "bundle.threshold" in await desk.run(apply, status=5)
        await desk.run(signing[-1])
        assert "policy needs 2 signatures, where it needed 1" in await desk.run(show)
        await desk.run(apply)
        await besieged.active("1.3")  # 1.2 has the client key of the site
        shown = await desk.run(roles)
        assert shown.count("(elsewhere)") == 6

        await next_policy(site, tmp_path)
        publish, export, *signing, wait = page["Publish a policy"]
        assert "kept as a draft" in await desk.run(publish)
        assert "says another message" in await desk.run(export)
        assert "bundle.unsigned" in await desk.run(wait, status=5)
        assert (await besieged.serves())["by"] == "1.3"
        await desk.run_all([*signing, wait])
        status, answer = await besieged.chat(f"my card is {CARD}")
        assert (status, "Cards stay inside." in answer["error"]["message"]) == (403, True)

        await desk.run_all(page["Rotate a key"])
        blank = ClientKey("", "", "after", "", (), "", "api", "internal", (), 0, DAY_SECONDS, revoked=False)
        _, _, published = await plane.publisher.create_key(ORG, blank)
        await besieged.active(published.revision)
        roles_now = await desk.document("controlplane", "root", "show", "--org", ORG)
        where = {each["role"]: set(each["keys"].values()) for each in roles_now["roles"]}
        assert {role for role, here in where.items() if here == {False}} == {"root", "targets", "policy"}
        await extended(desk, besieged)
        await site.verify_audit()


async def extended(desk: Desk, besieged: Besieged) -> None:
    """Journey 13: the keys that the customer holds now are policy-1 and policy-3."""
    *looking, make, first, second, bring = sections("13-stale.md")[""]
    await desk.run_all(looking[1:])
    await desk.run(make)
    await desk.run(first)
    assert "bundle.threshold" in await desk.run(bring, status=5)
    await desk.run(second)  # policy-2 may sign no more
    assert "bundle.unknown_key" in await desk.run(bring, status=5)
    (desk.folder / "extension.json").unlink()
    await desk.run_all([make, first, second.replace("policy-2", "policy-3"), bring])
    shown = await desk.document("outpost", "bundle", "show")
    assert shown["extended_until_ms"] > shown["fresh_until_ms"]
    assert (await besieged.serves())["harmless"] == 200
