"""The command line both ways: on the state directory and over HTTPS it says the same."""

import asyncio
import contextlib
import json
import os
import pty
import re
import stat
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp
import pytest
from click.testing import CliRunner

from controlplane.cli.main import cli
from tests.integration.test_controlplane_cli import SECONDS, Result, served

PASSWORD = "correct horse " + "battery staple"


@dataclass
class Plane:
    """A running control plane, and a session at its API."""

    folder: Path
    state: Path
    api: str
    ca: str
    process: asyncio.subprocess.Process | None = None

    async def serve(self) -> None:
        self.process, ready = await served(self.state)
        self.api = ready["api"]

    async def end(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        _, err = await self.process.communicate()
        assert self.process.returncode == 0, err.decode()

    async def run(self, *arguments: str, text: str = "") -> Result:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CONTROLPLANE_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "controlplane",
            *arguments,
            env={**environment, "CONTROLPLANE_SESSION": str(self.folder / "session" / "session.json")},
            stdin=asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(text.encode() if text else None), SECONDS)
        assert b"Traceback" not in err, err.decode()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def inside(self, *arguments: str) -> Result:
        """Like ``run``, without a process of its own."""
        environment = {key: None for key in os.environ if key.startswith("CONTROLPLANE_")}
        session = str(self.folder / "session" / "session.json")
        runner = CliRunner(env={**environment, "CONTROLPLANE_SESSION": session})
        done = await asyncio.to_thread(runner.invoke, cli, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    async def local(self, *arguments: str, **more: Any) -> Result:
        return await self.run(*arguments, "--state", str(self.state), **more)

    async def remote(self, *arguments: str, **more: Any) -> Result:
        return await self.run(*arguments, "--api", self.api, "--ca-file", self.ca, **more)

    async def ok(self, *arguments: str, **more: Any) -> Result:
        result = await self.local(*arguments, **more)
        assert result.status == 0, result
        return result


@contextlib.asynccontextmanager
async def plane(folder: Path, *create: str) -> AsyncIterator[Plane]:
    state = folder / "state"
    made = Plane(folder, state, "", str(state / "api-ca.pem"))
    await made.ok("init", "--enroll-port", "0", "--grpc-port", "0")
    await made.serve()
    try:
        await made.ok("org", "create", "acme", "--provider-url", "http://127.0.0.1:9/v1", *create)
        yield made
    finally:
        await made.end()


async def machine(at: Plane, role: str = "owner") -> None:
    """A session of a machine client."""
    secret = at.folder / f"{role}.secret"
    name = role.replace("_", "-")
    words = ("client", "create", name, "--org", "acme", "--role", role, "--secret-file", str(secret), "--json")
    made = await at.ok(*words)
    assert "secret" not in made.json
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    done = await at.remote("login", "--client", made.json["id"], "--secret-file", str(secret))
    assert done.status == 0, done
    session = at.folder / "session" / "session.json"
    assert stat.S_IMODE(session.stat().st_mode) == 0o600
    assert json.loads(session.read_text())["access_token"] not in done.out + done.err


def shape(value: Any, name: str = "") -> Any:
    """A document without what differs from call to call: ids, secrets, times, counters."""
    if isinstance(value, dict):
        return {key: shape(child, key) for key, child in value.items()}
    if isinstance(value, list):
        return [shape(child, name) for child in value]
    volatile = {"revision", "set", "not_before", "expires", "sequence", "size", "signed"}
    if name.endswith(("_ms", "_s")) or name in volatile:
        return type(value).__name__
    if isinstance(value, str) and re.search(
        r"(op-|key-|user-|cl_acme_|ap-|op_acme_|ocs_|ojt1)[A-Za-z0-9._-]{8,}|^[0-9a-f]{64}$|^([a-z2-7]{4}-){7}", value
    ):
        return "…"
    return value


# One run each way; {n} is another name for each way.
COMMANDS: dict[str, tuple[str, ...]] = {
    "org show": ("org", "show", "acme"),
    "org quota": ("org", "quota", "acme"),
    "org two-person": ("org", "two-person", "acme", "off", "--yes"),
    "outpost register": ("outpost", "register", "{n}", "--org", "acme"),
    "outpost list": ("outpost", "list", "--org", "acme"),
    "outpost show": ("outpost", "show", "kept", "--org", "acme"),
    "outpost revoke": ("outpost", "revoke", "kept-{n}", "--org", "acme", "--reason", "test", "--yes"),
    "policy show": ("policy", "show", "--org", "acme"),
    "policy publish": ("policy", "publish", "{policy}", "--org", "acme"),
    "release list": ("release", "list", "--org", "acme"),
    "release draft": ("release", "draft", "--org", "acme", "--terms", "{terms}"),
    "release rules": ("release", "rules", "--org", "acme", "--soak-seconds", "5"),
    "a release that was never signed": ("release", "rollback", "99", "--org", "acme"),
    "a plan that is none": ("release", "show", "plan-99", "--org", "acme"),
    "route set": ("route", "set", "{n}", "--org", "acme", "--url", "http://127.0.0.1:9/v1"),
    "route show": ("route", "show", "--org", "acme"),
    "route publish": ("route", "publish", "{routes}", "--org", "acme"),
    "key create": ("key", "create", "{n}", "--org", "acme", "--group", "staff"),
    "key list": ("key", "list", "--org", "acme"),
    "key revoke": ("key", "revoke", "kept-{n}", "--org", "acme", "--yes"),
    "audit verify": ("audit", "verify", "--org", "acme"),
    "status": ("status", "--org", "acme"),
    "user create": ("user", "create", "{n}", "--org", "acme", "--role", "auditor"),
    "user list": ("user", "list", "--org", "acme"),
    "user show": ("user", "show", "kept", "--org", "acme"),
    "user set-role": ("user", "set-role", "kept", "operator", "--org", "acme"),
    "user reset-password": ("user", "reset-password", "kept", "--org", "acme", "--yes"),
    "user disable": ("user", "disable", "kept-{n}", "--org", "acme", "--yes"),
    "client create": ("client", "create", "{n}", "--org", "acme", "--role", "read_only"),
    "client list": ("client", "list", "--org", "acme"),
    "client rotate": ("client", "rotate", "kept", "--org", "acme"),
    "client revoke": ("client", "revoke", "kept-{n}", "--org", "acme", "--yes"),
    "approval list": ("approval", "list", "--org", "acme"),
    "acts list": ("acts", "list", "--org", "acme", "--operation", "orgs.create"),
    "acts show": ("acts", "show", "0", "--org", "acme"),
    "acts verify": ("acts", "verify", "--org", "acme"),
    "acts export": ("acts", "export", "--org", "acme", "--to", "{folder}/{n}.jsonl"),
    "an unknown outpost": ("outpost", "show", "nobody", "--org", "acme"),
    "an unknown user": ("user", "show", "nobody", "--org", "acme"),
    "a name that is none": ("outpost", "register", "Ä", "--org", "acme"),
    "a token that lives too long": ("outpost", "register", "x", "--org", "acme", "--ttl", "25h"),
    "a taken name": ("user", "create", "kept", "--org", "acme", "--role", "auditor"),
    "the last owner": ("user", "disable", "owner", "--org", "acme", "--yes"),
    "a provider that is none": ("route", "set", "x", "--org", "acme", "--url", "ftp://x"),
}


async def prepare(at: Plane) -> dict[str, str]:
    for name in ("kept", "kept-local", "kept-remote"):
        await at.ok("outpost", "register", name, "--org", "acme")
        await at.ok("key", "create", name, "--org", "acme")
        await at.ok("user", "create", name, "--org", "acme", "--role", "auditor")
        await at.ok("client", "create", name, "--org", "acme", "--role", "read_only")
    await at.ok("user", "create", "owner", "--org", "acme", "--role", "owner")
    policy, routes = at.folder / "policy.json", at.folder / "routes.json"
    policy.write_text((await at.ok("policy", "show", "--org", "acme")).out)
    routes.write_text((await at.ok("route", "show", "--org", "acme", "--output", "json")).out)
    terms = at.folder / "terms.json"
    terms.write_text('{"on_revoked": "seal"}')
    return {"terms": str(terms), "policy": str(policy), "routes": str(routes), "folder": str(at.folder)}


def comparable(name: str, result: Result) -> Any:
    told = shape(json.loads(result.out)) if result.out else None
    refusal = json.loads(result.err)["error"] if result.status else None
    if told and told.pop("plan", "") == "" and name in ("release list", "release draft"):
        told = told["schema"]  # each release has a plan of its own
    if name in ("acts show", "acts export") and told:
        for volatile in ("record", "record_text", "proof", "checkpoint", "log_key", "tlog_proof", "file"):
            told.pop(volatile, None)
    return result.status, told, refusal


@pytest.mark.slow
async def test_every_command_says_the_same_both_ways(tmp_path: Path) -> None:
    async with plane(tmp_path, "--single-person") as at:
        files = await prepare(at)
        await machine(at)
        differing = {}
        ways = {"local": ("--state", str(at.state)), "remote": ("--api", at.api, "--ca-file", at.ca)}
        for name, command in COMMANDS.items():
            answers = []
            for way, where in ways.items():
                words = [word.format(n=way, **files) for word in command]
                answers.append(comparable(name, await at.inside(*words, *where, "--output", "json")))
            local, remote = (json.loads(json.dumps(each).replace("remote", "local")) for each in answers)
            # what the first way changed, the second finds
            if name in ("user list", "client list", "key list", "outpost list", "route show"):
                assert local[0] == remote[0] == 0
                local, remote = local[1]["schema"], remote[1]["schema"]
            if name in ("policy publish", "route publish", "acts verify", "outpost list"):
                local, remote = local[0], remote[0]
            if local != remote:
                differing[name] = (local, remote)
        assert json.dumps(differing, indent=1) == "{}"


async def login(at: Plane, name: str, secret: str, org: str = "acme") -> Result:
    totp = at.folder / "totp"
    totp.unlink(missing_ok=True)
    totp.touch(0o600)
    totp.write_text(pyotp.TOTP(secret).at(int(time.time())))
    return await at.remote(
        "login", "--user", f"{name}@{org}", "--password-file", "-", "--totp-file", str(totp), text=f"{PASSWORD}\n"
    )


async def activated(at: Plane, name: str, code: str, org: str = "acme") -> str:
    """Both runs of a first sign-in without a terminal; the authenticator's secret."""
    who = ("activate", "--user", f"{name}@{org}")
    first = await at.remote(*who, "--code-file", "-", "--password-file", "-", "--json", text=f"{code}\n{PASSWORD}\n")
    assert first.status == 0, first
    secret = first.json["secret"]
    totp = pyotp.TOTP(secret).at(int(time.time()))
    second = await at.remote(*who, "--code-file", "-", "--totp-file", "-", text=f"{code}\n{totp}\n")
    assert second.status == 0, second
    return str(secret)


@pytest.mark.slow
async def test_two_persons_from_their_first_sign_in_to_a_published_policy(tmp_path: Path) -> None:
    async with plane(tmp_path, "--owner", "alice", "--owner", "bob") as at:
        refused = await at.remote("org", "show", "acme")
        assert (refused.status, "access.unauthenticated" in refused.err) == (3, True)
        codes = {}
        for name in ("alice", "bob"):
            made = await at.ok("user", "reset-password", name, "--org", "acme", "--yes", "--json")
            codes[name] = made.json["code"]
        secrets = {name: await activated(at, name, code) for name, code in codes.items()}
        assert (await login(at, "alice", "A" * 32)).status == 3
        await asyncio.sleep(
            30 - time.time() % 30 + 0.1
        )  # the next one-time password: nothing tells of it but the clock
        assert (await login(at, "alice", secrets["alice"])).status == 0
        me = await at.remote("whoami", "--org", "acme", "--json")
        assert (me.json["name"], me.json["role"]) == ("alice", "owner")
        policy = tmp_path / "policy.json"
        shown = await at.remote("policy", "show", "--org", "acme")
        policy.write_text(shown.out.replace("found.", "seen."))
        waiting = await at.remote("policy", "publish", str(policy), "--org", "acme")
        assert waiting.status == 0
        approval = re.search(r"ap-[0-9a-f]{12}", waiting.out)
        assert approval is not None
        assert f"controlplane approval approve {approval[0]} --org acme" in waiting.err
        own = await at.remote("approval", "approve", approval[0], "--org", "acme", "--yes")
        assert (own.status, "approval.same_person" in own.err) == (3, True)
        assert (await login(at, "bob", secrets["bob"])).status == 0
        done = await at.remote("approval", "approve", approval[0], "--org", "acme", "--yes")
        assert done.status == 0, done
        assert "is executed" in done.out
        assert "found." not in (await at.remote("policy", "show", "--org", "acme")).out
        record = (await at.remote("acts", "list", "--org", "acme", "--operation", "policy.publish", "--json")).json
        assert [each["record"]["outcome"] for each in record["acts"]] == ["done", "pending"]
        await at.remote("logout")
        assert (await at.remote("org", "show", "acme")).status == 3


@pytest.mark.slow
async def test_what_goes_wrong_on_the_way_is_named(tmp_path: Path) -> None:
    async with plane(tmp_path, "--single-person") as at:
        await machine(at, "read_only")
        refused = await at.remote("key", "create", "k", "--org", "acme", "--output", "json")
        assert (refused.status, json.loads(refused.err)["error"]["code"]) == (3, "access.role")
        assert (await at.run("org", "show", "acme", "--api", at.api)).status == 0, "a session knows its roots"
        (tmp_path / "session" / "session.json").unlink()
        untrusted = await at.run("org", "show", "acme", "--api", at.api)
        assert (untrusted.status, "error api.untrusted: " in untrusted.err) == (3, True)
        nobody = await at.run("org", "show", "acme", "--api", "https://127.0.0.1:1", "--ca-file", at.ca)
        assert (nobody.status, "error api.unreachable: " in nobody.err) == (6, True)
        plain = await at.run("org", "show", "acme", "--api", at.api.replace("https", "http"))
        assert (plain.status, "error api.address: " in plain.err) == (5, True)
        both = await at.run("org", "show", "acme", "--api", at.api, "--state", str(at.state))
        assert (both.status, "exclude" in both.err) == (2, True)
        lines = (await at.local("key", "list", "--org", "acme", "--output", "ndjson")).out
        assert lines == ""
        await at.ok("key", "create", "k", "--org", "acme")
        await at.ok("key", "create", "l", "--org", "acme")
        lines = (await at.ok("key", "list", "--org", "acme", "--output", "ndjson")).out
        assert [json.loads(line)["name"] for line in lines.splitlines()] == ["k", "l"]


async def proven(at: Plane, sequence: int) -> Any:
    """The record with its proof, once a signed head covers it. Asking on the state directory signs nothing."""
    until = time.monotonic() + SECONDS
    while True:
        shown = await at.local("acts", "show", str(sequence), "--org", "acme", "--json")
        if not shown.status:
            return shown.json
        assert (shown.status, "act.unknown" in shown.err) == (4, True)
        assert time.monotonic() < until


async def newest(at: Plane) -> int:
    listed = await at.ok("acts", "list", "--org", "acme", "--limit", "1", "--json")
    return int(listed.json["acts"][0]["sequence"])


@pytest.mark.slow
async def test_heads_of_a_log_are_signed_while_it_serves_and_after_it_was_killed(tmp_path: Path) -> None:
    async with plane(tmp_path, "--single-person") as at:
        await machine(at)
        assert (await at.remote("key", "create", "k", "--org", "acme")).status == 0
        first = await newest(at)
        assert (await proven(at, first))["record"]["operation"] == "keys.create"
        assert at.process is not None
        assert (await at.remote("key", "create", "l", "--org", "acme")).status == 0
        at.process.kill()
        await at.process.communicate()
        second = await newest(at)
        assert second == first + 1
        await at.serve()
        assert (await proven(at, second))["record"]["operation"] == "keys.create"
        await at.ok("acts", "verify", "--org", "acme")


async def test_an_operators_first_user(tmp_path: Path) -> None:
    made = Plane(tmp_path, tmp_path / "state", "", "")
    done = await made.ok("init", "--operator-user", "root1", "--output", "json")
    assert done.json["operator"]["user"] == "root1"
    users = (await made.ok("user", "list", "--operator", "--json")).json["users"]
    assert [(each["name"], each["role"], each["state"]) for each in users] == [("root1", "owner", "invited")]
    wrong = await made.local("user", "list")
    assert (wrong.status, "--operator" in wrong.err) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion(shell: str, tmp_path: Path) -> None:
    done = await Plane(tmp_path, tmp_path, "", "").run("completion", shell)
    assert done.status == 0
    assert "_CONTROLPLANE_COMPLETE" in done.out


async def test_it_asks_on_a_terminal_and_nowhere_else(tmp_path: Path) -> None:
    made = Plane(tmp_path, tmp_path / "state", "", "")
    await made.ok("init")
    await made.ok("org", "create", "acme", "--single-person")
    await made.ok("key", "create", "k", "--org", "acme")
    leader, follower = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controlplane", "key", "revoke", "k", "--org", "acme", "--state", str(made.state)),
            stdin=follower,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        os.write(leader, b"n\n")
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        os.close(leader)
        os.close(follower)
    assert (process.returncode, out) == (1, b"")
    assert b"Revoke the key k" in err
    assert (await made.ok("key", "revoke", "k", "--org", "acme", "--yes")).out.startswith("key k ")
