"""SSE load: N connections, each sends stream requests back to back for D seconds. Prints one JSON line.

stream_client.py HOST:PORT CONNECTIONS SECONDS KEY paced|burst
"""

import asyncio
import itertools
import json
import statistics
import sys
import time
from dataclasses import dataclass, field

import uvloop

END = b"0\r\n\r\n"
NUMBERS = itertools.count(time.time_ns() % 10**9 * 1000)
LETTERS = str.maketrans("0123456789", "abcdefghij")  # a bare number may look like a card, and rightly be blocked


@dataclass
class Load:
    """What to send, and what came of it."""

    address: str
    key: str
    burst: bool
    events: int = 0
    streams: int = 0
    errors: int = 0
    first_error: str = ""
    first_chunk_seconds: list[float] = field(default_factory=list)

    def request(self) -> bytes:
        """A request whose body nobody has seen before."""
        text = (
            f"Note {str(next(NUMBERS)).translate(LETTERS)}. " + "Summarise the quarterly figures for the board. " * 20
        )
        document = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": text}]}
        if self.burst:
            document["seed"] = 7  # the mock then writes all its chunks at once
        body = json.dumps(document, separators=(",", ":")).encode()
        return (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.address}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One stream from request to last chunk."""
        start = time.perf_counter()
        writer.write(self.request())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise OSError(head[:80])
        first, tail = 0.0, b""
        while not tail.endswith(END):
            data = await reader.read(1 << 18)
            if not data:
                raise OSError("the stream ended early")
            joined = tail[-5:] + data
            self.events += joined.count(b"data: ") - tail[-5:].count(b"data: ")
            if not first and b"data:" in data:
                first = time.perf_counter() - start
            tail = joined[-2000:]
        self.first_chunk_seconds.append(first)
        self.streams += 1

    async def worker(self, stop: float) -> None:
        """Streams over one connection until the time is up."""
        host, port = self.address.split(":")
        writer = None
        while time.perf_counter() < stop:
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
                await self.one(reader, writer)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.errors += 1
                self.first_error = self.first_error or repr(error)
                if writer:
                    writer.close()
                writer = None
                await asyncio.sleep(0.05)  # a refusing peer must not turn this into a busy loop
        if writer:
            writer.close()


async def main() -> None:
    """Run and print."""
    address, connections, seconds, key, kind = sys.argv[1:6]
    load = Load(address, key, kind == "burst")
    stop = time.perf_counter() + float(seconds)
    await asyncio.gather(*(load.worker(stop) for _ in range(int(connections))))
    first = statistics.median(load.first_chunk_seconds) * 1e3 if load.first_chunk_seconds else None
    seen = {"events": load.events, "streams": load.streams, "errors": load.errors, "first_error": load.first_error}
    print(json.dumps({**seen, "first_chunk_p50_ms": first}))


if __name__ == "__main__":
    uvloop.run(main())
