"""Persons who administer."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

from dataclasses import fields

from controlplane.domain.rbac import Role
from controlplane.domain.users import User, UserExistsError, UserState, UserUnknownError
from controlplane.store.session import Row, Session, Value

NAMES = tuple(each.name for each in fields(User))
COLUMNS = ", ".join(NAMES)


class UserTable:
    """Adapter of ``ports.admin.Users``: rows hold hashes and sealed secrets, nothing that opens by itself."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, user: User) -> None:
        """Insert, unless the name is taken."""
        if await self.named(user.name) is not None:
            raise UserExistsError(
                f"the org has a user {user.name} already",
                field="user",
                next_step="choose another name, or see: controlplane user show NAME --org ORG",
            )
        places = ", ".join(f"${number}" for number in range(1, len(NAMES) + 2))
        await self._session.execute(f"INSERT INTO users (org, {COLUMNS}) VALUES ({places})", *_values(user))

    async def save(self, user: User) -> None:
        """Replace the row."""
        assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(NAMES, start=2))
        await self._session.execute(f"UPDATE users SET {assignments} WHERE org = $1 AND id = $2", *_values(user))

    async def named(self, name: str) -> User | None:
        """By name."""
        row = await self._session.fetch_one(f"SELECT {COLUMNS} FROM users WHERE org = $1 AND name = $2", name)
        return _user(row) if row else None

    async def find(self, name_or_id: str) -> User:
        """By name or id."""
        row = await self._session.fetch_one(
            f"SELECT {COLUMNS} FROM users WHERE org = $1 AND (name = $2 OR id = $2)", name_or_id
        )
        if row is None:
            raise UserUnknownError(
                "this org has no such user", field="user", next_step="list them: controlplane user list --org ORG"
            )
        return _user(row)

    async def all(self) -> tuple[User, ...]:
        """In order of creation."""
        rows = await self._session.fetch(f"SELECT {COLUMNS} FROM users WHERE org = $1 ORDER BY created_ms, id")
        return tuple(_user(row) for row in rows)


def _values(user: User) -> tuple[Value, ...]:
    values = (getattr(user, name) for name in NAMES)
    return tuple(" ".join(value) if isinstance(value, tuple) else value for value in values)


def _user(row: Row) -> User:
    values = dict(zip(NAMES, row, strict=True))
    made = {
        **values,
        "role": Role(str(values["role"])),
        "state": UserState(str(values["state"])),
        "seen_by": tuple(str(values["seen_by"]).split()),
    }
    return User(**made)  # type: ignore[arg-type]
