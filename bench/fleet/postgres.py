"""A PostgreSQL server of the bench's own: durable as in production, in a folder that goes with it."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.fleet.warp import without

OWNER, APP, SUPERUSER = "cp_owner", "cp_app", "postgres"
DATABASE = "controlplane"
START_SECONDS = 30.0
OPTIONS = {"max_connections": "200", "shared_buffers": "256MB", "listen_addresses": "127.0.0.1"}


def programs() -> Path | None:
    """Folder of the newest installed server; None when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def as_server(*command: str) -> list[str]:
    """A command line as the server's user, which may not be root; it ends when this process does."""
    user = ["--reuid", SUPERUSER, "--regid", SUPERUSER, "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, "--pdeathsig", "KILL", *command]


@dataclass
class Postgres:
    """A running server."""

    folder: Path
    port: int
    pid: int

    def url(self, role: str, database: str = DATABASE) -> str:
        """Address of the database for a role."""
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    async def create_database(self) -> None:
        """Roles and an empty database."""
        connection = await asyncpg.connect(self.url(SUPERUSER, "postgres"))
        try:
            for statement in (
                f"CREATE ROLE {OWNER} LOGIN",
                f"CREATE ROLE {APP} LOGIN",
                f"CREATE DATABASE {DATABASE} OWNER {OWNER}",
            ):
                await connection.execute(statement)
        finally:
            await connection.close()

    def pids(self) -> list[int]:
        """The server and its backends."""
        found = [self.pid]
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
        return found


@contextlib.contextmanager
def running_server() -> Iterator[Postgres]:
    """Start a server, end it and remove its folder."""
    place = programs()
    assert place is not None
    folder = Path(tempfile.mkdtemp(prefix="fleet-postgres-"))
    process = None
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(SUPERUSER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        initdb = ("-D", str(folder / "data"), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        subprocess.run(as_server(str(place / "initdb"), *initdb), check=True, capture_output=True, cwd="/")
        port = free_port()
        settings = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
        files = ("-D", str(folder / "data"), "-k", str(folder), "-p", str(port))
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                as_server(str(place / "postgres"), *files, *settings),
                stdout=log,
                stderr=log,
                cwd="/",
                env=without(dict(os.environ)),
            )
        _wait(place, port)
        yield Postgres(folder, port, process.pid)
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # at once, whoever is still connected
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(place: Path, port: int) -> None:
    question = (str(place / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port))
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run(question, check=False).returncode != 0:
        if time.monotonic() > deadline:
            raise TimeoutError("PostgreSQL does not answer")
        time.sleep(0.05)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
