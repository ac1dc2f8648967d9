"""Stored files by hash, in chunks: a part is read without the rest, on both engines alike."""

from collections.abc import Mapping, Sequence

from controlplane.store.session import Session, blob, integer

CHUNK_BYTES = 256 * 1024  # of one row; larger ones cost memory in both engines, smaller ones more rows


class BlobTable:
    """Files of one org."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, bodies: Mapping[bytes, bytes]) -> None:
        """Keep files by SHA-256; what is there already stays."""
        await self._session.execute_many(
            "INSERT INTO blobs (org, sha256, size) VALUES ($1, $2, $3) ON CONFLICT (org, sha256) DO NOTHING",
            [(sha256, len(body)) for sha256, body in bodies.items()],
        )
        await self._session.execute_many(
            "INSERT INTO blob_chunks (org, sha256, number, body) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (org, sha256, number) DO NOTHING",
            [
                (sha256, at // CHUNK_BYTES, body[at : at + CHUNK_BYTES])
                for sha256, body in bodies.items()
                for at in range(0, len(body), CHUNK_BYTES)
            ],
        )

    async def size_of(self, sha256: bytes) -> int | None:
        """Size of a file, None when it is not here."""
        row = await self._session.fetch_one("SELECT size FROM blobs WHERE org = $1 AND sha256 = $2", sha256)
        return integer(row[0]) if row else None

    async def part(self, sha256: bytes, offset: int, size: int) -> bytes:
        """At most ``size`` bytes from ``offset``."""
        if size <= 0:
            return b""
        first = offset // CHUNK_BYTES
        rows = await self._session.fetch(
            "SELECT body FROM blob_chunks WHERE org = $1 AND sha256 = $2 AND number >= $3 AND number <= $4"
            " ORDER BY number",
            sha256,
            first,
            (offset + size - 1) // CHUNK_BYTES,
        )
        start = offset - first * CHUNK_BYTES
        return b"".join(blob(row[0]) for row in rows)[start : start + size]


def assembled(chunks: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
    """Whole files by name, from their chunks in order."""
    parts: dict[str, list[bytes]] = {}
    for name, body in chunks:
        parts.setdefault(name, []).append(body)
    return {name: b"".join(bodies) for name, bodies in parts.items()}
