"""The ``controlplane`` program as operators use it: data on stdout, the rest on stderr, one exit code per failure."""

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from certs.join_token import parse
from certs.keys import private_key_from_pem

SECONDS = 30.0


@dataclass
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def run(state: Path, *arguments: str) -> Result:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONTROLPLANE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "controlplane",
        *arguments,
        env={**environment, "CONTROLPLANE_STATE": str(state)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


async def ok(state: Path, *arguments: str) -> Result:
    result = await run(state, *arguments)
    assert result.status == 0, result
    assert "Traceback" not in result.err
    return result


async def made(state: Path) -> None:
    await ok(state, "init", "--enroll-port", "18443", "--grpc-port", "18444", "--host", "cp.example")
    await ok(state, "org", "create", "acme", "--single-person", "--provider-url", "http://127.0.0.1:9/v1")


async def test_an_operators_first_hour(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await made(state)
    token_file = tmp_path / "prod.token"
    registered = await ok(state, "outpost", "register", "prod", "--org", "acme", "--token-file", str(token_file))
    token = parse(token_file.read_text())
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert (token.org, token.name, token.endpoint) == ("acme", "prod", "cp.example:18443")
    assert registered.out.startswith(f"outpost enroll --token-file {token_file}")
    assert "expires" in registered.out
    assert token.pin in registered.err
    assert token_file.read_text().strip() not in registered.out + registered.err

    shown = (await ok(state, "key", "create", "alice", "--org", "acme", "--group", "staff", "--output", "json")).json
    assert shown["key"].startswith("op_acme_")
    listed = await ok(state, "key", "list", "--org", "acme", "--output", "json")
    assert shown["key"] not in listed.out
    assert [key["groups"] for key in listed.json["keys"]] == [["staff"]]
    plain = await ok(state, "key", "create", "bob", "--org", "acme")
    assert len(plain.out.splitlines()) == 1

    policy = tmp_path / "policy.json"
    policy.write_text((await ok(state, "policy", "show", "--org", "acme")).out.replace('"ALLOW"', '"BLOCK"'))
    await ok(state, "policy", "lint", str(policy))
    assert (await ok(state, "policy", "show", "--org", "acme", "--output", "json")).json["policy"]["org"] == "acme"
    assert (await ok(state, "version", "--output", "json")).json["version"]
    published = await ok(state, "policy", "publish", str(policy), "--org", "acme", "--output", "json")
    assert (published.json["revision"], published.json["changed"]) == ("2.4", True)
    assert "warning policy.lint.nothing_allowed: " in published.err
    await ok(state, "route", "set", "second", "--org", "acme", "--url", "http://127.0.0.1:10/v1", "--model", "gpt-*")
    routes = (await ok(state, "route", "show", "--org", "acme", "--output", "json")).json["providers"]
    assert [each["name"] for each in routes] == ["default", "second"]

    await ok(state, "outpost", "revoke", "prod", "--org", "acme", "--reason", "test", "--yes")
    rows = (await ok(state, "outpost", "list", "--org", "acme", "--output", "json")).json["outposts"]
    assert [(row["name"], row["state"], row["reason"]) for row in rows] == [("prod", "revoked", "test")]
    assert (await ok(state, "outpost", "show", "prod", "--org", "acme")).out
    assert (await ok(state, "audit", "verify", "--org", "acme", "--output", "json")).json["logs"] == []
    status = (await ok(state, "status", "--output", "json")).json
    assert [(org["id"], org["attention"]) for org in status["orgs"]] == [("acme", "")]


async def test_waiting_without_a_server_is_refused_at_once(tmp_path: Path) -> None:
    state, policy = tmp_path / "state", tmp_path / "policy.json"
    await made(state)
    policy.write_text((await ok(state, "policy", "show", "--org", "acme")).out.replace("found.", "seen."))
    waited = await run(state, "policy", "publish", str(policy), "--org", "acme", "--wait")
    assert (waited.status, waited.out) == (8, "")
    assert "error serve.not_running: " in waited.err
    assert "controlplane serve" in waited.err
    status = await ok(state, "status")
    assert "server not running" in status.out
    assert "controlplane serve" in status.err
    assert (await ok(state, "status", "--output", "json")).json["orgs"][0]["revision"] == "1.1"


FAILURES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "an unknown org": (("outpost", "list", "--org", "nobody"), 4, "org.unknown"),
    "an org that is a path": (("outpost", "list", "--org", "../x"), 5, "org.name"),
    "an org that exists": (("org", "create", "acme"), 5, "org.exists"),
    "an unknown org of a key": (("key", "create", "x", "--org", "nobody"), 4, "org.unknown"),
    "an unknown org of a revocation": (("key", "revoke", "x", "--org", "nobody", "--yes"), 4, "org.unknown"),
    "an unknown org of a policy": (("policy", "publish", __file__, "--org", "nobody"), 4, "org.unknown"),
    "an unknown outpost": (("outpost", "show", "nobody", "--org", "acme"), 4, "outpost.unknown"),
    "a token that lives too long": (("outpost", "register", "x", "--org", "acme", "--ttl", "25h"), 5, "token.ttl"),
    "an unknown key": (("key", "revoke", "nobody", "--org", "acme", "--yes"), 4, "key.unknown"),
    "a provider without a URL": (("route", "set", "x", "--org", "acme", "--url", "ftp://x"), 5, "bundle."),
    "a second init": (("init",), 5, "init.exists"),
}


async def test_failures_say_what_why_and_what_next(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await made(state)
    for name, (arguments, status, code) in FAILURES.items():
        result = await run(state, *arguments, "--output", "json")
        assert (result.status, result.out) == (status, ""), (name, result)
        error = json.loads(result.err)["error"]
        assert error["code"].startswith(code), name
        assert error["message"]
        assert error["fault"], name
    people = await run(state, "outpost", "show", "nobody", "--org", "acme")
    assert people.err.startswith("error outpost.unknown: ")
    assert "→ list them: controlplane outpost list" in people.err


async def test_a_secret_that_has_no_place_is_not_made(tmp_path: Path) -> None:
    state, old = tmp_path / "state", tmp_path / "old"
    await made(state)
    old.write_text("kept")
    commands = {("key", "create", "alice"): "--key-file", ("outpost", "register", "prod"): "--token-file"}
    for command, option in commands.items():
        for path, words in ((old, "File exists"), (tmp_path / "nodir" / "x", "No such file or directory")):
            refused = await run(state, *command, "--org", "acme", option, str(path), "--output", "json")
            error = json.loads(refused.err)["error"]
            assert (refused.status, error["field"], error["fault"]) == (8, str(path), "store")
            assert words in error["message"]
        fresh = tmp_path / "fresh"
        refused = await run(state, *command, "--org", "nobody", option, str(fresh))
        assert (refused.status, fresh.exists()) == (4, False)
    assert old.read_text() == "kept"
    assert (await ok(state, "key", "list", "--org", "acme", "--output", "json")).json["keys"] == []
    assert (await ok(state, "outpost", "list", "--org", "acme", "--output", "json")).json["outposts"] == []


async def test_a_path_in_the_way_is_one_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = await run(tmp_path / "file" / "state", "init", "--output", "json")
    error = json.loads(refused.err)["error"]
    assert (refused.status, error["code"], error["fault"]) == (8, "path.refused", "caller")
    assert str(tmp_path / "file") in error["field"]
    assert error["next"]


async def test_a_folder_without_control_plane_is_named(tmp_path: Path) -> None:
    for arguments in (("status",), ("serve",), ("org", "list")):
        result = await run(tmp_path / "nothing", *arguments)
        assert result.status == 8
        assert "controlplane init" in result.err


async def test_a_policy_with_a_certain_mistake_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await made(state)
    document = json.loads((await ok(state, "policy", "show", "--org", "acme")).out)
    document["combining"] = "first_applicable"
    allow_all = {"id": "all", "sequence": 1, "applies_to": "both", "action": "ALLOW"}
    document["packs"][0]["rules"].insert(0, allow_all)
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(document))
    linted = await run(state, "policy", "lint", str(policy), "--output", "json")
    assert linted.status == 5
    assert {"error"} <= {each["level"] for each in linted.json["findings"]}
    published = await run(state, "policy", "publish", str(policy), "--org", "acme")
    assert published.status == 5
    assert published.err.startswith("error policy.lint: ")


async def test_the_root_key_can_be_kept_elsewhere_from_the_start(tmp_path: Path) -> None:
    state, root = tmp_path / "state", tmp_path / "root.pem"
    await ok(state, "init", "--root-key-out", str(root))
    private_key_from_pem(root.read_bytes())
    assert stat.S_IMODE(root.stat().st_mode) == 0o600
    assert not (state / "ca" / "root.key").exists()
    await ok(state, "org", "create", "acme", "--single-person", "--provider-url", "http://127.0.0.1:9/v1")


async def test_serve_says_when_it_is_ready_and_stops_on_a_signal(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await ok(state, "init", "--enroll-port", "0", "--grpc-port", "0")
    await ok(state, "org", "create", "acme", "--single-person", "--provider-url", "http://127.0.0.1:9/v1")
    refused = await run(state, "outpost", "register", "prod", "--org", "acme")
    assert (refused.status, "serve.not_running" in refused.err) == (8, True)
    process, ready = await served(state)
    assert ready["listen"] == [ready["enroll"], ready["grpc"]]
    registered = await ok(state, "outpost", "register", "prod", "--org", "acme", "--output", "json")
    assert registered.json["endpoint"] == ready["enroll"]
    assert parse(registered.json["token"]).pin == ready["pin"]
    process.send_signal(signal.SIGTERM)
    out, err = await asyncio.wait_for(process.communicate(), 3)
    assert (process.returncode, out) == (0, b"")
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert events == ["controlplane.started", "controlplane.stopping", "controlplane.stopped"]
    assert not (state / "run.json").exists()


async def served(state: Path) -> tuple[asyncio.subprocess.Process, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "controlplane",
        "serve",
        "--state",
        str(state),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, json.loads(await asyncio.wait_for(process.stdout.readline(), SECONDS))


async def test_one_server_serves_a_state_and_a_killed_one_leaves_nothing_that_lies(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await ok(state, "init", "--enroll-port", "0", "--grpc-port", "0")
    process, ready = await served(state)
    second = await run(state, "serve")
    assert (second.status, second.err.startswith("error state.in_use: ")) == (8, True)
    assert (await ok(state, "status", "--output", "json")).json["server"] == "running"
    process.kill()
    await process.communicate()
    assert (state / "run.json").exists()
    assert (await ok(state, "status", "--output", "json")).json["server"] == "not running"
    settings = state / "controlplane.toml"
    port = ready["grpc"].rpartition(":")[2]
    settings.write_text(settings.read_text().replace("grpc_port = 0", f"grpc_port = {port}"))
    with socket.create_server(("127.0.0.1", int(port))):
        taken = await run(state, "serve")
    assert (taken.status, taken.out) == (8, "")
    assert taken.err.startswith("error listen.failed: ")
    assert "Address already in use" in taken.err
    process, _ = await served(state)
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("outpost", "--help"),
        ("key", "create", "--help"),
        ("approval", "approve", "--help"),
        ("login", "--help"),
        ("acts", "--help"),
    ],
)
async def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys; from controlplane.cli.main import cli\n"
        f"try: cli({list(arguments)!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'grpc', 'pydantic', 'cryptography', 'tuf', 'hyperscan', 'httpx', 'aiohttp'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, err.decode()
    assert out.startswith(b"Usage:")


async def test_an_init_that_failed_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    state, root = tmp_path / "state", tmp_path / "root.pem"
    failed = await run(state, "init", "--host", "not a host", "--root-key-out", str(root))
    assert failed.status != 0
    assert (list(state.iterdir()), root.exists()) == ([], False)
    await ok(state, "init", "--host", "cp.example", "--root-key-out", str(root))
    assert private_key_from_pem(root.read_bytes())


async def test_a_release_on_the_command_line(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await made(state)
    policy, samples = tmp_path / "policy.json", tmp_path / "prompts.txt"
    policy.write_text((await ok(state, "policy", "show", "--org", "acme")).out.replace("BLOCK", "CANCEL"))
    samples.write_text("my card is 4111 1111 1111 1111\n\ngood morning\n")
    drafted = (await ok(state, "release", "draft", "--org", "acme", "--policy", str(policy), "--json")).json
    assert (drafted["id"], drafted["state"]) == ("plan-1", "linted")
    tried = await ok(state, "release", "simulate", "plan-1", "--org", "acme", "--samples", str(samples))
    assert tried.out.splitlines()[0].startswith(
        "sample 1: BLOCK -> CANCEL (baseline/payment-and-identity; 1 credit_card"
    )
    assert tried.out.splitlines()[1].startswith("sample 2: ALLOW -> ALLOW")
    published = await ok(state, "release", "publish", "plan-1", "--org", "acme")
    assert "configuration 2.2 of org acme is signed" in published.out
    shown = await ok(state, "release", "show", "plan-1", "--org", "acme", "--wait", "5")
    assert "complete 100 %" in shown.out
    assert (await run(state, "release", "halt", "plan-1", "--org", "acme")).status == 5
    await ok(state, "release", "rollback", "1", "--org", "acme", "--at-once")
    listed = (await ok(state, "release", "list", "--org", "acme", "--json")).json["releases"]
    assert [(each["id"], each["kind"], each["state"]) for each in listed] == [
        ("plan-2", "rollback", "complete"),
        ("plan-1", "policy", "complete"),
    ]
    await ok(state, "release", "draft", "--org", "acme", "--policy", str(policy))
    assert "withdrawn" in (await ok(state, "release", "withdraw", "plan-3", "--org", "acme")).out
    rules = (await ok(state, "release", "rules", "--org", "acme", "--percents", "50,100", "--json")).json
    assert rules["percents"] == [50, 100]
    assert (await ok(state, "release", "status", "plan-2", "--org", "acme")).out.startswith("OUTPOST")
    assert (await run(state, "release", "show", "plan-9", "--org", "acme")).status == 4
