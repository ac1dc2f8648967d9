"""Requests for answers that could not be inspected."""

from typing import Any

import pytest

from outpost.core.chat.messages import FieldRangeError, FieldTypeError, UninspectableError, read_chat

BASE: dict[str, Any] = {"model": "gpt-x", "messages": [{"role": "user", "content": "hello"}]}
REFUSED: dict[str, tuple[Any, type[Exception]]] = {
    "sound": (["text", "audio"], UninspectableError),
    "something that is no word": ([1], UninspectableError),
    "no array": ("audio", FieldTypeError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_answer_that_is_not_text_is_not_asked_for(case: str) -> None:
    modalities, error = REFUSED[case]
    with pytest.raises(error) as caught:
        read_chat({**BASE, "modalities": modalities})
    assert caught.value.field == "modalities"  # type: ignore[attr-defined]


@pytest.mark.parametrize("modalities", [None, [], ["text"]])
def test_text_may_be_asked_for(modalities: Any) -> None:
    assert read_chat({**BASE, "modalities": modalities}).model == "gpt-x"


@pytest.mark.parametrize("model", [" gpt-x", "gpt-x ", "\u00a0gpt-x"])
def test_white_space_around_a_model_would_pass_by_the_globs_of_policy(model: str) -> None:
    with pytest.raises(FieldRangeError):
        read_chat({**BASE, "model": model})
