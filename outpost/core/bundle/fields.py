"""Strict reading of JSON objects from signed files: each field by name, type and bound; anything else is refused."""

import re
from collections.abc import Mapping

from outpost.core.bundle.errors import DocumentError, UnknownFieldError
from outpost.core.bundle.limits import MAX_TEXT_CHARS

_HEX_SHA256 = re.compile(r"[0-9a-f]{64}")


class Fields:
    """One JSON object being read; ``done`` refuses what nobody asked for.

    Args:
        value: decoded JSON.
        where: file and path inside it, for errors ("policy/release.json/resources").
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise DocumentError(f"{where} must be an object.", field=where)
        self._value: Mapping[str, object] = value
        self._where = where
        self._read: set[str] = set()

    def fail(self, name: str, rule: str) -> DocumentError:
        """Error that blames one field."""
        where = f"{self._where}/{name}" if name else self._where
        return DocumentError(f"{where} {rule}.", field=where, next_step="Correct the document and publish it again.")

    def raw(self, name: str) -> object:
        """Value of any kind; the field must be there."""
        if name not in self._value:
            raise self.fail(name, "is missing")
        self._read.add(name)
        return self._value[name]

    def text(self, name: str, *, limit: int = MAX_TEXT_CHARS, empty: bool = False) -> str:
        """String of at most ``limit`` characters, without control characters."""
        value = self.raw(name)
        if not isinstance(value, str) or len(value) > limit or not (value or empty):
            raise self.fail(name, f"must be a string of {0 if empty else 1} to {limit} characters")
        if limit <= MAX_TEXT_CHARS and not value.isprintable():
            raise self.fail(name, "must not hold control characters")
        return value

    def match(self, name: str, pattern: re.Pattern[str]) -> str:
        """String that a pattern matches in full."""
        value = self.raw(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self.fail(name, f"must match {pattern.pattern}")
        return value

    def sha256(self, name: str) -> str:
        """64 lower-case hex digits."""
        return self.match(name, _HEX_SHA256)

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of a few words."""
        value = self.raw(name)
        if not isinstance(value, str) or value not in allowed:
            raise self.fail(name, f"must be one of {', '.join(allowed)}")
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        """Integer within bounds, both included."""
        value = self.raw(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(name, f"must be an integer from {low} to {high}")
        return value

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """Integer within bounds, or null."""
        return None if self.raw(name) is None else self.integer(name, low, high)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.raw(name)
        if not isinstance(value, bool):
            raise self.fail(name, "must be true or false")
        return value

    def items(self, name: str, limit: int) -> list[object]:
        """Array of at most ``limit`` values."""
        value = self.raw(name)
        if not isinstance(value, list) or len(value) > limit:
            raise self.fail(name, f"must be an array of at most {limit} items")
        return value

    def texts(self, name: str, limit: int, *, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        """Array of distinct short strings."""
        values = []
        for value in self.items(name, limit):
            if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT_CHARS or not value.isprintable():
                raise self.fail(name, f"must hold strings of 1 to {MAX_TEXT_CHARS} printable characters")
            if pattern is not None and not pattern.fullmatch(value):
                raise self.fail(name, f"must hold strings that match {pattern.pattern}")
            values.append(value)
        if len(set(values)) != len(values):
            raise self.fail(name, "must not hold a string twice")
        return tuple(values)

    def objects(self, name: str, limit: int) -> "list[Fields]":
        """Array of objects."""
        return [Fields(item, f"{self._where}/{name}/{n}") for n, item in enumerate(self.items(name, limit))]

    def mapping(self, name: str, limit: int) -> "dict[str, Fields]":
        """Object whose values are objects."""
        value = self.raw(name)
        if not isinstance(value, dict) or len(value) > limit:
            raise self.fail(name, f"must be an object of at most {limit} members")
        return {key: Fields(item, f"{self._where}/{name}/{key[:MAX_TEXT_CHARS]}") for key, item in value.items()}

    def nested(self, name: str) -> "Fields":
        """One object."""
        return Fields(self.raw(name), f"{self._where}/{name}")

    def whole(self) -> Mapping[str, object]:
        """The object itself."""
        return self._value

    def has(self, name: str) -> bool:
        """The field is there."""
        return name in self._value

    def names(self) -> tuple[str, ...]:
        """Names of all fields."""
        return tuple(self._value)

    def done(self) -> None:
        """Refuse every field that was not read."""
        unknown = sorted(set(self._value) - self._read)
        if unknown:
            where = f"{self._where}/{unknown[0][:MAX_TEXT_CHARS]}"
            raise UnknownFieldError(
                f"{where} is not a field of this schema.",
                field=where,
                next_step="Update the outpost, or publish without the field.",
            )
