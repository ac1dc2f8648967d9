"""A real PostgreSQL server for tests: made once, started for each test process, thrown away at the end.

It runs without fsync in a folder of its own, on a free port of 127.0.0.1, and dies with the process that started it. Of
a migrated database every test gets a copy, which takes about 50 ms.
"""

import asyncio
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from controlplane.store.migrations.postgres_schema import migrate

OWNER, APP, SUPERUSER = "cp_owner", "cp_app", "postgres"
TEMPLATE = "cp_template"
START_SECONDS = 300.0  # as long as it lives it is waited for: the machine may be busy with other things
PORTS_TRIED = 5  # a port that was free may be taken when the server comes to it
STOP_SECONDS = 15.0  # it ends its own children the hard way after 5
CARELESS = {"fsync": "off", "full_page_writes": "off"}  # a test's server is thrown away whole
OPTIONS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
}


def binaries() -> Path | None:
    """Folder of the newest installed server's programs; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def as_server(*command: str) -> list[str]:
    """A command line as the server's user, which may not be root, that ends when this process does."""
    user = ["--reuid", SUPERUSER, "--regid", SUPERUSER, "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, "--pdeathsig", "KILL", *command]


@dataclass
class Server:
    """A running server."""

    folder: Path
    port: int
    options: dict[str, str] = field(default_factory=lambda: CARELESS | OPTIONS)
    process: "subprocess.Popen[bytes] | None" = None
    made: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    reached: bool = False  # its address may be known to others

    def url(self, database: str, role: str = APP) -> str:
        """Address of a database for a role."""
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers; a server that was never reached may get another port."""
        for _ in range(PORTS_TRIED):
            self._launch()
            if self._is_up():
                self.reached = True
                return
            if not self.reached:
                self.port = free_port()
        raise AssertionError((self.folder / "log").read_text()[-3000:])

    def _launch(self) -> None:
        programs = binaries()
        assert programs is not None
        settings = [word for name, value in self.options.items() for word in ("-c", f"{name}={value}")]
        place = ["-D", str(self.folder / "data"), "-k", str(self.folder), "-p", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                as_server(str(programs / "postgres"), *place, *settings), stdout=log, stderr=log, cwd="/"
            )

    def stop(self) -> None:
        """Cut it off, as a crash would."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # on a machine that is busy with other things
            children: list[str] = []
            with contextlib.suppress(FileNotFoundError):
                children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            for pid in (*map(int, children), self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(START_SECONDS)
        self.process = None

    def restart(self) -> None:
        """Cut it off and start it again."""
        self.stop()
        self.start()

    def _is_up(self) -> bool:
        """Wait until it answers; false when it ended. Its own socket is asked: at the port somebody else may be."""
        programs, deadline = binaries(), time.monotonic() + START_SECONDS
        question = (str(programs / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port))  # type: ignore[operator]
        assert self.process is not None
        while time.monotonic() < deadline:
            if subprocess.run(question, check=False).returncode == 0:
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.05)
        raise AssertionError("the server does not answer")

    async def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser, each for itself."""
        connection = await asyncpg.connect(self.url(database, SUPERUSER), timeout=START_SECONDS)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def prepare(self) -> None:
        """Make the roles and the database that every test gets a copy of."""
        await self.run(
            f"CREATE ROLE {OWNER} LOGIN",
            f"CREATE ROLE {APP} LOGIN",
            f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}",
        )
        await migrate(self.url(TEMPLATE, OWNER), app_role=APP)

    async def empty(self) -> str:
        """Name of a new database without a schema."""
        name = f"t{next(self.made)}"
        await self.run(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0")
        return name

    async def fresh(self) -> str:
        """Name of a new database with the newest schema."""
        name = f"t{next(self.made)}"
        await self.run(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {TEMPLATE}")
        return name

    async def drop(self, name: str) -> None:
        """Remove a database, whoever still uses it."""
        await self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextlib.contextmanager
def running_server(*, durable: bool = False) -> Iterator[Server]:
    """A server with a migrated template; a durable one writes as it would in production."""
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="outpost-postgres-"))
    server = Server(folder, free_port(), OPTIONS if durable else CARELESS | OPTIONS)
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(SUPERUSER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        initdb = ["-D", str(folder / "data"), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        subprocess.run(as_server(str(programs / "initdb"), *initdb), check=True, capture_output=True, cwd="/")
        server.start()
        asyncio.run(server.prepare())
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
