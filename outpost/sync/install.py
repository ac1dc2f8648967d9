"""From an offer to an active configuration (B5 to B9): fetch, verify, try, store, prepare all workers, switch, commit.

Nothing of an offer takes effect before every step before the switch has passed; the last good set serves until then.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from outpost import ports
from outpost.core.bundle import limits, trust
from outpost.core.bundle.delta import DeltaBaseError, DeltaListingError, apply_delta, apply_listing
from outpost.core.bundle.errors import OversizedError
from outpost.core.bundle.loosening import require_not_looser
from outpost.core.bundle.release import HighWater, SignedSet, VerifiedSet

PARALLEL_FETCHES = 4  # large resources at a time; more would only share the same line


class Cache(Protocol):
    """Two slots of one org and the high water beside them."""

    def write_idle(self, verified: VerifiedSet) -> str:
        """Seal a set into the other slot; returns the slot's name."""
        ...

    def activate(self, slot: str) -> None:
        """Let the pointer name a slot."""
        ...

    def surviving_high_water(self) -> HighWater:
        """Highest versions and signed time ever accepted; nothing, when what is on disk was altered."""
        ...

    def write_high_water(self, high_water: HighWater) -> None:
        """Store them durably."""
        ...


class Activator(Protocol):
    """The workers, all of them."""

    async def prepare(self, org: str, slot: str) -> None:
        """Every worker loads the slot and tries it; raises when one refuses."""
        ...

    async def commit(self, org: str) -> None:
        """Every worker uses what it prepared."""
        ...

    async def lock(self, org: str) -> None:
        """Every worker refuses from now on; none is asked whether it agrees."""
        ...


@dataclass(slots=True)
class Progress:
    """How far an installation came, for whoever started it and may see it fail.

    Attributes:
        downloaded_ms: when every byte was there, Unix milliseconds; 0 before.
        release: version of the release in it, once it could be read and was verified; 0 before.
    """

    downloaded_ms: int = 0
    release: int = 0

    def taken(self) -> ports.Taken:
        """As the control plane is told it."""
        return ports.Taken(self.downloaded_ms, self.release)


@dataclass(frozen=True, slots=True)
class Installer:
    """Installs offers of one org.

    Attributes:
        org: the org.
        cache: slots and high water.
        activator: the workers.
        verify: (set, high water, now_ms) -> VerifiedSet, raises BundleError.
        attempt: builds the program and runs its self-tests; raises BundleError.
        clock: for expiry.
    """

    org: str
    cache: Cache
    activator: Activator
    verify: Callable[[SignedSet, HighWater, int], VerifiedSet]
    attempt: Callable[[VerifiedSet], object]
    clock: ports.Clock

    async def install(
        self, offer: ports.Offer, active: VerifiedSet | None, fetch: "Fetch", progress: "Progress | None" = None
    ) -> VerifiedSet:
        """Make an offer the active configuration.

        Args:
            offer: names, sizes and hashes; untrusted.
            active: the set in force, whose files need not travel again and from which nothing may be loosened.
            fetch: bytes by hash and size.
            progress: is told how far this came.

        Raises:
            BundleError: refused; the active set is untouched.
            PeerError: a file could not be fetched.
        """
        progress = progress or Progress()
        signed = await collect(offer, active, fetch)
        progress.downloaded_ms = now_ms = self.clock.now_ms()
        verified, high_water, slot = await asyncio.to_thread(self._store, signed, active, progress)
        await self.activator.prepare(self.org, slot)
        await asyncio.to_thread(self.cache.activate, slot)
        await self.activator.commit(self.org)
        await asyncio.to_thread(self.cache.write_high_water, trust.next_high_water(high_water, verified, now_ms))
        return verified

    def _store(
        self, signed: SignedSet, active: VerifiedSet | None, progress: "Progress"
    ) -> tuple[VerifiedSet, HighWater, str]:
        """Verify, try, and write into the idle slot. Runs in a thread."""
        high_water = self.cache.surviving_high_water()
        verified = self.verify(signed, high_water, progress.downloaded_ms)
        progress.release = verified.release.version
        if active is not None:
            require_not_looser(active.content, verified.content)
        self.attempt(verified)
        if active is not None:
            trust.require_one_per_version(active, verified)
        return verified, high_water, self.cache.write_idle(verified)


class Fetch(Protocol):
    """How to get bytes that an offer only names."""

    async def __call__(self, sha256: bytes, size: int) -> bytes:
        """Exactly ``size`` bytes with that hash."""
        ...


async def collect(offer: ports.Offer, active: VerifiedSet | None, fetch: Fetch) -> SignedSet:
    """Bring the files of an offer together; bounds first, so that a hostile offer costs nothing.

    Raises:
        OversizedError: too many files, or one or all too large.
        DeltaError: the offer changes another set than the one in force, contradicts itself, or a delta is wrong.
        PeerError: a fetch failed.
    """
    _require_bounds(offer)
    names = kept_names(offer, active)
    known = held_files(active)
    gate = asyncio.Semaphore(PARALLEL_FETCHES)

    async def bytes_of(item: ports.OfferedFile) -> bytes:
        if item.inline or item.size == 0:
            return item.inline
        if item.delta:
            return await asyncio.to_thread(_from_delta, item, known)
        if item.sha256 in known:
            return known[item.sha256]
        async with gate:
            return await fetch(item.sha256, item.size)

    bodies = await asyncio.gather(*(bytes_of(item) for item in offer.files))
    pairs = list(zip(offer.files, bodies, strict=True))
    held = active.signed if active is not None else SignedSet({}, {})
    return SignedSet(
        metadata={name: body for name, body in held.metadata.items() if name in names}
        | {item.name: body for item, body in pairs if item.metadata},
        targets={name: body for name, body in held.targets.items() if name in names}
        | {item.name: body for item, body in pairs if not item.metadata},
    )


def brought(signed: SignedSet) -> ports.Offer:
    """An offer of a set that came in a file, complete: it is judged like any other."""
    files = [
        ports.OfferedFile(name, hashlib.sha256(body).digest(), len(body), metadata, body)
        for group, metadata in ((signed.metadata, True), (signed.targets, False))
        for name, body in sorted(group.items())
    ]
    return ports.Offer(nonce="", revision="", files=tuple(files), now_ms=0)


async def nothing_more(sha256: bytes, size: int) -> bytes:
    """What a file does not bring is nowhere else. Raises DeltaListingError."""
    raise DeltaListingError("the bundle does not hold every file that it names", field="files")


def _require_bounds(offer: ports.Offer) -> None:
    if len(offer.files) > limits.MAX_SET_FILES or len(offer.removed) > limits.MAX_SET_FILES:
        raise OversizedError(f"the offer has more than {limits.MAX_SET_FILES} files", field="offer")
    for item in offer.files:
        bound = limits.MAX_METADATA_BYTES if item.metadata else limits.MAX_TARGET_BYTES
        if max(item.size, len(item.inline)) > bound or len(item.name) > limits.MAX_NAME_BYTES:
            raise OversizedError("a file of the offer is over its bound", field=item.name[: limits.MAX_NAME_BYTES])
    if sum(item.size for item in offer.files) > limits.MAX_SET_BYTES:
        raise OversizedError("the files of the offer together are over the bound", field="offer")


def kept_names(offer: ports.Offer, active: VerifiedSet | None) -> frozenset[str]:
    """Names of held files that stay as they are under an offer; none when it is complete.

    Raises:
        DeltaError: it changes another set than the one in force, or contradicts itself.
    """
    changed = {item.name: item.sha256 for item in offer.files}
    if len(changed) != len(offer.files):
        raise DeltaListingError("the offer lists a file twice", field="files")
    if not offer.base_sha256:
        if offer.removed:
            raise DeltaListingError("the offer removes files of no base", field="removed")
        return frozenset()
    base = active.listing if active is not None else {}
    listing = apply_listing(base, offer.base_sha256, changed, offer.removed)
    return frozenset(set(listing) - set(changed))


def _from_delta(item: ports.OfferedFile, known: Mapping[bytes, bytes]) -> bytes:
    if item.delta_sha256 not in known:
        raise DeltaBaseError("a delta refers to a file that is not held", field=item.name)
    return apply_delta(known[item.delta_sha256], item.delta, item.size, item.sha256)


def held_files(active: VerifiedSet | None) -> Mapping[bytes, bytes]:
    """Files of the set in force by SHA-256."""
    if active is None:
        return {}
    bodies = {**active.signed.metadata, **active.signed.targets}
    return {digest: bodies[name] for name, digest in active.listing.items()}
