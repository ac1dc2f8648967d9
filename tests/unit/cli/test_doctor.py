"""`outpost doctor`: each thing that can be wrong gives its line, its code and a next command; secrets never show."""

import os
import resource
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from outpost_wire.v1 import audit_pb2, audit_pb2_grpc

from certs.shell import tls
from certs.shell.dev import create_hierarchy
from outpost.cli import doctor_local, doctor_state
from outpost.cli.doctor_report import GROUPS, Level, printable
from outpost.paths import StatePaths
from tests.unit.cli.conftest import Cli, Result
from tests.unit.core.bundle.samples import ORG
from tests.unit.sync.enrolled import TRUST_DOMAIN, Enrolled

WEEK_MS = 7 * 24 * 3600 * 1000
DAY_MS = 24 * 3600 * 1000


def lines(told: Result) -> dict[str, dict[str, Any]]:
    """The lines by id."""
    return {line["id"]: line for line in told.json["lines"]}


def examine(cli: Cli, paths: StatePaths, *options: str) -> Result:
    return cli("doctor", "--state", paths.state, "--output", "json", *options)


def test_a_healthy_outpost_has_nothing_but_ok(cli: Cli, state: StatePaths) -> None:
    told = examine(cli, state, "--offline")
    found = lines(told)
    assert [(line["id"], line["level"]) for line in found.values() if line["level"] != "ok"] == [("OP-RUN-001", "warn")]
    assert told.code == 0
    assert {line["group"] for line in found.values()} == set(GROUPS) - {"network", "providers"}
    assert told.json["ok"] is True


def test_it_takes_no_lock_and_writes_nothing(cli: Cli, state: StatePaths) -> None:
    def picture() -> dict[str, tuple[int, int, int]]:
        found = {path: path.lstat() for path in state.state.rglob("*")}
        return {str(path): (s.st_mtime_ns, s.st_size, s.st_mode) for path, s in found.items()}

    before = picture()
    examine(cli, state, "--offline")
    assert picture() == before


def test_people_get_groups_and_next_steps(cli: Cli, tmp_path: Path) -> None:
    told = cli("doctor", "--state", tmp_path / "nothing")
    assert told.code == 7
    assert "identity\n  fail  OP-IDN-001  this outpost is not enrolled" in told.out
    assert f"        → outpost enroll --state {tmp_path / 'nothing'} --token-file" in told.out
    assert told.out.splitlines()[-1].endswith("2 fail")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def files(paths: StatePaths, *names: str) -> Path:
    return paths.org(ORG).folder.joinpath(*names)


FAULTS: dict[str, tuple[Callable[[StatePaths], object], str, str, str]] = {
    "an open state folder": (lambda p: p.state.chmod(0o755), "OP-FIL-001", "fail", "state.mode"),
    "an open private file": (lambda p: files(p, "root.json").chmod(0o644), "OP-FIL-002", "fail", "state.mode"),
    "a provider key open to everybody": (
        lambda p: (p.state / "secrets" / "main-key").chmod(0o604),
        "OP-FIL-003",
        "warn",
        "secret.mode",
    ),
    "no folder of provider keys": (lambda p: shutil.rmtree(p.state / "secrets"), "OP-FIL-003", "warn", ""),
    "a provider key that is missing": (
        lambda p: (p.state / "secrets" / "main-key").unlink(),
        "OP-BND-003",
        "fail",
        "secret.missing",
    ),
    "a provider key that is empty": (
        lambda p: (p.state / "secrets" / "main-key").write_bytes(b"\n"),
        "OP-BND-003",
        "fail",
        "secret.empty",
    ),
    "a damaged certificate": (
        lambda p: files(p, "identity", "leaf.pem").write_bytes(b"nothing"),
        "OP-IDN-001",
        "fail",
        "identity.unreadable",
    ),
    "no configuration": (lambda p: shutil.rmtree(files(p, "cache")), "OP-BND-001", "warn", "bundle.none"),
    "a high water that is gone": (
        lambda p: files(p, "high-water.json").unlink(),
        "OP-BND-001",
        "fail",
        "cache.",
    ),
    "a slot that was altered": (
        lambda p: flip(files(p, "cache", (files(p, "cache", "active").read_text().strip())), -1),
        "OP-BND-001",
        "fail",
        "cache.",
    ),
    "another wrapping key": (lambda p: p.wrap_key.write_bytes(os.urandom(32)), "OP-BND-001", "fail", "cache."),
    "a TUF root that is gone": (
        lambda p: files(p, "root.json").unlink(),
        "OP-BND-001",
        "fail",
        "bundle.root_unreadable",
    ),
    "a checkpoint that was altered": (
        lambda p: flip(files(p, "audit", "checkpoint"), 100),
        "OP-AUD-001",
        "fail",
        "audit.",
    ),
    "a log without its key": (lambda p: files(p, "audit", "log.key").unlink(), "OP-AUD-001", "fail", "ledger."),
    "a cosignature that is none": (
        lambda p: shutil.copy(files(p, "audit", "checkpoint"), files(p, "audit", "cosigned")),
        "OP-AUD-002",
        "fail",
        "audit.",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_found(what: str, cli: Cli, state: StatePaths) -> None:
    damage, line_id, level, code = FAULTS[what]
    damage(state)
    told = examine(cli, state, "--offline")
    line = lines(told)[line_id]
    assert (line["level"], line["code"].startswith(code)) == (level, True), line
    assert told.code == (7 if any(each["level"] == "fail" for each in told.json["lines"]) else 0)
    assert line["message"]
    assert line["next_step"] or code in {"cache.", "ledger.", "audit."}
    assert "canary-" not in told.out + told.err


SETTINGS: dict[str, tuple[str, str]] = {
    "an unknown setting": ("prot = 1", "settings.invalid"),
    "TLS off on an open address": ('host = "0.0.0.0"\ntls = false', "settings.invalid"),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_bad_settings_end_the_examination(what: str, cli: Cli, tmp_path: Path) -> None:
    text, code = SETTINGS[what]
    (tmp_path / "outpost.toml").write_text(text)
    told = cli("doctor", "--output", "json")
    assert told.code == 7
    assert [(line["id"], line["code"]) for line in told.json["lines"]] == [("OP-CFG-001", code)]


def test_a_listener_certificate_that_does_not_load_is_found(cli: Cli, state: StatePaths, tmp_path: Path) -> None:
    (tmp_path / "outpost.toml").write_text('tls = true\ntls_certificate_file = "none.pem"\ntls_key_file = "none.key"\n')
    found = lines(examine(cli, state, "--offline"))
    assert found["OP-CFG-002"]["level"] == "fail"


AGES: dict[str, tuple[int, str, str]] = {
    "fresh": (0, "ok", ""),
    "two days old": (2 * DAY_MS, "warn", "bundle.stale"),
    "older than policy allows": (WEEK_MS + DAY_MS, "fail", "bundle.seal_bound"),
}


@pytest.mark.parametrize("age", AGES)
def test_a_configuration_is_judged_by_its_age(age: str, cli: Cli, made: Enrolled, tmp_path: Path) -> None:
    age_ms, level, code = AGES[age]
    paths = made.fill(tmp_path / "state", records=4, age_ms=age_ms)
    line = lines(examine(cli, paths, "--offline"))["OP-BND-002"]
    assert (line["level"], line["code"]) == (level, code)


CLOCKS: dict[str, tuple[int, str]] = {
    "right": (0, "ok"),
    "nine minutes behind": (-9 * 60_000, "ok"),
    "eleven minutes behind": (-11 * 60_000, "fail"),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_clock_is_compared_with_signed_time(clock: str, made: Enrolled, state: StatePaths) -> None:
    shift_ms, level = CLOCKS[clock]
    (line,) = doctor_local.check_clock(state, {ORG: made.now_ms}, made.now_ms + shift_ms)
    assert line.level.value == level
    assert level == "ok" or "11 min 0 s behind" in line.message


LIVES: dict[str, tuple[int, str, str]] = {
    "fresh": (0, "ok", "OP-IDN-002"),
    "in its last quarter": (20 * 3600, "warn", "OP-IDN-002"),
    "over": (25 * 3600, "fail", "OP-IDN-001"),
    "not begun": (-3600, "fail", "OP-IDN-001"),
}


@pytest.mark.parametrize("life", LIVES)
def test_a_certificate_s_life_is_told(life: str, made: Enrolled, state: StatePaths) -> None:
    shift_seconds, level, line_id = LIVES[life]
    last = list(doctor_local.check_identity(state, ORG, made.now_ms // 1000 + shift_seconds))[-1]
    assert (last.level.value, last.id) == (level, line_id)
    assert level == "ok" or last.next_step


FREE: dict[str, tuple[int, Level]] = {
    "plenty": (5 * 1024**3, Level.OK),
    "little": (500 * 1024**2, Level.WARN),
    "too little": (50 * 1024**2, Level.FAIL),
}


@pytest.mark.parametrize("room", FREE)
def test_room_on_the_disk(room: str, tmp_path: Path) -> None:
    free, level = FREE[room]
    assert doctor_state.judge_room(StatePaths(tmp_path), ORG, free).level is level


def test_open_files_are_judged_by_the_limit_in_force() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for limit, level in ((300, Level.FAIL), (1024, Level.WARN), (4096, Level.OK)):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            assert doctor_local.check_limits().level is level
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# the network


@dataclass
class Answers(audit_pb2_grpc.AuditServicer):
    """The control plane's side of the last step."""

    refuse: bool = False

    def Root(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self.refuse:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        return audit_pb2.RootResponse(known_size=300, root=b"")


@contextmanager
def control_plane(identity: tls.TLSIdentity, client_roots: bytes, answers: Answers) -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    audit_pb2_grpc.add_AuditServicer_to_server(answers, server)  # type: ignore[no-untyped-call]
    port = server.add_secure_port("127.0.0.1:0", tls.server_mtls_credentials(identity, client_roots))
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextmanager
def deaf_port() -> Iterator[int]:
    """Accepts connections and closes them."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def network(cli: Cli, made: Enrolled, folder: Path, endpoint: str) -> list[dict[str, Any]]:
    paths = made.fill(folder / "state", records=4, sync_endpoint=endpoint)
    told = examine(cli, paths)
    return [line for line in told.json["lines"] if line["group"] == "network"]


def test_the_way_to_the_control_plane_is_walked_to_its_end(cli: Cli, made: Enrolled, tmp_path: Path) -> None:
    server = made.trust.server(made.now_ms // 1000)
    with control_plane(server.tls, made.trust.roots_pem, Answers()) as port:
        found = network(cli, made, tmp_path, f"127.0.0.1:{port}")
    assert [(line["id"], line["level"]) for line in found] == [
        (f"OP-NET-{number:03}", "ok") for number in (1, 2, 4, 5, 6)
    ]
    assert "300 audit records" in found[-1]["message"]


def test_a_refusal_of_the_call_is_the_last_line(cli: Cli, made: Enrolled, tmp_path: Path) -> None:
    server = made.trust.server(made.now_ms // 1000)
    with control_plane(server.tls, made.trust.roots_pem, Answers(refuse=True)) as port:
        found = network(cli, made, tmp_path, f"127.0.0.1:{port}")
    assert (found[-1]["id"], found[-1]["level"]) == ("OP-NET-006", "fail")


def test_a_middle_box_is_named_and_nothing_is_asked_behind_it(cli: Cli, made: Enrolled, tmp_path: Path) -> None:
    other = create_hierarchy(made.now_ms // 1000, TRUST_DOMAIN)
    with control_plane(other.server(made.now_ms // 1000).tls, other.roots_pem, Answers()) as port:
        found = network(cli, made, tmp_path, f"127.0.0.1:{port}")
    assert [line["id"] for line in found] == ["OP-NET-001", "OP-NET-002", "OP-NET-004"]
    assert made.trust.pin[:16] in found[-1]["message"]
    assert "inspects TLS" in found[-1]["next_step"]


def test_a_control_plane_that_does_not_know_our_ca_is_found(cli: Cli, made: Enrolled, tmp_path: Path) -> None:
    other = create_hierarchy(made.now_ms // 1000, TRUST_DOMAIN)
    server = made.trust.server(made.now_ms // 1000)
    with control_plane(server.tls, other.roots_pem, Answers()) as port:
        found = network(cli, made, tmp_path, f"127.0.0.1:{port}")
    assert (found[-1]["id"], found[-1]["level"], found[-1]["code"]) == ("OP-NET-005", "fail", "network.mtls")


def test_nothing_that_listens(cli: Cli, made: Enrolled, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = network(cli, made, tmp_path, f"127.0.0.1:{taken.getsockname()[1]}")
    assert [line["id"] for line in found] == ["OP-NET-001", "OP-NET-002"]
    assert "controlplane serve" in found[-1]["next_step"]


def test_a_port_without_tls(cli: Cli, made: Enrolled, tmp_path: Path) -> None:
    with deaf_port() as port:
        found = network(cli, made, tmp_path, f"127.0.0.1:{port}")
    assert (found[-1]["id"], found[-1]["code"]) == ("OP-NET-003", "tls.unreachable")


def test_a_name_without_an_address(cli: Cli, made: Enrolled, tmp_path: Path) -> None:
    found = network(cli, made, tmp_path, "does-not-exist.invalid:8444")
    assert [(line["id"], line["code"]) for line in found] == [("OP-NET-001", "network.dns")]


def test_what_a_peer_chose_is_safe_on_a_terminal() -> None:
    assert printable("a\x1b[31mb\n" + "x" * 100) == "a?[31mb?" + "x" * 56 + "..."
