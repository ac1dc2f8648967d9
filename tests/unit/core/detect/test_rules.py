import dataclasses
import pathlib
import re

import pytest

from outpost.core.detect import shape
from outpost.core.detect.checks import CHECKS
from outpost.core.detect.pattern import PatternError, Scanner, compile_rules
from outpost.core.detect.rules import ENTITY_TYPES, RULES
from outpost.core.detect.rules_base import Rule

SCANNER = Scanner.compile(RULES)
BY_ID = {rule.id: rule for rule in RULES}


def test_there_are_at_least_25_detectors_and_each_has_its_own_id() -> None:
    assert len(RULES) >= 25
    assert len(BY_ID) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_well_formed(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.id)
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", rule.entity_type)
    assert rule.check in CHECKS
    assert 50 <= rule.confidence <= 100
    assert rule.positives
    assert rule.context or not rule.context_required
    assert 0 < rule.reach <= shape.width(shape.parse(rule.confirm))


@pytest.mark.parametrize(("rule_id", "text"), [(rule.id, text) for rule in RULES for text in rule.positives])
def test_a_rule_finds_its_positive_examples(rule_id: str, text: str) -> None:
    found = SCANNER.scan(text)
    assert [finding.entity_type for finding in found].count(BY_ID[rule_id].entity_type) == 1
    assert rule_id in {finding.detector for finding in SCANNER.matches(text, 0, len(text))}


@pytest.mark.parametrize(("rule_id", "text"), [(rule.id, text) for rule in RULES for text in rule.negatives])
def test_a_rule_leaves_its_negative_examples(rule_id: str, text: str) -> None:
    assert rule_id not in {finding.detector for finding in SCANNER.matches(text, 0, len(text))}


BENIGN = {
    "prose": "The quick brown fox asks about the password policy; 1200 cases in 2026, 35% more than before.",
    "a log line": "2026-11-20T21:30:00.123Z INFO req=8f14e45f-ceea-467f-ab12-1a2b3c4d5e6f took 1234567 us, code=200",
    "a commit and an integrity hash": "commit 3f8a01c2d4e5b6978890a1b2c3d4e5f60718aa00 sha512-q1MKE+RZFJgrefm34/",
    "python": "def token(self) -> str:\n    return self._token or os.environ.get('X')  # token = secret",
    "numbers and dates": "ids 1700000000, 1700000000000, 20261120213000; 12:30:45; v1.2.3; 3.14159265358979",
    "rust and c++ paths": "std::abs(x); core::fmt::Display; a::b; ::abs(1)",
    "a licence number": "driver's license F162823540116, public key material is not secret",
    "empty": "",
}


@pytest.mark.parametrize("text", BENIGN.values(), ids=BENIGN)
def test_benign_technical_text_has_no_findings(text: str) -> None:
    assert SCANNER.scan(text) == []


def test_a_disabled_rule_is_not_found() -> None:
    scanner = Scanner.compile([rule for rule in RULES if rule.entity_type != "email"])
    assert scanner.scan("bob@" + "example.org") == []


def test_the_serialised_automaton_gives_the_same_findings() -> None:
    text = "mail bob@" + "example.org from 41.173.96" + ".26"
    assert Scanner(compile_rules(RULES), RULES).scan(text) == SCANNER.scan(text) == SCANNER.clone().scan(text)


def test_damaged_automaton_bytes_are_refused() -> None:
    with pytest.raises(PatternError):
        Scanner(b"no automaton", RULES)


def test_a_pattern_that_the_automaton_cannot_take_is_refused() -> None:
    rule = dataclasses.replace(BY_ID["email"], pattern=r"(?<=a)b\1")
    with pytest.raises(PatternError):
        compile_rules([rule])


def test_context_raises_the_confidence_but_only_as_a_whole_word_nearby() -> None:
    card = "4111" + "111111111111"
    plain, near, part, far = (
        SCANNER.scan(text)[0].confidence
        for text in (card, f"my card {card}", f"discard, {card}", "card" + " " * 70 + card)
    )
    assert near > plain == part == far


def test_the_longest_finding_wins_and_covers_what_it_overlaps() -> None:
    text = "see postgres://app:" + "pw12345@mail.example.org/db"
    (finding,) = SCANNER.scan(text)
    assert finding.entity_type == "connection_string"
    assert (finding.start, finding.end) == (4, len(text))


def test_offsets_are_characters_of_the_original_text() -> None:
    text = "\u200bé😀 ｂob@" + "exam\u200bple.org, ok"
    (finding,) = SCANNER.scan(text)
    assert text[finding.start : finding.end] == "ｂob@" + "exam\u200bple.org"


EVASIONS = {
    "full-width digits": "４１１１" + "１１１１１１１１１１１１",
    "zero-width spaces": "4111\u200b1111" + "\u200b1111\u200b1111",
    "arabic digits": "٤١١١" + "١١١١١١١١١١١١",
    "soft hyphen and bidirectional controls": "\u202e4111\u00ad1111" + "11111111\u202c",
    "tag characters": "4111\U000e00411111" + "11111111",
    "a NUL": "41111111\x00" + "11111111",
    "mathematical digits": "𝟒𝟏𝟏𝟏" + "𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏",
    "en dashes": "4111–1111–" + "1111–1111",
}


@pytest.mark.parametrize("text", EVASIONS.values(), ids=EVASIONS)
def test_a_disguised_card_is_found_and_its_span_covers_all_of_it(text: str) -> None:
    (finding,) = SCANNER.scan(f"x {text} y")
    assert finding.entity_type == "credit_card"
    covered = f"x {text} y"[finding.start : finding.end]
    assert covered.strip("\u202e\u202c") == text.strip("\u202e\u202c")


def test_a_key_with_cyrillic_letters_is_found() -> None:
    key = "AKIA" + "QYLPMN5HHHFPZAM2"
    assert [f.entity_type for f in SCANNER.scan(key.replace("A", "А").replace("K", "К"))] == ["aws_access_key"]


def test_json_escapes_are_read_through_and_spans_hold_whole_escapes() -> None:
    text = '{"to": "b\\u006fb@' + 'example.or\\u0067", "n": "\\ud83d\\ude00"}'
    (finding,) = SCANNER.scan(text, json_string=True)
    assert text[finding.start : finding.end] == "b\\u006fb@" + "example.or\\u0067"
    assert SCANNER.scan("b\\u006fb@" + "example.or\\u0067")[0].start != 0


def test_a_private_key_without_end_is_found_and_one_without_bound_is_named_so() -> None:
    begin = "-----BEGIN PRIV" + "ATE KEY-----\n"
    assert [f.entity_type for f in SCANNER.scan(begin + "QUJD" * 30)] == ["private_key"]
    assert "unbounded_candidate" in [f.entity_type for f in SCANNER.scan(begin + "QUJD" * 5000)]


def test_entity_types_are_named_for_policies() -> None:
    assert {"credit_card", "iban", "us_ssn", "email", "phone", "ip_address", "private_key", "jwt"} <= ENTITY_TYPES


def test_every_detector_is_documented_with_its_entity_type() -> None:
    page = (pathlib.Path(__file__).parents[4] / "docs" / "detectors.md").read_text(encoding="utf-8")
    missing = [rule.id for rule in RULES if f"| `{rule.id}` | `{rule.entity_type}` |" not in page]
    assert missing == []
