"""The witness's judgement: what extends a known log, what was there already, and each refusal with its number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.domain.errors import StateError
from controlplane.domain.witness import (
    Accepted,
    KnownTree,
    Upload,
    WitnessRefused,
    accept,
    last_common_size,
)
from outpost.core.audit.canonical import with_sequence
from outpost.core.audit.merkle import CompactRange, leaf_hash, root
from outpost.core.audit.note import Checkpoint, NoteSigner, SignatureType, open_cosigned, sign_checkpoint
from outpost.core.audit.record import BundleActivated, RecordHead

ORIGIN = "outpost.internal/org/acme/outpost/op-0123456789abcdef"
LOG = NoteSigner.of_key(ORIGIN, Ed25519PrivateKey.generate())
WITNESS = NoteSigner.of_key("outpost.internal/witness", Ed25519PrivateKey.generate(), SignatureType.COSIGNATURE_V1)
HEAD = RecordHead(1, "acme", "op-0123456789abcdef")


def records(count: int, *, text: str = "r", changed_from: int | None = None) -> list[bytes]:
    """Records of a log; another history from one place on."""
    return [
        with_sequence(
            BundleActivated(HEAD, f"{'X' if changed_from is not None and n >= changed_from else text}{n}").to_bytes(),
            n,
        )
        for n in range(count)
    ]


def head(log: Sequence[bytes], size: int | None = None, signer: NoteSigner = LOG) -> bytes:
    """The log's checkpoint at a size."""
    size = len(log) if size is None else size
    tree = root([leaf_hash(record) for record in log[:size]])
    return sign_checkpoint(Checkpoint(signer.verifier.name, size, tree), signer)


@dataclass
class Store:
    """What a control plane keeps, as plainly as possible."""

    hashes: list[bytes] = field(default_factory=list)
    cosigned_size: int = 0

    def known(self, first: int) -> KnownTree:
        end = (first // 256 + 1) * 256
        return KnownTree(
            LOG.verifier,
            CompactRange().extend(self.hashes),
            self.cosigned_size,
            self.hashes[max(first, 0) : end],
            lambda size: root(self.hashes[:size]),
        )

    def take(self, first: int, batch: Sequence[bytes], checkpoint: bytes) -> Accepted:
        accepted = accept(self.known(first), Upload(first, batch, checkpoint))
        self.hashes += [record.leaf_hash for record in accepted.new]
        if accepted.complete:
            self.cosigned_size = accepted.tree.size
        return accepted


def store_of(log: Sequence[bytes]) -> Store:
    return Store([leaf_hash(record) for record in log], len(log))


def test_a_log_is_taken_tile_by_tile_and_cosigned_when_its_head_is_reached() -> None:
    log, store = records(600), Store()
    checkpoint = head(log)
    for first in range(0, 600, 256):
        accepted = store.take(first, log[first : first + 256], checkpoint)
        assert [record.sequence for record in accepted.new] == list(range(first, min(first + 256, 600)))
        assert accepted.complete == (first == 512)
        assert bool(accepted.cosign(WITNESS, 77)) == accepted.complete
    opened = open_cosigned(checkpoint + accepted.cosign(WITNESS, 77), LOG.verifier, WITNESS.verifier)
    assert (opened.signed.checkpoint.size, opened.time_seconds) == (600, 77)
    assert accepted.tree.root() == root([leaf_hash(record) for record in log])


def test_a_log_may_grow_within_a_tile() -> None:
    log, store = records(40), Store()
    for size in (1, 2, 17, 40):
        first = len(store.hashes)
        assert store.take(first, log[first:size], head(log, size)).complete


def test_what_is_sent_again_is_known_again_and_cosigned_again() -> None:
    log = records(300)
    store = store_of(log[:280])
    accepted = store.take(256, log[256:300], head(log))
    assert (accepted.duplicates, len(accepted.new), accepted.complete) == (24, 20, True)
    again = store.take(256, log[256:300], head(log))
    assert (again.duplicates, again.new, again.complete) == (44, (), True)
    assert again.cosign(WITNESS, 5)
    assert store.take(300, [], head(log)).complete


def test_records_may_come_before_their_checkpoint_and_are_held_against_it_later() -> None:
    log = records(300)
    store = Store()
    accepted = store.take(0, log[:256], b"")
    assert (len(accepted.new), accepted.signed, accepted.complete) == (256, None, False)
    assert accepted.cosign(WITNESS, 5) == b""
    assert store.take(256, log[256:], head(log)).complete
    forged = Store()
    forged.take(0, records(256, changed_from=200), b"")
    with pytest.raises(WitnessRefused) as caught:
        forged.take(256, log[256:], head(log))
    assert (caught.value.code, forged.cosigned_size) == ("witness.fork", 0)


Case = tuple[Store, Upload]


def upload(log: Sequence[bytes], first: int, end: int, checkpoint: bytes | None = None) -> Upload:
    return Upload(first, log[first:end], head(log) if checkpoint is None else checkpoint)


LOG_300 = records(300)
STRANGER = NoteSigner.of_key(ORIGIN, Ed25519PrivateKey.generate())
ELSEWHERE = NoteSigner.of_key("outpost.internal/org/globex/outpost/op-1", Ed25519PrivateKey.generate())
FORKED = records(300, changed_from=120)


def renumbered(log: Sequence[bytes]) -> list[bytes]:
    return [log[0], *log[2:], log[1]]


# status, code, known size, last common size
Answer = tuple[int, str, int, int]
REFUSALS: dict[str, tuple[Callable[[], Case], Answer]] = {
    "the checkpoint of another log": (
        lambda: (store_of(LOG_300[:100]), upload(LOG_300, 100, 200, head(LOG_300, signer=ELSEWHERE))),
        (404, "witness.unknown_log", 100, 100),
    ),
    "a checkpoint of our origin by another key": (
        lambda: (store_of(LOG_300[:100]), upload(LOG_300, 100, 200, head(LOG_300, signer=STRANGER))),
        (403, "witness.signature", 100, 100),
    ),
    "a checkpoint that is none": (
        lambda: (Store(), upload(LOG_300, 0, 10, b"x")),
        (403, "witness.signature", 0, 0),
    ),
    "a gap": (
        lambda: (store_of(LOG_300[:100]), upload(LOG_300, 101, 200)),
        (409, "witness.old_size", 100, 100),
    ),
    "a log that was cut, or an older copy of it": (
        lambda: (store_of(LOG_300[:200]), upload(LOG_300, 100, 150, head(LOG_300, 150))),
        (409, "witness.old_size", 200, 150),
    ),
    "a resent record with other bytes": (
        lambda: (store_of(LOG_300[:200]), upload(FORKED, 100, 200)),
        (422, "witness.fork", 200, 120),
    ),
    "an older copy that went its own way": (
        lambda: (store_of(LOG_300[:200]), upload(FORKED, 130, 150, head(FORKED, 150))),
        (422, "witness.fork", 200, 130),
    ),
    "a beginning behind the end of its checkpoint": (
        lambda: (store_of(LOG_300[:200]), upload(FORKED, 200, 200, head(FORKED, 150))),
        (422, "witness.upload_invalid", 200, 200),
    ),
    "another tree at the known size": (
        lambda: (store_of(LOG_300[:200]), upload(FORKED, 200, 200, head(FORKED, 200))),
        (422, "witness.fork", 200, 199),
    ),
    "new records that do not lead to the signed root": (
        lambda: (store_of(LOG_300[:280]), upload(LOG_300, 280, 300, head(FORKED))),
        (422, "witness.fork", 280, 280),
    ),
    "records beyond the checkpoint": (
        lambda: (store_of(LOG_300[:100]), upload(LOG_300, 100, 200, head(LOG_300, 199))),
        (422, "witness.upload_invalid", 100, 100),
    ),
    "records of two tiles": (
        lambda: (store_of(LOG_300[:200]), upload(LOG_300, 200, 257)),
        (422, "witness.upload_invalid", 200, 200),
    ),
    "a negative beginning": (
        lambda: (Store(), Upload(-1, [], head(LOG_300))),
        (422, "witness.upload_invalid", 0, 0),
    ),
    "bytes that are no record": (
        lambda: (Store(), Upload(0, [b"{}"], head([b"{}"]))),
        (422, "witness.upload_invalid", 0, 0),
    ),
    "records in another order, well signed": (
        lambda: (Store(), upload(renumbered(LOG_300), 0, 256)),
        (422, "witness.upload_invalid", 0, 0),
    ),
}


@pytest.mark.parametrize(("case", "answer"), REFUSALS.values(), ids=REFUSALS)
def test_each_refusal_has_its_number_and_says_what_is_known(case: Callable[[], Case], answer: Answer) -> None:
    store, sent = case()
    with pytest.raises(WitnessRefused) as caught:
        accept(store.known(sent.first), sent)
    refused = caught.value
    assert (refused.status, refused.code, refused.known_size, refused.last_common_size) == answer
    assert refused.next_step


def test_only_an_old_size_is_worth_another_try() -> None:
    for case, answer in REFUSALS.values():
        store, sent = case()
        with pytest.raises(WitnessRefused) as caught:
            accept(store.known(sent.first), sent)
        assert caught.value.fatal == (answer[0] != 409)


def test_an_old_head_with_another_root_is_a_fork_even_when_its_records_are_known() -> None:
    store = store_of(LOG_300[:200])
    with pytest.raises(WitnessRefused) as caught:
        accept(store.known(100), upload(LOG_300, 100, 120, head(FORKED, 150)))
    assert (caught.value.code, caught.value.last_common_size) == ("witness.fork", 149)


def test_a_store_that_lost_its_hashes_is_not_taken_for_a_tampered_outpost() -> None:
    known = store_of(LOG_300[:200]).known(100)
    broken = KnownTree(known.log, known.tree, known.cosigned_size, known.leaf_hashes[:5], known.root_at)
    with pytest.raises(StateError):
        accept(broken, upload(LOG_300, 100, 200))


@pytest.mark.parametrize("common", [0, 1, 119, 120, 199, 200])
def test_the_last_common_size_is_found_in_few_questions(common: int) -> None:
    asked: list[int] = []

    def same(size: int) -> bool:
        asked.append(size)
        return size <= common

    assert last_common_size(200, 300, same) == common
    assert len(asked) <= 8
