"""Revocation lists as others read them: the openssl program, and nginx in front of a listener."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certs import crl, keys
from certs.shell.dev import Authority, Hierarchy, Leaf, create_hierarchy

ORG = "acme"
GOOD, BAD = "op-" + "0" * 16, "op-" + "f" * 16


@dataclass(frozen=True)
class Fleet:
    """Two outposts and two servers, one of each revoked, in files."""

    folder: Path
    hierarchy: Hierarchy
    leaves: dict[str, Leaf]

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def lists(self, *authorities: Authority) -> str:
        now = int(time.time())
        serials = {leaf.issued.intent.serial: now for name, leaf in self.leaves.items() if "revoked" in name}
        ders = [crl.build_list(each.certificate, each.signer, serials, 7, now) for each in authorities]
        return self.file(f"lists-{len(ders)}.pem", crl.lists_pem(ders))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    now = int(time.time())
    h = create_hierarchy(now)
    leaves = {
        "an outpost": h.outpost(ORG, GOOD, now),
        "a revoked outpost": h.outpost(ORG, BAD, now),
        "a server": h.server(now),
        "a revoked server": h.server(now),
    }
    return Fleet(tmp_path, h, leaves)


def openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is not installed")
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("which", ["outposts", "servers", "root"])
def test_openssl_reads_a_list(which: str, fleet: Fleet) -> None:
    authority = getattr(fleet.hierarchy, which)
    issuers = (authority.certificate, fleet.hierarchy.root.certificate)
    issuer = fleet.file("issuer.pem", keys.certificates_pem(issuers))
    shown = openssl("crl", "-in", fleet.lists(authority), "-noout", "-text", "-verify", "-CAfile", issuer)
    assert shown.returncode == 0, shown.stderr
    assert "verify OK" in shown.stderr
    assert "Signature Algorithm: ecdsa-with-SHA256" in shown.stdout
    assert "X509v3 CRL Number: \n                7" in shown.stdout
    assert "X509v3 Authority Key Identifier" in shown.stdout
    serial = fleet.leaves["a revoked outpost"].issued.intent.serial
    assert f"Serial Number: {serial:X}" in shown.stdout


@pytest.mark.parametrize("check", ["-crl_check", "-crl_check_all"])
@pytest.mark.parametrize("name", ["an outpost", "a revoked outpost", "a server", "a revoked server"])
def test_openssl_verifies_a_leaf_against_the_lists(name: str, check: str, fleet: Fleet) -> None:
    h, leaf = fleet.hierarchy, fleet.leaves[name]
    result = openssl(
        "verify",
        "-x509_strict",
        check,
        *("-CAfile", fleet.file("root.pem", h.roots_pem)),
        *("-untrusted", fleet.file("issuing.pem", keys.certificates_pem(leaf.chain[1:2]))),
        *("-CRLfile", fleet.lists(h.outposts, h.servers, h.root)),
        fleet.file("leaf.pem", keys.certificates_pem(leaf.chain[:1])),
    )
    if "revoked" in name:
        assert result.returncode != 0
        assert "certificate revoked" in result.stderr
    else:
        assert result.returncode == 0, result.stderr


CONFIGURATION = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_client_certificate {issuers};
    ssl_verify_client on;
    ssl_verify_depth 2;
    ssl_crl {lists};
    location / {{ return 200 $ssl_client_verify; }}
  }}
}}
"""


@pytest.fixture
def nginx(fleet: Fleet) -> Iterator[int]:
    """A port where nginx asks for a client's certificate and holds it against the lists of all three CAs."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    h, server = fleet.hierarchy, fleet.leaves["a server"]
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    configuration = CONFIGURATION.format(
        user="user root;" if os.geteuid() == 0 else "",
        folder=fleet.folder,
        port=port,
        certificate=fleet.file("server.pem", server.tls.chain_pem),
        key=fleet.file("server.key", server.key_pem),
        issuers=fleet.file("issuers.pem", keys.certificates_pem((h.root.certificate, h.outposts.certificate))),
        lists=fleet.lists(h.outposts, h.servers, h.root),
    )
    # It inherits a socket that listens already, as in its own upgrades: nobody has to wait for it.
    process = subprocess.Popen(
        [program, "-c", fleet.file("nginx.conf", configuration.encode())],
        env=os.environ | {"NGINX": f"{listener.fileno()};"},
        pass_fds=(listener.fileno(),),
    )
    listener.close()
    yield port
    process.terminate()
    assert process.wait(timeout=30) == 0


def asked(fleet: Fleet, leaf: Leaf, port: int) -> tuple[int, str]:
    """Status and body that a client gets that shows its leaf alone."""
    context = ssl.create_default_context(cadata=fleet.hierarchy.roots_pem.decode())
    pem = leaf.key_pem + keys.certificates_pem(leaf.chain[:1])
    context.load_cert_chain(fleet.file("client.pem", pem))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
    connection.request("GET", "/")
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_nginx_refuses_whom_the_lists_name(nginx: int, fleet: Fleet) -> None:
    assert asked(fleet, fleet.leaves["an outpost"], nginx) == (200, "SUCCESS")
    status, body = asked(fleet, fleet.leaves["a revoked outpost"], nginx)
    assert status == 400
    assert "SSL certificate error" in body
