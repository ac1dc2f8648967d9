"""Sets that must not be accepted, offered to a running outpost by whoever took over the control plane's place."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from controlplane.bootstrap.plane import opened
from controlplane.services.defaults import default_provider
from outpost.core.bundle import errors
from outpost.core.errors import BundleError
from tests.e2e.conftest import ORG, Site
from tests.fakes.hostile_plane import CHUNK, HostilePlane, Offering, honest, listening
from tests.fakes.hostile_sets import CASES, Attack, newest_set, role_keys
from tests.fakes.hostile_site import Besieged
from tests.unit.core.bundle.samples import Forge

MAX_ENDLESS_CHUNKS = 1024  # 64 MiB: what may be under way on the line before the server sees the reader go
OTHER_ORG = "globex"
SERVED = {"harmless": 200, "card": 403, "why": "policy.blocked"}


async def prepare(site: Site, besieged: Besieged) -> Attack:
    """Let the outpost have a second set, then take over."""
    plane = besieged.plane
    older = await newest_set(plane, ORG)
    await plane.publisher.create(OTHER_ORG, [default_provider(f"{site.provider}/v1", "provider")])
    await besieged.active(await besieged.publish("second"))
    await site.stack.programs["controlplane"].stop()
    newest = Forge(role_keys(plane, ORG), await newest_set(plane, ORG))
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
        besieged = Besieged(site, plane)
        attack = await prepare(site, besieged)
        before = await besieged.serves()
        assert before == SERVED | {"by": before["by"], "told": before["by"]}
        async with listening(plane) as hostile:
            found = await try_all(hostile, besieged, attack)
            assert found == {sentence: (code, before) for sentence, (_, code) in CASES.items()}
            assert hostile.chunks < MAX_ENDLESS_CHUNKS, f"{hostile.chunks * len(CHUNK)} bytes were taken"

            refused = [code for _, code in CASES.values()]
            await besieged.recorded("every refusal in the audit log", lambda all_: refusals(all_) == refused or None)
            revision = await besieged.publish("third")
            accepted = await hostile.offer(honest(await newest_set(plane, ORG)))
            assert (accepted.code, accepted.revision) == ("", revision)
            assert await besieged.serves() == before | {"by": revision, "told": revision}
        await site.verify_audit()


def refusals(records: list[dict[str, object]]) -> list[object]:
    return [record["error_code"] for record in records if record["event"] == "bundle.refused"]


def test_every_reason_to_refuse_a_set_is_tried() -> None:
    reasons = {
        each.code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, BundleError) and "code" in vars(each) and each is not BundleError
    }
    assert len(CASES) >= 20
    assert reasons <= {code for _, code in CASES.values()}
