import hashlib
from pathlib import Path

import pytest

from outpost.cache.store import ContentStore
from outpost.core.bundle.limits import MAX_TARGET_BYTES
from outpost.core.errors import StoreError

CONTENT = b"some content"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_content_comes_back_by_its_hash(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "store")
    assert store.put(CONTENT) == DIGEST
    assert store.get(DIGEST) == CONTENT
    assert store.put(b"") == hashlib.sha256(b"").hexdigest()


def test_altered_content_is_tamper(tmp_path: Path) -> None:
    ContentStore(tmp_path).put(CONTENT)
    (tmp_path / DIGEST).write_bytes(CONTENT + b"!")
    with pytest.raises(StoreError) as refused:
        ContentStore(tmp_path).get(DIGEST)
    assert refused.value.code == "cache.tampered"


def test_what_is_here_whole_is_not_written_again(tmp_path: Path) -> None:
    steps: list[str] = []
    store = ContentStore(tmp_path, steps.append)
    store.put(CONTENT)
    assert steps
    steps.clear()
    store.put(CONTENT)
    assert steps == []
    (tmp_path / DIGEST).write_bytes(CONTENT[:-1])
    store.put(CONTENT)
    assert steps
    assert store.get(DIGEST) == CONTENT


ASKED = {"content that is not here": ("0" * 64, "cache.missing"), "a path": ("../../wrap.key", "cache.tampered")}


@pytest.mark.parametrize("sentence", ASKED)
def test_what_cannot_be_given(sentence: str, tmp_path: Path) -> None:
    digest, code = ASKED[sentence]
    with pytest.raises(StoreError) as refused:
        ContentStore(tmp_path).get(digest)
    assert refused.value.code == code


def test_too_much_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        ContentStore(tmp_path).put(bytes(MAX_TARGET_BYTES + 1))
    assert refused.value.code == "cache.write_failed"


def test_only_what_is_named_stays(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    kept, dropped = store.put(CONTENT), store.put(b"other")
    store.keep_only({kept})
    assert store.get(kept) == CONTENT
    assert not (tmp_path / dropped).exists()
    ContentStore(tmp_path / "never made").keep_only(set())
