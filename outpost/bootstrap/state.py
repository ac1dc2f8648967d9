"""The state folder: made with closed permissions, with the key that seals the cache."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certs.shell.private_files import create_private_file, read_private_file
from outpost.core.errors import OutpostError, StoreError
from outpost.paths import StatePaths
from outpost.ports import Chance
from outpost.settings import with_state

WRAP_KEY_BYTES = 32  # AES-256


class NotEnrolledError(OutpostError):
    """There is no identity in this state folder."""

    code = "state.not_enrolled"


class StateFolderError(StoreError):
    """The state folder, or something in it, cannot be made, read or written."""

    code = "state.unusable"


@contextmanager
def usable(state: Path) -> Iterator[None]:
    """Name what the system refused in the state folder.

    Raises:
        StateFolderError: no rights, a read-only disk, a file where a folder belongs.
    """
    try:
        yield
    except OSError as error:
        what = "a file is in the way" if isinstance(error, FileExistsError) else os.strerror(error.errno or 0)
        raise StateFolderError(
            f"the state folder cannot be used: {what}",
            field=str(error.filename or state),
            next_step="make the folder writable for this user, or choose another with --state",
        ) from error


def prepare_state(state: Path) -> StatePaths:
    """Make the state folder and its run folder, mode 0700.

    Raises:
        StateFolderError: the system refuses.
    """
    paths = StatePaths(state)
    with usable(state):
        for folder in (state, paths.run):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
    return paths


def wrap_key(paths: StatePaths, chance: Chance) -> bytes:
    """The key that seals the cache; made at first use."""
    if not paths.wrap_key.exists():
        create_private_file(paths.wrap_key, chance.token_bytes(WRAP_KEY_BYTES))
    return read_private_file(paths.wrap_key)


def require_orgs(paths: StatePaths) -> tuple[str, ...]:
    """Orgs of this outpost; none when it is locked in all of them.

    Raises:
        NotEnrolledError: it was never enrolled.
        StateFolderError: the system refuses to tell.
    """
    with usable(paths.state):
        orgs, locked = paths.orgs(), paths.locked_orgs()
    if not orgs and not locked:
        raise NotEnrolledError(
            "this outpost is not enrolled",
            field=str(paths.state),
            next_step=with_state(
                "outpost enroll --token-file TOKEN (the token comes from `controlplane outpost register`)", paths.state
            ),
        )
    return orgs
