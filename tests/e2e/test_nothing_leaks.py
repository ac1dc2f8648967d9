"""Values of every kind through a whole site, at every place where a client, a provider or an author can put them.

Afterwards none of them stands in any file of the site, in any log, metric, status, error answer or message on the wire.
The provider saw placeholders where policy redacts, and nothing where it blocks.
"""

import asyncio
import contextlib
import io
import itertools
import json
import logging
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio

from certs.join_token import JoinToken, parse
from controlplane import telemetry
from controlplane.bootstrap.plane import Plane, initialise, opened
from controlplane.bootstrap.serving import Server
from controlplane.services.administer import Terms
from controlplane.services.defaults import default_policy, default_provider
from controlplane.settings import Settings
from outpost.cli.stack import Stack, stack, wait_ready
from outpost.cli.status import ask
from outpost.simulator.script import Script, ToolCall
from tests.e2e.conftest import ORG, outcome, until
from tests.fakes.canaries import BLOCKED, REDACTED, Canaries, files_with
from tests.fakes.overheard import Lines, Provider, Recording

KINDS = (*BLOCKED, *REDACTED)
CHAT = "/v1/chat/completions"
PROVIDER_KEY = "sk-" + "provider-" + os.urandom(12).hex()
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Place:
    """A site whose control plane and provider live in this process, and all that was said to anybody outside it."""

    stack: Stack
    plane: Plane
    provider: Provider
    wire: Recording
    log: Lines
    outside: Path
    url: str = ""
    metrics: str = ""
    key: str = ""
    told: list[bytes] = field(default_factory=list)
    canaries: Canaries = field(default_factory=Canaries)

    async def post(self, body: bytes, path: str = CHAT, **headers: str) -> tuple[int, bytes]:
        """One request; any answer but 200 counts as told."""
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **headers}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, data=io.BytesIO(body), headers=sent) as reply,
        ):
            said = await reply.read()
            if reply.status != 200:
                self.told += [said, json.dumps(dict(reply.headers)).encode()]
            return reply.status, said

    async def chat(self, text: str, **more: Any) -> tuple[int, bytes]:
        return await self.post(chat_body(text, **more))

    def seen(self) -> list[bytes]:
        """What the provider got since it was last asked, heads included."""
        found = [json.dumps(each.headers).encode() + b"\n" + each.body.encode() for each in self.provider.seen]
        self.provider.reset()
        return found

    async def command(self, *arguments: str) -> int:
        """A command line; whatever it says counts as told."""
        status, out, errors = await outcome(*arguments)
        self.told += [out.encode(), errors.encode()]
        return status

    def leaked(self, said: Iterable[bytes]) -> list[str]:
        return self.canaries.found_in(b"\n".join(said))


def chat_body(text: str, **more: Any) -> bytes:
    return json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}).encode()


@contextlib.asynccontextmanager
async def control_plane(folder: Path, provider_url: str) -> AsyncIterator[tuple[Plane, Recording, Lines]]:
    """In this process, with its messages and log lines kept."""
    wire, log = Recording(), Lines()
    make: Any = grpc.aio.server

    def recording(interceptors: tuple[Any, ...], options: Any) -> Any:
        return make(interceptors=(wire, *interceptors), options=options)

    telemetry.LOGGER.addHandler(log)
    telemetry.LOGGER.setLevel(logging.DEBUG)
    await initialise(folder, Settings(enroll_port=0, grpc_port=0), None)
    async with opened(folder) as plane:
        await plane.publisher.create(ORG, [default_provider(provider_url, "provider")])
        server = Server(plane)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(grpc.aio, "server", recording)
            await server.start()
        try:
            yield plane, wire, log
        finally:
            await server.stop()
            telemetry.LOGGER.removeHandler(log)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("leaks")
    provider = Provider()
    await provider.start()
    async with stack(folder / "site") as running, control_plane(running.controlplane_state, provider.url) as parts:
        made = Place(running, parts[0], provider, parts[1], parts[2], folder)
        made.key = await running.create_key(ORG)
        await running.enroll(ORG)
        secrets = running.outpost_state() / "secrets"
        secrets.mkdir(mode=0o700)
        (secrets / "provider").write_text(PROVIDER_KEY)
        program = await running.start_outpost("outpost", "--workers", "1")
        made.url, made.metrics = program.ready["url"], program.ready["metrics"]
        await wait_ready(made.url)
        yield made
    await provider.stop()


@pytest.mark.parametrize("kind", BLOCKED)
async def test_a_blocked_prompt_reaches_nobody(kind: str, place: Place) -> None:
    deep = {"metadata": {"note": place.canaries.sentence(kind, "metadata")}}
    call = {"name": "f", "arguments": json.dumps({"to": place.canaries.sentence(kind, "tool arguments")})}
    history = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": call}]}
    ]
    tool = {"type": "function", "function": {"name": "f", "description": place.canaries.sentence(kind, "tool")}}
    for body in (
        chat_body(place.canaries.sentence(kind, "prompt")),
        chat_body(place.canaries.sentence(kind, "streamed prompt"), stream=True),
        chat_body("hello", **deep),
        chat_body("hello", tools=[tool]),
        json.dumps({"model": "gpt-4o-mini", "messages": history}).encode(),
    ):
        status, said = await place.post(body)
        assert (status, json.loads(said)["error"]["code"]) == (403, "policy.blocked")
    assert place.seen() == []


@pytest.mark.parametrize("kind", REDACTED)
async def test_a_redacted_prompt_reaches_the_provider_with_placeholders(kind: str, place: Place) -> None:
    for stream in (False, True):
        text = place.canaries.sentence(kind, "redacted prompt")
        value = list(place.canaries.made)[-1]
        status, said = await place.chat(text, stream=stream)
        assert status == 200
        assert stream or value in json.loads(said)["choices"][0]["message"]["content"]
        (seen,) = place.seen()
        assert place.leaked([seen]) == []
        assert f"[{kind.upper()}_1]".encode() in seen


async def test_an_allowed_prompt_is_for_the_provider_only(place: Place) -> None:
    marker = place.canaries.value("marker", "allowed prompt")
    assert (await place.chat(f"say {marker}"))[0] == 200
    (seen,) = place.seen()
    assert marker.encode() in seen
    assert place.key.encode() not in seen


def malformed(sentence: str) -> dict[str, bytes]:
    """The same words in bodies that no parser should take."""
    whole = chat_body(sentence)
    return {
        "cut in the middle": whole[:-5],
        "with bytes behind it": whole + b" and more",
        "with a key that stands twice": b'{"model":"m","model":"' + sentence.encode() + b'"}',
        "that is no JSON": sentence.encode(),
        "that is no UTF-8": whole.replace(b"please", b"\xff"),
        "with a number that is none": whole.replace(b'"user"', b"NaN"),
        "without messages": json.dumps({"model": "gpt-4o-mini", "prompt": sentence}).encode(),
        "with parts that are no text": json.dumps(
            {"model": "m", "messages": [{"role": "user", "content": [{"type": sentence, "x": 1}]}]}
        ).encode(),
        "with a value of another type": json.dumps({"model": [sentence], "messages": sentence}).encode(),
        "that is too large": chat_body(sentence + " x" * 600_000),
        "that nests too deep": b'{"a":' * 80 + json.dumps(sentence).encode() + b"}" * 80,
    }


@pytest.mark.parametrize("kind", ["credit_card", "email", "api_key", "marker"])
async def test_a_body_that_cannot_be_read_is_refused_without_a_word_of_it(kind: str, place: Place) -> None:
    for what in malformed(""):
        words = place.canaries.sentence(kind, f"a body {what}").replace('"', "")
        status, said = await place.post(malformed(words)[what])
        assert status in (400, 413), (what, said)
    assert place.seen() == []


@pytest.mark.parametrize("kind", ["credit_card", "email", "aws_access_key"])
async def test_names_of_models_are_texts_like_all_others(kind: str, place: Place) -> None:
    for body in (
        {"model": place.canaries.value(kind, "model"), "messages": [{"role": "user", "content": "hello"}]},
        {
            "model": f"gpt-{place.canaries.value(kind, 'model of a stream')}",
            "stream": True,
            "messages": [{"role": "x"}],
        },
    ):
        status, _ = await place.post(json.dumps(body).encode())
        assert status in (400, 403, 404)
    assert place.seen() == []


@pytest.mark.parametrize("kind", ["credit_card", "email", "api_key", "marker"])
async def test_heads_paths_and_queries_go_nowhere(kind: str, place: Place) -> None:
    def value(where: str) -> str:
        return place.canaries.value(kind, where)

    heads = {"X-Trace": value("header"), "Cookie": f"s={value('cookie')}", "User-Agent": value("agent")}
    assert (await place.post(chat_body("hello"), **heads, **{"X-Request-Id": value("request id")}))[0] == 200
    (seen,) = place.seen()
    assert place.leaked([seen]) == []
    assert (await place.post(chat_body("hello"), Authorization=f"Bearer {value('bearer')}"))[0] == 401
    assert (await place.post(chat_body("hello"), Authorization=f"Bearer op_{ORG}_{value('key')}".ljust(50, "k")))[
        0
    ] == 401
    assert (await place.post(chat_body("hello"), **{"X-API-Key": value("second key")}))[0] == 401
    assert (await place.post(chat_body("hello"), **{"Content-Type": f"text/{value('content type')}"}))[0] == 415
    query = value("query").replace(" ", "+")
    assert (await place.post(chat_body("hello"), f"{CHAT}?note={query}"))[0] in (200, 400)
    assert (await place.post(chat_body("hello"), "/v1/" + value("path").replace(" ", "-")))[0] == 404
    place.seen()


@pytest.mark.parametrize("kind", BLOCKED)
async def test_an_answer_with_a_secret_is_withheld_whole_and_streamed(kind: str, place: Place) -> None:
    for stream in (False, True):
        for tool in (False, True):
            text = place.canaries.sentence(kind, f"answer, stream {stream}, tool {tool}")
            call = ToolCall(name="send", arguments=json.dumps({"text": text})) if tool else None
            place.provider.play(Script(reply=text, tool_call=call, chunk_chars=5))
            status, said = await place.chat("tell me", stream=stream)
            assert status == (200 if stream else 403)
            place.told.append(said)  # a stream's status is sent before its end
            assert place.leaked([said]) == []
    place.seen()


@pytest.mark.parametrize("kind", ["credit_card", "email", "api_key", "marker"])
async def test_error_bodies_of_the_provider_stay_with_it(kind: str, place: Place) -> None:
    for status in (400, 401, 404, 429, 500, 503):
        words = place.canaries.sentence(kind, f"error body {status}")
        place.provider.error_body = json.dumps({"error": {"message": words, "code": words, "type": words}}).encode()
        place.provider.error_headers = {
            "X-Note": place.canaries.value(kind, f"error header {status}").replace("\n", "")
        }
        place.provider.play(Script(status=status))
        assert (await place.chat("hello"))[0] >= 400
        place.provider.play(Script(status=status))
        assert (await place.chat("hello", stream=True))[0] >= 400
    place.provider.error_body = place.canaries.sentence(kind, "an error body that is no JSON").encode()
    place.provider.play(Script(status=500))
    assert (await place.chat("hello"))[0] >= 500
    place.seen()


def spoilt_policies(value: str) -> dict[str, bytes]:
    """The words of an author where none belong, or where the linter objects."""
    first = json.loads(default_policy(ORG))

    def rule(**changes: Any) -> bytes:
        pack = first["packs"][0]
        rules = [{**pack["rules"][0], **changes}, *pack["rules"][1:]]
        return json.dumps({**first, "packs": [{**pack, "rules": rules}]}).encode()

    return {
        "an action that does not exist": rule(action=value),
        "a sequence that is no number": rule(sequence=value),
        "an expression that does not compile": rule(conditions={"content_regex": [f"({value}"]}),
        "a type that nobody finds": rule(conditions={"entity_types": [value]}),
        "a rule that can never fire": rule(message=value, conditions={"tokens_min": 9, "tokens_max": 1}),
        "a default that does not exist": json.dumps({**first, "default": {"input": value}}).encode(),
        "a text that is no policy": value.encode(),
        "a policy that is cut": rule(message=value)[:-9],
    }


async def test_policies_that_are_refused_are_not_repeated(place: Place) -> None:
    for what, kind in zip(spoilt_policies(""), itertools.cycle(["credit_card", "email", "api_key", "phone"])):
        value = place.canaries.value(kind, f"a policy with {what}")
        file = place.outside / f"{what.replace(' ', '-')}.json"
        file.write_bytes(spoilt_policies(value)[what])
        publish = ("controlplane", "policy", "publish", str(file), "--org", ORG)
        status = await place.command(*publish, "--state", str(place.stack.controlplane_state))
        assert status != 0, what


async def test_join_tokens_that_are_refused_are_not_repeated(place: Place) -> None:
    issued = await place.plane.administration.register(ORG, "second", Terms(), await place.plane.door())
    token = parse(issued.token)
    wrong = JoinToken(token.org, token.name, token.endpoint, token.pin, os.urandom(32))
    tried = {"unknown": wrong.encode(), "cut": issued.token[:-4], "altered": issued.token[:-9] + "AAAAAAAAA"}
    for what, text in tried.items():
        place.canaries.made[text[-40:]] = f"a join token that is {what}"
        file = place.outside / f"{what}.token"
        file.write_text(text)
        command = ("outpost", "enroll", "--state", str(place.stack.folder / "second"), "--token-file", str(file))
        assert await place.command(*command) != 0
    for secret in (token.secret, wrong.secret):
        place.canaries.made[secret.hex()] = "the secret of a join token"
    state = b"".join(p.read_bytes() for p in place.stack.folder.rglob("*") if p.is_file())
    assert [secret for secret in (token.secret, wrong.secret) if secret in state] == []
    assert issued.token.encode() not in state


async def test_nothing_of_all_that_stands_anywhere(place: Place) -> None:
    """Runs last: everything above has been sent."""
    assert len(place.canaries.made) > 100
    place.canaries.made |= {place.key: "the client key", PROVIDER_KEY: "the provider's key"}

    async def delivered() -> bool:
        known = (await asyncio.to_thread(ask, place.stack.outpost_state()))["orgs"][ORG]
        return bool(known["audit_size"] > 50 and known["audit_cosigned"] == known["audit_size"])

    await until(delivered)
    async with aiohttp.ClientSession() as session:
        for url in (place.metrics, f"{place.url}/readyz", f"{place.url}/health", f"{place.url}/healthz"):
            async with session.get(url) as reply:
                place.told.append(await reply.read())
    for words in (("status",), ("doctor",), ("verify-audit", "--output", "json")):
        await place.command("outpost", *words, "--state", str(place.stack.outpost_state()))
    assert len(place.told) > 100
    assert place.leaked(place.told) == []

    assert sum(map(len, place.wire.messages)) > 10_000
    assert b"request.decided" in b"".join(place.wire.messages)
    assert place.leaked(place.wire.messages) == []
    assert any("sync" in line or "audit" in line for line in place.log.lines)
    assert place.leaked(line.encode() for line in place.log.lines) == []

    await place.stack.programs["outpost"].stop()
    found = files_with(place.canaries, place.stack.folder)
    secret = str((place.stack.outpost_state() / "secrets" / "provider").relative_to(place.stack.folder))
    assert found.pop(secret) == ["the provider's key"]
    assert found == {}
    everything = place.told + place.wire.messages + [line.encode() for line in place.log.lines]
    assert keys_outside_their_files(place.stack.folder, b"\n".join(everything)) == []


def keys_outside_their_files(folder: Path, said: bytes) -> list[str]:
    """Key files of outpost and control plane whose key stands in another file, or was said."""
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    names = {"wrap.key", "leaf.pem", "log.key", "kek", "root.key", "issuing-outposts.key"}
    found = []
    owners = [path for path in files if path.name in names]
    assert len(owners) >= 5, sorted(files)
    for owner in owners:
        _, is_pem, body = files[owner].partition(b"PRIVATE KEY-----\n")
        key = body.split(b"\n")[0] if is_pem else files[owner]
        assert len(key) >= 32, owner
        if key in said or any(key in data for path, data in files.items() if path != owner):
            found.append(owner.name)
    return found


async def test_a_trace_would_be_found(place: Place) -> None:
    """The search itself: a value in an audit segment, in a log, and without its separators."""
    canaries = Canaries()
    card, mail = canaries.value("credit_card", "x"), canaries.value("email", "y")
    (place.outside / "planted").mkdir()
    (place.outside / "planted" / "a.segment").write_bytes(b"\x00" + card.replace(" ", "").encode())
    (place.outside / "planted" / "b.log").write_text(json.dumps({"message": mail}))
    assert files_with(canaries, place.outside / "planted") == {
        "a.segment": ["credit_card in x"],
        "b.log": ["email in y"],
    }
