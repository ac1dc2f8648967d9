"""What the command line asks of signed configuration: the set in force, bundle files, extensions."""

from dataclasses import dataclass
from typing import Any

from certs.shell.private_files import read_private_file, replace_private_file
from outpost.bootstrap.programs import open_cache, open_verifier
from outpost.bootstrap.world import SystemChance
from outpost.cache.durable import read_file
from outpost.cache.errors import CacheMissingError
from outpost.core.bundle import names, trust
from outpost.core.bundle.archive import unpack_archive
from outpost.core.bundle.extension import Extension, verify_extension
from outpost.core.bundle.limits import MAX_EXTENSION_BYTES
from outpost.core.bundle.loosening import require_not_looser
from outpost.core.bundle.release import HighWater, VerifiedSet
from outpost.core.errors import OutpostError
from outpost.paths import OrgPaths, StatePaths
from outpost.sync import tuf


@dataclass(frozen=True, slots=True)
class Held:
    """The set in force of one org, verified.

    Attributes:
        files: of the org.
        verifier: of the org.
        verified: the set.
        high_water: what was ever accepted.
    """

    files: OrgPaths
    verifier: tuf.Verifier
    verified: VerifiedSet
    high_water: HighWater


def load(paths: StatePaths, org: str) -> Held:
    """Read and verify the set in force.

    Raises:
        OutpostError: there is none, or it cannot be believed.
    """
    if not paths.wrap_key.exists():
        raise CacheMissingError("Nothing was activated here yet.", field="wrap.key", next_step="outpost run")
    cache = open_cache(paths, org, read_private_file(paths.wrap_key), SystemChance())
    verifier = open_verifier(paths, org)
    high_water = cache.read_high_water()
    return Held(paths.org(org), verifier, verifier.reverify(cache.load_active(), high_water), high_water)


def verify_archive(held: Held, data: bytes, now_ms: int) -> VerifiedSet:
    """Verify a bundle file as if it had come over the wire; nothing is kept.

    Raises:
        BundleError: it would be refused.
    """
    verified = held.verifier.verify(unpack_archive(data, held.verified.org), held.high_water, now_ms)
    require_not_looser(held.verified.content, verified.content)
    return verified


def extend(held: Held, data: bytes, now_ms: int) -> Extension:
    """Keep an extension, in the place of an older one.

    Raises:
        BundleError: it does not count here.
        PrivateFileError: the disk refused.
    """
    extension = _verified(held, data, now_ms)
    replace_private_file(held.files.extension, data)
    return extension


def facts(held: Held, now_ms: int) -> dict[str, Any]:
    """What is in force, for people and programs."""
    verified, content = held.verified, held.verified.content
    until_ms = _extended_until(held, now_ms)
    release = verified.release
    seals_ms = None
    if release.seal_after_seconds is not None:
        seals_ms = max(verified.signed_at_ms + release.seal_after_seconds * 1000, until_ms)
    killed = content.kill.under(verified.chosen.routes_sha256)
    return {
        "org": verified.org,
        "revision": verified.revision,
        "release": release.version,
        "stable": content.rollout.stable,
        "candidate": content.rollout.candidate,
        "signed_ms": verified.signed_at_ms,
        "fresh_until_ms": verified.timestamp_expires_ms,
        "seals_ms": seals_ms,
        "extended_until_ms": until_ms or None,
        "on_revoked": release.on_revoked,
        "keys": len([key for key in content.access.keys if not key.revoked]),
        "keys_revoked": len([key for key in content.access.keys if key.revoked]),
        "outposts_revoked": len(content.revocations.outposts),
        "killed_providers": list(killed.providers),
        "killed_models": list(killed.models),
        "policy_keys": f"{verified.role_keys[names.POLICY].threshold} of {len(verified.role_keys[names.POLICY].keys)}",
        "versions": dict(verified.versions),
    }


def _extended_until(held: Held, now_ms: int) -> int:
    try:
        return _verified(held, read_file(held.files.extension, MAX_EXTENSION_BYTES), now_ms).until_ms
    except OutpostError:  # none, or one that does not count any more: then there is nothing to show
        return 0


def _verified(held: Held, data: bytes, now_ms: int) -> Extension:
    reference_ms = trust.reference_time(held.high_water.time_floor_ms, now_ms)
    return verify_extension(data, held.verified.role_keys[names.POLICY], held.verified.org, reference_ms)
