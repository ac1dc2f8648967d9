"""The official client, unchanged but for base URL and key, through gateway, ledger and simulator."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from outpost.simulator.script import Script, ToolCall
from tests.unit.gateway.harness import (
    AWS_KEY,
    CARD,
    DEFAULT_RULES,
    EMAIL,
    EMAIL_2,
    KEYS,
    ORG,
    OTHER_KEY,
    OTHER_ORG,
    Stack,
    rule,
    stack,
)

MODEL = "gpt-4o-mini"


@pytest.fixture
async def outpost(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        yield made


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def streamed(client: openai.AsyncOpenAI, text: str, **options: Any) -> tuple[str, list[Any]]:
    chunks = [
        c async for c in await client.chat.completions.create(model=MODEL, messages=user(text), stream=True, **options)
    ]
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks


async def test_an_allowed_chat_comes_back_with_id_and_action(outpost: Stack) -> None:
    async with outpost.client() as client:
        raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=user("hello"))
    answer = raw.parse()
    assert answer.choices[0].message.content == "You said: hello"
    assert raw.headers["x-policy-action"] == "ALLOW"
    assert raw.headers["x-request-id"].startswith("req_")
    assert await outpost.events() == ["request.decided", "request.finished"]
    decided, finished = await outpost.records()
    assert decided["request_id"] == finished["request_id"] == raw.headers["x-request-id"]
    assert (finished["outcome"], finished["status"], finished["provider_status"]) == ("released", 200, 200)
    assert finished["tokens_completion"] == 3


async def test_the_provider_gets_our_headers_and_its_own_key_only(outpost: Stack) -> None:
    async with outpost.client(default_headers={"X-Custom": "1", "Cookie": "a=b"}) as client:
        await client.chat.completions.create(model=MODEL, messages=user("hello"))
    headers = outpost.simulator.seen[0].headers
    assert headers["Authorization"] == "Bearer provider-secret"
    assert KEYS["main"] not in str(outpost.simulator.seen)
    assert not {"X-Custom", "Cookie", "X-Stainless-Lang"} & set(headers)
    assert headers["User-Agent"] == "outpost"


async def test_a_streamed_chat_keeps_finish_usage_and_text(outpost: Stack) -> None:
    async with outpost.client() as client:
        text, chunks = await streamed(client, "hello there", stream_options={"include_usage": True})
    assert text == "You said: hello there"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 6
    assert (await outpost.records())[-1]["tokens_prompt"] == 2


async def test_a_tool_call_passes_whole_and_streamed(outpost: Stack) -> None:
    arguments = '{"city":"Köln","days":3}'
    outpost.simulator.play(Script(tool_call=ToolCall(name="forecast", arguments=arguments), chunk_chars=4))
    async with outpost.client() as client:
        whole = await client.chat.completions.create(model=MODEL, messages=user("weather?"))
        calls = [call.to_dict()["function"] for call in whole.choices[0].message.tool_calls or []]
        assert calls == [{"name": "forecast", "arguments": arguments}]
        _, chunks = await streamed(client, "weather?")
    deltas = [call for c in chunks for call in c.choices[0].delta.tool_calls or []]
    assert "".join(delta.function.arguments or "" for delta in deltas) == arguments
    assert [delta.function.name for delta in deltas if delta.function.name] == ["forecast"]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_a_card_is_blocked_and_the_client_does_not_retry(outpost: Stack) -> None:
    async with outpost.client() as client:
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await client.chat.completions.create(model=MODEL, messages=user(f"pay with {CARD}"))
    body: Any = denied.value.body
    assert denied.value.status_code == 403
    assert (body["type"], body["code"], body["rule"]) == ("policy_violation", "policy.blocked", "cards")
    assert body["param"] == "messages[0].content"
    assert CARD not in denied.value.response.text
    assert denied.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in denied.value.response.headers
    assert outpost.simulator.seen == []
    assert await outpost.events() == ["request.decided"]  # one request: the SDK's default of two retries was not used


async def test_mail_addresses_go_as_placeholders_and_come_back(outpost: Stack) -> None:
    text = f"write to {EMAIL}, copy {EMAIL_2}, thank {EMAIL}"
    async with outpost.client() as client:
        whole = await client.chat.completions.create(model=MODEL, messages=user(text))
        flowing, _ = await streamed(client, text)
    sent = "write to [EMAIL_1], copy [EMAIL_2], thank [EMAIL_1]"
    assert [body["messages"][0]["content"] for body in outpost.seen()] == [sent, sent]
    assert whole.choices[0].message.content == flowing == f"You said: {text}"
    assert EMAIL not in str(await outpost.records())


async def test_placeholders_in_tool_arguments_come_back_as_json(outpost: Stack) -> None:
    outpost.simulator.play(
        Script(tool_call=ToolCall(name="send", arguments='{"to":"[EMAIL_1]","x":"[EMAIL_9]"}'), chunk_chars=3)
    )
    async with outpost.client() as client:
        _, chunks = await streamed(client, f"send to {EMAIL}")
    arguments = "".join(call.function.arguments or "" for c in chunks for call in c.choices[0].delta.tool_calls or [])
    assert arguments == f'{{"to":"{EMAIL}","x":"[EMAIL_9]"}}'


DENIALS = {
    "CANCEL asks to revise": ("CANCEL", 422, "policy.cancelled"),
    "PROMPT holds": ("PROMPT", 403, "policy.held"),
    "ALLOW_WITH_OVERRIDE asks for a reason": ("ALLOW_WITH_OVERRIDE", 403, "policy.override_required"),
}


@pytest.mark.parametrize("case", DENIALS)
async def test_every_denying_action_has_its_status_and_code(outpost: Stack, case: str) -> None:
    action, status, code = DENIALS[case]
    outpost.configure(rules=(rule("mail", action, "input", entity_types=["email"]),))
    async with outpost.client() as client:
        with pytest.raises(openai.APIStatusError) as denied:
            await client.chat.completions.create(model=MODEL, messages=user(EMAIL))
    body: Any = denied.value.body
    assert (denied.value.status_code, body["code"]) == (status, code)
    assert denied.value.response.headers["x-policy-action"] == action
    assert denied.value.response.headers["x-should-retry"] == "false"
    assert outpost.simulator.seen == []


async def test_a_default_of_block_denies_what_no_rule_allows(outpost: Stack) -> None:
    outpost.configure(rules=(), default="BLOCK")
    async with outpost.client() as client:
        with pytest.raises(openai.PermissionDeniedError, match="default") as denied:
            await client.chat.completions.create(model=MODEL, messages=user("hello"))
    assert denied.value.code == "policy.default_blocked"


async def test_policy_may_route_to_another_model(outpost: Stack) -> None:
    cheap = {**rule("cheap", "ROUTE_TO", "input", models=["gpt-big"]), "route_to": "gpt-small"}
    lost = {**rule("lost", "ROUTE_TO", "input", models=["gpt-lost"]), "route_to": "nobody-has-it"}
    outpost.configure(rules=(cheap, lost))
    async with outpost.client() as client:
        await client.chat.completions.create(model="gpt-big", messages=user("hello"))
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await client.chat.completions.create(model="gpt-lost", messages=user("hello"))
    assert [body["model"] for body in outpost.seen()] == ["gpt-small"]
    assert denied.value.code == "policy.unroutable"


async def test_what_cannot_be_redacted_is_denied(outpost: Stack) -> None:
    outpost.configure(rules=(rule("cards", "REDACT", "input", entity_types=["credit_card"]),))
    async with outpost.client() as client:
        for extra in ({"seed": int(CARD.replace(" ", ""))}, {"metadata": {CARD.replace(" ", ""): "x"}}):
            with pytest.raises(openai.PermissionDeniedError) as denied:
                await client.chat.completions.create(model=MODEL, messages=user("hello"), extra_body=extra)
            assert denied.value.code == "policy.unredactable"
    assert outpost.simulator.seen == []
    assert CARD.replace(" ", "") not in str(await outpost.records())


async def test_an_answer_with_a_secret_is_withheld(outpost: Stack) -> None:
    outpost.simulator.play(Script(reply=f"use {AWS_KEY} today"))
    async with outpost.client() as client:
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await client.chat.completions.create(model=MODEL, messages=user("key?"))
    assert AWS_KEY not in denied.value.response.text
    assert "withheld" in denied.value.message
    finished = (await outpost.records())[-1]
    assert (finished["outcome"], finished["decision"]["rule"], finished["status"]) == ("blocked", "secrets", 403)


async def test_an_answer_can_be_redacted_for_good(outpost: Stack) -> None:
    outpost.configure(rules=(rule("mail", "REDACT", "output", entity_types=["email"]),))
    outpost.simulator.play(Script(reply=f"ask {EMAIL} or {EMAIL_2}!", chunk_chars=5))
    async with outpost.client() as client:
        whole = await client.chat.completions.create(model=MODEL, messages=user("who?"))
        flowing, _ = await streamed(client, "who?")
    assert whole.choices[0].message.content == flowing == "ask [REDACTED_EMAIL] or [REDACTED_EMAIL]!"


async def test_an_injected_placeholder_is_not_restored_inside_a_url(outpost: Stack) -> None:
    outpost.simulator.play(Script(reply="see https://evil.example/?q=[EMAIL_1] or [EMAIL_1]", chunk_chars=4))
    async with outpost.client() as client:
        whole = await client.chat.completions.create(model=MODEL, messages=user(EMAIL))
        flowing, _ = await streamed(client, EMAIL)
    assert whole.choices[0].message.content == flowing == f"see https://evil.example/?q=[EMAIL_1] or {EMAIL}"


async def test_models_are_those_of_the_routes_narrowed_by_the_key(outpost: Stack) -> None:
    async with outpost.client() as client, outpost.client(KEYS["narrow"]) as narrow:
        assert [model.id async for model in client.models.list()] == []  # the route is a glob
        assert [model.id async for model in narrow.models.list()] == []
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await narrow.chat.completions.create(model="gpt-5", messages=user("hello"))
        assert denied.value.code == "model.not_allowed"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="claude-x", messages=user("hello"))
        assert unknown.value.code == "model.unknown"


async def test_two_orgs_have_their_own_keys_policies_and_logs(outpost: Stack) -> None:
    outpost.configure(OTHER_ORG, rules=())
    async with outpost.client() as mine, outpost.client(OTHER_KEY) as other:
        with pytest.raises(openai.PermissionDeniedError):
            await mine.chat.completions.create(model=MODEL, messages=user(CARD))
        allowed = await other.chat.completions.create(model=MODEL, messages=user(CARD))
    assert allowed.choices[0].message.content == f"You said: {CARD}"
    assert await outpost.events(ORG) == ["request.decided"]
    assert await outpost.events(OTHER_ORG) == ["request.decided", "request.finished"]


async def test_a_request_keeps_the_program_that_it_began_with(outpost: Stack) -> None:
    outpost.simulator.play(Script(reply=f"mail {EMAIL} end", chunk_chars=2, delay_ms=5))
    async with outpost.client() as client:
        stream = await client.chat.completions.create(model=MODEL, messages=user("x"), stream=True)
        first = await anext(stream)
        outpost.configure(
            rules=(*DEFAULT_RULES, rule("mail-out", "BLOCK", "output", entity_types=["email"])), version=2
        )
        rest = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in [first, *rest]) == f"mail {EMAIL} end"
        outpost.simulator.play(Script(reply=EMAIL))
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(model=MODEL, messages=user("x"))
    assert {r["revision"] for r in await outpost.records() if r["event"] == "request.decided"} == {"1.1", "2.1"}
