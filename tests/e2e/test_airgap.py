"""An outpost that no network leads to its control plane: the control plane never serves, and only files travel."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from outpost.cli.stack import Stack, free_port, stack, wait_ready
from tests.e2e.conftest import CARD, LISTED_MODEL, ORG, Site, outcome, until

OTHER = "globex"
NAME = "plant"
TEST_SECONDS = 300.0  # some fifty commands, each a process


@dataclass
class Gap:
    """Both sides, and the folder that is carried between them."""

    stack: Stack
    bag: Path

    def path(self, name: str) -> str:
        return str(self.bag / name)

    async def ours(self, *words: str, state: str = NAME) -> tuple[int, dict[str, Any]]:
        """`outpost airgap`; its answer, or its error."""
        folder = str(self.stack.outpost_state(state))
        return _told(await outcome("outpost", "airgap", *words, "--state", folder, "--output", "json"))

    async def theirs(self, *words: str, state: str = "controlplane") -> tuple[int, dict[str, Any]]:
        """`controlplane airgap`; its answer, or its error."""
        folder = str(self.stack.folder / state)
        return _told(await outcome("controlplane", "airgap", *words, "--state", folder, "--output", "json"))

    async def token(self, name: str, org: str = ORG, *options: str) -> str:
        file = self.path(f"{name}.token")
        words = ("outpost", "register", name, "--org", org, "--token-file", file, *(options or ("--courier",)))
        await self.stack.controlplane(*words)
        return file

    async def status(self) -> tuple[int, dict[str, Any]]:
        folder = str(self.stack.outpost_state(NAME))
        code, out, _ = await outcome("outpost", "status", "--state", folder, "--output", "json")
        return code, (json.loads(out)["orgs"][ORG] if out else {})


def _told(result: tuple[int, str, str]) -> tuple[int, dict[str, Any]]:
    status, out, errors = result
    if status:
        return status, dict(json.loads(errors)["error"])
    return status, dict(json.loads(out))


async def control_plane(running: Stack, *orgs: str, state: str = "controlplane") -> None:
    """Made, and never started."""
    ports = {name: str(free_port()) for name in ("--enroll-port", "--grpc-port", "--api-port")}
    folder = str(running.folder / state)
    await running.command("controlplane", "init", "--state", folder, *(word for pair in ports.items() for word in pair))
    provider = str(running.programs["provider"].ready["url"])
    models = ("--model", LISTED_MODEL, "--model", "*")
    for org in orgs:
        words = ("org", "create", org, "--single-person", "--provider-url", provider, *models)
        await running.command("controlplane", *words, "--state", folder)


@asynccontextmanager
async def gap(folder: Path) -> AsyncIterator[Gap]:
    async with stack(folder / "site") as running:
        await running.start_provider()
        await control_plane(running, ORG, OTHER)
        bag = folder / "bag"
        bag.mkdir()
        yield Gap(running, bag)


async def enrolled(one: Gap, name: str = NAME, org: str = ORG) -> None:
    """By files."""
    token = await one.token(name, org)
    steps = (
        await one.ours("request", "--token-file", token, "--out", one.path(f"{name}.request"), state=name),
        await one.theirs("answer", one.path(f"{name}.request"), "--out", one.path(f"{name}.answer")),
        await one.ours("accept", one.path(f"{name}.answer"), state=name),
    )
    assert [status for status, _ in steps] == [0, 0, 0], steps


async def bundle(one: Gap, name: str, org: str = ORG, *options: str) -> str:
    file = one.path(name)
    assert (await one.theirs("bundle", "--org", org, "--out", file, *options))[0] == 0
    return file


async def serving(one: Gap) -> Site:
    """The outpost, running; its client key came with the configuration."""
    secrets = one.stack.outpost_state(NAME) / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "provider").write_text("sk-simulated")
    program = await one.stack.start_outpost(NAME, "--workers", "1")
    await wait_ready(program.ready["url"])
    return Site(one.stack, program.ready["url"], "", str(one.stack.programs["provider"].ready["url"]))


@pytest.mark.timeout(TEST_SECONDS)
async def test_a_life_by_files_alone(tmp_path: Path) -> None:
    async with gap(tmp_path) as one:
        await enrolled(one)
        key = await one.stack.create_key(ORG)
        first = await bundle(one, "1.bundle")
        assert (await one.ours("bundle", first))[0] == 0
        site = replace(await serving(one), key=key)
        assert (await site.chat("hello"))[0] == 200
        assert (await site.chat(f"my card is {CARD}"))[0] == 403

        async def logged() -> bool:
            return bool((await one.status())[1]["audit_size"] >= 6)

        await until(logged)
        code, known = await one.status()
        assert (code, known["state"], known["audit_cosigned"]) == (0, "ACTIVE", 0)
        doctor = await outcome("outpost", "doctor", "--state", str(one.stack.outpost_state(NAME)), "--output", "json")
        assert {line["level"] for line in json.loads(doctor[1])["lines"]} <= {"ok", "warn"}
        rows = json.loads(await one.stack.controlplane("outpost", "list", "--org", ORG, "--output", "json"))["outposts"]
        assert [(row["reported_state"], row["attention"]) for row in rows] == [("COURIER", [])]
        await audited(one, "1")
        await refused_configuration(one, site, first)
        await refused_audit(one, site)
        log = (one.stack.folder / f"{NAME}.log").read_text()
        assert "sync.lost" not in log
        assert "certificate.failed" not in log


async def audited(one: Gap, name: str) -> int:
    """The log carried out, and its receipts carried in."""
    archive, receipts = one.path(f"{name}.audit"), one.path(f"{name}.receipts")
    status, made = await one.ours("audit", "--out", archive)
    assert status == 0, made
    status, taken = await one.theirs("audit", archive, "--org", ORG, "--receipts", receipts)
    assert (status, taken["size"]) == (0, made["size"])
    status, told = await one.ours("receipts", receipts)
    assert (status, told["size"]) == (0, made["size"])
    verified = json.loads(await one.stack.controlplane("audit", "verify", "--org", ORG, "--output", "json"))
    assert [log["size"] for log in verified["logs"]] == [made["size"]]

    async def known() -> bool:
        return bool((await one.status())[1]["audit_cosigned"] == made["size"])

    await until(known)
    return int(made["size"])


async def refused_configuration(one: Gap, site: Site, first: str) -> None:
    """A newer bundle is taken up by the running outpost; an older, changed or foreign one is not."""
    text = await one.stack.controlplane("policy", "show", "--org", ORG)
    document = one.bag / "policy.json"
    document.write_text(text.replace('"input":"ALLOW"', '"input":"BLOCK"'))
    await one.stack.controlplane("policy", "publish", str(document), "--org", ORG)
    second = await bundle(one, "2.bundle")
    status, told = await one.ours("bundle", second)
    assert status == 0, told

    async def in_force() -> bool:
        return bool((await one.status())[1]["revision"] == told["revision"])

    await until(in_force)
    assert (await site.chat("hello"))[0] == 403
    foreign = await bundle(one, "foreign.bundle", OTHER)
    changed = bytearray(Path(second).read_bytes())
    changed[-1] ^= 1
    (one.bag / "changed.bundle").write_bytes(changed)
    (one.bag / "cut.bundle").write_bytes(changed[:-9])
    cases = {first: "bundle.rollback", foreign: "bundle.other_org"}
    cases |= {one.path("changed.bundle"): "bundle.hash", one.path("cut.bundle"): "bundle.truncated"}
    for file, code in cases.items():
        status, error = await one.ours("bundle", file)
        assert (status, error["code"]) == (5, code), (file, error)
    assert (await one.status())[1]["revision"] == told["revision"]


async def refused_audit(one: Gap, site: Site) -> None:
    """What follows is taken; a gap, a change, an old or a foreign receipt is not."""
    old = one.path("1.receipts")
    for _ in range(3):
        await site.chat("hello")
    size = await audited(one, "2")
    for _ in range(3):
        await site.chat("hello")

    async def more() -> bool:
        return bool((await one.status())[1]["audit_size"] >= size + 2)

    await until(more)
    assert (await one.ours("audit", "--out", one.path("gap.audit"), "--first", str(size + 1)))[0] == 0
    assert (await one.ours("audit", "--out", one.path("all.audit"), "--first", "0"))[0] == 0
    data = Path(one.path("all.audit")).read_bytes()
    (one.bag / "changed.audit").write_bytes(data.replace(b'"BLOCK"', b'"ALLOW"', 1))
    (one.bag / "cut.audit").write_bytes(data[:-20])
    cases = {"gap": "airgap.audit_gap", "changed": "airgap.audit_refused", "cut": "airgap.audit"}
    for name, code in cases.items():
        words = ("audit", one.path(f"{name}.audit"), "--org", ORG, "--receipts", one.path("no.receipts"))
        status, error = await one.theirs(*words)
        assert (status, error["code"]) == (5, code), (name, error)
        assert not Path(one.path("no.receipts")).exists()
    status, error = await one.theirs(
        "audit", one.path("all.audit"), "--org", OTHER, "--receipts", one.path("no.receipts")
    )
    assert (status, error["code"]) == (5, "airgap.foreign")
    assert (await one.ours("receipts", old))[1]["code"] == "airgap.older"
    again = ("audit", one.path("all.audit"), "--org", ORG, "--receipts", one.path("all.receipts"))
    assert (await one.theirs(*again))[0] == 0
    assert (await one.ours("receipts", one.path("all.receipts")))[0] == 0


def flipped(data: bytes) -> bytes:
    """The signature is another."""
    document = json.loads(data)
    signature = document["signature"]
    document["signature"] = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def other_payload(data: bytes) -> bytes:
    document = json.loads(data)
    payload = json.loads(bytes.fromhex(document["payload"]))
    payload["join_sequence"] += 1
    body = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    document["payload"] = body.hex()
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


CHANGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another signature": (flipped, "airgap.unsigned"),
    "another payload": (other_payload, "airgap.unsigned"),
    "cut": (lambda data: data[:-9], "airgap.malformed"),
    "something else": (lambda data: b"{}", "airgap.malformed"),
    "not canonical": (lambda data: data + b" ", "airgap.malformed"),
}


async def test_answers_that_are_foreign_or_changed_are_refused(tmp_path: Path) -> None:
    async with gap(tmp_path) as one:
        token = await one.token(NAME)
        ask = ("request", "--token-file", token, "--out")
        assert (await one.ours(*ask, one.path("1.request")))[0] == 0
        assert (await one.theirs("answer", one.path("1.request"), "--out", one.path("1.answer")))[0] == 0
        good = Path(one.path("1.answer")).read_bytes()
        for name, (change, code) in CHANGED.items():
            (one.bag / "bad.answer").write_bytes(change(good))
            status, error = await one.ours("accept", one.path("bad.answer"))
            assert (status, error["code"]) == (5, code), (name, error)
        stranger = await one.ours("accept", one.path("1.answer"), state="stranger")
        assert (stranger[0], stranger[1]["code"]) == (5, "airgap.foreign")

        assert (await one.ours(*ask, one.path("2.request")))[0] == 0  # another file, the same certificate request
        status, error = await one.ours("accept", one.path("1.answer"))
        assert (status, error["code"]) == (5, "airgap.foreign")
        assert (await one.theirs("answer", one.path("2.request"), "--out", one.path("2.answer")))[0] == 0
        assert (await one.ours("accept", one.path("2.answer")))[0] == 0
        again = await one.ours(*ask, one.path("3.request"))
        assert again[1]["code"] == "state.enrolled"


async def test_an_answer_of_another_control_plane_is_refused(tmp_path: Path) -> None:
    async with gap(tmp_path) as one:
        await control_plane(one.stack, ORG, state="rogue")
        rogue = str(one.stack.folder / "rogue")
        register = ("outpost", "register", NAME, "--org", ORG, "--courier", "--token-file", one.path("rogue.token"))
        await one.stack.command("controlplane", *register, "--state", rogue)
        ours = await one.token(NAME)
        words = ("request", "--token-file", one.path("rogue.token"), "--out", one.path("rogue.request"))
        assert (await one.ours(*words, state="victim"))[0] == 0
        answered = await one.theirs("answer", one.path("rogue.request"), "--out", one.path("a"), state="rogue")
        assert answered[0] == 0
        assert (await one.ours("request", "--token-file", ours, "--out", one.path("1.request"), state="victim"))[0] == 0
        status, error = await one.ours("accept", one.path("a"), state="victim")
        assert (status, error["code"]) == (5, "airgap.unsigned")
        status, error = await one.theirs("answer", one.path("rogue.request"), "--out", one.path("b"))
        assert (status, error["code"]) == (3, "token.refused")


async def test_tokens_are_for_files_or_for_the_network(tmp_path: Path) -> None:
    async with gap(tmp_path) as one:
        token = await one.token(NAME, ORG, "--ttl", "15m")
        assert (await one.ours("request", "--token-file", token, "--out", one.path("1.request")))[0] == 0
        status, error = await one.theirs("answer", one.path("1.request"), "--out", one.path("1.answer"))
        assert (status, error["code"]) == (3, "token.courier")
        assert not Path(one.path("1.answer")).exists()


@pytest.mark.parametrize("days", ["0", "32"])
async def test_a_bundle_is_fresh_for_a_month_at_most(days: str, tmp_path: Path) -> None:
    status, _, errors = await outcome(
        *("controlplane", "airgap", "bundle", "--org", ORG, "--out", str(tmp_path / "x"), "--days", days)
    )
    assert status == 2
    assert "days" in errors
