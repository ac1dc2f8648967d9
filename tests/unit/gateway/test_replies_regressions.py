"""Headers of a provider are figures: nothing that a detector looks for fits in."""

import pytest

from outpost.gateway.replies import forwarded_headers

VALUES: dict[str, tuple[str, bool]] = {
    "a figure": ("29999", True),
    "a duration": ("6m0s", True),
    "milliseconds": ("250ms", True),
    "a fraction": ("1.25s", True),
    "a date": ("2020-10-01", True),
    "a card number": ("4111" + "1111" * 3, False),
    "a token in hexadecimal": ("dapi" + "3f8a01c2d4e5b6978890", False),
    "a word": ("hunter", False),
    "digits of another script": ("\u0661\u0662", False),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_header_passes_only_as_a_figure(case: str) -> None:
    value, passes = VALUES[case]
    assert forwarded_headers({"openai-processing-ms": value}) == ({"openai-processing-ms": value} if passes else {})
