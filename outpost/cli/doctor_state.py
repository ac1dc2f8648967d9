"""What `outpost doctor` asks of configuration, inspection and the audit log. Nothing is locked or written."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from certs.errors import TrustError
from certs.shell.private_files import read_private_file
from outpost.bootstrap.programs import open_cache
from outpost.bootstrap.world import SystemChance
from outpost.cache.errors import CacheMissingError
from outpost.cli.doctor_report import Level, Line, failed, ok
from outpost.core.audit.note import NoteVerifier, SignatureType, open_checkpoint, open_cosigned
from outpost.core.bundle import trust
from outpost.core.bundle.release import HighWater
from outpost.core.detect.pattern import Scanner
from outpost.core.detect.rules import RULES
from outpost.core.errors import OutpostError
from outpost.core.program import OrgProgram, build
from outpost.gateway import canary
from outpost.ledger.cursor import Cursor
from outpost.ledger.identity import load_identity
from outpost.ledger.reader import LogReader
from outpost.paths import StatePaths
from outpost.secrets.files import FileSecrets
from outpost.settings import Settings
from outpost.sync import identity as identities
from outpost.sync import tuf

CARD = "4111" + " 1111" * 3  # a test number of the card industry, never issued
CARD_TYPE = "credit_card"
FREE_WANTED_BYTES = 1024**3  # bytes; 128 of the log's segments of 8 MiB
FREE_NEEDED_BYTES = 128 * 1024**2  # bytes; 16 segments: a busy gateway fills them within minutes
BACKLOG_RECORDS = 10_000  # records without a cosignature; several minutes of a busy gateway


@dataclass(slots=True)
class Loaded:
    """What was read of one org, for the groups that follow."""

    high_water: HighWater = field(default_factory=lambda: HighWater(versions={}, time_floor_ms=0))
    program: OrgProgram | None = None
    lines: list[Line] = field(default_factory=list)


def compile_detectors() -> tuple[Line, Scanner | None]:
    """The automaton, and a card in a text."""
    try:
        scanner = Scanner.compile(RULES)
        found = {finding.entity_type for finding in scanner.scan(f"My card is {CARD}, please charge it.")}
    except OutpostError as error:
        return failed("OP-INS-001", error), None
    if CARD_TYPE not in found:
        message = "the built-in detectors do not find a test card"
        step = "install this version again: its detectors are damaged"
        return Line("OP-INS-001", Level.FAIL, message, code="inspection.blind", next_step=step), scanner
    return ok("OP-INS-001", f"{len(RULES)} detectors compile, and a test card is found"), scanner


def load_bundle(settings: Settings, paths: StatePaths, org: str, scanner: Scanner | None, now_ms: int) -> Loaded:
    """Read and verify the active set of an org as a worker does at its start."""
    loaded = Loaded()
    try:
        if not paths.wrap_key.exists():
            raise CacheMissingError("nothing was activated yet", next_step="outpost run")
        cache = open_cache(paths, org, read_private_file(paths.wrap_key), SystemChance())
        loaded.high_water = cache.read_high_water()
        stored = cache.load_active()
        audience = identities.load_enrollment(paths.org(org).identity).audience
        verified = tuf.reverify(paths.org(org).tuf_root.read_bytes(), stored, loaded.high_water, audience)
        loaded.program = build(verified, scanner) if scanner is not None else None
    except CacheMissingError:
        message = "no configuration has arrived yet: every request is refused"
        loaded.lines.append(Line("OP-BND-001", Level.WARN, message, org, "bundle.none", "outpost run"))
        return loaded
    except OSError as error:
        message = f"the TUF root cannot be read: {error.strerror}"
        step = "restore the state folder, or enroll again"
        loaded.lines.append(Line("OP-BND-001", Level.FAIL, message, org, "bundle.root_unreadable", step))
        return loaded
    except (OutpostError, TrustError) as error:
        loaded.lines.append(failed("OP-BND-001", error, org))
        return loaded
    loaded.lines.append(ok("OP-BND-001", f"revision {verified.revision} is signed as it must be", org))
    if loaded.program is not None:
        loaded.lines.append(_freshness(loaded.program, loaded.high_water, now_ms))
        loaded.lines += _provider_keys(settings, loaded.program)
    return loaded


def _freshness(program: OrgProgram, high_water: HighWater, now_ms: int) -> Line:
    facts = trust.OrgFacts(
        enrolled=True,
        configured=True,
        signed_at_ms=program.signed_at_ms,
        timestamp_expires_ms=program.timestamp_expires_ms,
        seal_after_seconds=program.release.seal_after_seconds,
        last_contact_ms=now_ms,  # contact is the network group's matter
        time_floor_ms=high_water.time_floor_ms,
    )
    state = trust.org_state(facts, now_ms)
    age = f"signed {(now_ms - program.signed_at_ms) / 3_600_000:.1f} h ago"
    if program.release.seal_after_seconds is None:
        until = "enforced without an end"
    else:
        until = f"enforced until {_day(program.signed_at_ms + program.release.seal_after_seconds * 1000)}"
    if state.state is trust.State.ACTIVE:
        return ok("OP-BND-002", f"{age}, {until}", program.org)
    level = Level.WARN if state.state.serves else Level.FAIL
    message = f"{state.state.value}: {state.reason} ({age}, {until})"
    return Line("OP-BND-002", level, message, program.org, state.code, "restore the link: see the network group")


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _provider_keys(settings: Settings, program: OrgProgram) -> Iterator[Line]:
    """Whether the keys that the routes name are here; none is shown or used."""
    secrets = FileSecrets(settings.secrets_folder())
    for provider in program.providers:
        try:
            secrets.get(provider.key_secret)
        except OutpostError as error:
            yield failed("OP-BND-003", error, program.org)
        else:
            yield ok("OP-BND-003", f"the key of provider {provider.name} is here", program.org)


def check_canary(program: OrgProgram) -> Line:
    """The canary of this org's own policy."""
    report = canary.judge(program)
    if not report.code:
        return ok("OP-INS-002", "policy stops a test card", program.org)
    step = "block or redact credit_card for input: outpost policy explain FILE --text TEXT"
    return Line("OP-INS-002", Level.FAIL, report.reason, program.org, report.code, step)


def check_audit(paths: StatePaths, org: str) -> Iterator[Line]:
    """Heads of the log, delivery and room on the disk; `outpost verify-audit` looks at every record."""
    folder = paths.org(org).audit
    try:
        log = load_identity(folder).signer.verifier
        note = LogReader(folder).checkpoint()
        size = open_checkpoint(note, log).checkpoint.size if note is not None else 0
    except OutpostError as error:
        yield failed("OP-AUD-001", error, org)
        return
    yield ok("OP-AUD-001", f"the log's newest head is over {size} records, and its own", org)
    yield _delivery(paths, org, log, size)
    yield judge_room(paths, org, shutil.disk_usage(paths.org(org).audit).free)


def _delivery(paths: StatePaths, org: str, log: NoteVerifier, size: int) -> Line:
    note = Cursor(paths.org(org).audit).cosigned()
    cosigned = 0
    try:
        told = identities.load_enrollment(paths.org(org).identity)
        if note is not None:
            key = bytes.fromhex(told.witness_public_key)
            witness = NoteVerifier(told.witness_name, key, SignatureType.COSIGNATURE_V1)
            cosigned = open_cosigned(note, log, witness).signed.checkpoint.size
    except (OutpostError, TrustError) as error:
        return failed("OP-AUD-002", error, org)
    if cosigned > size:
        message = f"the witness cosigned {cosigned} records, this log has {size}: it was cut or is an older copy"
        return Line("OP-AUD-002", Level.FAIL, message, org, "audit.rolled_back", "outpost verify-audit")
    message = f"the witness cosigned {cosigned} of {size} records"
    if size - cosigned > BACKLOG_RECORDS:
        return Line("OP-AUD-002", Level.WARN, message, org, "audit.backlog", "outpost status shows the control link")
    return ok("OP-AUD-002", message, org)


def judge_room(paths: StatePaths, org: str, free_bytes: int) -> Line:
    """Whether so much room is enough for the log."""
    message = f"{free_bytes / 1024**3:.1f} GiB are free for the audit log"
    if free_bytes >= FREE_WANTED_BYTES:
        return ok("OP-AUD-003", message, org)
    level = Level.FAIL if free_bytes < FREE_NEEDED_BYTES else Level.WARN
    step = f"make room on the disk of {paths.state}: without a record no request is served"
    return Line("OP-AUD-003", level, message, org, "audit.disk", step)
