"""`outpost bundle` as a person runs it."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from outpost.core.bundle.archive import pack_archive
from outpost.core.bundle.extension import Extension
from outpost.core.bundle.release import SignedSet
from outpost.paths import StatePaths
from tests.unit.cli.conftest import Cli
from tests.unit.core.bundle.samples import DAY_MS, ORG, forge, key_id, repository
from tests.unit.sync.enrolled import Enrolled


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def newer(made: Enrolled) -> SignedSet:
    signer = repository(made.keys)
    return signer.refresh(signer.create(made.documents(), made.now_ms), now_ms(), validity_ms=31 * DAY_MS)


def test_show_says_what_is_in_force(cli: Cli, state: StatePaths) -> None:
    shown = cli("bundle", "show", "--state", state.state, "--output", "json").json
    assert (shown["org"], shown["release"], shown["stable"], shown["candidate"]) == (ORG, 1, 1, None)
    assert (shown["policy_keys"], shown["on_revoked"], shown["versions"]["root"]) == ("1 of 1", "enforce", 1)
    text = cli("bundle", "show", "--state", state.state)
    assert text.code == 0
    assert "revision              1.1" in text.out


def test_verify_without_a_file_looks_at_what_is_in_force(cli: Cli, state: StatePaths) -> None:
    assert cli("bundle", "verify", "--state", state.state).code == 0
    active = state.org(ORG).cache / "slot-a"
    active.write_bytes(active.read_bytes()[:-1])
    refused = cli("bundle", "verify", "--state", state.state, "--output", "json")
    assert refused.code == 1
    assert "cache.tampered" in refused.err


def test_verify_judges_a_file_as_the_wire_would(cli: Cli, state: StatePaths, made: Enrolled, tmp_path: Path) -> None:
    good, bad, foreign = (tmp_path / name for name in ("good", "bad", "foreign"))
    data = pack_archive(newer(made), ORG)
    good.write_bytes(data)
    bad.write_bytes(data[:-1])
    foreign.write_bytes(pack_archive(forge(now_ms=now_ms()).signed, ORG))
    told = cli("bundle", "verify", good, "--state", state.state, "--output", "json").json
    assert told["revision"] == "1.1"
    for path, code in ((bad, "bundle.truncated"), (foreign, "bundle.root_mismatch")):
        refused = cli("bundle", "verify", path, "--state", state.state)
        assert (refused.code, code in refused.err) == (5, True), refused.err


def test_extend_keeps_a_signed_extension(cli: Cli, state: StatePaths, made: Enrolled, tmp_path: Path) -> None:
    extension = Extension(ORG, now_ms() + DAY_MS, now_ms())
    (key,) = made.keys["policy"]
    unsigned, signed = tmp_path / "unsigned.json", tmp_path / "signed.json"
    unsigned.write_bytes(extension.to_bytes())
    signed.write_bytes(replace(extension, signatures={key_id(key): key.sign(extension.payload)}).to_bytes())
    refused = cli("bundle", "extend", unsigned, "--state", state.state)
    assert (refused.code, "bundle.unsigned" in refused.err) == (5, True)
    assert not state.org(ORG).extension.exists()
    told = cli("bundle", "extend", signed, "--state", state.state, "--output", "json").json
    assert told["until_ms"] == extension.until_ms
    assert state.org(ORG).extension.read_bytes() == signed.read_bytes()
    shown = cli("bundle", "show", "--state", state.state, "--output", "json").json
    assert shown["extended_until_ms"] == extension.until_ms


@pytest.mark.parametrize("org", ["globex", "../acme"])
def test_an_org_that_is_not_here_is_named(org: str, cli: Cli, state: StatePaths) -> None:
    refused = cli("bundle", "show", "--state", state.state, "--org", org)
    assert (refused.code, "state.org" in refused.err) == (8, True)


def test_a_folder_that_is_not_enrolled_is_named(cli: Cli, tmp_path: Path) -> None:
    refused = cli("bundle", "show", "--state", tmp_path / "none")
    assert (refused.code, "state.not_enrolled" in refused.err) == (8, True)
