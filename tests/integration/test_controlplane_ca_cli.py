"""``controlplane ca`` and ``ingress`` as operators use them, with requests of openssl and a root kept elsewhere."""

import stat
import subprocess
from pathlib import Path

from certs import keys
from controlplane import settings
from tests.fakes.softhsm import softhsm
from tests.integration.test_controlplane_cli import made, ok, run

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ignored")


def requested(folder: Path, name: str) -> str:
    """A request as docs/ingress.md says, made by openssl."""
    path = folder / f"{name}.csr"
    command = ["openssl", "req", "-new", *EC, "-keyout", str(folder / f"{name}.key"), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return str(path)


def count(path: Path) -> int:
    return len(keys.certificates_from_pem(path.read_bytes()))


async def test_a_root_whose_key_is_elsewhere_is_replaced(tmp_path: Path) -> None:
    state, first, second = tmp_path / "cp", tmp_path / "root-1.key", tmp_path / "root-2.key"
    await ok(state, "init", "--enroll-port", "0", "--grpc-port", "0", "--root-key-out", str(first))
    refused = await run(state, "ca", "prepare", "root")
    assert refused.status != 0
    assert "--root-key" in refused.err
    await ok(state, "ca", "prepare", "root", "--root-key", str(first), "--root-key-out", str(second))
    assert stat.S_IMODE(second.stat().st_mode) == 0o600
    await ok(state, "ca", "activate", "root")
    await ok(state, "ca", "taint", "root")
    await ok(state, "ca", "retire", "root", "--yes")
    shown = (await ok(state, "ca", "show", "--output", "json")).json
    assert {(each["kind"], each["generation"]) for each in shown["cas"] if each["state"] == "active"} == {
        ("root", 2),
        ("outposts", 2),
        ("servers", 2),
    }
    lists = tmp_path / "lists.pem"
    assert (await run(state, "ca", "crl", "--out", str(lists), "--root-key", str(first))).status != 0
    await ok(state, "ca", "crl", "--out", str(lists), "--root-key", str(second))
    assert lists.read_text().count("BEGIN X509 CRL") == 2
    wrong = await run(state, "ca", "prepare", "root", "--root-key", str(second), "--api", "https://127.0.0.1:9")
    assert (wrong.status, "--root-key is read" in wrong.err) == (2, True)


async def test_an_ingress_gets_what_its_page_says(tmp_path: Path) -> None:
    state = tmp_path / "cp"
    await made(state)
    chain, face = tmp_path / "ingress.pem", tmp_path / "server.pem"
    await ok(state, "ingress", "issue", "edge", "--csr", requested(tmp_path, "ingress"), "--out", str(chain))
    request = requested(tmp_path, "server")
    options = ("--server", "--host", "ingress.example", "--csr", request, "--out", str(face))
    await ok(state, "ingress", "issue", "edge", *options)
    assert (count(chain), count(face)) == (2, 3)
    roots, issuers = tmp_path / "roots.pem", tmp_path / "issuers.pem"
    await ok(state, "ca", "export", "--out-roots", str(roots), "--out-issuers", str(issuers))
    assert (count(roots), count(issuers)) == (1, 2)
    (row,) = (await ok(state, "ingress", "list", "--output", "json")).json["ingresses"]
    assert row["name"] == "edge"
    await ok(state, "ingress", "revoke", "edge", "--yes")
    assert (await run(state, "ingress", "revoke", "edge", "--yes")).status == 4


async def test_an_outpost_is_registered_and_an_empty_fleet_locked(tmp_path: Path) -> None:
    state = tmp_path / "cp"
    await made(state)
    await ok(state, "outpost", "register", "prod", "--org", "acme")
    refused = await run(state, "outpost", "reenroll", "prod", "--org", "acme")
    assert (refused.status, "never enrolled" in refused.err) == (5, True)
    assert (await run(state, "outpost", "lock", "prod", "--org", "acme", "--yes")).status == 5
    locked = await ok(state, "outpost", "lock-all", "--org", "acme", "--yes", "--output", "json")
    assert locked.json["locked"] == []


async def test_init_keeps_what_it_is_told_of_ingress_and_token(tmp_path: Path) -> None:
    state, place = tmp_path / "cp", softhsm().place()
    token = ("--pkcs11-module", str(place.module), "--pkcs11-label", place.token, "--pkcs11-pin-file")
    told = ("--ingress", "--sync-endpoint", "edge.example:8444", "--enroll-endpoint", "edge.example:8443")
    await ok(state, "init", *told, *token, str(place.pin_file))
    found = settings.load(state, {})
    assert (found.ingress, found.sync_endpoint, found.enroll_endpoint) == (True, told[2], told[4])
    assert (found.pkcs11_token, found.pkcs11_pin_file) == (place.token, str(place.pin_file))
