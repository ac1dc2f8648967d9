"""A real nginx that ends the outposts' TLS and passes their certificates on, configured as docs/ingress.md says."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from outpost.cli.stack import free_port

PAGE = Path(__file__).parents[2] / "docs" / "ingress.md"
FILES = ("server.pem", "server.key", "ingress.pem", "ingress.key", "issuers.pem", "roots.pem", "lists.pem")
STOP_SECONDS = 30.0


@dataclass
class Ingress:
    """A running one."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"

    def reload(self) -> None:
        """Read the files anew."""
        self.process.send_signal(signal.SIGHUP)


def server_block() -> str:
    """What the page tells people to write."""
    return PAGE.read_text().split("```nginx\n", 1)[1].split("```", 1)[0]


def program() -> str:
    """The program; skips the test when there is none."""
    found = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if found is None:
        pytest.skip("nginx is not installed")
    return found


@contextmanager
def ingress(folder: Path, port: int, backend: str) -> Iterator[Ingress]:
    """Run it.

    Args:
        folder: has the files that the page names, and gets nginx's own.
        port: where outposts call.
        backend: address of the control plane's listener for outposts.
    """
    block = server_block().replace("/etc/nginx/outpost", str(folder)).replace("controlplane.internal:8444", backend)
    block = block.replace("listen 8444", f"listen 127.0.0.1:{port}")
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log info; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/body; {temporary}\n{block}\n}}\n"
    )
    process = subprocess.Popen([program(), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
    try:
        yield Ingress(port, folder, process)
    finally:
        process.terminate()
        process.wait(timeout=STOP_SECONDS)


def new_port() -> int:
    """A port that was free a moment ago."""
    return free_port()
