"""Providers and models that were switched off: refused with a code of their own, recorded, and not offered."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from outpost.core.bundle.kill import KillList
from outpost.gateway.handlers import list_models
from outpost.gateway.journey import Caller
from tests.unit.gateway.harness import KEYS, Stack, client_key, program, stack

KILLED = {
    "a model": (KillList((), ("gpt-4o-mini",)), "model.killed"),
    "a glob of models, whatever the case": (KillList((), ("GPT-4O*",)), "model.killed"),
    "the provider of the model": (KillList(("sim",), ()), "provider.killed"),
}


@pytest.fixture
async def outpost(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        yield made


def hello(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("what", KILLED)
async def test_what_was_switched_off_is_refused(what: str, stream: bool, outpost: Stack) -> None:
    killed, code = KILLED[what]
    outpost.configure(killed=killed)
    async with outpost.client() as client:
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await client.chat.completions.create(**hello("gpt-4o-mini"), stream=stream)
    body: Any = denied.value.body
    assert body["code"] == code
    assert denied.value.response.headers["x-should-retry"] == "false"
    assert outpost.simulator.seen == []
    assert [record.get("error_code") for record in await outpost.records()] == [code]


LISTED: dict[str, tuple[KillList, list[str]]] = {
    "nothing": (KillList(), ["gpt-4o-mini", "gpt-5"]),
    "a model": (KillList((), ("gpt-5",)), ["gpt-4o-mini"]),
    "the only provider": (KillList(("sim",)), []),
}


@pytest.mark.parametrize("what", LISTED)
def test_what_was_switched_off_is_not_listed(what: str) -> None:
    killed, listed = LISTED[what]
    made = program(killed=killed)
    made = replace(made, providers=(replace(made.providers[0], models=("gpt-4o-mini", "gpt-5")),))
    assert [model["id"] for model in list_models(Caller(made, client_key("main", KEYS["main"])))] == listed


async def test_other_models_are_served_on(outpost: Stack) -> None:
    outpost.configure(killed=KillList((), ("gpt-4o",)))
    async with outpost.client() as client:
        answer = await client.chat.completions.create(**hello("gpt-4o-mini"))
        assert answer.choices[0].message.content == "You said: hello"
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(**hello("gpt-4o"))
    outpost.configure()  # the list is empty again
    async with outpost.client() as client:
        assert (await client.chat.completions.create(**hello("gpt-4o"))).choices
