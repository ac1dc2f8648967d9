"""Leaf hashes on disk, 256 to a file, named as C2SP tlog-tiles names level 0.

A tile grows in place until it is full; how much of the last one counts is said by the checkpoint. The hashes let a
verifier name the record that was changed, and let a log go on after a record has become unreadable.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from outpost.core.audit.merkle import HASH_BYTES, TILE_BYTES, TILE_WIDTH, tile_path
from outpost.ledger.files import FILE_MODE, make_folder, sync_folder, write_all


class TileStore:
    """The folder of level-0 tiles of one log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, first: int, hashes: Sequence[bytes]) -> None:
        """Make the leaf hashes from sequence ``first`` on durable.

        Raises:
            OSError: the disk did not take them; writing the same range again is safe.
        """
        done = 0
        while done < len(hashes):
            index, column = divmod(first + done, TILE_WIDTH)
            part = hashes[done : done + TILE_WIDTH - column]
            self._write_tile(index, column, b"".join(part))
            done += len(part)

    def _write_tile(self, index: int, column: int, data: bytes) -> None:
        path = self._path(index)
        new = not path.exists()
        if new:
            make_folder(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, FILE_MODE)
        try:
            write_all(descriptor, data, column * HASH_BYTES)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_folder(path.parent)

    def read(self, first: int, count: int) -> list[bytes]:
        """Leaf hashes from ``first`` on: up to ``count``, fewer when a tile is missing or short."""
        hashes: list[bytes] = []
        while len(hashes) < count:
            index, column = divmod(first + len(hashes), TILE_WIDTH)
            width = min(TILE_WIDTH - column, count - len(hashes))
            part = self._read_tile(index)[column * HASH_BYTES : (column + width) * HASH_BYTES]
            hashes.extend(part[at : at + HASH_BYTES] for at in range(0, len(part) - HASH_BYTES + 1, HASH_BYTES))
            if len(part) != width * HASH_BYTES:
                break
        return hashes

    def _read_tile(self, index: int) -> bytes:
        try:
            with self._path(index).open("rb") as file:
                return file.read(TILE_BYTES)
        except FileNotFoundError:
            return b""

    def _path(self, index: int) -> Path:
        return self.folder / tile_path(0, index)
