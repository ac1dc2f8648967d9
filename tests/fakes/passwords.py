"""Adapter of ``ports.admin.Passwords`` that costs nothing and counts the work that would have been done."""

import hashlib


class QuickPasswords:
    """SHA-256 in the place of argon2id."""

    def __init__(self) -> None:
        self.nobodys = "quick$nobody"
        self.checked: list[str] = []
        self.outdated = False

    async def hash(self, password: str) -> str:
        return "quick$" + hashlib.sha256(password.encode()).hexdigest()

    async def matches(self, encoded: str, password: str) -> bool:
        self.checked.append(encoded)
        return encoded == await self.hash(password)

    def is_outdated(self, encoded: str) -> bool:
        return self.outdated
