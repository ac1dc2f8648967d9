"""The detectors' automaton: compiled once per rule set and machine, then loaded (0.3 s against 0.02 s).

The stored automaton is sealed like configuration: whoever could change it could blind the outpost. What does not open
or does not load is compiled anew.
"""

import hashlib
from importlib import metadata

from outpost import ports
from outpost.cache.durable import make_folder, read_file, replace_file
from outpost.cache.errors import CacheTamperedError
from outpost.cache.seal import Seal
from outpost.core.detect.pattern import PatternError, Scanner, compile_rules
from outpost.core.detect.rules import RULES
from outpost.core.errors import StoreError
from outpost.paths import StatePaths
from outpost.telemetry import Event, emit

MAX_DATABASE_BYTES = 64 * 1024 * 1024  # 66 rules have 145 KB; thousands of customer rules would have a few MB


def load_scanner(paths: StatePaths, wrap_key: bytes, chance: ports.Chance) -> Scanner:
    """A scanner over the built-in rules."""
    version = hashlib.sha256(f"{metadata.version('hyperscan')}{RULES!r}".encode()).hexdigest()[:16]
    seal = Seal(outpost="", org="", wrapping_key=lambda: wrap_key, random_bytes=chance.token_bytes)
    path = paths.state / "cache" / f"detectors-{version}"
    role = f"detectors-{version}"
    try:
        return Scanner(seal.open(role, read_file(path, MAX_DATABASE_BYTES), path.name), RULES)
    except (StoreError, PatternError) as error:
        if isinstance(error, CacheTamperedError):
            emit(Event.BUNDLE_REFUSED, 30, code=error.code, message="the stored detectors were altered; compiled anew")
    database = compile_rules(RULES)
    make_folder(path.parent)
    replace_file(path, seal.close(role, version, database))
    return Scanner(database, RULES)
