"""One measurement of one target: wrk for JSON, our own client for streams."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.peers import HERE, Target
from bench.gateway.processes import LOAD_CORE, cpu_seconds

BYTES = {"1k": 1024, "64k": 65536}
MARK = "@@@@@@@@@@@@"  # post.lua writes a number here
SENTENCE = (
    "The committee reviewed the quarterly figures and asked each region to explain the change in cost per order "
    "before the next meeting. "
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of load against one target showed."""

    requests: int  # or events of a stream
    errors: int
    p50_ms: float | None  # or time to the first chunk
    cpu_us: float | None  # of the gateway, for each request or event
    first_error: str = ""


def body(folder: Path, size: str) -> Path:
    """A chat request of a size, with a mark that makes each one different."""
    file = folder / f"body-{size}.json"
    room = BYTES[size] - 110
    text = f"Note {MARK}. " + (SENTENCE * (room // len(SENTENCE) + 1))[:room]
    document = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    file.write_text(json.dumps(document, separators=(",", ":")))
    return file


def wait_ready(target: Target, folder: Path, seconds: float) -> None:
    """Ask until a chat completion comes back.

    Raises:
        TimeoutError: none came.
    """
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {target.key}"}
    headers.update(tuple(line.split(": ", 1)) for line in target.headers)  # type: ignore[arg-type]
    end, last = time.monotonic() + seconds, "no attempt"
    while time.monotonic() < end:
        try:
            request = urllib.request.Request(
                f"http://{target.address}/v1/chat/completions", body(folder, "1k").read_bytes(), headers
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                if json.load(answer)["choices"][0]["message"]["content"].startswith("The quarterly"):
                    return
                last = "another answer than the mock's"
        except (OSError, ValueError, KeyError) as error:
            last = str(error)
        time.sleep(0.1)
    raise TimeoutError(f"{target.name} is not ready: {last}")


def _weigh(target: Target, run: "subprocess.Popen[bytes]") -> tuple[bytes, float | None]:
    before = cpu_seconds(target.pid) if target.pid else 0.0
    output, _ = run.communicate(timeout=180)
    return output, (cpu_seconds(target.pid) - before) * 1e6 if target.pid else None


def requests(target: Target, folder: Path, cell: tuple[str, int], seconds: float) -> Sample:
    """Chat completions as JSON, ``cell`` = body size and connections."""
    size, connections = cell
    out = folder / "wrk.json"
    out.unlink(missing_ok=True)
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "20s", "-s", str(HERE / "post.lua"), f"http://{target.address}/v1/chat/completions"]
    env = {"BODY_FILE": str(body(folder, size)), "API_KEY": target.key, "OUT": str(out)}
    env["EXTRA_HEADERS"] = "\n".join(target.headers)
    run = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    _, cpu_us = _weigh(target, run)
    seen = json.loads(out.read_text())
    count = max(1, seen["requests"])
    return Sample(seen["requests"], seen["errors"], seen["p50_us"] / 1e3, cpu_us / count if cpu_us else None)


def streams(target: Target, cell: tuple[str, int], seconds: float) -> Sample:
    """Chat completions as SSE, ``cell`` = "paced" or "burst" and connections."""
    kind, connections = cell
    command = ["taskset", "-c", LOAD_CORE, sys.executable, str(HERE / "stream_client.py"), target.address]
    command += [str(connections), str(seconds), target.key, kind]
    output, cpu_us = _weigh(target, subprocess.Popen(command, stdout=subprocess.PIPE))
    seen = json.loads(output)
    count = max(1, seen["events"])
    each = cpu_us / count if cpu_us else None
    return Sample(seen["events"], seen["errors"], seen["first_chunk_p50_ms"], each, seen["first_error"])
