"""`outpost doctor` walks to every provider: name, TCP, TLS; it sends nothing and shows no path of an address."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from outpost.cli.doctor_providers import ProviderWay
from outpost.cli.doctor_report import Level, Line
from outpost.core.bundle.documents import Provider
from outpost.ipc import sockets
from outpost.paths import StatePaths
from tests.unit.cli.conftest import Cli


def walk(base_url: str) -> list[Line]:
    provider = Provider("prov", "openai", base_url, "key", ("gpt-*",), 1000, 1000)
    return list(ProviderWay("acme", provider).lines())


@contextmanager
def listening(*, answer: bytes = b"") -> Iterator[tuple[int, list[bytes]]]:
    """A port that notes what it is sent and answers with fixed bytes."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    with server.accept()[0] as one:
                        one.settimeout(5)
                        seen.append(one.recv(4096))
                        one.sendall(answer)
                except TimeoutError:
                    continue
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], seen
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_plain_provider_that_listens_is_well_and_is_sent_nothing() -> None:
    with listening() as (port, seen):
        found = walk(f"http://127.0.0.1:{port}/v1")
    assert [(line.id, line.level) for line in found] == [("OP-PRV-001", Level.OK), ("OP-PRV-002", Level.OK)]
    assert set(seen) <= {b""}


def test_a_provider_that_is_down_is_named_without_its_path() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = walk(f"http://127.0.0.1:{taken.getsockname()[1]}/private/v1")
    assert [line.id for line in found] == ["OP-PRV-001", "OP-PRV-002"]
    assert (found[-1].level, found[-1].code) == (Level.FAIL, "network.tcp")
    assert "provider prov: no connection to 127.0.0.1:" in found[-1].message
    assert "Connection refused" in found[-1].message
    assert "private" not in str(found)


def test_a_name_without_an_address() -> None:
    (line,) = walk("https://does-not-exist.invalid/v1")
    assert (line.id, line.level, line.code) == ("OP-PRV-001", Level.FAIL, "network.dns")


def test_something_that_speaks_no_tls() -> None:
    with listening(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        found = walk(f"https://127.0.0.1:{port}/v1")
    assert (found[-1].id, found[-1].code) == ("OP-PRV-003", "network.tls")
    assert found[-1].next_step


def test_offline_asks_no_provider(cli: Cli, state: StatePaths) -> None:
    told = cli("doctor", "--state", state.state, "--offline", "--output", "json").json
    assert {line["group"] for line in told["lines"]}.isdisjoint({"network", "providers"})


def test_a_running_outpost_is_seen(cli: Cli, state: StatePaths) -> None:
    state.run.mkdir(exist_ok=True)
    with sockets.listen(state.admin_socket):
        told = cli("doctor", "--state", state.state, "--offline", "--output", "json").json
    (line,) = (line for line in told["lines"] if line["id"] == "OP-RUN-001")
    assert line["level"] == "ok"


def test_next_steps_keep_the_state_folder(cli: Cli, state: StatePaths) -> None:
    told = cli("doctor", "--state", state.state, "--offline", "--output", "json").json
    (line,) = (line for line in told["lines"] if line["id"] == "OP-RUN-001")
    assert (line["level"], line["next_step"]) == ("warn", f"outpost run --state {state.state}")
