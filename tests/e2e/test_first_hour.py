"""The first hour, as a newcomer does it: every command of docs/first-hour.md as it stands there, in an empty folder.

The page uses the default ports. Where the kernel lets us, the commands run in a network namespace of their own, so
that neither other tests nor servers of this machine can be in the way.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "first-hour.md"
MAX_COMMANDS = 12
SECONDS = 110
LOOPBACK_UP = (
    "import fcntl, socket, struct; s = socket.socket();"
    "fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', 0x1 | 0x40))"  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
)


def commands() -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def isolated() -> list[str]:
    """Prefix that gives a network of its own, or none."""
    probe = ["unshare", "--net", "true"]
    allowed = shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    return ["unshare", "--net"] if allowed else []


def test_a_newcomer_reaches_the_first_403_in_twelve_commands(tmp_path: Path) -> None:
    blocks = commands()
    assert 6 <= len(blocks) <= MAX_COMMANDS
    assert blocks[0].startswith("make setup")
    prefix = isolated()
    up = [f'{sys.executable} -c "{LOOPBACK_UP}"'] if prefix else []
    # The first command is what made the environment that runs this test.
    script = "\n".join(["set -eu", *up, "trap 'kill $(jobs -p) && wait' EXIT", *blocks[1:]])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OUTPOST_", "CONTROLPLANE_"))}
    done = subprocess.run(
        [*prefix, "bash", "-c", script],
        cwd=tmp_path,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert "HTTP/1.1 403" in done.stdout, done.stdout + done.stderr
    error = json.loads(done.stdout[done.stdout.rindex('{"error"') :].splitlines()[0])["error"]
    assert error["rule"] == "no-project-names"
    assert error["code"] == "policy.blocked"
    assert "Project Bluebird is not public" in error["message"]
    key = (tmp_path / "my.key").read_text().strip()
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.name != "my.key":
            assert key.encode() not in file.read_bytes(), file
