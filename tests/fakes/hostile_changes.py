"""Offers of changes that lead elsewhere, and loosened documents by whoever stole the online keys."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from outpost.core.bundle import names
from outpost.core.bundle.caps import CapsDocument, build_caps
from outpost.core.bundle.delta import make_delta, pack_chunk, set_identity
from outpost.core.bundle.kill import KillDocument, build_kill
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.revocations import RevocationsDocument, build_revocations
from tests.fakes.hostile_plane import Offering, Packed, honest
from tests.fakes.hostile_sets import Attack, flipped, lying_fetch
from tests.unit.core.bundle.samples import Forge

Made = SignedSet | Offering
Cases = dict[str, tuple[Callable[[Attack], Made], str]]
GIGABYTE_LOG = 30
LARGE = "targets.json"  # a file of some kilobytes


def listing(signed: SignedSet) -> dict[str, bytes]:
    """Name to SHA-256 of every file."""
    return {
        name: hashlib.sha256(data).digest()
        for files in (signed.metadata, signed.targets)
        for name, data in files.items()
    }


def changes(a: Attack, signed: SignedSet, **lies: Any) -> Offering:
    """Only what differs from the set in force."""
    held, wanted = listing(a.newest), listing(signed)
    files = tuple(file for file in honest(signed).files if held.get(file.name) != wanted[file.name])
    removed = tuple(name for name in held if name not in wanted)
    return replace(Offering(files, base_sha256=set_identity(held), removed=removed), **lies)


def next_timestamp(a: Attack) -> SignedSet:
    """The set in force under a fresh timestamp: nothing is wrong with it."""
    return a.forge.edited(names.TIMESTAMP, lambda part: part.update(version=part["version"] + 1))


def only(a: Attack, signed: SignedSet, *kept: str) -> Offering:
    """Changes of which the thief sends some and leaves out the others."""
    whole = changes(a, signed)
    return replace(whole, files=tuple(file for file in whole.files if file.name in kept))


def as_delta(a: Attack, **lies: Any) -> Offering:
    """The list of roles in force as a delta to another one; lies about frame, dictionary, size or hash."""
    old = a.newest.metadata[LARGE]
    new = old + b" " * 10
    told = {
        "sha256": hashlib.sha256(new).digest(),
        "size": len(new),
        "inline": b"",
        "delta": make_delta(old, new),
        "delta_sha256": hashlib.sha256(old).digest(),
    }
    return honest(a.newest).but(LARGE, **(told | lies))


def frame(a: Attack, change: Callable[[bytes], bytes] = lambda frame: frame) -> bytes:
    """The honest delta of ``as_delta``, changed."""
    old = a.newest.metadata[LARGE]
    made = make_delta(old, old + b" " * 10)
    assert made is not None
    return change(made)


def made_of_another(a: Attack) -> bytes:
    """A delta whose dictionary is another file of the same length."""
    old = a.newest.metadata[LARGE]
    made = make_delta(old[1:] + old[:1], old + b" " * 10)
    assert made is not None
    return made


def asking_for_a_window(log: int) -> bytes:
    """A frame that asks for 2^log bytes of memory. Source: RFC 8878 §3.1.1.1."""
    return b"\x28\xb5\x2f\xfd" + bytes([0b10000000, (log - 10) << 3]) + bytes(4) + (1).to_bytes(3, "little")


def bomb(says: int) -> bytes:
    """A frame of 16,000 times 128 KiB that says another size. Source: RFC 8878 §3.1.1.2."""
    block = ((1 << 1) | ((128 * 1024) << 3)).to_bytes(3, "little") + b"A"
    return b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + says.to_bytes(4, "little") + block * 16_000


def packed(frame_of: Callable[[bytes], bytes], said: int | None = None) -> Callable[[Attack], Offering]:
    """A delivery whose chunks are packed wrongly."""

    def make(a: Attack) -> Offering:
        body = a.newest.targets[names.KEYS_PATH]
        offering = lying_fetch(a)
        chunk = Packed(frame_of(body), len(body) if said is None else said)
        return replace(offering, bodies=lambda sha256: [chunk])

    return make


DELTAS: Cases = {
    "changes of a set that is not held": (
        lambda a: changes(a, next_timestamp(a), base_sha256=bytes(32)),
        "delta.base",
    ),
    "changes that remove what is not held": (
        lambda a: changes(a, next_timestamp(a), removed=("policy/never.json",)),
        "delta.listing",
    ),
    "changes that remove what they change": (
        lambda a: changes(a, next_timestamp(a), removed=("timestamp.json",)),
        "delta.listing",
    ),
    "changes that list a file twice": (
        lambda a: changes(a, next_timestamp(a), files=honest(a.newest).files[:1] * 2),
        "delta.listing",
    ),
    "a complete offer that removes something": (
        lambda a: replace(honest(next_timestamp(a)), removed=("policy.json",)),
        "delta.listing",
    ),
    "changes that keep an old snapshot": (
        lambda a: only(a, a.document(names.KEYS_PATH, requests_per_minute=7), "timestamp.json"),
        "bundle.hash",
    ),
    "changes that keep an old document": (
        lambda a: only(
            a, a.document(names.KEYS_PATH, requests_per_minute=7), "timestamp.json", "snapshot.json", "access.json"
        ),
        "bundle.hash",
    ),
    "changes that take a signed file away": (
        lambda a: changes(a, next_timestamp(a), removed=(names.KILL_PATH,)),
        "bundle.missing_target",
    ),
    "changes that bring a file that nobody signed": (
        lambda a: changes(a, Forge(a.forge.keys, next_timestamp(a)).replaced("policy/extra.json", b"{}")),
        "bundle.unlisted_target",
    ),
    "a delta against a file that is not held": (lambda a: as_delta(a, delta_sha256=bytes(32)), "delta.base"),
    "a delta of another file": (lambda a: as_delta(a, delta=made_of_another(a)), "delta.mismatch"),
    "a delta that says another size": (lambda a: as_delta(a, size=len(a.newest.metadata[LARGE])), "delta.size"),
    "a delta to other bytes than announced": (lambda a: as_delta(a, sha256=bytes(32)), "delta.mismatch"),
    "a delta cut short": (lambda a: as_delta(a, delta=frame(a, lambda f: f[:-1])), "delta.damaged"),
    "a delta with a second frame behind it": (lambda a: as_delta(a, delta=frame(a, lambda f: f + f)), "delta.trailing"),
    "a delta that asks for a gigabyte": (
        lambda a: as_delta(a, delta=asking_for_a_window(GIGABYTE_LOG)),
        "delta.window",
    ),
    "a delta that unpacks to two gigabytes": (
        lambda a: as_delta(a, delta=bomb(len(a.newest.metadata[LARGE]) + 10)),
        "delta.damaged",
    ),
    "a delta that leads to what nobody signed": (as_delta, "bundle.length"),
    "a packed delivery that unpacks to more than it says": (packed(lambda body: bomb(len(body))), "delta.damaged"),
    "a packed delivery of another size": (packed(pack_chunk, 1), "delta.size"),
    "a packed delivery with one bit changed": (
        packed(lambda body: flipped(pack_chunk(body), 4)),
        "delta.size",
    ),
    "a packed delivery of other bytes": (packed(lambda body: pack_chunk(flipped(body))), "fetch.mismatch"),
}


def key(a: Attack, **fields: Any) -> SignedSet:
    """The first live key with other fields, by whoever holds the access role's key."""
    every = a.client_keys
    first = next(each for each in every if not each["revoked"])
    return a.document(names.KEYS_PATH, keys=[each | fields if each is first else each for each in every])


def revived(a: Attack) -> SignedSet:
    return a.document(names.KEYS_PATH, keys=[each | {"revoked": False} for each in a.client_keys])


def vanished(a: Attack) -> SignedSet:
    return a.document(names.KEYS_PATH, keys=[each for each in a.client_keys if not each["revoked"]])


def capped(**caps: Any) -> Callable[[Attack], SignedSet]:
    """A release whose caps the keys in force go beyond."""
    return lambda a: a.release({names.CAPS: build_caps(CapsDocument(a.org, **caps))})


# As `docs/bundles.md` enumerates them. Every entry meets its best attacker in tests/integration.
LOOSENINGS: Cases = {
    "a revoked client key lives again": (revived, "loosening.key_revived"),
    "a revoked client key is gone": (vanished, "loosening.key_vanished"),
    "a client key stands for another secret": (lambda a: key(a, sha256="5" * 64), "loosening.key_secret"),
    "a client key counts as another user": (lambda a: key(a, user="root"), "loosening.key_user"),
    "a client key counts as another agent": (lambda a: key(a, agent="root"), "loosening.key_agent"),
    "a client key gets a group": (lambda a: key(a, groups=["exempt"]), "loosening.key_groups"),
    "a client key gets another channel": (lambda a: key(a, channel="interactive"), "loosening.key_channel"),
    "a client key gets another data class": (lambda a: key(a, data_class="public"), "loosening.key_data_class"),
    "a client key lives longer": (lambda a: key(a, expires=4_000_000_000), "loosening.key_life"),
    "a revoked outpost is an outpost again": (
        lambda a: a.forge.with_target(names.REVOCATIONS_PATH, build_revocations(RevocationsDocument(a.org))),
        "loosening.outpost_entry",
    ),
    "a model that was switched off is on again": (
        lambda a: a.forge.with_target(names.KILL_PATH, build_kill(KillDocument(a.org))),
        "loosening.kill_entry",
    ),
    "client keys beyond the caps in number": (capped(max_keys=1), "loosening.caps_max_keys"),
    "client keys beyond the caps in life": (capped(max_key_life_seconds=1), "loosening.caps_key_life"),
    "client keys beyond the caps in models": (capped(models=("nothing",)), "loosening.caps_models"),
    "client keys beyond the caps in channel": (capped(channels=("interactive",)), "loosening.caps_channel"),
    "client keys beyond the caps in data class": (capped(data_classes=("public",)), "loosening.caps_data_class"),
    "client keys beyond the caps in allowance": (capped(max_requests_per_minute=1), "loosening.caps_allowance"),
    "another set under the version in force": (
        lambda a: a.document(names.KEYS_PATH, requests_per_minute=7),
        "bundle.equivocation",
    ),
}
