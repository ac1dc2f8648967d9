"""The state folder: made with closed permissions, with the key that seals the cache."""

from pathlib import Path

from certs.shell.private_files import create_private_file, read_private_file
from outpost.core.errors import OutpostError
from outpost.paths import StatePaths
from outpost.ports import Chance

WRAP_KEY_BYTES = 32  # AES-256


class NotEnrolledError(OutpostError):
    """There is no identity in this state folder."""

    code = "state.not_enrolled"


def prepare_state(state: Path) -> StatePaths:
    """Make the state folder and its run folder, mode 0700."""
    paths = StatePaths(state)
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
    """Orgs of this outpost.

    Raises:
        NotEnrolledError: none.
    """
    orgs = paths.orgs()
    if not orgs:
        raise NotEnrolledError(
            "this outpost is not enrolled",
            field=str(paths.state),
            next_step="outpost enroll --token-file TOKEN (the token comes from `controlplane outpost register`)",
        )
    return orgs
