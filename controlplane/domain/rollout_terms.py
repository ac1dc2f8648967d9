"""How careful a roll-out is: its stages, how long each is watched, and what ends it. An org or one plan may differ,
within bounds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from controlplane.domain.errors import InputError

# A bad release meets one outpost in twenty first, then a quarter: whatever is rarer than one in a hundred outposts
# has shown before everybody has it.
PERCENTS = (5, 25, 100)
SOAK_SECONDS = 60  # one canary a minute, and six heartbeats with the figures of real requests
ANSWER_SECONDS = 120  # 64 MiB at 5 Mbit/s take 107 s; whoever is connected has answered by then
FAILED_PERMILLE = 20  # failures of our own among a candidate's requests; in order there are none
LEAST_REQUESTS = 50  # fewer say nothing: at 20 in a thousand one failure of 50 is still within the budget

MAX_STAGES = 10
MAX_SOAK_SECONDS = 7 * 86_400  # a week; a stage that is watched longer ends by hand
MAX_ANSWER_SECONDS = 86_400
MAX_REQUESTS = 1_000_000


class RolloutTermsError(InputError):
    """Terms of a roll-out outside their bounds."""

    code = "rollout.terms"


@dataclass(frozen=True, slots=True)
class RolloutTerms:
    """How careful a roll-out is.

    Attributes:
        percents: rising shares of the logical outposts; the last is 100.
        soak_seconds: for how long a stage is watched once every connected member has the release.
        answer_seconds: a connected member that did not answer for longer halts the roll-out.
        failed_permille: more failures of our own in a thousand requests of the candidate halt it.
        least_requests: of all members together, before that share counts.
    """

    percents: tuple[int, ...] = PERCENTS
    soak_seconds: int = SOAK_SECONDS
    answer_seconds: int = ANSWER_SECONDS
    failed_permille: int = FAILED_PERMILLE
    least_requests: int = LEAST_REQUESTS


_BOUNDS: Mapping[str, tuple[int, int]] = {
    "soak_seconds": (1, MAX_SOAK_SECONDS),
    "answer_seconds": (1, MAX_ANSWER_SECONDS),
    "failed_permille": (0, 1000),
    "least_requests": (1, MAX_REQUESTS),
}


def checked(terms: RolloutTerms) -> RolloutTerms:
    """The terms, or RolloutTermsError that names the field."""
    percents = terms.percents
    rising = list(percents) == sorted(set(percents)) and all(1 <= percent <= 100 for percent in percents)
    if not rising or not 1 <= len(percents) <= MAX_STAGES or percents[-1] != 100:
        raise RolloutTermsError(
            f"the stages of a roll-out are at most {MAX_STAGES} rising shares in percent, the last one 100",
            field="percents",
        )
    for name, (least, most) in _BOUNDS.items():
        if not least <= getattr(terms, name) <= most:
            raise RolloutTermsError(f"{name} is between {least} and {most}", field=name)
    return terms


def overridden(terms: RolloutTerms, changes: Mapping[str, object]) -> RolloutTerms:
    """Terms with some fields changed. Raises RolloutTermsError: a field that there is not, or out of bounds."""
    known = {each.name for each in fields(RolloutTerms)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise RolloutTermsError("no such term of a roll-out", field=unknown[0][:64])
    for name, value in changes.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name != "percents" and not whole:
            raise RolloutTermsError(f"{name} is a whole number", field=name)
    values = dict(changes)
    if "percents" in values:
        values["percents"] = _whole_numbers(values["percents"])
    return checked(replace(terms, **values))  # type: ignore[arg-type]


def plain(terms: RolloutTerms) -> dict[str, object]:
    """As plain JSON; ``overridden`` reads it back."""
    return {**asdict(terms), "percents": list(terms.percents)}


def _whole_numbers(value: object) -> tuple[int, ...]:
    items = list(value) if isinstance(value, list | tuple) else []
    numbers = tuple(item for item in items if isinstance(item, int) and not isinstance(item, bool))
    if not items or len(numbers) != len(items):
        raise RolloutTermsError("percents is a list of whole numbers", field="percents")
    return numbers
