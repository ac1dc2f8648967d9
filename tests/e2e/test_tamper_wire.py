"""Sets that must not be accepted, offered to a running outpost by whoever took over the control plane's place."""

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from controlplane.bootstrap.plane import opened
from controlplane.services.defaults import default_provider
from outpost.core.bundle import delta, errors
from outpost.core.bundle.revocations import REVOKED, RevokedOutpost
from outpost.core.errors import BundleError
from tests.e2e.conftest import ORG, Site
from tests.fakes import hostile_disk
from tests.fakes.hostile_cases import CASES
from tests.fakes.hostile_plane import CHUNK, HostilePlane, Offering, honest, listening
from tests.fakes.hostile_sets import Attack, newest_set, role_keys
from tests.fakes.hostile_site import SERVED, Besieged
from tests.unit.core.bundle.samples import Forge

PAGE = Path(__file__).parents[2] / "docs" / "tamper.md"
MAX_ENDLESS_CHUNKS = 1024  # 64 MiB: what may be under way on the line before the server sees the reader go
OTHER_ORG = "globex"


async def prepare(site: Site, besieged: Besieged) -> Attack:
    """Let the outpost have later sets, in which somebody was revoked and something switched off, then take over."""
    plane = besieged.plane
    older = await newest_set(plane, ORG)
    await besieged.publish()
    await plane.publisher.revoke_key(ORG, (await plane.publisher.client_keys(ORG))[-1].id)
    await plane.publisher.list_revoked(ORG, [RevokedOutpost("op-eeeeeeeeeeeeeeee", REVOKED, 3)])
    await plane.publisher.kill(ORG, [], ["gpt-lost"])
    await plane.publisher.create(OTHER_ORG, [default_provider(f"{site.provider}/v1", "provider")])
    await besieged.active(await besieged.publish())
    await site.stack.programs["controlplane"].stop()
    newest = Forge(await role_keys(plane, ORG), await newest_set(plane, ORG))
    return Attack(newest, older, await newest_set(plane, OTHER_ORG), plane.clock.now_ms())


async def try_all(hostile: HostilePlane, besieged: Besieged, attack: Attack) -> dict[str, tuple[str, object]]:
    """Offer every case; sentence to the code of the refusal, and what the outpost served right after it."""
    found: dict[str, tuple[str, object]] = {}
    for sentence, (make, _) in CASES.items():
        made = make(attack)
        answer = await hostile.offer(made if isinstance(made, Offering) else honest(made))
        served = await besieged.serves()
        assert (await besieged.status())["functions"]["policy"] == (answer.code or "ok"), sentence
        found[sentence] = (answer.code, served)
    return found


async def test_nothing_tampered_with_is_accepted_from_the_wire(
    new_site: Callable[..., AbstractAsyncContextManager[Site]],
) -> None:
    async with new_site("--workers", "1") as site, opened(site.stack.controlplane_state) as plane:
        besieged = Besieged(site, plane, ORG, site.key)
        attack = await prepare(site, besieged)
        before = await besieged.serves()
        assert before == SERVED | {"by": before["by"], "told": before["by"]}
        async with listening(plane) as hostile:
            found = await try_all(hostile, besieged, attack)
            expected = {sentence: (code, before) for sentence, (_, code) in CASES.items()}
            assert {s: got for s, got in found.items() if got != expected[s]} == {}
            assert hostile.chunks < MAX_ENDLESS_CHUNKS, f"{hostile.chunks * len(CHUNK)} bytes were taken"

            refused = [code for _, code in CASES.values()]
            await besieged.recorded("every refusal in the audit log", lambda all_: refusals(all_) == refused or None)
            revision = await besieged.publish()
            accepted = await hostile.offer(honest(await newest_set(plane, ORG)))
            assert (accepted.code, accepted.revision) == ("", revision)
            assert await besieged.serves() == before | {"by": revision, "told": revision}
        await site.verify_audit()


def refusals(records: list[dict[str, object]]) -> list[object]:
    return [record["error_code"] for record in records if record["event"] == "bundle.refused"]


def test_every_reason_to_refuse_a_set_is_tried() -> None:
    reasons = {
        each.code
        for each in [*vars(errors).values(), *vars(delta).values()]
        if isinstance(each, type) and issubclass(each, BundleError) and "code" in vars(each)
    }
    families = {BundleError.code, delta.DeltaError.code}
    assert reasons - families <= {code for _, code in CASES.values()}


def test_the_page_lists_every_case_and_no_other() -> None:
    on_disk = {sentence: code for sentence, (_, _, code) in hostile_disk.CASES.items()}
    tried = {sentence: code for sentence, (_, code) in CASES.items()} | on_disk
    tried["the wrapping key is replaced (all orgs)"] = "cache.other_wrapping_key"
    assert dict(re.findall(r"^\| (.+) \| `([a-z_.]+)` \|$", PAGE.read_text(), re.MULTILINE)) == tried
