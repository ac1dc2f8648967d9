"""Laws of the judgement in the shadow: what it says is what the release would have said, whatever is not remembered."""

from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.core import shadow
from outpost.core.decision import Features
from outpost.core.inspection import judge
from outpost.core.policy.compile import Program, reference
from tests.property.policy_strategies import FEATURES, Data, documents
from tests.unit.core.policy.policies import compiled


def trial(version: int, program: Program) -> shadow.Trial:
    return shadow.Trial(version, program, frozenset(), lambda model: "openai")


def content_rules(program: Program) -> dict[str, tuple[str, ...]]:
    return {
        reference(pack, rule): tuple(rule.conditions.content_regex)
        for pack in program.document.packs
        for rule in pack.rules
        if rule.conditions.content_regex
    }


@settings(max_examples=200, deadline=None)
@given(documents(), documents(), FEATURES)
def test_a_verdict_holds_for_every_text_that_could_have_been(old: Data, new: Data, features: Features) -> None:
    before, after = compiled(old), compiled(new)
    features = replace(
        features, content_matches=tuple(m for m in features.content_matches if m in content_rules(before))
    )
    decision = judge(before, features)
    past = shadow.Past(features, decision.action.value, decision.code, decision.redact, 1)
    gap = shadow.gap(before, frozenset(), trial(2, after))
    told = shadow.judge_again(trial(2, after), past, gap)
    if told.action == shadow.UNDECIDED:
        assert gap.unknown
        return
    same = {r for r, e in content_rules(after).items() if sorted(content_rules(before).get(r, ())) == sorted(e)}
    open_rules = sorted(set(content_rules(after)) - same)
    for size in range(len(open_rules) + 1):
        for matching in combinations(open_rules, size):
            matches = (*(m for m in features.content_matches if m in same), *matching)
            real = judge(after, replace(features, provider="openai", content_matches=matches))
            assert real.action.value == told.action
            assert told.decision is not None
            assert (real.pack, real.rule) == (told.decision.pack, told.decision.rule)


@settings(max_examples=200, deadline=None)
@given(documents(), FEATURES, st.integers(1, 5))
def test_a_release_held_against_itself_changes_nothing(data: Data, features: Features, count: int) -> None:
    program = compiled(data)
    features = replace(
        features, provider="openai", content_matches=tuple(set(features.content_matches) & set(content_rules(program)))
    )
    decision = judge(program, features)
    past = shadow.Past(features, decision.action.value, decision.code, decision.redact, 1)
    totals = shadow.compare(trial(2, program), trial(1, program), [past] * count)
    assert totals == shadow.ShadowTotals(2, count)
