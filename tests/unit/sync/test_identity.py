"""The identity on disk: written whole, read back, and refused when damaged or of another."""

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
    identities.save(folder, identities.with_endpoints(identities.load(folder), told))
    loaded = identities.load(folder).enrollment
    assert (loaded.sync_endpoints, loaded.endpoints) == (told, told)
    identities.save(folder, identities.with_endpoints(identities.load(folder), told[:1]))
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


def test_a_renewal_changes_key_certificates_and_sequence_and_keeps_the_rest() -> None:
    before = MADE.identity()
    leaf = MADE.trust.outpost(ORG, OUTPOST, NOW)
    chain = keys.certificates_pem(leaf.chain)
    after = identities.with_renewed(before, leaf.key_pem, (chain, before.trust_bundle_pem), 2)
    assert after.enrollment == replace(before.enrollment, join_sequence=2)
    assert after.verify(NOW).serial != before.verify(NOW).serial
