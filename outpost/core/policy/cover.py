"""Which conditions match whenever others do; what is not certain counts as no.

Rules are bits. Each kind of condition is compared once for each pair of different values, not once for each pair of
rules, and the kinds are joined by AND; so 500 rules with long lists cost milliseconds, and nothing that an author may
write makes them cost much more.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, TypeVar

from outpost.core.policy.document import Conditions
from outpost.core.policy.globs import glob_matches

LISTS: Final = (
    "user_groups",
    "agents",
    "content_regex",
    "providers",
    "channels",
    "intents",
    "countries",
    "data_classes",
)
MAX_GLOB_COMPARISONS: Final = 500_000  # of one policy, half a second; beyond them no glob certainly covers another

Key = TypeVar("Key", bound=Hashable)


def broader_bits(rules: Sequence[Conditions]) -> tuple[int, ...]:
    """For each conditions the bits of those that certainly match whenever they do, their own bit among them.

    Args:
        rules: conditions in the order of their bits.
    """
    kinds = (
        *(_by_list(rules, name) for name in LISTS),
        _by_key(rules, _bounds, _bounds_cover),
        _by_key(rules, lambda each: each.anonymous_ip, lambda broad, narrow: broad is None or broad is narrow),
        _by_key(rules, lambda each: each.models and tuple(sorted(set(each.models))), _Globs().cover),
        _by_entities(rules),
    )
    found = [(1 << len(rules)) - 1] * len(rules)
    for kind in kinds:
        found = [bits & more for bits, more in zip(found, kind, strict=True)]
    return tuple(found)


def _by_list(rules: Sequence[Conditions], name: str) -> list[int]:
    """By a condition that allows some values: one without it allows all."""
    places: dict[object, int] = {}

    def forbidden(each: Conditions) -> int:
        values: Iterable[object] | None = getattr(each, name)
        if values is None:
            return 0
        return ~sum({1 << places.setdefault(value, len(places)) for value in values})  # all others, without an end

    keys = [forbidden(each) for each in rules]
    groups = _groups(keys)
    covered = {key: sum([bits for broad, bits in groups.items() if not broad & ~key]) for key in groups}
    return [covered[key] for key in keys]


def _by_key(
    rules: Sequence[Conditions], key_of: Callable[[Conditions], Key], cover: Callable[[Key, Key], bool]
) -> list[int]:
    keys = [key_of(each) for each in rules]
    groups = _groups(keys)
    covered = {narrow: sum([bits for broad, bits in groups.items() if cover(broad, narrow)]) for narrow in groups}
    return [covered[key] for key in keys]


def _groups(keys: Sequence[Key]) -> dict[Key, int]:
    """Different keys, each with the bits of its rules."""
    groups: dict[Key, int] = {}
    for number, key in enumerate(keys):
        groups[key] = groups.get(key, 0) | 1 << number
    return groups


def _bounds(each: Conditions) -> tuple[float, int, float]:
    highest = float("inf") if each.tokens_max is None else each.tokens_max
    return each.risk_min or 0, each.tokens_min or 0, highest


def _bounds_cover(broad: tuple[float, int, float], narrow: tuple[float, int, float]) -> bool:
    return broad[0] <= narrow[0] and broad[1] <= narrow[1] and narrow[2] <= broad[2]


def _by_entities(rules: Sequence[Conditions]) -> list[int]:
    """By what must be found: one that asks for nothing is as broad as can be."""
    asking = sum(1 << number for number, each in enumerate(rules) if each.needs_entities)
    free = ((1 << len(rules)) - 1) & ~asking
    strength = _by_key(
        rules,
        lambda each: (each.confidence_percent, each.entity_count_min or 1),
        lambda broad, narrow: broad[0] <= narrow[0] and broad[1] <= narrow[1],
    )
    types = _by_list(rules, "entity_types")
    asked = [bits & more & asking for bits, more in zip(strength, types, strict=True)]
    return [free | (bits if each.needs_entities else 0) for each, bits in zip(rules, asked, strict=True)]


class _Globs:
    """Lists of model globs, compared until the budget is spent."""

    def __init__(self) -> None:
        self._left = MAX_GLOB_COMPARISONS
        self._known: dict[tuple[str, ...], tuple[frozenset[str], list[str]]] = {}

    def cover(self, broad: tuple[str, ...] | None, narrow: tuple[str, ...] | None) -> bool:
        """Whether each narrower glob lies within one of the broader."""
        # The star of a narrower glob is matched as a character: only a star can match it, and takes all it stands for.
        if broad is None or broad is narrow:
            return True
        if narrow is None:
            return False
        if broad not in self._known:
            self._known[broad] = frozenset(broad), [glob for glob in broad if "*" in glob]
        texts, stars = self._known[broad]
        return all(asked in texts or (bool(stars) and self._within(asked, stars)) for asked in narrow)

    def _within(self, asked: str, stars: Sequence[str]) -> bool:
        for glob in stars:
            if self._left <= 0:
                return False
            self._left -= 1
            if glob_matches(glob, asked):
                return True
        return False
