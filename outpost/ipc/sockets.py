"""Unix sockets below a state folder of any depth.

A socket address holds 107 bytes, and state folders may be deeper than that; so the folder is opened and the
socket is named through ``/proc/self/fd``. Only the owner may connect: the folder has mode 0700.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

BACKLOG = 128  # connections waiting; workers and command lines, a few dozen at most


@contextlib.contextmanager
def _short_name(path: Path) -> Iterator[str]:
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def listen(path: Path) -> socket.socket:
    """A listening socket at ``path``; whatever a dead process left there is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with _short_name(path) as name:
        server.bind(name)
    path.chmod(0o600)
    server.listen(BACKLOG)
    server.setblocking(False)
    return server


def connect(path: Path) -> socket.socket:
    """A connected socket.

    Raises:
        OSError: nobody listens there.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _short_name(path) as name:
            client.connect(name)
    except OSError:
        client.close()
        raise
    client.setblocking(False)
    return client
