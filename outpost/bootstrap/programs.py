"""The programs of a worker, by org: loaded from the active slots, verified offline, swapped at once (B7 to B9).

A worker judges the state of an org itself, at each request, from signed facts and the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from certs.errors import TrustError
from outpost import ports
from outpost.cache.durable import read_file
from outpost.cache.errors import CacheMissingError
from outpost.cache.seal import Seal
from outpost.cache.slots import SlotCache
from outpost.core.bundle import trust
from outpost.core.bundle.content import ReleaseContent
from outpost.core.bundle.extension import verify_extension
from outpost.core.bundle.limits import MAX_EXTENSION_BYTES
from outpost.core.bundle.release import VerifiedSet
from outpost.core.bundle.revocations import LOCKED, REVOKED
from outpost.core.detect.pattern import Scanner
from outpost.core.errors import BundleError, OutpostError
from outpost.core.program import OrgProgram, build
from outpost.paths import OrgPaths, StatePaths
from outpost.sync import identity as identities
from outpost.sync import tuf
from outpost.sync.files import withdrawn_code
from outpost.sync.obey import CODE, LockMark, is_locked, read_mark
from outpost.telemetry import Event, emit

EXTENSION_LOOK_SECONDS = 1.0  # between two looks for an extension while age seals
REVOKED_CODES = {REVOKED: "outpost.revoked", LOCKED: "identity.locked"}


def open_cache(paths: StatePaths, org: str, wrap_key: bytes, chance: ports.Chance) -> SlotCache:
    """The slot cache of an org.

    Raises:
        IdentityUnreadableError: no identity, no cache.
    """
    outpost_id = identities.load(paths.org(org).identity).enrollment.outpost_id
    seal = Seal(outpost=outpost_id, org=org, wrapping_key=lambda: wrap_key, random_bytes=chance.token_bytes)
    return SlotCache(paths.org(org).folder, seal)


def read_root(paths: StatePaths, org: str) -> bytes:
    """TUF root of the enrollment, exact bytes.

    Raises:
        IdentityUnreadableError: it is gone, and nothing can be verified without it.
    """
    try:
        return paths.org(org).tuf_root.read_bytes()
    except OSError as error:
        raise identities.IdentityUnreadableError(
            f"the enrolled root cannot be read: {error.strerror}",
            field=str(paths.org(org).tuf_root),
            next_step="restore the file, or enroll again",
        ) from error


def open_verifier(paths: StatePaths, org: str) -> tuf.Verifier:
    """What verifies the sets of an org here.

    Raises:
        IdentityUnreadableError: the enrolled root or the enrollment is gone.
    """
    return tuf.Verifier(read_root(paths, org), identities.load_enrollment(paths.org(org).identity).audience)


@dataclass(slots=True)
class _Org:
    files: OrgPaths
    cache: SlotCache
    verifier: tuf.Verifier
    enrollment: identities.Enrollment
    facts: trust.OrgFacts
    program: OrgProgram | None = None
    verified: VerifiedSet | None = None  # of the program
    prepared: tuple[OrgProgram, VerifiedSet] | None = None
    reserve: OrgProgram | None = None  # of the set's other release: judged in the shadow, and what one goes back to
    left: dict[int, str] = field(default_factory=dict)  # candidates that failed their own test here, and why
    extension_looked_at: float = float("-inf")  # monotonic seconds


class Programs:
    """Programs and states of all orgs in one process."""

    def __init__(self, paths: StatePaths, wrap_key: bytes, scanner: Scanner, world: tuple[ports.Clock, ports.Chance]):
        self._clock, chance = world
        self._scanner = scanner
        self._orgs: dict[str, _Org] = {}
        self._without_identity: dict[str, str] = {}  # org -> code; it stops no other org
        self._locked: dict[str, LockMark] = {}  # orgs that a signed order wiped, until somebody enrolls
        self._paths = paths
        for org in paths.orgs():
            if self._read_mark(org):
                continue
            try:
                self._orgs[org] = _open(paths, org, wrap_key, chance)
            except OutpostError as error:
                emit(Event.BUNDLE_REFUSED, 40, org=org, code=error.code, message=error.message)
                self._without_identity[org] = error.code
                continue
            self.load(org)

    @property
    def orgs(self) -> tuple[str, ...]:
        """Orgs of this outpost whose identity can be read, and those in which it is locked."""
        return tuple(dict.fromkeys((*self._orgs, *self._locked)))

    def program(self, org: str) -> OrgProgram | None:
        """The active program; a request keeps the one it got here (R3)."""
        entry = self._orgs.get(org)
        return entry.program if entry is not None else None

    def outpost_id(self, org: str) -> str:
        """Id of this outpost in an org; empty when it is locked and the mark cannot be read."""
        mark = self._locked.get(org)
        return mark.outpost_id if mark is not None else self._orgs[org].enrollment.outpost_id

    def state_of(self, org: str) -> trust.OrgState:
        """State of an org, now."""
        if org in self._locked:
            return trust.org_state(trust.OrgFacts(enrolled=False, locked_code=CODE), self._clock.now_ms())
        entry = self._orgs.get(org)
        code = self._without_identity.get(org, "")
        if entry is None:
            return trust.org_state(trust.OrgFacts(enrolled=bool(code), tamper_code=code), self._clock.now_ms())
        state = trust.org_state(entry.facts, self._clock.now_ms())
        if state.code == trust.SEAL_BOUND and self._look_for_extension(entry):
            state = trust.org_state(entry.facts, self._clock.now_ms())
        return state

    def load(self, org: str) -> None:
        """Load the active slot. What cannot be believed seals the org and says why."""
        entry = self._orgs[org]
        try:
            stored = entry.cache.load_active()
            high_water = entry.cache.read_high_water()
            verified = entry.verifier.reverify(stored, high_water)
            program = self._usable(entry, verified)
        except CacheMissingError:
            entry.facts = replace(entry.facts, configured=False)
            return
        except (OutpostError, TrustError) as error:
            code = str(error.as_dict()["code"])
            emit(Event.BUNDLE_REFUSED, 40, org=org, code=code, message=str(error.as_dict()["message"]))
            entry.facts = replace(entry.facts, tamper_code=code)
            return
        self._use(entry, program, verified)
        entry.facts = replace(entry.facts, time_floor_ms=high_water.time_floor_ms)

    def prepare(self, org: str, slot: str) -> OrgProgram:
        """Load a slot without using it.

        Raises:
            BundleError: it cannot be believed or does not pass its self-tests.
        """
        entry = self._require(org)
        verified = entry.verifier.reverify(entry.cache.load(slot), entry.cache.surviving_high_water())
        program = build(verified, self._scanner, _chosen(verified, entry.left))
        entry.prepared = program, verified
        return program

    def commit(self, org: str) -> None:
        """Use what was prepared: one assignment; running requests keep theirs."""
        entry = self._require(org)
        if entry.prepared is None:
            self.load(org)  # this process came up between prepare and commit
            return
        (program, verified), entry.prepared = entry.prepared, None
        self._use(entry, program, verified)
        floor = trust.next_time_floor(entry.facts.time_floor_ms, program.signed_at_ms, self._clock.now_ms())
        entry.facts = replace(entry.facts, time_floor_ms=floor)

    def other(self, org: str) -> tuple[VerifiedSet, ReleaseContent] | None:
        """The release of the active set that does not run here, for ``build``; None when there is none."""
        entry = self._orgs.get(org)
        if entry is None or entry.verified is None or entry.program is None:
            return None
        running = entry.program.release.version
        named = [each for each in entry.verified.content.named if each.version != running]
        return (entry.verified, named[0]) if named else None

    def keep_reserve(self, org: str, verified: VerifiedSet, program: OrgProgram) -> None:
        """Keep the other release of a set, unless another set became active meanwhile."""
        entry = self._orgs.get(org)
        if entry is not None and entry.verified is verified:
            entry.reserve = program

    def reserve(self, org: str) -> OrgProgram | None:
        """The other release of the active set, once it is built."""
        entry = self._orgs.get(org)
        return entry.reserve if entry is not None else None

    def left(self, org: str) -> Mapping[int, str]:
        """Candidates that failed their own test here, and why."""
        entry = self._orgs.get(org)
        return dict(entry.left) if entry is not None else {}

    def leave(self, org: str, release: int, code: str, stable: OrgProgram | None = None) -> None:
        """Never run a candidate again; where it runs, the stable release of its set takes its place.

        Args:
            org: org id.
            release: version of the candidate.
            code: why.
            stable: built before, and tested; None when the candidate does not run here.
        """
        entry = self._orgs.get(org)
        if entry is None:
            return
        entry.left[release] = code
        if stable is not None and entry.program is not None and entry.program.release.version == release:
            entry.program, entry.reserve = stable, entry.program
            self._take_terms(entry, stable)

    def lock(self, org: str) -> None:
        """Forget an org's program and refuse from now on: a signed order was obeyed."""
        if not self._read_mark(org):
            self._locked[org] = LockMark(org, "", "", "", 0, 0, "")
        self._orgs.pop(org, None)

    def contact(self, org: str, last_contact_ms: int, withdrawn: str | None = None) -> None:
        """Note when the control plane last spoke, and what it says of our identity; None says nothing of it."""
        if org in self._orgs:
            entry = self._orgs[org]
            code = entry.facts.revoked_code if withdrawn is None else withdrawn
            code = code or _listed_as_revoked(entry)
            entry.facts = replace(entry.facts, last_contact_ms=last_contact_ms, revoked_code=code)

    def inspection(self, org: str, code: str) -> None:
        """Note what the canary found: empty when all is well."""
        entry = self._orgs.get(org)
        if entry is not None:
            entry.facts = replace(entry.facts, inspection_code=code)

    def _read_mark(self, org: str) -> bool:
        mark = read_mark(self._paths.org(org))
        if mark is None or not is_locked(self._paths.org(org)):
            return False
        self._locked[org] = mark
        return True

    def _usable(self, entry: _Org, verified: VerifiedSet) -> OrgProgram:
        """The program of a set; that of its stable release when the candidate cannot be built any more.

        Raises:
            BundleError: neither can.
        """
        chosen = _chosen(verified, entry.left)
        try:
            return build(verified, self._scanner, chosen)
        except BundleError as error:
            if chosen is verified.content.stable:
                raise
            emit(Event.RELEASE_LEFT, 40, org=verified.org, release=chosen.version, code=error.code)
            program = build(verified, self._scanner, verified.content.stable)
            entry.left[chosen.version] = error.code
            return program

    def _use(self, entry: _Org, program: OrgProgram, verified: VerifiedSet) -> None:
        entry.program, entry.verified, entry.reserve = program, verified, None
        entry.left = {version: why for version, why in entry.left.items() if version in verified.content.rollout.named}
        self._take_terms(entry, program)

    def _take_terms(self, entry: _Org, program: OrgProgram) -> None:
        """Take over what the state of the org depends on."""
        entry.facts = replace(
            entry.facts,
            configured=True,
            signed_at_ms=program.signed_at_ms,
            timestamp_expires_ms=program.timestamp_expires_ms,
            seal_after_seconds=program.release.seal_after_seconds,
            on_revoked=program.release.on_revoked,
            tamper_code="",
        )
        entry.facts = replace(entry.facts, revoked_code=entry.facts.revoked_code or _listed_as_revoked(entry))
        entry.extension_looked_at = float("-inf")
        self._look_for_extension(entry)

    def _look_for_extension(self, entry: _Org) -> bool:
        """Read the extension that is on disk, now and then; true when it was read and counts."""
        now = self._clock.monotonic()
        if now - entry.extension_looked_at < EXTENSION_LOOK_SECONDS:
            return False
        entry.extension_looked_at = now
        until_ms = _extended_until(entry, self._clock.now_ms())
        entry.facts = replace(entry.facts, extended_until_ms=until_ms)
        return until_ms > 0

    def _require(self, org: str) -> _Org:
        entry = self._orgs.get(org)
        if entry is None:
            raise UnknownOrgError("this process does not know the org", field="org", next_step="restart the outpost")
        return entry


def _chosen(verified: VerifiedSet, left: Mapping[int, str]) -> ReleaseContent:
    """The release of a set that runs here."""
    return verified.content.stable if verified.chosen.version in left else verified.chosen


def _open(paths: StatePaths, org: str, wrap_key: bytes, chance: ports.Chance) -> _Org:
    """Everything of an org that is read once. Raises IdentityUnreadableError."""
    files = paths.org(org)
    return _Org(
        files=files,
        cache=open_cache(paths, org, wrap_key, chance),
        verifier=open_verifier(paths, org),
        enrollment=identities.load(files.identity).enrollment,
        facts=trust.OrgFacts(enrolled=True, revoked_code=withdrawn_code(files.identity)),
    )


def _listed_as_revoked(entry: _Org) -> str:
    """What the active set itself says of our identity: the code, or empty."""
    if entry.program is None:
        return ""
    found = entry.program.revocations.of(entry.enrollment.outpost_id, entry.enrollment.join_sequence)
    return "" if found is None else REVOKED_CODES[found.kind]


def _extended_until(entry: _Org, now_ms: int) -> int:
    """End of the extension on disk when it counts under the active set, else 0."""
    if entry.program is None:
        return 0
    try:
        data = read_file(entry.files.extension, MAX_EXTENSION_BYTES)
        reference_ms = trust.reference_time(entry.facts.time_floor_ms, now_ms)
        return verify_extension(data, entry.program.policy_keys, entry.program.org, reference_ms).until_ms
    except CacheMissingError:
        return 0
    except OutpostError as error:
        emit(Event.BUNDLE_REFUSED, 30, org=entry.program.org, code=error.code, message=error.message)
        return 0


class UnknownOrgError(BundleError):
    """An org was enrolled after this process had started."""

    code = "bundle.unknown_org"


def load_verified(verifier: tuf.Verifier, cache: SlotCache, now_ms: int) -> VerifiedSet | None:
    """The active set of an org as the agent starts with it, or None.

    Lifts the high water to it: a crash between pointer and high water leaves that one set too low.
    """
    try:
        high_water = cache.read_high_water()
        verified = verifier.reverify(cache.load_active(), high_water)
        lifted = trust.next_high_water(high_water, verified, now_ms)
        if lifted != high_water:
            cache.write_high_water(lifted)
        return verified
    except OutpostError:
        return None  # workers seal and tell why; the agent asks for a fresh set
