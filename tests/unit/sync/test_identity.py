"""The identity on disk: written whole, read back, and refused when damaged or of another."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from certs import keys
from certs.errors import TrustError
from outpost.core.errors import OutpostError
from outpost.sync import identity as identities
from tests.unit.core.bundle.samples import ORG
from tests.unit.sync.enrolled import OUTPOST, TRUST_DOMAIN, Enrolled

NOW_MS = 1_790_000_000_000
NOW = NOW_MS // 1000
MADE = Enrolled(NOW_MS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    identities.save(tmp_path / "identity", MADE.identity())
    return tmp_path / "identity"


def test_what_is_saved_is_loaded(folder: Path) -> None:
    assert identities.load(folder) == MADE.identity()
    assert identities.load_enrollment(folder) == MADE.identity().enrollment
    assert identities.load(folder).origin == f"{TRUST_DOMAIN}/org/{ORG}/outpost/{OUTPOST}"


def test_only_the_owner_may_read_it_and_the_key_is_not_shown(folder: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert "PRIVATE" not in repr(identities.load(folder))


def test_a_valid_identity_proves_its_name(folder: Path) -> None:
    peer = identities.load(folder).verify(NOW)
    assert (peer.spiffe_id.org, peer.spiffe_id.outpost) == (ORG, OUTPOST)


def test_an_enrollment_of_the_version_before_is_read(folder: Path) -> None:
    path = folder / "enrollment.json"
    document = orjson.loads(path.read_bytes())
    for name in ("sync_endpoints", "leaf_alone"):
        del document[name]
    path.write_bytes(orjson.dumps(document))
    told = identities.load(folder).enrollment
    assert (told.sync_endpoints, told.leaf_alone, told.endpoints) == ((), False, (told.sync_endpoint,))


def test_addresses_are_kept_and_the_first_one_is_never_forgotten(folder: Path) -> None:
    told = ("b.example:1", "127.0.0.1:1", "a.example:1")
    identities.save_endpoints(folder, told)
    loaded = identities.load(folder).enrollment
    assert (loaded.sync_endpoints, loaded.endpoints) == (told, told)
    identities.save_endpoints(folder, told[:1])
    assert identities.load(folder).enrollment.endpoints == ("b.example:1", "127.0.0.1:1")


def edit(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "enrollment.json"
        document = orjson.loads(path.read_bytes())
        change(document)
        path.write_bytes(orjson.dumps(document))

    return apply


DAMAGE: dict[str, Callable[[Path], object]] = {
    "the enrollment is gone": lambda folder: (folder / "enrollment.json").unlink(),
    "the enrollment is torn": lambda folder: (folder / "enrollment.json").write_bytes(b'{"schema"'),
    "the enrollment is a list": lambda folder: (folder / "enrollment.json").write_bytes(b"[]"),
    "the enrollment is of another version": edit(lambda document: document.update(schema="outpost.enrollment/2")),
    "the enrollment lacks a field": edit(lambda document: document.pop("join_sequence")),
    "the enrollment has a field more": edit(lambda document: document.update(extra=1)),
    "the certificate is gone": lambda folder: (folder / "leaf.pem").unlink(),
    "the certificate is no PEM": lambda folder: (folder / "leaf.pem").write_bytes(b"nothing"),
    "the trust bundle is gone": lambda folder: (folder / "trust-bundle.pem").unlink(),
    "others may read the key": lambda folder: (folder / "leaf.pem").chmod(0o640),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_an_identity_is_unreadable_when(what: str, folder: Path) -> None:
    DAMAGE[what](folder)
    with pytest.raises(identities.IdentityUnreadableError) as refused:
        identities.load(folder)
    assert refused.value.code == "identity.unreadable"


LATER = 3 * 24 * 3600
WRONG: dict[str, tuple[Callable[[identities.Identity], identities.Identity], int]] = {
    "it has expired": (lambda identity: identity, NOW + LATER),
    "it is not valid yet": (lambda identity: identity, NOW - LATER),
    "the key is another": (lambda identity: replace(identity, key_pem=MADE.trust.server(NOW).key_pem), NOW),
    "the enrollment names another outpost": (
        lambda identity: replace(identity, enrollment=replace(identity.enrollment, outpost_id="op-" + "f" * 16)),
        NOW,
    ),
    "the enrollment names another org": (
        lambda identity: replace(identity, enrollment=replace(identity.enrollment, org="globex")),
        NOW,
    ),
    "it is of another root": (
        lambda identity: replace(identity, trust_bundle_pem=Enrolled(NOW_MS).trust.roots_pem),
        NOW,
    ),
    "it is a server's": (
        lambda identity: replace(
            identity,
            key_pem=(leaf := MADE.trust.server(NOW)).key_pem,
            chain_pem=keys.certificates_pem(leaf.chain),
        ),
        NOW,
    ),
}


@pytest.mark.parametrize("why", WRONG)
def test_an_identity_does_not_verify_when(why: str) -> None:
    change, now = WRONG[why]
    with pytest.raises((OutpostError, TrustError)):
        change(MADE.identity()).verify(now)


def renewed() -> identities.Identity:
    """What a renewal makes of the identity."""
    before = MADE.identity()
    leaf = MADE.trust.outpost(ORG, OUTPOST, NOW)
    told = replace(before.enrollment, join_sequence=2)
    return identities.Identity(told, leaf.key_pem, keys.certificates_pem(leaf.chain), before.trust_bundle_pem)


@pytest.mark.parametrize("writes", range(4))
def test_key_certificate_and_sequence_change_together_wherever_the_disk_fills(
    writes: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [writes]

    def rename(source: str, target: str) -> None:
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        real(source, target)

    real = os.rename
    monkeypatch.setattr(os, "rename", rename)
    with contextlib.suppress(TrustError):
        identities.save(folder, renewed())
    monkeypatch.undo()
    loaded = identities.load(folder)
    loaded.verify(NOW)
    assert loaded.enrollment.join_sequence == (1 if loaded.key_pem == MADE.identity().key_pem else 2)
    assert {path.name for path in folder.iterdir()} == {"leaf.pem", "trust-bundle.pem", "enrollment.json"}


def test_an_identity_of_an_earlier_version_is_read(folder: Path) -> None:
    before = MADE.identity()
    (folder / "leaf.pem").write_bytes(before.key_pem + before.chain_pem)
    assert identities.load(folder) == before


def test_addresses_are_stored_without_touching_key_and_certificate(folder: Path) -> None:
    leaf = (folder / "leaf.pem").stat().st_ino
    identities.save_endpoints(folder, ("a.example:1", "b.example:1"))
    assert identities.load(folder).enrollment.endpoints == ("a.example:1", "b.example:1", "127.0.0.1:1")
    assert (folder / "leaf.pem").stat().st_ino == leaf
