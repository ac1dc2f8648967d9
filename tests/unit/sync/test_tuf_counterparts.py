"""Cases that others test in their clients, by name, and where the same is tested here.

A counterpart may be stricter, or only the nearest one, because a set here is complete and nothing is fetched while it
is verified; the reason then stands beside it.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Ours:
    """A test of ours, and why it is not the very same case."""

    node: str
    why: str = ""


TAMPER = "sync/test_tuf_tamper.py::test_refused_with_its_own_code[{}]"
MOMENT = "sync/test_tuf_tamper.py::test_an_honest_set_at_the_wrong_moment[{}]"
LISTED = "sync/test_tuf_listing.py::test_a_listed_role_is_refused_when_it[{}]"
TOP = "sync/test_tuf_listing.py::test_refused_with_its_own_code[{}]"
ROOTS = "sync/test_tuf_rotations.py::test_a_sequence_of_roots[{}]"
ROLES = "sync/test_tuf_rotations.py::test_a_root_gives_a_role_other_keys[{}-timestamp]"
EXPIRED = "sync/test_tuf_workflow.py::test_an_expired_role_is_refused[{}]"
THIEF = "sync/test_tuf_workflow.py::test_recovery_from_a_version_that_a_thief_drove_up[{}]"
FIRST = "sync/test_tuf_workflow.py::test_a_first_set_is_accepted_as_it_is"
AGAIN = "sync/test_tuf_workflow.py::test_the_same_set_may_come_again"
BASE = "sync/test_tuf_listing.py::test_a_set_that_has_expired_since_is_the_base_of_the_next"
SINCE = "sync/test_tuf_workflow.py::test_rollback_is_judged_against_a_set_that_has_expired_since"
UPDATE = "sync/test_tuf_workflow.py::test_an_update_is_accepted_and_its_predecessor_then_refused"
POISONED = "sync/test_tuf_listing.py::test_a_root_between_that_was_altered_is_never_passed_over[without signatures]"
MISSING_ROOT = "bootstrap/test_programs.py::test_without_the_enrolled_root_nothing_is_believed"
WHOLE = "a set comes whole, so nothing arrives out of order; what an order would catch is a file that is missing"
STRICTER = "a signature of a key that nobody named is refused here, not passed over"

UPDATER = {
    "test_first_time_refresh": Ours(ROOTS.format("1 of 1 is replaced")),
    "test_cached_root_missing_without_bootstrap": Ours(MISSING_ROOT),
    "test_trusted_root_missing": Ours(MISSING_ROOT),
    "test_trusted_root_unsigned": Ours("sync/test_tuf_listing.py::test_without_signatures_a_first_root_is_no_root"),
    "test_trusted_root_expired": Ours("sync/test_tuf_workflow.py::test_expiry_of_an_earlier_root_does_not_matter"),
    "test_trusted_root_unsigned_without_bootstrap": Ours(
        "sync/test_tuf_listing.py::test_without_signatures_a_first_root_is_no_root"
    ),
    "test_max_root_rotations": Ours(
        "sync/test_tuf_workflow.py::test_one_root_hop_too_many", "the whole set is refused, where others stop half-way"
    ),
    "test_intermediate_root_incorrectly_signed": Ours(ROOTS.format("the root between is not signed")),
    "test_intermediate_root_expired": Ours("sync/test_tuf_workflow.py::test_expiry_of_an_earlier_root_does_not_matter"),
    "test_final_root_incorrectly_signed": Ours(ROOTS.format("1 of 1, unsigned")),
    "test_new_root_same_version": Ours(TAMPER.format("a root file under another version's name")),
    "test_new_root_nonconsecutive_version": Ours(TAMPER.format("a root two versions ahead")),
    "test_final_root_expired": Ours(EXPIRED.format("root")),
    "test_new_timestamp_unsigned": Ours(TAMPER.format("the timestamp is not signed")),
    "test_expired_timestamp_version_rollback": Ours(SINCE),
    "test_expired_timestamp_snapshot_rollback": Ours(SINCE),
    "test_new_timestamp_version_rollback": Ours(MOMENT.format("timestamp is older than what was accepted")),
    "test_new_timestamp_snapshot_rollback": Ours(MOMENT.format("snapshot is older than what was accepted")),
    "test_new_timestamp_expired": Ours(MOMENT.format("the timestamp has expired")),
    "test_new_timestamp_fast_forward_recovery": Ours(THIEF.format("a timestamp driven up, its key replaced")),
    "test_new_snapshot_hash_mismatch": Ours(LISTED.format("has another bit-snapshot")),
    "test_new_snapshot_unsigned": Ours(LISTED.format("is not signed-snapshot")),
    "test_new_snapshot_version_mismatch": Ours(LISTED.format("is listed with a later version-snapshot")),
    "test_new_snapshot_version_rollback": Ours(MOMENT.format("snapshot is older than what was accepted")),
    "test_new_snapshot_fast_forward_recovery": Ours(THIEF.format("a snapshot driven up, both online keys replaced")),
    "test_new_snapshot_expired": Ours(EXPIRED.format("snapshot")),
    "test_new_targets_hash_mismatch": Ours(LISTED.format("has another bit-targets")),
    "test_new_targets_unsigned": Ours(LISTED.format("is not signed-targets")),
    "test_new_targets_version_mismatch": Ours(LISTED.format("is listed with a later version-targets")),
    "test_new_targets_expired": Ours(EXPIRED.format("targets")),
    "test_compute_metafile_hashes_length": Ours(
        LISTED.format("is listed without a hash-snapshot"), "length and hash are optional there and required here"
    ),
    "test_new_targets_fast_forward_recovery": Ours(THIEF.format("targets driven up, the snapshot key replaced")),
    "test_not_loading_targets_twice": Ours("sync/test_tuf_listing.py::test_what_does_not_change_is_not_read_again"),
    "test_snapshot_rollback_with_local_snapshot_hash_mismatch": Ours(
        MOMENT.format("targets is older than what was accepted"), "the high water remembers versions without the file"
    ),
    "test_load_metadata_from_cache": Ours(
        "../integration/test_partial_offers.py::test_a_reconnect_with_an_unchanged_set_moves_no_byte_of_it"
    ),
    "test_intermediate_root_cache": Ours(
        "sync/test_tuf_listing.py::test_the_roots_between_are_kept_so_that_a_restart_walks_them_again"
    ),
    "test_intermediate_root_cache_poisoning": Ours(POISONED, "the altered set is refused whole; the next offer heals"),
    "test_expired_metadata": Ours(
        "sync/test_tuf_listing.py::test_a_set_that_has_expired_since_is_the_base_of_the_next"
    ),
    "test_max_metadata_lengths": Ours(TAMPER.format("metadata larger than allowed")),
    "test_timestamp_eq_versions_check": Ours("sync/test_install.py::test_another_set_of_the_same_version_is_refused"),
}
ROTATIONS = {
    "root: 1-of-1 key rotation": Ours(ROOTS.format("1 of 1 is replaced")),
    "root: 1-of-1 key rotation, unused signatures": Ours(
        ROOTS.format("1 of 1 replaced, strangers sign along"), STRICTER
    ),
    "root: 1-of-1 key rotation fail: not signed with old key": Ours(
        ROOTS.format("1 of 1 replaced by the new key and strangers")
    ),
    "root: 1-of-1 key rotation fail: not signed with new key": Ours(
        ROOTS.format("1 of 1 replaced by the old key and strangers")
    ),
    "root: 3-of-5, sign with different keycombos": Ours(ROOTS.format("3 of 5, others sign each time")),
    "root: 3-of-5, one key rotated": Ours(ROOTS.format("3 of 5, one key is replaced")),
    "root: 3-of-5, one key rotate fails: not signed with 3 new keys": Ours(ROOTS.format("3 of 5, only two new")),
    "root: 3-of-5, one key rotate fails: not signed with 3 old keys": Ours(ROOTS.format("3 of 5, only two old")),
    "root: 3-of-5, one key rotated, with intermediate step": Ours(
        ROOTS.format("3 of 5, one key is replaced with a step between")
    ),
    "root: 3-of-5, all keys rotated, with intermediate step": Ours(
        ROOTS.format("3 of 5, all keys are replaced with a step between")
    ),
    "root: 1-of-3 threshold increase to 2-of-3": Ours(ROOTS.format("the threshold rises from 1 to 2 of 3")),
    "root: 1-of-3 threshold bump to 2-of-3 fails: new threshold not reached": Ours(
        ROOTS.format("the threshold rises from 1 to 2 of 3, one signs")
    ),
    "root: 2-of-3 threshold decrease to 1-of-3": Ours(ROOTS.format("the threshold falls from 2 to 1 of 3")),
    "root: 2-of-3 threshold decr. to 1-of-3 fails: old threshold not reached": Ours(
        ROOTS.format("the threshold falls from 2 to 1 of 3, one signs")
    ),
    "root: 1-of-2 threshold increase to 2-of-2": Ours(ROOTS.format("one key becomes 2 of 2")),
    "role: 1-of-1 key rotation": Ours(ROLES.format("1 of 1 is replaced")),
    "role: 1-of-1 key rotation, unused signatures": Ours(ROLES.format("1 of 1, strangers sign along"), STRICTER),
    "role: 1-of-1 key rotation fail: not signed with new key": Ours(
        ROLES.format("1 of 1 is replaced without the new key")
    ),
    "role: 3-of-5, one key signature wrong: not signed with 3 expected keys": Ours(
        ROLES.format("3 of 5, one signature is of another key")
    ),
    "role: 2-of-5, one key signature mising: threshold not reached": Ours(
        ROLES.format("3 of 5, one signature is missing")
    ),
    "role: 3-of-5, sign first combo": Ours(ROLES.format("3 of 5, the first combination")),
    "role: 3-of-5, sign second combo": Ours(ROLES.format("3 of 5, the second combination")),
    "role: 3-of-5, sign third combo": Ours(ROLES.format("3 of 5, the third combination")),
    "role: 3-of-5, sign fourth combo": Ours(ROLES.format("3 of 5, the fourth combination")),
    "role: 3-of-5, sign fifth combo": Ours(ROLES.format("3 of 5, the fifth combination")),
}
METADATA_SET = {
    "test_update": Ours(FIRST),
    "test_update_metadata_output": Ours(FIRST),
    "test_out_of_order_ops": Ours(TAMPER.format("no snapshot"), WHOLE),
    "test_root_with_invalid_json": Ours(TOP.format("the next root is no JSON")),
    "test_top_level_md_with_invalid_json": Ours(LISTED.format("is no JSON-targets")),
    "test_update_root_new_root": Ours(ROOTS.format("1 of 1 stays")),
    "test_update_root_new_root_fail_threshold_verification": Ours(ROOTS.format("1 of 1 replaced without the old key")),
    "test_update_root_new_root_ver_same_as_trusted_root_ver": Ours(
        TAMPER.format("a root file under another version's name")
    ),
    "test_root_expired_final_root": Ours(EXPIRED.format("root")),
    "test_update_timestamp_new_timestamp_ver_below_trusted_ver": Ours(UPDATE),
    "test_update_timestamp_with_same_timestamp": Ours(AGAIN),
    "test_update_timestamp_snapshot_ver_below_current": Ours(MOMENT.format("snapshot is older than what was accepted")),
    "test_update_timestamp_expired": Ours(MOMENT.format("the timestamp has expired")),
    "test_update_snapshot_length_or_hash_mismatch": Ours(LISTED.format("is listed with another length-snapshot")),
    "test_update_snapshot_fail_threshold_verification": Ours(LISTED.format("is not signed-snapshot")),
    "test_update_snapshot_version_diverge_timestamp_snapshot_version": Ours(
        LISTED.format("is listed with a later version-snapshot")
    ),
    "test_update_snapshot_file_removed_from_meta": Ours(TAMPER.format("a snapshot that forgets a role")),
    "test_update_snapshot_meta_version_decreases": Ours(MOMENT.format("targets is older than what was accepted")),
    "test_update_snapshot_expired_new_snapshot": Ours(EXPIRED.format("snapshot")),
    "test_update_snapshot_successful_rollback_checks": Ours(UPDATE),
    "test_update_targets_no_meta_in_snapshot": Ours(TAMPER.format("a snapshot that forgets a role")),
    "test_update_targets_hash_diverge_from_snapshot_meta_hash": Ours(LISTED.format("has another bit-targets")),
    "test_update_targets_version_diverge_snapshot_meta_version": Ours(
        LISTED.format("is listed with a later version-targets")
    ),
    "test_update_targets_expired_new_target": Ours(EXPIRED.format("targets")),
    "test_load_from_simple_envelope": Ours(
        TAMPER.format("a snapshot under the name of targets"), "one envelope here; its type is part of what is signed"
    ),
}
ONE_ALGORITHM = "there is one algorithm here, and a key's id is its hash"
NO_SECRET_KEYS = "no shared secrets here"
BUNDLE = {
    "no_signatures": Ours(TAMPER.format("the timestamp is not signed")),
    "multiple_signatures": Ours(TOP.format("one key signs the timestamp twice")),
    "invalid_token": Ours(TAMPER.format("the timestamp truncated")),
    "invalid_token_header_base64": Ours(TOP.format("a signature is no number")),
    "invalid_token_header_json": Ours(TOP.format("the timestamp is no JSON")),
    "bad_token_payload": Ours(TOP.format("the signed part is a list")),
    "valid_token_and_scope": Ours(FIRST),
    "valid_token_and_scope_mismatch": Ours(TAMPER.format("policy signed by the online access key")),
    "no_public_key_id": Ours(TOP.format("a signature names no key")),
    "actual_public_key_missing": Ours(TAMPER.format("signed by nobody we know")),
    "deprecated_key_id_claim": Ours(TAMPER.format("one key under two ids"), ONE_ALGORITHM),
    "bad_public_key_algorithm": Ours(TAMPER.format("keys of another algorithm")),
    "public_key_with_valid_HS256_sign": Ours(FIRST, NO_SECRET_KEYS),
    "public_key_with_invalid_HS256_sign": Ours(TAMPER.format("the timestamp's signature is zeros"), NO_SECRET_KEYS),
    "public_key_with_valid_RS256_sign": Ours(FIRST, ONE_ALGORITHM),
    "public_key_with_invalid_RS256_sign": Ours(TAMPER.format("a signature of other bytes"), ONE_ALGORITHM),
    "public_key_with_bad_cert_RS256": Ours(TAMPER.format("one key under two ids"), ONE_ALGORITHM),
    "file_not_found": Ours(TAMPER.format("a target that no role names")),
    "bad_hashing_algorithm": Ours(LISTED.format("is listed under a weak hash-access")),
    "bad_digest": Ours(TAMPER.format("one byte of the policy document changed")),
    "replay of an older valid bundle": Ours(UPDATE),
    "another org's bundle": Ours(TAMPER.format("another org's set under the same keys")),
    "algorithm confusion": Ours(TAMPER.format("keys of another algorithm")),
}
# Sources: python-tuf's tests/test_updater_top_level_update.py, test_updater_key_rotations.py and
# test_trusted_metadata_set.py; open-policy-agent/opa's v1/bundle/verify_test.go. Names of tests, nothing else.
TABLES = {"updater": UPDATER, "rotations": ROTATIONS, "metadata set": METADATA_SET, "bundle": BUNDLE}


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """Every test that runs, of the files that the tables name; one that would be skipped is none."""
    files = sorted({_path(ours) for table in TABLES.values() for ours in table.values()})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-o",
        "addopts=",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        *files,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.splitlines())


def _path(ours: Ours) -> str:
    return _node(ours).partition("::")[0]


def _node(ours: Ours) -> str:
    return f"tests/{ours.node.removeprefix('../')}" if ours.node.startswith("../") else f"tests/unit/{ours.node}"


@pytest.mark.parametrize("table", TABLES)
def test_every_counterpart_is_a_test_that_runs(table: str, collected: set[str]) -> None:
    missing = {name: _node(ours) for name, ours in TABLES[table].items() if _node(ours) not in collected}
    assert missing == {}


def test_the_tables_are_whole() -> None:
    assert {name: len(table) for name, table in TABLES.items()} == {
        "updater": 40,
        "rotations": 25,
        "metadata set": 25,
        "bundle": 23,
    }
