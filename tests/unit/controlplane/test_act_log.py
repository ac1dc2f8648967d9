"""The act log: appended, signed, proved, exported, verified; and whatever is changed in it is found."""

import base64
import json
import sqlite3
from pathlib import Path

import pytest

from certs.errors import KeyStoreError
from certs.keys import PublicKey
from certs.signer import Signer
from controlplane.domain.acts import CHECKPOINT_ACTS, origin_of
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.rbac import Role
from controlplane.services.acts import ActLog
from outpost.core.audit.canonical import read
from outpost.core.audit.merkle import leaf_hash
from outpost.core.audit.note import open_checkpoint, parse_verifier
from outpost.core.audit.proof import verify_inclusion
from outpost.ledger.findings import AuditVerificationError
from outpost.ledger.verify import verify_export
from tests.unit.controlplane.admin_bed import TRUST_DOMAIN, AdminBed, admin_bed

ACME = {"org": "acme"}


async def filled(bed: AdminBed, count: int = 5) -> None:
    for number in range(count):
        await bed.ok("keys.create", ACME, {"name": f"k{number}"}, local="root")
    await bed.bench.acts.sign_grown()


async def exported(bed: AdminBed, folder: Path, limit: int = 200, org: str = "acme") -> Path:
    cursor, lines, document = "", [], {}
    while True:
        document = await bed.ok("acts.export", {"org": org, "limit": limit, "cursor": cursor}, local="root")
        lines += document["records"]
        cursor = document["next_cursor"]
        if not cursor:
            break
    path = folder / "acts.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    path.with_suffix(".note").write_text(document["checkpoint"])
    path.with_suffix(".key").write_text(document["log_key"])
    return path


def verified(path: Path) -> int:
    log = parse_verifier(path.with_suffix(".key").read_text())
    return verify_export(path, path.with_suffix(".note").read_bytes(), log).signed


async def test_records_are_those_of_the_outposts_logs(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await filled(bed, 1)
        page = await bed.bench.acts.export("acme", 0, 10)
        for number, entry in enumerate(page.records):
            record = read(entry)
            assert (record.sequence, record.event, record.org, record.outpost) == (number, "admin.act", "acme", "")


async def test_an_export_verifies_with_the_public_key_alone(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await filled(bed, 7)
        for limit in (1, 3, 200):
            assert verified(await exported(bed, tmp_path, limit)) == 8
        assert verified(await exported(bed, tmp_path, org=OPERATOR)) == 2


async def test_an_export_is_of_one_head_although_the_log_grows(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await filled(bed)
        first = await bed.ok("acts.export", {**ACME, "limit": 2}, local="root")
        await filled_more(bed)
        second = await bed.ok("acts.export", {**ACME, "limit": 200, "cursor": first["next_cursor"]}, local="root")
        assert (second["size"], second["checkpoint"]) == (first["size"], first["checkpoint"])
        assert len(first["records"] + second["records"]) == first["size"]


async def filled_more(bed: AdminBed) -> None:
    await bed.ok("outposts.register", ACME, {"name": "later"}, local="root")
    await bed.bench.acts.sign_grown()


async def test_every_record_is_proved(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await filled(bed, 12)
        for number in range(13):
            shown = await bed.ok("acts.show", {**ACME, "sequence": number}, local="root")
            log = parse_verifier(shown["log_key"])
            head = open_checkpoint(shown["checkpoint"].encode(), log).checkpoint
            lines = shown["tlog_proof"].split("\n")
            assert lines[:2] == ["c2sp.org/tlog-proof@v1", f"index {number}"]
            proof = [base64.b64decode(each) for each in shown["proof"]]
            leaf = leaf_hash(shown["record_text"].encode())
            verify_inclusion(leaf, number, head.size, proof, head.root)
            assert json.loads(shown["record_text"]) == shown["record"]


async def test_what_no_head_covers_is_not_proved_yet(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        refused = await bed.refused("acts.show", {**ACME, "sequence": 0}, local="root")
        assert refused == (404, "act.unknown")
        await bed.bench.acts.sign_grown()
        assert await bed.ok("acts.show", {**ACME, "sequence": 0}, local="root")
        refused = await bed.refused("acts.show", {**ACME, "sequence": 1}, local="root")
        assert refused == (404, "act.unknown")


async def test_a_head_is_due_after_a_thousand_acts(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        bed.bench.acts._grown["acme"] = CHECKPOINT_ACTS - 1
        assert not bed.bench.acts.due.is_set()
        await bed.ok("keys.create", ACME, {"name": "k"}, local="root")
        assert bed.bench.acts.due.is_set()
        await bed.bench.acts.sign_grown()
        assert not bed.bench.acts.due.is_set()


class MovedAway:
    """A signer whose key module is away for so many signatures."""

    def __init__(self, inner: Signer, times: int) -> None:
        self.inner, self.times = inner, times

    def public_key(self) -> PublicKey:
        return self.inner.public_key()

    def sign(self, message: bytes) -> bytes:
        self.times -= 1
        if self.times >= 0:
            raise KeyStoreError("the module does not answer")
        return self.inner.sign(message)


async def test_a_head_that_could_not_be_signed_is_signed_later_and_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme", "globex") as bed:
        acts = bed.bench.acts
        await acts.sign_grown()
        acts._signer = MovedAway(acts._signer, 1)
        for org in ("acme", "globex"):
            await bed.ok("keys.create", {"org": org}, {"name": "k"}, local="root")
        with pytest.raises(KeyStoreError):
            await acts.sign_grown()
        signed = [(await acts.verify(org)).signed for org in ("acme", "globex")]
        sizes = [(await acts.verify(org)).size for org in ("acme", "globex")]
        assert (signed[0] < sizes[0], signed[1] == sizes[1]) == (True, True)
        await acts.sign_grown()
        assert (await acts.verify("acme")).signed == sizes[0]


async def test_what_another_process_left_unsigned_is_signed(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await bed.ok("keys.create", ACME, {"name": "k"}, local="root")
        other = ActLog(bed.store, TRUST_DOMAIN, bed.bench.acts._signer, bed.clock)
        other.expect(("acme", "nobody"))
        await other.sign_grown()
        told = await other.verify("acme")
        assert told.size == told.signed > 0
        assert not other._grown


async def test_logs_of_two_orgs_have_names_of_their_own(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme", "globex") as bed:
        await bed.bench.acts.sign_grown()
        keys = {(await bed.ok("acts.verify", {"org": org}, local="root"))["log_key"] for org in ("acme", "globex")}
        assert len(keys) == 2
        assert origin_of(TRUST_DOMAIN, "acme") == "outpost.internal/org/acme/admin"
        assert origin_of(TRUST_DOMAIN, OPERATOR) == "outpost.internal/operator/admin"


CHANGES: dict[str, tuple[str, str]] = {
    "a changed record": (
        "UPDATE acts SET entry = CAST(replace(CAST(entry AS TEXT), 'create', 'revoke') AS BLOB) WHERE sequence = 2",
        "record 2",
    ),
    "a removed record": ("DELETE FROM acts WHERE sequence = 3", "missing between 0"),
    "a record and its hash": (
        "UPDATE acts SET (leaf, entry) = (SELECT leaf, entry FROM acts WHERE sequence = 1) WHERE sequence = 2",
        "record 2 carries the number 1",
    ),
    "a cut tail": (
        "DELETE FROM acts WHERE sequence >= 4; UPDATE act_heads SET size = 4",
        "a head over 6 records was signed, but only 4",
    ),
    "another frontier": ("UPDATE act_heads SET frontier = zeroblob(length(frontier))", "the stored tree head"),
    "another head": (
        "UPDATE act_checkpoints SET note = CAST(replace(CAST(note AS TEXT), 'acme', 'evil') AS BLOB)",
        "the signed head over 6 records does not verify",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_whatever_is_changed_in_the_database_is_found(case: str, tmp_path: Path) -> None:
    script, fault = CHANGES[case]
    async with admin_bed(tmp_path, "acme") as bed:
        await filled(bed)
        assert (await bed.ok("acts.verify", ACME, local="root"))["fault"] == ""
        link = sqlite3.connect(tmp_path / "orgs" / "acme.db")
        for statement in script.split(";"):
            link.execute(statement)
        link.commit()
        link.close()
        assert fault in (await bed.ok("acts.verify", ACME, local="root"))["fault"]


TAMPERINGS: dict[str, tuple[int, str]] = {
    "a changed letter": (2, "outcome"),
    "a removed line": (2, ""),
}


@pytest.mark.parametrize("case", TAMPERINGS)
async def test_whatever_is_changed_in_an_export_is_found(case: str, tmp_path: Path) -> None:
    line, word = TAMPERINGS[case]
    async with admin_bed(tmp_path, "acme") as bed:
        await filled(bed)
        path = await exported(bed, tmp_path)
        lines = path.read_text().splitlines()
        lines[line] = lines[line].replace('"done"', '"failed"') if word else ""
        path.write_text("".join(f"{each}\n" for each in lines if each))
        with pytest.raises(AuditVerificationError) as found:
            verified(path)
        assert found.value.sequence in (0, 2), "an export has one head, so a changed record is named by its range"


FILTERS: dict[str, tuple[dict[str, str], set[tuple[str, str]]]] = {
    "by operation": ({"operation": "users.create"}, {("users.create", "done")}),
    "by outcome": ({"outcome": "refused"}, {("keys.create", "refused")}),
    "by both": ({"operation": "keys.create", "outcome": "done"}, {("keys.create", "done")}),
    "by nobody": ({"principal": "user-0000000000000000"}, set()),
}


@pytest.mark.parametrize("case", FILTERS)
async def test_a_list_is_filtered_and_its_cursor_is_bound_to_the_filter(case: str, tmp_path: Path) -> None:
    chosen, expected = FILTERS[case]
    async with admin_bed(tmp_path, "acme") as bed:
        olga = await bed.person("acme", "olga", Role.AUDITOR)
        for number in range(3):
            await bed.ok("keys.create", ACME, {"name": f"k{number}"}, local="root")
            await bed.refused("keys.create", ACME, {"name": "x"}, token=olga.token)
        await bed.ok("users.create", ACME, {"name": "new", "role": "auditor"}, local="root")
        whole = await bed.ok("acts.list", {**ACME, **chosen, "limit": 200}, local="root")
        assert {(each["record"]["operation"], each["record"]["outcome"]) for each in whole["acts"]} == expected
        first = await bed.ok("acts.list", {**ACME, "limit": 1, **chosen}, local="root")
        if not first["next_cursor"]:
            return
        cursor = first["next_cursor"]
        second = await bed.ok("acts.list", {**ACME, "limit": 1, **chosen, "cursor": cursor}, local="root")
        assert second["acts"] == whole["acts"][1:2]
        other = await bed.refused("acts.list", {**ACME, "limit": 1, "cursor": cursor}, local="root")
        assert other == (422, "request.cursor")
