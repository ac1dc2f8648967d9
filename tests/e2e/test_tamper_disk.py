"""Files of the state folder changed behind the outpost's back: while it runs, and while it is stopped.

One outpost serves an org for each case, so that all happen at once and none may touch another, and one org whose files
stay whole.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from certs.shell.private_files import replace_private_file
from controlplane.bootstrap.plane import Plane, opened
from controlplane.services.administer import Terms
from controlplane.services.defaults import default_provider
from outpost.bootstrap.enrollment import enroll
from outpost.settings import Settings
from outpost.sync.enroll import Joining
from tests.e2e.conftest import ORG, Site
from tests.fakes.hostile_disk import CASES, ROOT_REPLACED, SPARED_ORG
from tests.fakes.hostile_site import SERVED, Besieged, new_key

TOKEN_MS = 900_000  # milliseconds: life of a join token
WRAPPING_KEY_REPLACED = "cache.other_wrapping_key"


async def join(site: Site, plane: Plane, org: str) -> Besieged:
    """Make an org and let the stopped outpost enroll in it."""
    await plane.publisher.create(org, [default_provider(f"{site.provider}/v1", "provider")])
    key, _ = await new_key(plane, org)
    registered = await plane.administration.register(org, "outpost", Terms(TOKEN_MS), await plane.door())
    await enroll(Settings(state=site.stack.outpost_state()), registered.token, Joining("1"))
    return Besieged(site, plane, org, key)


async def renew(orgs: Iterable[Besieged]) -> None:
    """A new set for each; returns when all are active."""
    published = [(one, await one.publish()) for one in orgs]
    await asyncio.gather(*(one.active(revision) for one, revision in published))


async def serving(one: Besieged) -> None:
    """The newest set is in force."""
    newest = await one.newest()
    assert await one.serves() == SERVED | {"by": newest, "told": newest}, one.org


async def sealed(one: Besieged, code: str) -> None:
    """The org is sealed for the reason and refuses prompts; the outpost lives, answers probes and records."""
    told = await one.in_state("SEALED")
    assert told["code"] == code, one.org
    assert (await one.get("/healthz"))[0] == 200
    _, why = await one.get("/readyz")
    assert why["orgs"][one.org]["bundle"] == code
    await one.site.seen()  # what came before
    status, answer = await one.chat("What is the capital of France?")
    assert (status, answer["error"]["code"]) == (503, "outpost.sealed")
    assert await one.site.seen() == []

    def told_last(records: list[dict[str, Any]]) -> bool | None:
        changes = [each for each in records if each["event"] == "state.changed"]
        return (changes[-1:] and (changes[-1]["after"], changes[-1]["reason"]) == ("SEALED", code)) or None

    await one.recorded(f"the audit log says {code}", told_last)


async def changed_while_running(attacked: Mapping[str, Besieged]) -> None:
    """What is in memory goes on to serve, and the next set puts the disk right."""
    for sentence, one in attacked.items():
        CASES[sentence][1](one.folder)
        await serving(one)
    await renew(attacked.values())
    for one in attacked.values():
        await serving(one)


async def changed_at_rest(site: Site, attacked: Mapping[str, Besieged], spared: Besieged) -> None:
    """Each org is sealed for its own reason, and one whose files are whole serves on."""
    await site.stack.programs["controlplane"].stop()
    await site.stack.programs["outpost"].stop()
    for sentence, one in attacked.items():
        CASES[sentence][1](one.folder)
    await site.restart("--workers", "1")
    for sentence, one in attacked.items():
        await sealed(one, CASES[sentence][2])
    await serving(spared)


async def healed(site: Site, orgs: Iterable[Besieged]) -> None:
    """The control plane is back, and its sets clear the cause."""
    await site.stack.start_controlplane()
    for one in orgs:
        await one.in_state("ACTIVE")
        await serving(one)


async def test_files_changed_behind_the_back_of_an_outpost(
    new_site: Callable[..., AbstractAsyncContextManager[Site]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPOST_RECONNECT_CAP_SECONDS", "0.5")  # the way back is waited for
    async with new_site("--workers", "1") as site, opened(site.stack.controlplane_state) as plane:
        await site.stack.programs["outpost"].stop()
        assert ORG == SPARED_ORG
        spared = Besieged(site, plane, ORG, site.key)
        attacked = {sentence: await join(site, plane, case[0]) for sentence, case in CASES.items()}
        falsely_anchored = attacked[ROOT_REPLACED]
        root = (falsely_anchored.folder / "root.json").read_bytes()
        await site.restart("--workers", "1")
        await asyncio.gather(*(one.in_state("ACTIVE") for one in attacked.values()))
        await renew(attacked.values())  # both slots of each hold a set now

        await changed_while_running({s: one for s, one in attacked.items() if s != ROOT_REPLACED})
        await changed_at_rest(site, attacked, spared)
        await healed(site, [one for one in attacked.values() if one is not falsely_anchored])

        await falsely_anchored.recorded("the false anchor refuses the true sets", refused_for_root)
        await sealed(falsely_anchored, CASES[ROOT_REPLACED][2])
        await site.stack.programs["controlplane"].stop()
        await site.stack.programs["outpost"].stop()
        (falsely_anchored.folder / "root.json").write_bytes(root)
        replace_private_file(site.stack.outpost_state() / "wrap.key", os.urandom(32))
        await site.restart("--workers", "1")
        for one in [spared, *attacked.values()]:
            await sealed(one, WRAPPING_KEY_REPLACED)
        await healed(site, [spared, *attacked.values()])
        await site.verify_audit()


def refused_for_root(records: list[dict[str, Any]]) -> bool | None:
    refused = [each["error_code"] for each in records if each["event"] == "bundle.refused"]
    return refused[-1:] == [CASES[ROOT_REPLACED][2]] or None
