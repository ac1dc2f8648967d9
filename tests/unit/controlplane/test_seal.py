"""Small secrets at rest, and cursors that are handed out."""

from pathlib import Path

import pytest

from certs.shell.signers import SealError
from controlplane.store.seal import KekSeal
from controlplane.store.sealing import Keyring
from controlplane.web.api.cursors import CursorError, Cursors, cut


def seal(folder: Path, name: str = "kek") -> KekSeal:
    ring = Keyring(folder / name)
    ring.create()
    return KekSeal(ring)


def test_what_was_closed_opens_for_its_purpose_only(tmp_path: Path) -> None:
    own, other = seal(tmp_path), seal(tmp_path, "other")
    closed = own.close("totp/acme/user-1", b"secret")
    assert own.open("totp/acme/user-1", closed) == b"secret"
    assert b"secret" not in closed
    assert own.close("totp/acme/user-1", b"secret") != closed
    for sealing, purpose, text in (
        (own, "totp/globex/user-1", closed),
        (other, "totp/acme/user-1", closed),
        (own, "totp/acme/user-1", closed[:-1] + bytes([closed[-1] ^ 1])),
        (own, "totp/acme/user-1", closed[1:]),
        (own, "totp/acme/user-1", closed[:20]),
        (own, "totp/acme/user-1", b""),
    ):
        with pytest.raises(SealError):
            sealing.open(purpose, text)


def test_marks_of_two_purposes_differ(tmp_path: Path) -> None:
    own = seal(tmp_path)
    assert own.mark("a", b"bc") != own.mark("ab", b"c")
    assert own.mark("a", b"bc") == own.mark("a", b"bc")


def test_a_cursor_is_good_for_its_list_only(tmp_path: Path) -> None:
    own = seal(tmp_path)
    cursors = Cursors(own, {"operation": "keys.list", "org": "acme"})
    cursor = cursors.make("key-1")
    assert cursors.open(cursor) == "key-1"
    assert cursors.open("") == ""
    for other in ({"operation": "keys.list", "org": "globex"}, {"operation": "users.list", "org": "acme"}):
        with pytest.raises(CursorError):
            Cursors(own, other).open(cursor)
    for forged in (cursor[:-1], cursor + "AAAA", "A" * 40, "!", "ä", cursor.swapcase(), "=" * 8):
        with pytest.raises(CursorError):
            cursors.open(forged)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 200])
def test_pages_make_the_whole_list(limit: int, tmp_path: Path) -> None:
    cursors = Cursors(seal(tmp_path), {"operation": "x"})
    items, cursor, seen = [str(number) for number in range(7)], "", []
    while True:
        page = cut(items, lambda item: item, cursors, (cursor, limit))
        seen += page.items
        cursor = page.following
        if not cursor:
            break
    assert seen == items


def test_a_cursor_whose_item_is_gone_says_so(tmp_path: Path) -> None:
    cursors = Cursors(seal(tmp_path), {"operation": "x"})
    with pytest.raises(CursorError):
        cut(["a"], lambda item: item, cursors, (cursors.make("b"), 1))
