"""Obeying a signed order to wipe: an outpost that was stolen, or taken over, holds nothing any more.

Order of steps, so that a crash at any point leaves more done, never less: the order is verified → a mark is on the
disk → every worker refuses (503) → it is put on record → identity, configuration and vault are removed → the mark says
so. Whoever starts with a mark and no word that all is removed, removes it first. The audit log and its key stay: they
are evidence, and nobody can prompt a model with them. Only a new enrollment takes the mark away.

Not removed are provider keys: they are the customer's files, may lie on a mount of their own, and serve other orgs.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from certs.errors import TrustError
from certs.shell.private_files import read_private_file, replace_private_file
from outpost import ports
from outpost.core.audit.identity_record import LockRefused, OutpostLocked
from outpost.core.bundle.errors import MissingMetadataError
from outpost.core.bundle.lock import Addressee, LockOrder, verify_lock
from outpost.core.errors import BundleError, StoreError
from outpost.paths import OrgPaths, StatePaths
from outpost.sync.identity import ENROLLMENT, Identity
from outpost.sync.knowledge import Report
from outpost.telemetry import Event, emit

SCHEMA = "outpost.locked/1"
ACCESS = "access"
CODE = "outpost.locked"


class LockMarkError(StoreError):
    """The mark of a lock order cannot be written, or what it orders not be removed."""

    code = "lock.mark"


@dataclass(frozen=True, slots=True)
class LockMark:
    """What stays of an outpost that obeyed an order.

    Attributes:
        reason: of the order.
        issued_ms: when it was signed, Unix milliseconds.
        order_sha256: digest of its exact bytes, hex.
        wiped: everything is removed.
    """

    org: str
    outpost_id: str
    name: str
    reason: str
    issued_ms: int
    locked_ms: int
    order_sha256: str
    wiped: bool = False


class StateLocker:
    """``Locker`` over the state folder.

    Args:
        paths: of the outpost.
        org: whose identity.
        stop_serving: tells every worker to refuse.
    """

    def __init__(
        self, paths: StatePaths, org: str, stop_serving: Callable[[str], Awaitable[None]], clock: ports.Clock
    ) -> None:
        self._paths = paths
        self._org = org
        self._stop_serving = stop_serving
        self._clock = clock

    def is_locked(self) -> bool:
        """Whether an order was obeyed here, and nobody enrolled since."""
        return is_locked(self._paths.org(self._org))

    async def obey(self, order: ports.Locked, identity: Identity, report: Report) -> bool:
        """Verify an order, mark it, and stop serving."""
        try:
            verified = self._verified(order, identity, report)
        except BundleError as error:
            emit(Event.LOCK_REFUSED, 40, org=self._org, code=error.code, message=error.message)
            await report.owe(LockRefused(report.head(), error.code))
            return False
        digest = hashlib.sha256(order.order).hexdigest()
        mark = LockMark(
            org=self._org,
            outpost_id=identity.enrollment.outpost_id,
            name=identity.enrollment.name,
            reason=verified.reason,
            issued_ms=verified.issued_ms,
            locked_ms=self._clock.now_ms(),
            order_sha256=digest,
        )
        await asyncio.to_thread(write_mark, self._paths.org(self._org), mark)
        await self._stop_serving(self._org)
        await report.owe(OutpostLocked(report.head(), verified.reason, verified.issued_ms, digest))
        return True

    async def wipe(self) -> None:
        """Remove keys and configuration."""
        await asyncio.to_thread(finish_wipe, self._paths, self._org)

    def _verified(self, order: ports.Locked, identity: Identity, report: Report) -> LockOrder:
        """The order, if it is for this very identity and signed by the access keys of the active set."""
        active = report.known.active
        if active is None:
            raise MissingMetadataError("There is no configuration whose access keys could have signed an order.")
        told = identity.enrollment
        addressee = Addressee(told.org, told.outpost_id, told.join_sequence)
        return verify_lock(order.order, dict(order.signatures), active.role_keys[ACCESS], addressee)


def write_mark(paths: OrgPaths, mark: LockMark) -> None:
    """Write a mark, durable when this returns. Raises LockMarkError."""
    document = orjson.dumps({"schema": SCHEMA, **asdict(mark)}, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
    try:
        replace_private_file(paths.lock_mark, document)
    except TrustError as error:
        raise LockMarkError(f"the mark of a lock order cannot be written: {error.message}", field=error.field) from None


def read_mark(paths: OrgPaths) -> LockMark | None:
    """The mark of an org; None when no order was obeyed.

    One that cannot be read still locks: it stands for an order of which nothing more is known.
    """
    if not paths.lock_mark.exists():
        return None
    try:
        document = orjson.loads(read_private_file(paths.lock_mark))
        if document.pop("schema") == SCHEMA:
            return LockMark(**document)
    except (TrustError, ValueError, TypeError, KeyError, AttributeError):
        pass
    return LockMark(paths.folder.name, "", "", "", 0, 0, "")


def is_locked(paths: OrgPaths) -> bool:
    """Whether an order was obeyed, and nobody enrolled since: a new identity is made only after everything is wiped."""
    mark = read_mark(paths)
    return mark is not None and not (mark.wiped and (paths.identity / ENROLLMENT).exists())


def finish_wipe(paths: StatePaths, org: str) -> None:
    """Remove what an order says, and say so in the mark. May be repeated.

    Raises:
        LockMarkError: the system refused to remove something.
    """
    files = paths.org(org)
    mark = read_mark(files)
    if mark is None or mark.wiped:
        return
    doomed = [files.identity, files.cache, files.vault, files.high_water, files.tuf_root, files.extension]
    if not any((paths.org(other).identity / "enrollment.json").exists() for other in paths.orgs() if other != org):
        doomed += [paths.wrap_key, paths.state / "cache"]  # no other org's configuration is sealed with it
    try:
        for path in doomed:
            _remove(path)
    except OSError as error:
        raise LockMarkError(
            f"what a lock order says cannot be removed: {error.strerror}",
            field=str(error.filename or files.folder),
            next_step="remove the folders identity and cache by hand, but keep audit",
        ) from error
    write_mark(files, replace(mark, wiped=True))


def finish_wipes(paths: StatePaths) -> None:
    """Finish what a crash interrupted, before anything is served. Raises LockMarkError."""
    for org in paths.orgs():
        finish_wipe(paths, org)


def lift(paths: OrgPaths) -> None:
    """Take a mark away: somebody enrolled anew."""
    paths.lock_mark.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
