"""The wire shapes of two provider families: chat completions and messages."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from outpost.simulator.script import Script, pieces

_CREATED = 1_763_596_800  # a fixed second: answers of the simulator are reproducible
_CHAT_ID = "chatcmpl-simulated"
_MESSAGE_ID = "msg_simulated"
_CALL_ID = "call_simulated_1"


def last_user_text(body: Mapping[str, Any]) -> str:
    """Find the text of the last user message, whether string or parts."""
    for message in reversed(body.get("messages") or []):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            parts = [part.get("text", "") for part in content or [] if isinstance(part, dict)]
            return "".join(text for text in parts if isinstance(text, str))
    return ""


def answer_text(body: Mapping[str, Any], script: Script) -> str:
    """Choose the answer: scripted, or an echo that makes placeholders visible."""
    return f"You said: {last_user_text(body)}" if script.reply is None else script.reply


def _usage(body: Mapping[str, Any], text: str) -> tuple[int, int]:
    return len(last_user_text(body).split()), len(text.split())


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def chat_reply(body: Mapping[str, Any], script: Script) -> bytes:
    """Whole `chat.completion` object."""
    text = answer_text(body, script)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if script.tool_call:
        function = {"name": script.tool_call.name, "arguments": script.tool_call.arguments}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": _CALL_ID, "type": "function", "function": function}],
        }
    finish = "tool_calls" if script.tool_call else "stop"
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
        for index in range(body.get("n") or 1)
    ]
    return orjson.dumps(
        {
            "id": _CHAT_ID,
            "object": "chat.completion",
            "created": _CREATED,
            "model": body.get("model", ""),
            "choices": choices,
            "usage": chat_usage(body, text),
        }
    )


def chat_usage(body: Mapping[str, Any], text: str) -> dict[str, int]:
    """Token counts, one per word."""
    prompt, completion = _usage(body, text)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def chat_events(body: Mapping[str, Any], script: Script) -> list[bytes]:
    """Server-sent events of a streamed chat completion, `[DONE]` included."""
    head = {
        "id": _CHAT_ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": body.get("model", ""),
    }

    def chunk(index: int, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**head, "choices": [choice]})

    text = answer_text(body, script)
    events = []
    for index in range(body.get("n") or 1):
        events += [chunk(index, delta) for delta in _chat_deltas(text, script)]
        events.append(chunk(index, {}, "tool_calls" if script.tool_call else "stop"))
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append(_event({**head, "choices": [], "usage": chat_usage(body, text)}))
    return [*events, b"data: [DONE]\n\n"]


def _chat_deltas(text: str, script: Script) -> Iterator[dict[str, Any]]:
    if script.tool_call is None:
        yield {"role": "assistant", "content": "", "refusal": None}
        for piece in pieces(text, script):
            yield {"content": piece}
        return
    yield {"role": "assistant", "content": None}
    call = {"index": 0, "id": _CALL_ID, "type": "function"}
    yield {"tool_calls": [{**call, "function": {"name": script.tool_call.name, "arguments": ""}}]}
    for piece in pieces(script.tool_call.arguments, script):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def message_reply(body: Mapping[str, Any], script: Script) -> bytes:
    """Whole `message` object."""
    text = answer_text(body, script)
    prompt, completion = _usage(body, text)
    block: dict[str, Any] = {"type": "text", "text": text}
    if script.tool_call:
        arguments = orjson.loads(script.tool_call.arguments)
        block = {"type": "tool_use", "id": _CALL_ID, "name": script.tool_call.name, "input": arguments}
    return orjson.dumps(
        {
            "id": _MESSAGE_ID,
            "type": "message",
            "role": "assistant",
            "model": body.get("model", ""),
            "content": [block],
            "stop_reason": "tool_use" if script.tool_call else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": prompt, "output_tokens": completion},
        }
    )


def message_events(body: Mapping[str, Any], script: Script) -> list[bytes]:
    """Server-sent events of a streamed message."""
    text = answer_text(body, script)
    prompt, completion = _usage(body, text)
    start = {
        "id": _MESSAGE_ID,
        "type": "message",
        "role": "assistant",
        "model": body.get("model", ""),
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": prompt, "output_tokens": 0},
    }
    block: dict[str, Any] = {"type": "text", "text": ""}
    deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": piece} for piece in pieces(text, script)]
    if script.tool_call:
        block = {"type": "tool_use", "id": _CALL_ID, "name": script.tool_call.name, "input": {}}
        cut = pieces(script.tool_call.arguments, script)
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in cut]
    stop = {"stop_reason": "tool_use" if script.tool_call else "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": completion}},
        {"type": "message_stop"},
    ]
    return [b"event: " + event["type"].encode() + b"\n" + _event(event) for event in events]
