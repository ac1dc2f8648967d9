"""The watch over URLs: the same answer wherever the text was cut, in linear time."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.core.detect.finding import Finding
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.detect.urls import UrlWatch

SIGNS = st.sampled_from(
    [
        "https",
        ":",
        "/",
        "//",
        "\\",
        "&sol;",
        "&#",
        "x2f;",
        "&colon;",
        "=",
        "(",
        '"',
        "'",
        "<",
        ">",
        " ",
        "\n",
        "a",
        "\\u002f",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(SIGNS, max_size=30), st.integers(0, 60), st.integers(0, 12))
def test_inside_does_not_depend_on_the_cuts(signs: list[str], cut: int, padding: int) -> None:
    text = "b" * (padding * 500) + "".join(signs)
    whole, pieces = UrlWatch(), UrlWatch()
    whole.feed(text)
    for piece in (text[:-cut], text[-cut:]) if cut else (text,):
        pieces.feed(piece)
    assert pieces.inside() == whole.inside()


def test_a_text_full_of_urls_and_placeholders_is_read_in_linear_time() -> None:
    placeholders = PlaceholderMap()
    address = "bob@" + "example.com"
    placeholders.redact(address, [Finding("email", "email", 0, len(address), 90)])
    text = '//"[EMAIL_1]' * 40_000
    began = time.process_time()
    placeholders.restore(text)
    assert time.process_time() - began < 4  # seconds; looking back 2,000 characters at each one took longer by far
