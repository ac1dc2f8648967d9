"""Every kind of bad input has its own clear answer, is recorded, and reaches no provider."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from outpost.core.bundle.trust import OrgState, State
from outpost.core.decision import Action
from outpost.gateway.handlers import list_models
from outpost.gateway.journey import Caller
from tests.unit.gateway.harness import CARD, KEYS, ORG, OTHER_ORG, Stack, client_key, program, rule, stack

GOOD = b'{"model":"gpt-x","messages":[{"role":"user","content":"hello"}]}'
JSON = {"Content-Type": "application/json"}
AUTH = {**JSON, "Authorization": f"Bearer {KEYS['main']}"}


@pytest.fixture
async def outpost(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        yield made


async def post(outpost: Stack, body: Any, headers: dict[str, str], path: str = "/chat/completions") -> Any:
    url = outpost.url + path
    body = io.BytesIO(body) if isinstance(body, bytes) else body
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as got:
        return got.status, orjson.loads(await got.read()), got.headers


BODIES: dict[str, tuple[bytes, int, str]] = {
    "malformed": (b'{"model":', 400, "body.malformed"),
    "empty": (b"", 400, "body.malformed"),
    "invalid UTF-8": (GOOD.replace(b"hello", b"\xff\xfe"), 400, "body.not_utf8"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, 400, "body.bom"),
    "trailing bytes": (GOOD + b"x", 400, "body.trailing"),
    "a duplicated content key": (
        GOOD.replace(b'"content":"hello"', b'"content":"%s","content":"hello"' % CARD.encode()),
        400,
        "body.duplicate_key",
    ),
    "deep": (GOOD[:-1] + b',"x":' + b"[" * 500 + b"]" * 500 + b"}", 400, "body.too_deep"),
    "deeper than the parser": (b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "body.too_deep"),
    "a huge number": (GOOD[:-1] + b',"seed":' + b"9" * 400 + b"}", 400, "body.number_range"),
    "too many values": (GOOD[:-1] + b',"x":[' + b"0," * 100_001 + b"0]}", 400, "body.too_many_nodes"),
    "an array": (b"[]", 400, "body.not_an_object"),
    "oversized": (GOOD[:-1] + b',"x":"' + b"x" * 1_048_576 + b'"}', 413, "body.too_large"),
    "no messages": (b'{"model":"gpt-x"}', 400, "request.field_missing"),
    "a picture": (
        GOOD.replace(b'"hello"', b'[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]'),
        400,
        "content.uninspectable",
    ),
    "base64 in an unknown field": (GOOD[:-1] + b',"x":"data:audio/wav;base64,AAAA"}', 400, "content.uninspectable"),
    "an unknown model": (GOOD.replace(b"gpt-x", b"nobody"), 404, "model.unknown"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_bad_body_is_answered_recorded_and_not_sent(outpost: Stack, case: str) -> None:
    body, status, code = BODIES[case]
    got, answer, headers = await post(outpost, body, AUTH)
    assert (got, answer["error"]["code"]) == (status, code)
    assert set(answer["error"]) == {"message", "type", "code", "param", "request_id", "rule", "reason"}
    assert answer["error"]["type"] == "invalid_request_error"
    assert headers["x-should-retry"] == "false"
    assert outpost.simulator.seen == []
    (record,) = await outpost.records()
    assert (record["event"], record["error_code"], record["status"]) == ("request.refused", code, status)
    assert record["request_id"] == answer["error"]["request_id"] == headers["X-Request-Id"]


async def test_an_oversized_body_without_a_length_is_cut_off(outpost: Stack) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield GOOD[:-1] + b',"x":"'
        for _ in range(40):
            yield b"x" * 65_536
        yield b'"}'

    status, answer, _ = await post(outpost, endless(), AUTH)
    assert (status, answer["error"]["code"]) == (413, "body.too_large")


async def test_the_release_sets_the_limit_of_the_body(outpost: Stack) -> None:
    outpost.configure(max_body_bytes=len(GOOD))
    assert (await post(outpost, GOOD, AUTH))[0] == 200
    assert (await post(outpost, GOOD + b" ", AUTH))[0] == 413


HEADERS: dict[str, tuple[dict[str, str], int, str]] = {
    "another content type": ({**AUTH, "Content-Type": "text/plain"}, 415, "content_type.unsupported"),
    "another charset": ({**AUTH, "Content-Type": "application/json; charset=utf-16"}, 415, "content_type.unsupported"),
    "a compressed body": ({**AUTH, "Content-Encoding": "gzip"}, 415, "content_type.unsupported"),
}


@pytest.mark.parametrize("case", HEADERS)
async def test_a_body_that_is_not_plain_json_is_refused(outpost: Stack, case: str) -> None:
    headers, status, code = HEADERS[case]
    got, answer, _ = await post(outpost, GOOD, headers)
    assert (got, answer["error"]["code"]) == (status, code)
    assert outpost.simulator.seen == []


CREDENTIALS: dict[str, tuple[dict[str, str], str]] = {
    "no key": ({}, "auth.missing"),
    "basic authentication": ({"Authorization": "Basic b3A6eA=="}, "auth.missing"),
    "an empty bearer": ({"Authorization": "Bearer "}, "auth.missing"),
    "two different keys": (
        {"Authorization": f"Bearer {KEYS['main']}", "X-API-Key": KEYS["narrow"]},
        "auth.missing",
    ),
    "a key of no known form": ({"Authorization": "Bearer sk-something"}, "auth.unknown_key"),
    "a very long key": ({"X-API-Key": "op_acme_" + "k" * 4000}, "auth.unknown_key"),
    "a key that nobody has": ({"X-API-Key": f"op_{ORG}_" + "z" * 43}, "auth.unknown_key"),
    "a key of an org that is not here": ({"X-API-Key": "op_nobody_" + "z" * 43}, "auth.unknown_key"),
    "a key under another org": ({"X-API-Key": KEYS["main"].replace(ORG, OTHER_ORG)}, "auth.unknown_key"),
    "an expired key": ({"X-API-Key": KEYS["expired"]}, "auth.expired"),
    "a key of the future": ({"X-API-Key": KEYS["future"]}, "auth.not_yet_valid"),
    "a revoked key": ({"X-API-Key": KEYS["revoked"]}, "auth.revoked"),
}


@pytest.mark.parametrize("case", CREDENTIALS)
async def test_without_a_valid_key_nothing_is_read_or_recorded(outpost: Stack, case: str) -> None:
    credentials, code = CREDENTIALS[case]
    status, answer, headers = await post(outpost, GOOD, {**JSON, **credentials})
    assert (status, answer["error"]["code"]) == (401, code)
    assert headers["WWW-Authenticate"] == "Bearer"
    assert await outpost.records() == []
    assert f'outpost_unauthenticated_requests_total{{code="{code}"}} 1.0' in outpost.gateway.metrics.render().decode()


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
async def test_a_key_is_taken_from_either_header(outpost: Stack, header: str) -> None:
    value = KEYS["main"] if header == "X-API-Key" else f"bearer {KEYS['main']}"
    assert (await post(outpost, GOOD, {**JSON, header: value}))[0] == 200


async def test_unknown_paths_and_methods_are_answered_in_the_same_shape(outpost: Stack) -> None:
    status, answer, _ = await post(outpost, GOOD, AUTH, "/embeddings")
    assert (status, answer["error"]["code"]) == (404, "endpoint.unknown")
    status, answer, _ = await post(outpost, GOOD, AUTH, "/models")
    assert (status, answer["error"]["code"]) == (405, "endpoint.method")


async def test_a_sealed_org_is_refused_and_the_other_is_served(outpost: Stack) -> None:
    outpost.states[ORG] = OrgState(State.SEALED, "bundle.seal_bound", "Too old.")
    status, answer, headers = await post(outpost, GOOD, AUTH)
    assert (status, answer["error"]["code"]) == (503, "outpost.sealed")
    assert headers["x-should-retry"] == "false"
    assert "bundle.seal_bound" in answer["error"]["message"]
    assert (await post(outpost, GOOD, {**JSON, "X-API-Key": f"op_{OTHER_ORG}_" + "k" * 43}))[0] == 200
    assert await outpost.events() == ["request.refused"]


@pytest.mark.parametrize("state", [State.OFFLINE, State.STALE])
async def test_offline_and_stale_orgs_are_served_and_enforced(outpost: Stack, state: State) -> None:
    outpost.states[ORG] = OrgState(state, "x", "y")
    assert (await post(outpost, GOOD, AUTH))[0] == 200
    assert (await post(outpost, GOOD.replace(b"hello", CARD.encode()), AUTH))[0] == 403


async def test_an_org_without_configuration_says_so(outpost: Stack) -> None:
    outpost.gateway.programs.drop(ORG)
    outpost.states[ORG] = OrgState(State.ENROLLED, "bundle.none", "No configuration yet.")
    status, answer, _ = await post(outpost, GOOD, AUTH)
    assert (status, answer["error"]["code"]) == (503, "outpost.unconfigured")


async def test_requests_beyond_the_allowance_are_told_when_to_come_back(outpost: Stack) -> None:
    outpost.configure(per_minute=2)
    assert [(await post(outpost, GOOD, AUTH))[0] for _ in range(2)] == [200, 200]
    status, answer, headers = await post(outpost, GOOD, AUTH)
    assert (status, answer["error"]["code"]) == (429, "limit.requests")
    assert 1 <= int(headers["Retry-After"]) <= 30
    assert headers["X-RateLimit-Limit-Requests"] == "2"
    assert (await post(outpost, GOOD, {**JSON, "X-API-Key": KEYS["human"]}))[0] == 200
    assert len(outpost.simulator.seen) == 3


async def test_more_requests_than_the_worker_takes_are_shed(outpost: Stack) -> None:
    outpost.gateway.in_flight.limit = 0
    status, answer, _ = await post(outpost, GOOD, AUTH)
    assert (status, answer["error"]["code"]) == (503, "outpost.overloaded")
    assert outpost.gateway.in_flight.count == 0


async def test_without_a_record_nothing_happens(outpost: Stack) -> None:
    await asyncio.to_thread(outpost.ledger.close)
    for body in (GOOD, GOOD.replace(b"hello", CARD.encode()), b"{"):
        status, answer, _ = await post(outpost, body, AUTH)
        assert (status, answer["error"]["code"]) == (503, "audit.unavailable")
        assert "rule" in answer["error"]
        assert answer["error"]["rule"] is None
    assert outpost.simulator.seen == []


async def test_a_missing_provider_key_is_our_fault_and_sends_nothing(outpost: Stack) -> None:
    (outpost.folder / "secrets" / "sim-key").unlink()
    status, answer, _ = await post(outpost, GOOD, AUTH)
    assert (status, answer["error"]["code"]) == (503, "secret.missing")
    assert str(outpost.folder) not in answer["error"]["message"]
    assert outpost.simulator.seen == []
    assert (await outpost.records())[-1]["outcome"] == "failed"


async def test_probes_tell_reasons(outpost: Stack) -> None:
    base = outpost.url.removesuffix("/v1")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/healthz") as got:
            assert got.status == 200
        async with session.get(f"{base}/readyz") as got:
            assert (got.status, (await got.json())["orgs"][ORG]["canary"]) == (200, "ok")
        await asyncio.to_thread(outpost.ledger.close)
        await post(outpost, GOOD, AUTH)
        async with session.get(f"{base}/readyz") as got:
            told = await got.json()
            assert (got.status, told["ready"]) == (503, False)
            assert told["orgs"][ORG]["audit"] != "ok"
        async with session.get(f"{base}/health") as got:
            assert (await got.json())["orgs"][ORG]["revision"] == "1.1"


async def test_the_actor_and_features_of_a_key_are_recorded(outpost: Stack) -> None:
    outpost.configure(rules=(rule("people", Action.BLOCK.value, "input", channels=["interactive"]),))
    assert (await post(outpost, GOOD, {**JSON, "X-API-Key": KEYS["human"]}))[0] == 403
    (record,) = await outpost.records()
    assert record["actor"] == {"kind": "client", "key_id": client_key("human", "").id, "groups": ["staff"]}
    assert record["features"]["channel"] == "interactive"
    assert KEYS["human"] not in str(record)


async def test_a_key_of_another_form_gets_a_hint(outpost: Stack) -> None:
    _, answer, _ = await post(outpost, GOOD, {"Authorization": "Bearer sk-something"})
    assert "begin with op_" in answer["error"]["message"]
    _, answer, _ = await post(outpost, GOOD, {"X-API-Key": f"op_{ORG}_" + "z" * 43})
    assert "begin with op_" not in answer["error"]["message"]


async def test_an_unknown_endpoint_is_answered_with_those_that_there_are(outpost: Stack) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{outpost.url}/completions") as response:
        error = orjson.loads(await response.read())["error"]
    assert (response.status, error["code"]) == (404, "endpoint.unknown")
    for endpoint in ("POST /v1/chat/completions", "GET /v1/models", "GET /healthz"):
        assert endpoint in error["message"]


async def test_models_are_listed_by_name_and_never_by_glob(outpost: Stack) -> None:
    made = program(ORG, outpost.simulator.url)
    provider = replace(made.providers[0], models=("gpt-4o-mini", "gpt-5", "gpt-*", "*"))
    made = replace(made, providers=(provider,))
    keys = {name: Caller(made, client_key(name, KEYS["main"], models=globs)) for name, globs in LISTED_FOR.items()}
    assert {name: [model["id"] for model in list_models(caller)] for name, caller in keys.items()} == {
        "any": ["gpt-4o-mini", "gpt-5"],
        "narrow": ["gpt-4o-mini"],
        "named": ["claude-x"],
    }


LISTED_FOR: dict[str, tuple[str, ...]] = {"any": (), "narrow": ("gpt-4o*",), "named": ("claude-x",)}
