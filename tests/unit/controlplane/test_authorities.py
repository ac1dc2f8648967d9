"""Generations of CAs: in which order they are made, used and given up. Tables, and laws over any order of steps."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain import authorities
from controlplane.domain.authorities import MAX_GENERATIONS_TRUSTED, Authority, AuthorityKind, AuthorityState
from controlplane.domain.errors import ControlPlaneError

ROOT, OUTPOSTS, SERVERS = AuthorityKind.ROOT, AuthorityKind.OUTPOSTS, AuthorityKind.SERVERS
PREPARED, ACTIVE = AuthorityState.PREPARED, AuthorityState.ACTIVE
TAINTED, RETIRED = AuthorityState.TAINTED, AuthorityState.RETIRED
NOW = 5
Some = tuple[Authority, ...]


def one(kind: AuthorityKind, generation: int, state: AuthorityState, root: int | None = None) -> Authority:
    above = generation if root is None else root
    return Authority(kind, generation, state, above, f"{kind}/{generation}", b"der", b"", 1, 1)


def family(generation: int, state: AuthorityState) -> Some:
    """A root and what came with it."""
    return tuple(one(kind, generation, state) for kind in AuthorityKind)


def merged(before: Some, after: Some) -> Some:
    changed = {(each.kind, each.generation): each for each in after}
    return tuple(changed.get((each.kind, each.generation), each) for each in before)


def prepared(known: Some, kind: AuthorityKind) -> Some:
    """What ``services.authorities`` adds."""
    number = authorities.next_generation(known, kind)
    if kind is not ROOT:
        return (*known, one(kind, number, PREPARED, authorities.signing(known, ROOT).generation))
    below = [one(each, authorities.next_generation(known, each), PREPARED, number) for each in (OUTPOSTS, SERVERS)]
    return (*known, one(ROOT, number, PREPARED), *below)


def activated(known: Some, kind: AuthorityKind) -> Some:
    return merged(known, authorities.activated(known, kind, NOW))


def tainted(known: Some, kind: AuthorityKind) -> Some:
    return merged(known, authorities.tainted(known, kind, NOW))


def retired(known: Some, kind: AuthorityKind) -> Some:
    return merged(known, authorities.retired(known, kind, NOW))


FIRST = family(1, ACTIVE)
NEXT = (*FIRST, *family(2, PREPARED))
BOTH = (*FIRST, *family(2, ACTIVE))
LEAVING = (*family(1, TAINTED), *family(2, ACTIVE))
OVER = (*family(1, RETIRED), *family(2, ACTIVE))
ISSUING = (*FIRST, one(OUTPOSTS, 2, PREPARED, 1))

STEPS: dict[str, tuple[Callable[[Some, AuthorityKind], Some], Some, AuthorityKind, Some]] = {
    "a new root brings both issuing CAs": (prepared, FIRST, ROOT, NEXT),
    "a new issuing CA stands below the root that signs": (prepared, FIRST, OUTPOSTS, ISSUING),
    "a root goes into use with what is below it": (activated, NEXT, ROOT, BOTH),
    "an issuing CA goes into use alone": (
        activated,
        ISSUING,
        OUTPOSTS,
        (*FIRST, one(OUTPOSTS, 2, ACTIVE, 1)),
    ),
    "the root before is tainted with what is below it": (tainted, BOTH, ROOT, LEAVING),
    "an issuing CA is tainted alone": (
        tainted,
        BOTH,
        OUTPOSTS,
        (FIRST[0], replace(FIRST[1], state=TAINTED), FIRST[2], *family(2, ACTIVE)),
    ),
    "what is tainted is retired with what is below it": (retired, LEAVING, ROOT, OVER),
    "what was only prepared is given up": (retired, NEXT, ROOT, (*FIRST, *family(2, RETIRED))),
    "numbers are never used again": (
        prepared,
        (*FIRST, *family(2, RETIRED)),
        ROOT,
        (*FIRST, *family(2, RETIRED), *family(3, PREPARED)),
    ),
}


@pytest.mark.parametrize("sentence", STEPS)
def test_a_step(sentence: str) -> None:
    step, before, kind, expected = STEPS[sentence]
    after = step(before, kind)
    assert [(each.kind, each.generation, each.state, each.root) for each in after] == [
        (each.kind, each.generation, each.state, each.root) for each in expected
    ]
    changed = [each for each, old in zip(after, before, strict=False) if each != old]
    assert {each.changed_ms for each in changed} <= {NOW}


FULL = tuple(each for number in range(1, MAX_GENERATIONS_TRUSTED + 1) for each in family(number, ACTIVE))
ORPHANED = (*family(1, ACTIVE), *family(2, ACTIVE)[::2], one(OUTPOSTS, 2, RETIRED, 2))
LATE = (*family(1, TAINTED), *family(2, ACTIVE), one(OUTPOSTS, 3, PREPARED, 1))
REFUSALS: dict[str, tuple[Callable[[Some, AuthorityKind], Some], Some, AuthorityKind, str]] = {
    "two are prepared at once": (prepared, NEXT, ROOT, "authority.order"),
    "an issuing CA while another is prepared": (prepared, ISSUING, OUTPOSTS, "authority.order"),
    "more are believed than outposts take": (prepared, FULL, ROOT, "authority.order"),
    "nothing is prepared": (activated, FIRST, ROOT, "authority.order"),
    "an issuing CA before its root": (activated, NEXT, OUTPOSTS, "authority.order"),
    "the only one is tainted": (tainted, FIRST, ROOT, "authority.order"),
    "a root, and with it the last CA for outposts": (tainted, ORPHANED, ROOT, "authority.order"),
    "an issuing CA below a root on its way out": (activated, LATE, OUTPOSTS, "authority.order"),
    "what is prepared is tainted": (tainted, NEXT, ROOT, "authority.order"),
    "what is in use is retired": (retired, BOTH, ROOT, "authority.order"),
    "the only one is retired": (retired, FIRST, SERVERS, "authority.order"),
    "nothing signs": (prepared, family(1, RETIRED), OUTPOSTS, "authority.unknown"),
}


@pytest.mark.parametrize("sentence", REFUSALS)
def test_a_step_that_may_not_be_made(sentence: str) -> None:
    step, before, kind, code = REFUSALS[sentence]
    with pytest.raises(ControlPlaneError) as caught:
        step(before, kind)
    assert caught.value.code == code
    assert caught.value.next_step


ACTS = st.lists(
    st.tuples(st.sampled_from([prepared, activated, tainted, retired]), st.sampled_from(AuthorityKind)), max_size=40
)
RANKS = {PREPARED: 0, ACTIVE: 1, TAINTED: 2, RETIRED: 3}


@given(ACTS)
def test_whatever_is_done_in_whatever_order(
    acts: list[tuple[Callable[[Some, AuthorityKind], Some], AuthorityKind]],
) -> None:
    known = FIRST
    for step, kind in acts:
        before = known
        try:
            known = step(known, kind)
        except ControlPlaneError:
            continue
        states = {(each.kind, each.generation): each.state for each in known}
        for each in before:  # a generation only goes forward, and none is forgotten
            assert RANKS[states[each.kind, each.generation]] >= RANKS[each.state]
        for each in AuthorityKind:
            current = authorities.signing(known, each)  # something always signs
            assert states[ROOT, current.root] is not PREPARED  # below a root that is in use
            assert len(authorities.trusted(known, each)) <= MAX_GENERATIONS_TRUSTED
        for each in known:
            if each.is_trusted:  # whatever is believed hangs below a root that is believed
                assert states[ROOT, each.root] is not RETIRED
