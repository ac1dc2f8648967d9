"""Delivery against the witness's own judge: what is accepted, sent again, or named."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controlplane.domain import witness as judge
from outpost import ports
from outpost.core.audit.merkle import CompactRange, leaf_hash
from outpost.core.errors import PeerError, StoreError
from outpost.delivery.witness import (
    TILE,
    Delivery,
    LogForkedError,
    LogRefusedError,
    LogRolledBackError,
    LogUnknownError,
    Progress,
    WitnessAnswerError,
)
from outpost.ledger.cursor import Cursor
from outpost.ledger.errors import EntryMissingError
from outpost.ledger.reader import LogReader
from tests.unit.ledger.support import LOG, ORIGIN, WITNESS, WITNESS_SIGNER, fill, make_log, open_log

NOW_SECONDS = 1_790_000_000


@dataclass
class WitnessInMemory:
    """``ports.ControlPlane`` as far as delivery needs it: the real judge over entries in memory."""

    entries: list[bytes] = field(default_factory=list)
    cosigned_size: int = 0
    appends: list[tuple[int, int]] = field(default_factory=list)
    roots_asked: int = 0

    def leaves(self, size: int) -> list[bytes]:
        return [leaf_hash(entry) for entry in self.entries[:size]]

    def root_at(self, size: int) -> bytes:
        return CompactRange().extend(self.leaves(size)).root()

    async def append(self, origin: str, first: int, entries: Sequence[bytes], checkpoint: bytes) -> ports.AppendAnswer:
        self.appends.append((first, len(entries)))
        size = len(self.entries)
        tile_end = (first // TILE + 1) * TILE
        known = judge.KnownTree(
            log=LOG,
            tree=CompactRange().extend(self.leaves(size)),
            cosigned_size=self.cosigned_size,
            leaf_hashes=self.leaves(min(tile_end, size))[first:],
            root_at=self.root_at,
        )
        try:
            accepted = judge.accept(known, judge.Upload(first, entries, checkpoint))
        except judge.WitnessRefused as refused:
            return ports.AppendAnswer(refused.status, refused.known_size, b"")
        self.entries += [record.record for record in accepted.new]
        cosigned = b""
        if accepted.signed is not None and accepted.complete:
            cosigned = checkpoint + accepted.cosign(WITNESS_SIGNER, NOW_SECONDS)
            self.cosigned_size = len(self.entries)
        return ports.AppendAnswer(200, len(self.entries), cosigned)

    async def root(self, origin: str, size: int) -> tuple[int, bytes]:
        self.roots_asked += 1
        known = len(self.entries)
        return known, self.root_at(size) if size <= known else b""

    async def open(self, hello: ports.Hello) -> ports.SyncSession:
        raise AssertionError("delivery opens no stream")

    async def fetch(self, sha256: bytes, size: int, part: bytearray | None = None) -> bytes:
        raise AssertionError("delivery fetches nothing")

    async def renew(self, csr_der: bytes, join_sequence: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...], int]:
        raise AssertionError("delivery renews nothing")

    async def close(self) -> None:
        return None


@dataclass
class Reports:
    """What delivery told, and a way to wait for it."""

    told: list[tuple[int, int, StoreError | None]] = field(default_factory=list)
    any: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, size: int, cosigned: int, error: StoreError | None) -> None:
        self.told.append((size, cosigned, error))
        self.any.set()


def delivery(folder: Path, report: Callable[[int, int, StoreError | None], None] | None = None) -> Delivery:
    cursor = Cursor(folder)

    def store(checkpoint: bytes, line: bytes) -> None:
        cursor.store_cosigned(checkpoint, line, LOG, WITNESS)

    progress = Progress(lambda: cursor.load().uploaded, cursor.set_uploaded, store)
    return Delivery(ORIGIN, LogReader(folder), progress, report or Reports())


async def delivered(folder: Path) -> WitnessInMemory:
    """A witness that has the whole log."""
    plane = WitnessInMemory()
    assert await delivery(folder).step(plane)
    return plane


def records(folder: Path) -> list[bytes]:
    reader = LogReader(folder)
    return list(reader.entries(0, reader.tree_size()))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    make_log(tmp_path / "log", 600)
    return tmp_path / "log"


async def test_a_log_arrives_whole_tile_by_tile_and_cosigned(log: Path) -> None:
    plane = await delivered(log)
    assert plane.entries == records(log)
    assert plane.appends == [(0, 256), (256, 256), (512, 88)]
    assert Cursor(log).load().cosigned == 600
    assert (Cursor(log).cosigned() or b"").startswith(LogReader(log).checkpoint() or b"-")


async def test_nothing_new_is_nothing_sent(log: Path) -> None:
    plane = WitnessInMemory()
    same = delivery(log)
    assert await same.step(plane)
    assert not await same.step(plane)
    assert len(plane.appends) == 3


async def test_an_empty_log_sends_nothing(tmp_path: Path) -> None:
    open_log(tmp_path / "log").close()
    plane = WitnessInMemory()
    assert not await delivery(tmp_path / "log").step(plane)
    assert plane.appends == []


async def test_another_connection_goes_on_where_the_last_one_ended(log: Path) -> None:
    plane = await delivered(log)
    more = open_log(log)
    fill(more, 10)
    more.close()
    plane.appends.clear()
    assert await delivery(log).step(plane)
    assert plane.appends == [(600, 10)]
    assert plane.entries == records(log)


async def test_an_upload_that_broke_off_is_continued(log: Path) -> None:
    class Breaking(WitnessInMemory):
        async def append(
            self, origin: str, first: int, entries: Sequence[bytes], checkpoint: bytes
        ) -> ports.AppendAnswer:
            if first == 512 and (512, 88) not in self.appends:
                self.appends.append((first, len(entries)))
                raise PeerError("the connection broke")
            return await super().append(origin, first, entries, checkpoint)

    plane = Breaking()
    with pytest.raises(PeerError):
        await delivery(log).step(plane)
    assert Cursor(log).load().uploaded == 512
    assert await delivery(log).step(plane)
    assert plane.entries == records(log)


async def test_a_witness_restored_from_a_copy_gets_again_what_it_lost(log: Path) -> None:
    plane = await delivered(log)
    del plane.entries[300:]
    plane.cosigned_size = 300
    plane.appends.clear()
    assert await delivery(log).step(plane)
    assert plane.entries == records(log)
    assert plane.appends == [(600, 0), (300, 212), (512, 88)]


async def test_a_witness_that_lost_everything_gets_everything(log: Path) -> None:
    await delivered(log)
    plane = await delivered(log)
    assert plane.entries == records(log)


async def test_a_cursor_that_is_behind_costs_one_question(log: Path) -> None:
    plane = await delivered(log)
    Cursor(log).set_uploaded(0)
    (log / "cosigned").unlink()
    assert await delivery(log).step(plane)
    assert plane.entries == records(log)
    assert Cursor(log).load().cosigned == 600


def older_copy(folder: Path, size: int) -> Path:
    """The log as it was at an earlier size: same records, same key."""
    make_log(folder, size)
    return folder


async def test_a_log_set_back_to_an_older_copy_is_named_with_the_last_common_size(log: Path, tmp_path: Path) -> None:
    plane = await delivered(log)
    with pytest.raises(LogRolledBackError) as refused:
        await delivery(older_copy(tmp_path / "older", 417)).step(plane)
    assert (refused.value.code, refused.value.field) == ("delivery.rolled_back", "417")
    assert "600" in refused.value.message
    assert plane.roots_asked <= 11
    assert len(plane.entries) == 600


async def test_a_log_that_was_set_back_and_went_on_is_named_as_a_fork(log: Path, tmp_path: Path) -> None:
    plane = await delivered(log)
    older = older_copy(tmp_path / "older", 300)
    again = open_log(older)
    again.append([again_body(number) for number in range(50)]).result(10)
    again.close()
    with pytest.raises(LogForkedError) as refused:
        await delivery(older).step(plane)
    assert (refused.value.code, refused.value.field) == ("delivery.forked", "300")


def again_body(number: int) -> bytes:
    from outpost.core.audit.record import BundleActivated
    from tests.unit.ledger.support import HEAD

    return BundleActivated(HEAD, f"other-{number}").to_bytes()


async def test_a_rewritten_past_of_the_same_length_is_named_as_a_fork(log: Path, tmp_path: Path) -> None:
    plane = await delivered(log)
    other = older_copy(tmp_path / "other", 250)
    again = open_log(other)
    for start in range(0, 350, 50):
        again.append([again_body(number) for number in range(start, start + 50)]).result(10)
    again.close()
    with pytest.raises(LogForkedError) as refused:
        await delivery(other).step(plane)
    assert refused.value.field == "250"


@dataclass
class Answering(WitnessInMemory):
    """A witness with one fixed answer."""

    answer: ports.AppendAnswer = field(default_factory=lambda: ports.AppendAnswer(200, 0, b""))

    async def append(self, origin: str, first: int, entries: Sequence[bytes], checkpoint: bytes) -> ports.AppendAnswer:
        return self.answer


REFUSALS: dict[str, tuple[ports.AppendAnswer, type[Exception]]] = {
    "a witness that does not know the log": (ports.AppendAnswer(404, 0, b""), LogUnknownError),
    "a witness that does not know the log's key": (ports.AppendAnswer(403, 0, b""), LogUnknownError),
    "a witness that accepts and does not count": (ports.AppendAnswer(200, 0, b""), WitnessAnswerError),
    "a witness that says yes and cosigns nothing": (ports.AppendAnswer(200, 100, b""), WitnessAnswerError),
    "a witness that cosigns another checkpoint": (ports.AppendAnswer(200, 100, b"other\n"), WitnessAnswerError),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_delivery_stops_at(what: str, tmp_path: Path) -> None:
    answer, error = REFUSALS[what]
    make_log(tmp_path / "log", 100)
    with pytest.raises(error):
        await delivery(tmp_path / "log").step(Answering(answer=answer))
    assert Cursor(tmp_path / "log").load() == Cursor(tmp_path / "empty").load()


async def test_a_cosignature_of_somebody_else_is_not_kept(tmp_path: Path) -> None:
    make_log(tmp_path / "log", 100)
    checkpoint = LogReader(tmp_path / "log").checkpoint() or b""
    line = f"— {WITNESS.name} {base64.b64encode(WITNESS.key_id + bytes(72)).decode()}\n".encode()
    plane = Answering(answer=ports.AppendAnswer(200, 100, checkpoint + line))
    with pytest.raises(StoreError, match="does not verify"):
        await delivery(tmp_path / "log").step(plane)
    assert Cursor(tmp_path / "log").cosigned() is None


async def told_by_run(folder: Path, plane: ports.ControlPlane) -> tuple[int, int, StoreError | None]:
    """The first report of ``run``."""
    reports = Reports()
    running = asyncio.create_task(delivery(folder, reports).run(plane))
    await asyncio.wait_for(reports.any.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return reports.told[0]


async def test_run_reports_sizes(log: Path) -> None:
    assert await told_by_run(log, WitnessInMemory()) == (600, 600, None)


async def test_run_reports_a_refusal_and_goes_on(log: Path) -> None:
    size, cosigned, error = await told_by_run(log, Answering(answer=ports.AppendAnswer(404, 0, b"")))
    assert (size, cosigned) == (600, 0)
    assert isinstance(error, LogRefusedError)


async def test_run_reports_a_record_that_cannot_be_read_and_keeps_the_stream(log: Path) -> None:
    segment = sorted((log / "segments").iterdir())[0]
    data = bytearray(segment.read_bytes())
    data[5000] ^= 0xFF
    segment.write_bytes(bytes(data))
    _, _, error = await told_by_run(log, WitnessInMemory())
    assert isinstance(error, EntryMissingError)


async def test_run_reports_a_disk_that_refuses_the_cursor(log: Path) -> None:
    (log / "cursor.json.tmp").mkdir()
    _, _, error = await told_by_run(log, WitnessInMemory())
    assert error is not None
    assert error.code == "audit.disk"


async def test_run_ends_with_the_connection(log: Path) -> None:
    class Gone(WitnessInMemory):
        async def append(
            self, origin: str, first: int, entries: Sequence[bytes], checkpoint: bytes
        ) -> ports.AppendAnswer:
            raise PeerError("the connection broke")

    with pytest.raises(PeerError):
        await delivery(log).run(Gone())
