"""Tampering with the audit log at rest is named by record; a cut or older log is refused by the witness at the next
upload, with the last common size (what the spine must show, 7).
"""

import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from outpost.bootstrap.agents import Dialer
from outpost.bootstrap.world import SystemChance
from outpost.cli.stack import Stack, wait_ready
from outpost.core.audit.canonical import without_sequence
from outpost.delivery.witness import Delivery, LogForkedError, LogRolledBackError, Progress
from outpost.ledger.cursor import Cursor
from outpost.ledger.frames import PAGE_BYTES, Frame, encode_frame, scan
from outpost.ledger.identity import load_identity
from outpost.ledger.log import AuditLog
from outpost.ledger.reader import LogReader
from outpost.ledger.writer import LogOptions
from outpost.sync import identity as identities
from tests.e2e.conftest import ORG, Site, make_site, outcome, until

VICTIM = 5  # sequence number; each log here is one segment of a few dozen records
QUESTIONS = 6  # requests of each half of the history; two records each
CUT = 3  # records more than the older copy has that a cut log keeps
MIDST = 5  # of a record's payload, counted from its end: inside the last value


@dataclass
class Scene:
    """One installation whose outpost is stopped, with copies of its log.

    Attributes:
        older: the log as it was halfway, a whole and consistent copy.
        older_size: records of that copy.
        intact: the log at the end of its history.
        witnessed: records that the control plane had at that time.
        settings: file with which the outpost is started.
    """

    site: Site
    older: Path
    older_size: int
    intact: Path
    witnessed: int
    settings: Path

    @property
    def folder(self) -> Path:
        """The log that the outpost uses."""
        return self.site.stack.outpost_state() / "orgs" / ORG / "audit"

    def records(self, folder: Path) -> list[bytes]:
        """Every record of a log of one segment."""
        return [frame.payload for frame in frames_of(folder)]


def frames_of(folder: Path) -> list[Frame]:
    (segment,) = (folder / "segments").glob("*.segment")
    return [item for item in scan(segment.read_bytes()) if isinstance(item, Frame)]


def rewrite(folder: Path, payloads: list[bytes]) -> None:
    """The segment with these records, every checksum right."""
    (segment,) = (folder / "segments").glob("*.segment")
    data = segment.read_bytes()
    fresh = data[:PAGE_BYTES] + b"".join(encode_frame(payload, opens_group=True) for payload in payloads)
    segment.write_bytes(fresh.ljust(len(data), b"\0"))


async def chats(site: Site, count: int) -> None:
    for number in range(count):
        assert (await site.chat(f"hello {number}"))[0] == 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("tamper")
    settings = folder / "outpost.toml"
    settings.write_text("reconnect_cap_seconds = 0.5\n")
    async with make_site(folder / "site", "--workers", "1", "--config", str(settings)) as site:
        audit = site.stack.outpost_state() / "orgs" / ORG / "audit"
        await chats(site, QUESTIONS)
        await site.stack.programs["outpost"].stop()
        older = Path(shutil.copytree(audit, folder / "older"))
        await site.restart("--workers", "1", "--config", str(settings))
        await wait_ready(site.url)
        await chats(site, QUESTIONS)
        older_size = LogReader(older).tree_size()

        async def uploaded() -> bool:
            return await site.audited() >= older_size + 2 * QUESTIONS

        await until(uploaded)
        await site.stack.programs["outpost"].stop()
        intact = Path(shutil.copytree(audit, folder / "intact"))
        yield Scene(site, older, older_size, intact, await site.audited(), settings)


def flip(folder: Path) -> None:
    (segment,) = (folder / "segments").glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[frames_of(folder)[VICTIM].end - MIDST] ^= 0x01
    segment.write_bytes(bytes(data))


def edited(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, change([frame.payload for frame in frames_of(folder)]))


def exchanged(records: list[bytes]) -> list[bytes]:
    records[VICTIM], records[VICTIM + 2] = records[VICTIM + 2], records[VICTIM]
    return records


def reworded(records: list[bytes]) -> list[bytes]:
    assert b'"status":200' in records[VICTIM + 1] + records[VICTIM]
    return [record.replace(b'"status":200', b'"status":403') for record in records]


def first_reworded(records: list[bytes]) -> int:
    return next(at for at, record in enumerate(records) if b'"status":200' in record)


TAMPERING: dict[str, tuple[Callable[[Path], None], str, int]] = {
    "one bit of a record is flipped": (flip, "audit.record_changed", VICTIM),
    "a record is removed": (edited(lambda r: r[:VICTIM] + r[VICTIM + 1 :]), "audit.record_missing", VICTIM),
    "two records are exchanged": (edited(exchanged), "audit.record_reordered", VICTIM),
    "a record stands twice": (edited(lambda r: r[: VICTIM + 1] + r[VICTIM:]), "audit.record_duplicated", VICTIM),
    "the records after one are cut off": (edited(lambda r: r[:VICTIM]), "audit.tail_cut", VICTIM),
}


async def verified(folder: Path, scene: Scene, *options: str) -> tuple[int, dict[str, Any]]:
    """`outpost verify-audit` on a copy of the state folder in which the log is the given one."""
    state = folder / "state"
    shutil.copytree(scene.site.stack.outpost_state(), state, ignore=shutil.ignore_patterns("run", "audit"))
    shutil.copytree(folder / "audit", state / "orgs" / ORG / "audit")
    status, out, errors = await outcome("outpost", "verify-audit", "--state", str(state), "--output", "json", *options)
    assert out, errors
    return status, json.loads(out)["logs"][0]


@pytest.mark.asyncio(loop_scope="module")
class TestAtRest:
    async def test_an_intact_log_passes(self, scene: Scene, tmp_path: Path) -> None:
        shutil.copytree(scene.intact, tmp_path / "audit")
        status, log = await verified(tmp_path, scene)
        assert (status, log["intact"]) == (0, True)
        assert log["records"] == log["signed"] == len(scene.records(scene.intact))
        assert scene.older_size < log["cosigned"] <= log["records"]

    @pytest.mark.parametrize(("tamper", "code", "sequence"), TAMPERING.values(), ids=TAMPERING)
    async def test_tampering_is_named_with_its_sequence(
        self, scene: Scene, tmp_path: Path, tamper: Callable[[Path], None], code: str, sequence: int
    ) -> None:
        shutil.copytree(scene.intact, tmp_path / "audit")
        tamper(tmp_path / "audit")
        status, log = await verified(tmp_path, scene)
        assert (status, log["intact"]) == (5, False)
        assert (log["error"]["code"], log["sequence"]) == (code, sequence)

    async def test_reworded_records_are_found_though_every_checksum_is_right(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        shutil.copytree(scene.intact, tmp_path / "audit")
        expected = first_reworded(scene.records(scene.intact))
        edited(reworded)(tmp_path / "audit")
        status, log = await verified(tmp_path, scene)
        assert (status, log["error"]["code"], log["sequence"]) == (5, "audit.record_changed", expected)

    async def test_an_older_copy_passes_by_itself_but_not_beside_a_cosigned_head(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        (tmp_path / "alone").mkdir()
        shutil.copytree(scene.older, tmp_path / "alone" / "audit")
        assert (await verified(tmp_path / "alone", scene))[0] == 0
        (tmp_path / "beside").mkdir()
        shutil.copytree(scene.older, tmp_path / "beside" / "audit")
        cosigned = scene.intact / "cosigned"
        status, log = await verified(tmp_path / "beside", scene, "--cosigned", str(cosigned))
        assert (status, log["error"]["code"], log["sequence"]) == (5, "audit.rolled_back", scene.older_size)


def cut_log(scene: Scene, folder: Path, size: int) -> Path:
    """The first records of the log under a head that its own key signed: what root on the machine can do."""
    folder.mkdir(mode=0o700)
    for name in ("log.key", "origin"):
        shutil.copy2(scene.intact / name, folder / name)
    log = AuditLog(folder, load_identity(folder).signer, LogOptions())
    for record in scene.records(scene.intact)[:size]:
        log.append([without_sequence(record)]).result(10)
    log.close()
    assert scene.records(folder) == scene.records(scene.intact)[:size]
    return folder


@contextlib.asynccontextmanager
async def replaced(scene: Scene, log: Path) -> AsyncIterator[None]:
    """Another log stands in the state folder of the stopped outpost; at the end the true one is back."""
    kept = scene.folder.with_name("audit.kept")
    scene.folder.rename(kept)
    try:
        shutil.copytree(log, scene.folder)
        yield
    finally:
        await scene.site.stack.programs["outpost"].stop()
        shutil.rmtree(scene.folder)
        kept.rename(scene.folder)


async def start(scene: Scene) -> None:
    await scene.site.restart("--workers", "1", "--config", str(scene.settings))


def refused(scene: Scene) -> Callable[[], Awaitable[dict[str, Any] | None]]:
    """Ask until the witness refused; the status of the org."""

    async def question() -> dict[str, Any] | None:
        told = await scene.site.status()
        return told if told["functions"].get("audit", "ok") != "ok" else None

    return question


async def shown(running: Stack) -> dict[str, Any]:
    out = await running.controlplane("outpost", "show", "outpost", "--org", ORG, "--output", "json")
    return dict(json.loads(out))


async def assert_refused(scene: Scene, common: int) -> str:
    """The refusal is told with the last common size, and the control plane's copy stands; returns the code."""
    running, known = scene.site.stack, await scene.site.audited()
    before = len((await shown(running))["audit_refusals"])
    await start(scene)
    told = await until(refused(scene))
    code, note = told["functions"]["audit"], told["notes"]["audit"]
    if code == LogRolledBackError.code:  # the newest head does not cover the record of this start yet
        assert note == (
            f"the witness has seen {known} records, this log has {common}: it was cut or is an older copy;"
            f" the last common size is {common}"
        )
    else:
        assert code == LogForkedError.code
        size = int(note.removesuffix(".").rsplit(" ", 1)[1])
        assert size > common
        assert note == (
            f"this log and the witness's differ after size {common}; the witness knows {known} records, we have {size}"
        )
    assert (await scene.site.chat("hello"))[0] == 200
    _, out, _ = await outcome("outpost", "status", "--state", str(running.outpost_state()))
    assert f"audit: {code}" in out
    assert await scene.site.audited() == known
    refusals = (await shown(running))["audit_refusals"]
    assert len(refusals) > before
    assert {refusal["status"] for refusal in refusals} <= {409, 422}
    return str(code)


@pytest.mark.asyncio(loop_scope="module")
class TestWitness:
    async def test_a_log_rolled_back_to_an_older_copy_is_refused(self, scene: Scene) -> None:
        async with replaced(scene, scene.older):
            await assert_refused(scene, scene.older_size)

    async def test_a_log_with_its_tail_cut_is_refused(self, scene: Scene, tmp_path: Path) -> None:
        size = scene.older_size + CUT
        assert size < scene.witnessed
        async with replaced(scene, cut_log(scene, tmp_path / "cut", size)):
            await assert_refused(scene, size)

    async def test_an_older_copy_that_went_on_is_a_fork(self, scene: Scene) -> None:
        async with replaced(scene, scene.older):
            await scene.site.stack.programs["controlplane"].stop()
            await start(scene)
            await wait_ready(scene.site.url)
            await chats(scene.site, 2)

            async def signed() -> bool:
                return LogReader(scene.folder).tree_size() >= scene.older_size + 4

            await until(signed)
            await scene.site.stack.start_controlplane()
            told = await until(refused(scene))
            assert told["functions"]["audit"] == LogForkedError.code
            assert f"differ after size {scene.older_size};" in told["notes"]["audit"]

    @pytest.mark.parametrize("kind", ["older copy", "cut tail"])
    async def test_the_size_up_to_which_both_agree_is_exact(self, scene: Scene, tmp_path: Path, kind: str) -> None:
        """The same delivery as in the agent, before any record of a start follows."""
        log = scene.older if kind == "older copy" else cut_log(scene, tmp_path / "cut", scene.older_size + CUT)
        folder = Path(shutil.copytree(log, tmp_path / "log"))
        common = scene.older_size + (CUT if kind == "cut tail" else 0)
        with pytest.raises(LogRolledBackError) as error:
            await deliver(scene, folder)
        assert error.value.field == str(common)
        forked = AuditLog(folder, load_identity(folder).signer, LogOptions())
        forked.append([without_sequence(scene.records(folder)[0])]).result(10)
        forked.close()
        with pytest.raises(LogForkedError) as other:
            await deliver(scene, folder)
        assert other.value.field == str(common)

    async def test_the_true_log_is_accepted_again(self, scene: Scene) -> None:
        known = await scene.site.audited()
        await start(scene)
        try:

            async def accepted() -> bool:
                told = await scene.site.status()
                return bool(told["functions"].get("audit") == "ok" and told["audit_cosigned"] > known)

            await until(accepted)
            assert await scene.site.audited() > known
        finally:
            await scene.site.stack.programs["outpost"].stop()


async def deliver(scene: Scene, folder: Path) -> None:
    """One step of delivery of a log to the running control plane."""
    plane = Dialer(SystemChance()).connect(
        identities.load(scene.site.stack.outpost_state() / "orgs" / ORG / "identity"), 0
    )
    uploaded = Cursor(folder).load().uploaded
    kept: list[int] = []
    progress = Progress(lambda: uploaded, kept.append, lambda _note, _line: None)
    delivery = Delivery(load_identity(folder).signer.verifier.name, LogReader(folder), progress, lambda *_: None)
    try:
        await delivery.step(plane)
    finally:
        await plane.close()
    assert not kept
