"""Expressions of content_regex: linear, bounded, and named when refused."""

import json
from threading import Thread

import pytest

from outpost.core.policy import content
from outpost.core.policy.content import ContentMatcher, ContentPattern, ContentRegexError, expanded_positions
from tests.unit.core.policy.policies import compiled, pack, policy, rule


def matcher(*expressions: str) -> ContentMatcher:
    return ContentMatcher([ContentPattern(f"p/r{n}", text) for n, text in enumerate(expressions)])


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    {
        "anywhere in a text": ("falcon", "the falcon flies", True),
        "case counts": ("falcon", "FALCON", False),
        "unless the expression says so": ("(?i)falcon", "FALCON", True),
        "anchors are the text's ends": ("^falcon$", "a\nfalcon", False),
        "an end before a last line end": ("falcon$", "a falcon\n", True),
        "a whole text": ("^falcon$", "falcon", True),
        "a word boundary": (r"\bfal\b", "falcon", False),
        "counted repeats": (r"\d{3}-\d{2,4}", "no 123-4567", True),
        "beyond ASCII": ("größe", "die größe", True),
        "a class beyond ASCII": ("[à-ü]{2}", "xàü", True),
        "a word character is ASCII": (r"^\w+$", "größe", False),
        "the empty text": ("x", "", False),
        "half a surrogate pair before the match": ("falcon", "\ud800 falcon", True),
        "a NUL before the match": ("falcon", "\x00falcon", True),
    }.values(),
)
def test_search(expression: str, text: str, found: bool) -> None:
    assert matcher(expression).match([text]) == (("p/r0",) if found else ())


def test_matches_come_once_in_document_order_over_all_texts() -> None:
    made = ContentMatcher([ContentPattern("a/x", "one"), ContentPattern("a/x", "two"), ContentPattern("b/y", "three")])
    assert made.match(["three two", "one two"]) == ("a/x", "b/y")
    assert made.match(["th", "ree"]) == ()
    assert made.match([]) == ()
    assert matcher().match(["anything"]) == ()


REFUSED = {
    "look-ahead": "a(?=b)",
    "look-behind": "(?<=a)b",
    "a back-reference": r"(a)\1",
    "an empty match": "a*",
    "an open group": "(a",
    "a group that was not open": "a)b",
    "an open class": "[a",
    "a lone backslash": "a\\",
    "a verb": "(*UCP)a",
    "extended mode, whose comments hide parentheses": "(?x)a # )",
    "a comment": "(?#))a",
    "a quotation, which hides parentheses": r"\Q(\E",
    "an atomic group": "(?>a+)b",
    "a nested repeat that explodes": "(?:(?:a{1,60}b){1,60}c){1,60}",
    "a repeat over Unicode properties": r"(?:\pL{1,50}\s){1,4}",
    "the same in a class": r"(?:[\p{L}x]{1,50}\s){1,4}",
    "a repeat that is too large": "(?:ab){1,1001}",
}


@pytest.mark.parametrize("expression", REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_names_the_rule(expression: str) -> None:
    data = policy(
        pack("p", rule("fine", "BLOCK", content_regex=["fine"]), rule("bad", "BLOCK", content_regex=[expression]))
    )
    with pytest.raises(ContentRegexError) as caught:
        compiled(data)
    assert caught.value.field == "p/bad"
    assert caught.value.code == "policy.content_regex"
    assert caught.value.next_step
    assert expression not in json.dumps(caught.value.as_dict())


@pytest.mark.parametrize(
    ("expression", "positions"),
    {
        "letters": ("abc", 3),
        "a counted letter": ("ab{5}", 6),
        "a counted range": ("ab{2,5}", 6),
        "an open count": ("ab{5,}", 6),
        "a group": ("(ab){5}", 10),
        "groups in groups": ("((ab){3}c){4}", 28),
        "a class is one": ("[abc]{4}", 4),
        "a bracket in a class": (r"[]\])}]{4}", 4),
        "a named class": ("[[:alpha:]]{4}", 4),
        "an escape is one": (r"\d{4}\.\x{41}", 6),
        "a property is many": (r"\p{Lu}", 100),
        "a property in a class is many": (r"[^\PL]", 100),
        "a brace that counts nothing": ("a{b}", 4),
        "flags": ("(?i)a", 1),
        "a group with flags": ("(?i:ab){3}", 6),
        "an alternative": ("(a|bc){3}", 9),
        "a count of zero": ("a{0}b", 2),
    }.values(),
)
def test_positions_after_unrolling(expression: str, positions: int) -> None:
    assert expanded_positions(expression) == positions


def test_positions_at_the_limit_and_beyond() -> None:
    half = content.MAX_POSITIONS // 2
    text = f"(?:a{{0,{half}}}|b{{0,{half - 1}}})c"
    assert expanded_positions(text) == content.MAX_POSITIONS
    assert matcher(text).match(["c"]) == ("p/r0",)
    with pytest.raises(ContentRegexError, match="positions"):
        matcher(text + "d")


def test_positions_of_all_expressions_are_bounded() -> None:
    each = "(?:ab){99}cd"
    count = content.MAX_TOTAL_POSITIONS // 200
    assert matcher(*[each] * count).match(["x"]) == ()
    with pytest.raises(ContentRegexError, match="20001"):
        matcher(*[each] * count, "x")


def test_threads_may_share_a_matcher() -> None:
    shared = matcher("needle", "straw")
    results: list[tuple[str, ...]] = []

    def work() -> None:
        results.extend(shared.match(["straw " * 50_000]) for _ in range(20))

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [("p/r1",)] * 80
