"""Laws of a roll-out: never more outposts than the stage's share, whoever comes and goes; later stages only add."""

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.stages import Fleet, Stage, members_of, next_stage, pick, sparing, stage_size
from outpost.core.bundle.rollout import RolloutDocument

ORG = "acme"
PERCENTS = st.lists(st.integers(1, 99), max_size=4, unique=True).map(lambda found: (*sorted(found), 100))


def rollout(stage: Stage, fleet: Fleet, before: frozenset[str] = frozenset()) -> RolloutDocument:
    cohort = pick(ORG, 8, stage, fleet, before)
    return RolloutDocument(ORG, 7, 8, cohort.threshold, stage.percent, cohort.spared)


@settings(max_examples=200, deadline=None)
@given(
    percents=PERCENTS,
    standing=st.integers(1, 60),
    waiting=st.integers(0, 40),
    coming=st.lists(st.integers(0, 30), max_size=6),
    leaving=st.lists(st.integers(0, 5), max_size=6),
)
def test_no_stage_reaches_more_than_its_share(
    percents: tuple[int, ...], standing: int, waiting: int, coming: list[int], leaving: list[int]
) -> None:
    here = frozenset(f"site-{number}" for number in range(standing))
    absent = frozenset(f"waiting-{number}" for number in range(waiting))
    known, serial = set(here | absent), 0
    reached: Stage | None = None
    members: frozenset[str] = frozenset()
    while True:
        present = None if reached is None else Stage(reached.percent, len(members))
        stage = next_stage(percents, present, len(here))
        if stage is None:
            break
        document = rollout(stage, Fleet(here, absent), members)
        grown = members_of(document, here)
        assert members & here <= grown
        if not stage.is_last:
            assert len(grown) <= max(stage_size(len(here), stage.percent), len(members & here))
            assert not members_of(document, absent)
        for _ in range(coming.pop() if coming else 0):
            serial += 1
            name = f"late-{serial}"
            known.add(name)
            document = sparing(document, name) or document
            here = here | {name}
            if not stage.is_last:
                assert members_of(document, here) == grown
        gone = frozenset(sorted(here)[: leaving.pop() if leaving else 0])
        if len(here - gone) > 1:
            here = here - gone
        reached, members = stage, members_of(document, here)
    assert reached is not None
    assert reached.is_last
    assert members == here
