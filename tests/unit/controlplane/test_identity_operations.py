"""CAs, ingresses, locks and new identities as operations: who may, what is answered, what is on record."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_csr

from certs import keys
from certs.csr import build_request
from certs.errors import CertificateRequestError
from certs.join_token import parse
from certs.shell.signers import generate_signing_key, generate_tls_key
from certs.spiffe import IngressIdentity
from certs.verify import verify_ingress_chain
from controlplane.domain.enrolling import Joining, enrolled
from controlplane.domain.rbac import Role
from tests.unit.controlplane.admin_bed import AdminBed, admin_bed

ACME = {"org": "acme"}
PROD = {"org": "acme", "outpost": "prod"}


def request_pem() -> str:
    return load_der_x509_csr(build_request(generate_tls_key())).public_bytes(Encoding.PEM).decode()


async def with_identity(bed: AdminBed, name: str = "prod") -> str:
    """An outpost of acme that enrolled; its id."""
    await bed.ok("outposts.register", ACME, {"name": name}, local="root")
    log_key = generate_signing_key().public_key().public_bytes_raw()
    async with bed.store.for_org("acme").write() as transaction:
        pending = await transaction.outposts.find(name)
        await transaction.outposts.save(enrolled(pending, Joining("ab" * 10, log_key), bed.clock.now_ms()))
    return pending.id


async def revoked_list(bed: AdminBed) -> list[tuple[str, str]]:
    async with bed.store.for_org("acme").read() as transaction:
        newest = await transaction.releases.newest()
        assert newest is not None
        contents = await transaction.releases.contents(newest)
    found = json.loads(bytes(contents["access/revocations.json"]))["outposts"]
    return [(each["id"], each["kind"]) for each in found]


async def test_a_root_is_replaced_step_by_step(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        kind = {"kind": "root"}
        made = await bed.ok("cas.prepare", kind, {}, local="olga")
        assert [(each["kind"], each["state"]) for each in made["cas"]] == [
            ("root", "prepared"),
            ("outposts", "prepared"),
            ("servers", "prepared"),
        ]
        assert made["root_key"] == ""
        await bed.ok("cas.activate", kind, {}, local="olga")
        await bed.ok("cas.taint", kind, local="olga")
        await bed.ok("cas.retire", kind, {}, local="olga")
        shown = await bed.ok("cas.show", local="olga")
        states = sorted((each["kind"], each["generation"], each["state"]) for each in shown["cas"])
        assert states == [
            (one, n, s) for one in ("outposts", "root", "servers") for n, s in ((1, "retired"), (2, "active"))
        ]
        assert len(keys.certificates_from_pem(shown["roots"].encode())) == 1
        assert len(keys.certificates_from_pem(shown["issuers"].encode())) == 2
        told = [each["operation"] for each in await bed.acts("operator") if each["outcome"] == "done"]
        assert told[-4:] == ["cas.prepare", "cas.activate", "cas.taint", "cas.retire"]


ORDER = {"activate": {}, "taint": None, "retire": {}}


@pytest.mark.parametrize("step", ORDER)
async def test_a_step_out_of_order_is_refused(step: str, tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        refused = await bed.refused(f"cas.{step}", {"kind": "servers"}, ORDER[step], local="olga")
        assert refused == (409, "authority.order")


async def test_the_key_of_a_new_root_leaves_by_no_network(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        owner = await bed.person("operator", "olga", Role.OWNER)
        body = {"root_away": True}
        answer = await bed.call("cas.prepare", {"kind": "root"}, body, token=owner.token)
        assert (answer.status, answer.document["code"]) == (409, "authority.root_key")
        made = await bed.ok("cas.prepare", {"kind": "root"}, body, local="olga")
        assert keys.private_key_from_pem(made["root_key"].encode())


async def test_lists_are_signed_anew_each_time(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        first, second = [(await bed.ok("cas.lists", local="olga"))["lists"] for _ in range(2)]
        assert first.count("BEGIN X509 CRL") == 2
        assert first != second


async def test_an_ingress_is_certified_listed_and_refused(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        made = await bed.ok("ingresses.issue", None, {"name": "edge", "csr": request_pem()}, local="olga")
        chain = tuple(map(keys.certificate_der, keys.certificates_from_pem(made["chain"].encode())))
        peer = verify_ingress_chain(chain, bed.board.current.anchors, bed.clock.now_ms() // 1000)
        assert isinstance(peer.spiffe_id, IngressIdentity)
        assert peer.spiffe_id.name == "edge"
        (row,) = (await bed.ok("ingresses.list", local="olga"))["ingresses"]
        assert (row["name"], row["revoked_ms"], row["not_after_ms"]) == ("edge", 0, made["not_after_ms"])
        assert (await bed.ok("ingresses.revoke", {"ingress": "edge"}, local="olga"))["certificates"] == 1
        assert await bed.refused("ingresses.revoke", {"ingress": "edge"}, local="olga") == (404, "ingress.unknown")
        face = await bed.ok(
            "ingresses.issue_server", None, {"hosts": ["edge.example"], "csr": request_pem()}, local="olga"
        )
        assert len(keys.certificates_from_pem(face["chain"].encode())) == 3


REQUESTS = {"no PEM": "x", "another PEM": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}


@pytest.mark.parametrize("what", REQUESTS)
async def test_a_request_that_is_none_is_refused(what: str, tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        body = {"name": "edge", "csr": REQUESTS[what]}
        assert await bed.refused("ingresses.issue", None, body, local="olga") == (422, CertificateRequestError.code)


async def test_a_lock_is_an_order_and_everybody_is_told(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        outpost_id = await with_identity(bed)
        locked = await bed.ok("outposts.lock", PROD, {"reason": "machine.stolen"}, local="olga")
        assert (locked["state"], locked["reason"]) == ("locked", "machine.stolen")
        assert await revoked_list(bed) == [(outpost_id, "locked")]
        async with bed.store.for_org("acme").read() as transaction:
            assert (await transaction.outposts.find("prod")).is_order_out
        made = await bed.ok("outposts.reenroll", PROD, {}, local="olga")
        assert (made["outpost"], parse(made["token"]).name) == (outpost_id, "prod")


REFUSED_LOCKS = {
    "a reason that is no code": ("prod", "Stolen!", (422, "lock.reason")),
    "an outpost that is none": ("nobody", "machine.stolen", (404, "outpost.unknown")),
    "one that never enrolled": ("new", "machine.stolen", (409, "outpost.pending")),
}


@pytest.mark.parametrize("what", REFUSED_LOCKS)
async def test_a_lock_is_refused_for(what: str, tmp_path: Path) -> None:
    name, reason, expected = REFUSED_LOCKS[what]
    async with admin_bed(tmp_path, "acme") as bed:
        await with_identity(bed)
        await bed.ok("outposts.register", ACME, {"name": "new"}, local="olga")
        params = {"org": "acme", "outpost": name}
        assert await bed.refused("outposts.lock", params, {"reason": reason}, local="olga") == expected
        assert await revoked_list(bed) == []


async def test_a_whole_fleet_is_locked_by_two(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        await bed.org("acme", two_person=True)
        alice, bob = await bed.person("acme", "alice"), await bed.person("acme", "bob", Role.SECURITY_ADMIN)
        ids = {await with_identity(bed, name) for name in ("one", "two")}
        waiting = await bed.call("outposts.lock_all", ACME, {"reason": "site.stolen"}, token=alice.token)
        assert waiting.status == 202
        assert await revoked_list(bed) == []
        approval = {**ACME, "approval": waiting.document["id"]}
        body = {"digest": waiting.document["digest"]}
        assert (await bed.refused("approvals.approve", approval, body, token=alice.token))[1] == "approval.same_person"
        await bed.ok("approvals.approve", approval, body, token=bob.token)
        assert {each for each, kind in await revoked_list(bed) if kind == "locked"} == ids
