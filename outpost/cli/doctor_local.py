"""What `outpost doctor` looks at on this machine: settings, clock, files, identity, limits. Nothing is written."""

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from certs.errors import TrustError
from outpost import settings as configuration
from outpost.bootstrap import listener
from outpost.cli.doctor_report import Level, Line, failed, ok
from outpost.core.bundle.trust import CLOCK_TOLERANCE_MS
from outpost.core.errors import OutpostError
from outpost.ipc import sockets
from outpost.paths import StatePaths
from outpost.settings import Settings
from outpost.sync import identity as identities

OTHERS = 0o077  # rights of group and others
OPEN_FILES_WANTED = 4096  # descriptors: two per request in flight, and room for segments and sockets
OPEN_FILES_NEEDED = 512  # below that, a hundred streams at once cannot be served
LOW_DAYS_FRACTION = 0.25  # of a certificate's life; renewal is due at half of it
SECONDS_PER_HOUR = 3600


def check_settings(file: Path | None, state: Path | None) -> tuple[Line, Settings | None]:
    """Read the settings as every command does."""
    try:
        found = configuration.load(file, {"state": state})
        secured = found.uses_tls()
    except OutpostError as error:
        return failed("OP-CFG-001", error), None
    how = "TLS" if secured else "plain HTTP on loopback"
    return ok("OP-CFG-001", f"settings are valid; listener {found.host}:{found.port}, {how}"), found


def check_listener(settings: Settings) -> Iterator[Line]:
    """Certificate files of the listener, when it has its own."""
    if settings.tls_certificate_file is None and settings.tls_key_file is None:
        return
    try:
        listener.tls_context(settings)
    except (OutpostError, TrustError) as error:
        yield failed("OP-CFG-002", error)
    else:
        yield ok("OP-CFG-002", "certificate and key of the listener belong together")


def check_running(paths: StatePaths) -> Line:
    """Whether an outpost answers on this state folder."""
    try:
        with closing(sockets.connect(paths.admin_socket)):
            return ok("OP-RUN-001", "an outpost runs on this state folder")
    except OSError:
        message = "no outpost runs on this state folder"
        return Line("OP-RUN-001", Level.WARN, message, code="admin.unreachable", next_step="outpost run")


def check_clock(paths: StatePaths, floors_ms: dict[str, int], now_ms: int) -> Iterator[Line]:
    """The clock against the latest moments that are certain to have passed.

    Args:
        paths: state folder.
        floors_ms: highest signed time of each org, 0 when unknown.
        now_ms: the clock.
    """
    known = [value for value in floors_ms.values() if value]
    for org in paths.orgs():
        try:
            known.append(identities.load_enrollment(paths.org(org).identity).enrolled_ms)
        except (OutpostError, TrustError):
            continue  # the identity group names it
    if not known:
        yield ok("OP-CLK-001", "nothing signed to compare the clock with yet")
        return
    behind_ms = max(known) - now_ms
    if behind_ms > CLOCK_TOLERANCE_MS:
        minutes, seconds = divmod(behind_ms // 1000, 60)
        yield Line(
            "OP-CLK-001",
            Level.FAIL,
            f"this machine's clock is {minutes} min {seconds} s behind signed time;"
            f" the limit is {CLOCK_TOLERANCE_MS // 60_000} min, then traffic is refused",
            code="clock.below_floor",
            next_step="correct the time synchronisation of this machine: timedatectl status",
        )
    else:
        yield ok("OP-CLK-001", "the clock is not behind signed time")


def check_files(settings: Settings, paths: StatePaths) -> Iterator[Line]:
    """Owner, modes and access of the state folder and the provider keys."""
    if not paths.state.is_dir():
        yield Line(
            "OP-FIL-001",
            Level.FAIL,
            f"there is no state folder {paths.state}",
            code="state.missing",
            next_step="outpost enroll --token-file TOKEN",
        )
        return
    secrets = settings.secrets_folder()
    yield _state_folder(paths.state)
    yield _private_files(paths.state, secrets)
    yield _secrets(secrets)


def _state_folder(state: Path) -> Line:
    found = state.stat()
    if found.st_mode & OTHERS or found.st_uid not in {0, os.geteuid()}:
        message = f"the state folder has mode {stat.S_IMODE(found.st_mode):04o} and owner {found.st_uid}"
        return Line("OP-FIL-001", Level.FAIL, message, code="state.mode", next_step=f"chmod 700 {state}")
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        message = "this user may not write to the state folder"
        return Line(
            "OP-FIL-001", Level.FAIL, message, code="state.access", next_step="run as the owner of the state folder"
        )
    return ok("OP-FIL-001", "the state folder is its owner's alone, and writable")


def _private_files(state: Path, secrets: Path) -> Line:
    """Every plain file of the state folder but provider keys, which people put there; the first open one is named."""
    count = 0
    for folder, _, names in os.walk(state):
        for name in names if Path(folder) != secrets else ():
            path = Path(folder) / name
            try:
                found = path.lstat()
            except OSError:
                continue  # a running outpost replaces files
            count += stat.S_ISREG(found.st_mode)
            if stat.S_ISREG(found.st_mode) and found.st_mode & OTHERS:
                message = f"others may access {path.relative_to(state)}: mode {stat.S_IMODE(found.st_mode):04o}"
                return Line("OP-FIL-002", Level.FAIL, message, code="state.mode", next_step=f"chmod 600 {path}")
    return ok("OP-FIL-002", f"{count} files, all readable by their owner alone")


def _secrets(folder: Path) -> Line:
    if not folder.is_dir():
        message = f"there is no folder of provider keys ({folder}): no provider can be called"
        return Line("OP-FIL-003", Level.WARN, message, next_step=f"mkdir -m 700 {folder}; one file for each key")
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_mode & stat.S_IRWXO:
            message = f"everybody on this machine may read the provider key {path.name}"
            return Line("OP-FIL-003", Level.WARN, message, code="secret.mode", next_step=f"chmod 600 {path}")
    return ok("OP-FIL-003", "provider keys are not open to everybody")


def check_identity(paths: StatePaths, org: str, now: int) -> Iterator[Line]:
    """Key, certificate and enrollment of one org, at ``now`` in Unix seconds."""
    try:
        identity = identities.load(paths.org(org).identity)
        peer = identity.verify(identity.judged_at(now))
    except (OutpostError, TrustError) as error:
        line = failed("OP-IDN-001", error, org)
        hint = "outpost run renews it while it is valid; afterwards register and enroll again"
        yield line if line.next_step else Line(line.id, line.level, line.message, org, line.code, hint)
        return
    yield ok("OP-IDN-001", f"{identity.enrollment.outpost_id} proves its name; the key is the certificate's", org)
    if not identity.enrollment.endpoints:
        yield ok("OP-IDN-002", "no live certificate is needed: no network leads to the control plane", org)
        return
    left, life = peer.not_after - now, peer.not_after - peer.not_before
    message = f"the certificate is valid for {left / SECONDS_PER_HOUR:.1f} h more"
    if left < life * LOW_DAYS_FRACTION:
        late = f"{message}, and should have been renewed"
        yield Line("OP-IDN-002", Level.WARN, late, org, next_step="outpost status shows why renewal fails")
    else:
        yield ok("OP-IDN-002", message, org)


def check_limits() -> Line:
    """How many files this process could open; `outpost run` started the same way may open as many."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_WANTED:
        return ok("OP-LIM-001", f"{soft} files may be open")
    level = Level.FAIL if soft < OPEN_FILES_NEEDED else Level.WARN
    message = f"only {soft} files may be open; {OPEN_FILES_WANTED} are good for a busy gateway"
    return Line("OP-LIM-001", level, message, next_step="ulimit -n 4096, or LimitNOFILE= of the unit")
