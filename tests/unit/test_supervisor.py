"""The supervisor over stand-in children: who comes back, who is replaced, what is relayed, and how it ends."""

import asyncio
import contextlib
import json
import logging
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from outpost import supervisor
from outpost.ipc import control
from outpost.settings import ListenError, Settings
from outpost.supervisor import ActivationRefusedError, Child, StartError, Supervisor

PATIENCE = 20.0
STAND_IN = Path(__file__).parents[1] / "fakes" / "stand_in_child.py"
ROOT = Path(__file__).parents[2]
PREPARE = {"type": "prepare", "org": "acme", "slot": "a"}
COMMIT = {"type": "commit", "org": "acme"}


@dataclass
class Scene:
    """A supervisor, and the folder that tells its children what to do."""

    folder: Path
    outpost: Supervisor

    def behave(self, child: str, **behaviour: str) -> None:
        """From its next start on."""
        (self.folder / f"{child}.json").write_text(json.dumps(behaviour))

    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def said(self, *starts: str) -> list[str]:
        return [line for line in self.log() if line.startswith(starts)]

    def child(self, name: str) -> Child:
        return next(c for c in self.outpost._children() if f"{c.role}-{c.index}" == name)

    def pid(self, name: str) -> int:
        process = self.child(name).process
        assert process is not None
        return process.pid

    async def again(self, name: str, starts: int) -> None:
        """Wait until a child has come up so many times."""
        child = self.child(name)
        async with asyncio.timeout(PATIENCE):
            while not (child.starts >= starts and child.ready.is_set()):
                await asyncio.sleep(0.01)  # no event tells of a restart

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await asyncio.sleep(0.01)  # children write a file

    async def activate(self, frame: dict[str, str]) -> None:
        """What the agent asks for."""
        await asyncio.wait_for(self.outpost._on_frame(self.outpost._agent, {**frame, "id": 1}), PATIENCE)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    folder = tmp_path / "told"
    folder.mkdir()
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "{STAND_IN}" "$@"\n')
    wrapper.chmod(stat.S_IRWXU)
    monkeypatch.setenv("STAND_IN", str(folder))
    monkeypatch.setattr(supervisor, "sys", SimpleNamespace(executable=str(wrapper)))
    monkeypatch.setattr(supervisor, "OTHER_STOP_SECONDS", 5.0)  # nobody is killed for a slow machine
    return Scene(folder, Supervisor(Settings(state=tmp_path / "state", port=0, workers=2)))


@contextlib.asynccontextmanager
async def started(scene: Scene) -> AsyncIterator[Supervisor]:
    try:
        await scene.outpost.start()
        yield scene.outpost
    finally:
        await scene.outpost.stop()


async def test_all_children_come_up_the_agent_last_and_status_names_them(scene: Scene) -> None:
    async with started(scene) as outpost:
        status = outpost.status()
        told = [(p["role"], p["index"], p["ready"], p["starts"], p["stand_in"]) for p in status["processes"]]
        assert told == [
            ("ledger", 0, True, 1, "ledger-0"),
            ("agent", 0, True, 1, "agent-0"),
            ("worker", 0, True, 1, "worker-0"),
            ("worker", 1, True, 1, "worker-1"),
        ]
        (agent,) = scene.said("agent-0 started")
        before = scene.log()[: scene.log().index(agent)]
        assert sum(" hello " in line for line in before) == 3
        assert {line.split()[2] for line in scene.log() if line.split()[1] == "hello"} == {str(outpost.port)}
        assert status["port"] == outpost.port > 0


@pytest.mark.parametrize("name", ["ledger-0", "agent-0", "worker-0", "worker-1"])
async def test_a_killed_child_comes_back_and_the_others_stay(name: str, scene: Scene) -> None:
    async with started(scene):
        others = {f"{c.role}-{c.index}": scene.pid(f"{c.role}-{c.index}") for c in scene.outpost._children()}
        killed = others.pop(name)
        os.kill(killed, 9)
        await scene.again(name, 2)
        assert scene.pid(name) != killed
        assert {other: scene.pid(other) for other in others} == others


async def test_a_child_that_keeps_dying_is_started_again_with_growing_waits(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "RESTART_CAP_SECONDS", 0.05)
    caplog.set_level(logging.WARNING, "outpost")
    async with started(scene):
        scene.behave("worker-1", start="die")
        os.kill(scene.pid("worker-1"), 9)
        await scene.until(lambda: scene.child("worker-1").starts >= 6)
        exits = [record.fields for record in caplog.records if record.message == "child.exited"]  # type: ignore[attr-defined]
        assert [fields["wait_ms"] for fields in exits[:5]] == [20, 40, 50, 50, 50]
        assert [fields["exit_code"] for fields in exits[:3]] == [-9, 7, 7]
        assert not scene.child("worker-1").ready.is_set()
        assert [p["ready"] for p in scene.outpost.status()["processes"]] == [True, True, True, False]
        scene.behave("worker-1")
        await scene.again("worker-1", 6)


# activation


async def test_an_activation_reaches_every_worker_in_two_steps(scene: Scene) -> None:
    async with started(scene):
        await scene.activate(PREPARE)
        told = 'prepare {"org": "acme", "slot": "a"}'
        assert sorted(scene.said("worker-0 prepare", "worker-1 prepare")) == [f"worker-0 {told}", f"worker-1 {told}"]
        await scene.activate(COMMIT)
        assert len(scene.said("worker-0 commit", "worker-1 commit")) == 2
        assert scene.said("ledger-0 prepare", "agent-0 prepare") == []


@pytest.mark.parametrize(("does", "code", "fatal"), [("refuse", "test.spoilt", True), ("put off", "test.busy", False)])
async def test_a_worker_that_refuses_refuses_for_all_and_its_code_is_told(
    does: str, code: str, fatal: bool, scene: Scene
) -> None:
    scene.behave("worker-1", prepare=does)
    async with started(scene):
        with pytest.raises(ActivationRefusedError) as refused:
            await scene.activate(PREPARE)
        assert (refused.value.code, refused.value.field) == ("bundle.worker_refused", code)
        assert refused.value.as_dict()["fatal"] is fatal
        assert [scene.child(f"worker-{index}").starts for index in (0, 1)] == [1, 1]


async def test_a_worker_that_does_not_answer_in_time_is_replaced_and_the_activation_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PREPARE_TIMEOUT_SECONDS", 0.5)
    scene.behave("worker-0", prepare="hang")
    async with started(scene):
        hanging = scene.pid("worker-0")
        scene.behave("worker-0")
        await scene.activate(PREPARE)
        await scene.activate(COMMIT)
        await scene.again("worker-0", 2)
        assert scene.pid("worker-0") != hanging
        assert scene.child("worker-1").starts == 1
        assert len(scene.said("worker-1 commit")) == 1


async def test_a_worker_that_dies_over_a_set_does_not_stop_it(scene: Scene) -> None:
    scene.behave("worker-0", prepare="die")
    async with started(scene):
        scene.behave("worker-0")
        await scene.activate(PREPARE)
        await scene.again("worker-0", 2)


async def test_a_worker_that_was_coming_up_during_the_switch_is_told_when_it_is_ready(scene: Scene) -> None:
    """It may have read its slots before the pointer moved: without a word it would serve the older set for ever."""
    os.mkfifo(scene.folder / "worker-0.fifo")
    async with started(scene):
        scene.behave("worker-0", start="wait")
        os.kill(scene.pid("worker-0"), 9)
        await scene.until(lambda: len(scene.said("worker-0 hello")) == 2)
        await scene.activate(PREPARE)
        await scene.activate(COMMIT)
        assert scene.said("worker-0 prepare", "worker-0 commit") == []
        await asyncio.to_thread((scene.folder / "worker-0.fifo").write_bytes, b"go")
        await scene.until(lambda: scene.said("worker-0 commit"))
        assert scene.said("worker-0 commit") == ['worker-0 commit {"org": "acme"}']
        assert len(scene.said("worker-1 commit")) == 1


# what is relayed


async def test_what_agent_and_worker_know_is_told_and_told_again_to_whoever_comes_back(scene: Scene) -> None:
    health = {"acme": {"outpost": "op-1", "last_contact_ms": 5}}
    states = {"acme": {"state": "ACTIVE", "code": "", "reason": ""}}
    async with started(scene) as outpost:
        await outpost._on_frame(outpost._agent, {"type": "health", "orgs": health})
        await outpost._on_frame(outpost._workers[0], {"type": "states", "orgs": states})
        assert outpost.status()["orgs"] == {"acme": {**health["acme"], **states["acme"]}}
        told = f"health {json.dumps({'orgs': health}, sort_keys=True)}"
        await scene.until(lambda: all(f"worker-{index} {told}" in scene.log() for index in (0, 1)))
        os.kill(scene.pid("worker-0"), 9)
        await scene.again("worker-0", 2)
        await scene.until(lambda: scene.log().count(f"worker-0 {told}") == 2)
        fleet = {"workers": 2, "workers_ready": 2, "states": states}
        await scene.until(
            lambda: f"agent-0 fleet {json.dumps(fleet, sort_keys=True)}" == scene.said("agent-0 fleet")[-1]
        )


async def test_an_org_that_no_worker_has_judged_is_unknown(scene: Scene) -> None:
    async with started(scene) as outpost:
        await outpost._on_frame(outpost._agent, {"type": "health", "orgs": {"acme": {"outpost": "op-1"}}})
        assert outpost.status()["orgs"]["acme"]["state"] == "UNKNOWN"


async def test_metrics_of_a_silent_worker_do_not_hold_up_those_of_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "METRICS_TIMEOUT_SECONDS", 0.3)
    text = "# HELP outpost_requests_total n\n# TYPE outpost_requests_total counter\noutpost_requests_total 3.0\n"
    scene.behave("worker-0", metrics="hang")
    scene.behave("worker-1", metrics=text)
    async with started(scene) as outpost:
        assert b"outpost_requests_total 3.0" in await outpost.metrics_text()


STRANGERS: dict[str, dict[str, Any]] = {
    "a child that nobody started": {"type": "hello", "role": "worker", "index": 7, "pid": 1},
    "a role that does not exist": {"type": "hello", "role": "thief", "index": 0, "pid": 1},
    "a word before the hello": {"type": "health", "orgs": {}},
}


@pytest.mark.parametrize("what", STRANGERS)
async def test_the_control_socket_refuses(what: str, scene: Scene) -> None:
    async with started(scene) as outpost:

        async def nothing(frame: object) -> None:
            return None

        link = await control.connect(outpost._paths.control_socket, nothing)
        running = asyncio.create_task(link.run())
        with pytest.raises(control.RemoteError) as refused:
            await link.call(STRANGERS[what], PATIENCE)
        assert refused.value.remote_code == "internal"
        await link.close()
        await running
        assert all(process["ready"] for process in outpost.status()["processes"])


# start and stop


async def test_a_child_that_does_not_come_up_is_named_and_nothing_stays_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "START_TIMEOUT_SECONDS", 3.0)
    monkeypatch.setattr(supervisor, "WORKER_STOP_SECONDS", 0.5)
    scene.behave("worker-1", start="hang")
    with pytest.raises(StartError, match=r"agent 0, worker 1$"):
        async with started(scene):
            pass
    pids = [int(line.split()[2]) for line in scene.log() if line.split()[1] == "started"]
    assert pids
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


async def test_a_machine_without_room_for_a_process_is_asked_again(scene: Scene) -> None:
    executable = scene.folder.parent / "python"
    hidden = executable.with_name("hidden")
    executable.rename(hidden)
    starting = asyncio.create_task(scene.outpost.start())
    await scene.until(lambda: scene.child("ledger-0").starts >= 2)
    hidden.rename(executable)
    await asyncio.wait_for(starting, PATIENCE)
    await scene.outpost.stop()


async def test_workers_end_first_and_the_ledger_last(scene: Scene) -> None:
    async with started(scene):
        pass
    stops = [line.split()[0] for line in scene.log() if line.endswith(" stopped")]
    assert (sorted(stops[:2]), stops[2:]) == (["worker-0", "worker-1"], ["agent-0", "ledger-0"])


async def test_a_child_that_ignores_the_signal_is_killed_in_bounded_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "WORKER_STOP_SECONDS", 0.3)
    scene.behave("worker-0", stop="hang")
    async with started(scene):
        pass
    process = scene.child("worker-0").process
    assert process is not None
    assert process.returncode == -9
    assert scene.said("worker-0 ignores")
    assert scene.said("ledger-0 stopped")


async def test_nothing_comes_back_once_the_end_has_begun(scene: Scene) -> None:
    async with started(scene):
        os.kill(scene.pid("worker-0"), 9)
    starts = len(scene.said("worker-0 started"))
    assert starts in (1, 2)  # it may have been on its way
    pids = [int(line.split()[2]) for line in scene.log() if line.split()[1] == "started"]
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


async def test_a_taken_port_is_named_before_anything_starts(scene: Scene, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(state=tmp_path / "other", port=taken.getsockname()[1], workers=1)
        outpost = Supervisor(settings)
        with pytest.raises(ListenError):
            await outpost.start()
        await outpost.stop()
    assert scene.log() == []
