"""Two enrolled replicas of one logical outpost, each a process with its own identity and log: one view of both."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from outpost.cli.stack import Stack, stack, wait_ready
from tests.e2e.conftest import CARD, ORG, Site, install, until

SITE = "plant"
REPLICAS = ("plant-a", "plant-b")


async def replica(running: Stack, first: Site, name: str, config: Path) -> Site:
    """One more replica, serving."""
    token = running.folder / f"{name}.token"
    register = ("outpost", "register", name, "--org", ORG, "--logical", SITE, "--token-file", str(token))
    await running.controlplane(*register)
    await running.command("outpost", "enroll", "--state", str(running.outpost_state(name)), "--token-file", str(token))
    program = await running.start_outpost(name, "--workers", "1", "--config", str(config))
    await wait_ready(program.ready["url"])
    return replace(first, url=program.ready["url"])


async def view(running: Stack) -> dict[str, Any]:
    out = await running.controlplane("outpost", "show", SITE, "--logical", "--org", ORG, "--output", "json")
    return dict(json.loads(out))


async def test_replicas_are_one_outpost_to_whoever_looks(tmp_path: Path) -> None:
    config = tmp_path / "outpost.toml"
    secrets = tmp_path / "site" / "outpost" / "secrets"
    config.write_text(f'reconnect_cap_seconds = 0.5\nheartbeat_seconds = 0.5\nsecrets_dir = "{secrets}"\n')
    async with stack(tmp_path / "site") as running:
        first = (await install(running, ORG))[ORG]
        sites = [await replica(running, first, name, config) for name in REPLICAS]
        for site in sites:  # one key, one policy, whichever of them is asked
            assert (await site.chat("hello"))[0] == 200
            assert (await site.chat(f"my card is {CARD}"))[0] == 403

        async def both_well() -> bool:
            return bool((await view(running))["well"] == len(REPLICAS))

        await until(both_well, 30.0)
        shown = await view(running)
        assert (shown["state"], shown["replicas"], shown["serving"]) == ("ACTIVE", 2, 2)
        assert [each["name"] for each in shown["members"]] == list(REPLICAS)
        assert {each["logical"] for each in shown["members"]} == {SITE}
        assert len({each["serial"] for each in shown["members"]}) == 2
        assert len(shown["revisions"]) == 1

        await running.controlplane("outpost", "revoke", REPLICAS[0], "--org", ORG, "--yes")
        listed = json.loads(
            await running.controlplane("outpost", "list", "--logical", "--org", ORG, "--output", "json")
        )
        rows = {each["name"]: each for each in listed["logical_outposts"]}
        assert set(rows) == {"outpost", SITE}
        assert (rows[SITE]["replicas"], rows[SITE]["serving"]) == (2, 1)
        assert rows["outpost"]["state"] == "pending" or rows["outpost"]["serving"] == 1
        assert (await sites[1].chat("hello"))[0] == 200
