"""Cursors of pages: opaque, signed, and good only for the org, the operation and the filter that they came with."""

import base64
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Generic, TypeVar

from controlplane.domain.errors import InputError
from controlplane.ports.admin import Seal

PURPOSE: Final = "cursor/1"
TAG_BYTES: Final = 16  # of the keyed digest; whoever guesses one gets a page that he may read anyway

Item = TypeVar("Item")


class CursorError(InputError):
    """A cursor that this control plane did not make for this list."""

    code = "request.cursor"


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page.

    Attributes:
        following: cursor of the next page, empty on the last.
    """

    items: tuple[Item, ...]
    following: str


class Cursors:
    """Makes and opens the cursors of one list.

    Args:
        scope: whatever must be the same on the next page: org, operation, filter.
    """

    def __init__(self, seal: Seal, scope: Mapping[str, str]) -> None:
        self._seal = seal
        self._scope = json.dumps(scope, sort_keys=True).encode()

    def make(self, position: str) -> str:
        """A cursor that stands behind a position."""
        body = position.encode()
        return base64.urlsafe_b64encode(self._tag(body) + body).rstrip(b"=").decode()

    def open(self, text: str) -> str:
        """The position behind an untrusted cursor; empty for the first page.

        Raises:
            CursorError: forged, or of another list.
        """
        if not text:
            return ""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            tag, body = raw[:TAG_BYTES], raw[TAG_BYTES:]
            if hmac.compare_digest(tag, self._tag(body)):
                return body.decode()
        except ValueError:
            pass  # the same answer as for a wrong tag
        raise CursorError(
            "this cursor is not one of this list",
            field="cursor",
            next_step="leave it out to begin anew; cursors are taken unchanged from the page before",
        )

    def _tag(self, body: bytes) -> bytes:
        return self._seal.mark(PURPOSE, sha256(self._scope).digest() + body)[:TAG_BYTES]


def cut(items: Sequence[Item], identity: Callable[[Item], str], cursors: Cursors, asked: tuple[str, int]) -> Page[Item]:
    """A page of items that are all at hand.

    Args:
        items: in their order.
        identity: what a cursor stands behind.
        cursors: of this list.
        asked: untrusted cursor, and how many.

    Raises:
        CursorError: not one of this list, or its item is gone.
    """
    after, limit = cursors.open(asked[0]), asked[1]
    start = 0
    if after:
        start = next((at for at, item in enumerate(items, start=1) if identity(item) == after), 0)
        if not start:
            raise CursorError("what this cursor stood behind is gone", field="cursor", next_step="begin anew")
    page = tuple(items[start : start + limit])
    more = len(items) > start + len(page)
    return Page(page, cursors.make(identity(page[-1])) if more else "")
