"""Takes a backup: every space as it was at one moment, one after the other, into one encrypted stream.

The server may run meanwhile. What belongs to no org (keys of the control plane, generations of CAs) is read last: it
only grows, so whatever an org's rows refer to is there. Orgs that are made meanwhile are in the next backup. Nothing is
held but a page of rows and a chunk.
"""

from collections.abc import Callable

from controlplane.domain.backup_frames import CHUNK_BYTES, ChunkSealer, Lock, Opened, lock
from controlplane.domain.backups import BackupHead, BackupWriter, Manifest
from controlplane.ports.backup import Dumps
from controlplane.ports.world import Clock

Sink = Callable[[bytes], None]
"""Takes the next bytes of the file."""


class ChunkedSink:
    """Cuts a stream into sealed chunks."""

    def __init__(self, opened: Opened, sink: Sink) -> None:
        self._sealer = ChunkSealer(opened)
        self._sink = sink
        self._held = bytearray()

    def add(self, data: bytes) -> None:
        """More of the stream; what is held back is less than a chunk."""
        self._held += data
        while len(self._held) > CHUNK_BYTES:
            self._sink(self._sealer.seal(bytes(self._held[:CHUNK_BYTES]), last=False))
            del self._held[:CHUNK_BYTES]

    def close(self) -> None:
        """The last chunk."""
        self._sink(self._sealer.seal(bytes(self._held), last=True))


class BackupTaker:
    """The use case."""

    def __init__(self, dumps: Dumps, clock: Clock) -> None:
        self._dumps = dumps
        self._clock = clock

    async def take(self, head: BackupHead, key: tuple[bytes, Lock], sink: Sink) -> Manifest:
        """Write a backup.

        Args:
            head: what it says first; its moment lies before this call.
            key: passphrase, and how the key comes from it.
            sink: takes the bytes of the file, in order.

        Raises:
            BackupPassphraseError: too short or too long.
            DatabaseError: the database failed.
        """
        beginning, opened = lock(*key)
        sink(beginning)
        writer, chunks = BackupWriter(), ChunkedSink(opened, sink)
        chunks.add(writer.head(head))
        for org in await self._dumps.spaces():
            await self._space(org, writer, chunks)
        await self._space("", writer, chunks)
        last, manifest = writer.manifest(self._clock.now_ms())
        chunks.add(last)
        chunks.close()
        return manifest

    async def _space(self, space: str, writer: BackupWriter, chunks: ChunkedSink) -> None:
        async with self._dumps.open(space) as dump:
            for section in dump.sections():
                chunks.add(writer.begin(section))
                async for page in dump.rows(section):
                    for row in page:
                        chunks.add(writer.row(row))
                chunks.add(writer.end())
