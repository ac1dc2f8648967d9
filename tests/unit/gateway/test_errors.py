"""Every error of ours has an HTTP answer in OpenAI's shape."""

import importlib
import pkgutil

import orjson
import pytest

import outpost
from outpost.core.decision import Action, Decision
from outpost.core.errors import (
    BundleError,
    DeniedError,
    InternalError,
    OutpostError,
    PeerError,
    RequestError,
    StoreError,
)
from outpost.core.inspection import PolicyHeldError
from outpost.gateway.errors import STATUS_BY_CODE, answer, error_event, status_of
from outpost.gateway.limits import RequestLimitError


def every_error() -> list[type[OutpostError]]:
    for module in pkgutil.walk_packages(outpost.__path__, "outpost."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[OutpostError]] = []
    todo = [OutpostError]
    while todo:
        leaf = todo.pop()
        found.append(leaf)
        todo += leaf.__subclasses__()
    return found


def test_every_error_has_a_status_of_its_family() -> None:
    families = {RequestError: {400}, DeniedError: {403}, PeerError: {502}, BundleError: {503}, StoreError: {503}}
    for leaf in every_error():
        made = leaf.__new__(leaf)
        status = status_of(made)
        assert 400 <= status <= 599
        if leaf.code not in STATUS_BY_CODE:
            family = next((each for each in families if issubclass(leaf, each)), InternalError)
            assert status in families.get(family, {500})


OWN_ROOMS = ("outpost.gateway", "outpost.core.chat.messages", "outpost.core.inspection")


def test_every_error_of_the_data_path_stands_in_the_table() -> None:
    missing = [
        leaf.code
        for leaf in every_error()
        if leaf.__module__.startswith(OWN_ROOMS)
        and leaf.code not in STATUS_BY_CODE
        and leaf.code != "settings.plain_listener"
    ]
    assert missing == []


def test_every_code_of_the_table_exists() -> None:
    assert set(STATUS_BY_CODE) - {leaf.code for leaf in every_error()} == set()


def test_our_own_faults_show_a_code_and_no_detail() -> None:
    class SecretiveError(InternalError):
        code = "secretive"

    made = answer(SecretiveError("/var/lib/path is broken", field="/var", next_step="look there"), "req_1")
    body = orjson.loads(made.body)["error"]
    assert (made.status, body["code"], body["param"]) == (500, "secretive", None)
    assert b"/var" not in made.body


def test_a_denial_names_rule_and_reason_and_forbids_a_retry() -> None:
    decision = Decision(Action.PROMPT, rule="ask", reason="Ask first.", code="policy.held")
    made = answer(PolicyHeldError(decision, "Ask first.", "messages[0].content"), "req_1")
    assert orjson.loads(made.body) == {
        "error": {
            "message": "Ask first.",
            "type": "policy_violation",
            "code": "policy.held",
            "param": "messages[0].content",
            "request_id": "req_1",
            "rule": "ask",
            "reason": "Ask first.",
        }
    }
    assert made.headers["x-should-retry"] == "false"
    assert "Retry-After" not in made.headers


def test_a_limit_says_when_and_may_be_retried() -> None:
    made = answer(RequestLimitError(5, 12), "req_1")
    assert (made.status, made.headers["Retry-After"], made.headers["x-should-retry"]) == (429, "12", "true")


def test_an_error_event_is_followed_by_the_terminator() -> None:
    event = error_event(RequestError("no"), "req_1")
    assert event.startswith(b'data: {"error":')
    assert event.endswith(b"\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize(
    ("code", "kind"), [("auth.missing", "authentication_error"), ("model.not_allowed", "permission_error")]
)
def test_types_follow_the_status(code: str, kind: str) -> None:
    leaf = next(each for each in every_error() if each.code == code)
    assert orjson.loads(answer(leaf("x"), "r").body)["error"]["type"] == kind
