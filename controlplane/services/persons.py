"""Users of an org, as those who administer see them: invited, given another role, reset, disabled."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from controlplane.domain import users
from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import TABLE, Principal, Role, Verb, decides, may_manage, require_owner_left
from controlplane.domain.users import User, UserState
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Chance, Clock

MAX_USERS = 10_000  # of one org


class UserLimitError(ConflictError):
    """The org has as many users as it may have."""

    code = "user.limit"


@dataclass(frozen=True, slots=True)
class Invited:
    """A user with a sign-in code that is shown once."""

    user: User
    code: str = field(repr=False)


class Persons:
    """The use case.

    Args:
        shown_to: ids of those who are shown what an act makes. While two or more decide, a sign-in code is on its
            user's account with the users who saw it: who holds it could be two persons.
    """

    def __init__(self, store: Store, clock: Clock, chance: Chance, shown_to: Collection[str] = ()) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._shown_to = shown_to

    async def create(self, org: str, name: str, role: Role, actor: Principal) -> Invited:
        """Invite a user.

        Raises:
            GrantForbiddenError: a role that can do more than the actor's.
            UserNameError: the name; so are UserExistsError and UserLimitError.
        """
        may_manage(actor.role, role, org)
        async with self._store.for_org(org).write() as transaction:
            return await self.invite(transaction, name, role)

    async def invite(self, transaction: OrgTransaction, name: str, role: Role) -> Invited:
        """Invite within a transaction: the first owners of a new org. Raises as ``create``, but for the grant."""
        now_ms = self._clock.now_ms()
        code = users.code_text(self._chance.token_bytes(users.CODE_BYTES))
        new = users.invite(name, role, self._chance.token_bytes(users.ID_BYTES), now_ms)
        user = users.with_code(new, users.code_digest(code), now_ms)
        everyone = await transaction.users.all()
        user = self._noted(user, everyone)
        require_room(everyone)
        await transaction.users.add(user)
        return Invited(user, code)

    async def all(self, org: str) -> tuple[User, ...]:
        """All users, disabled ones too, in order of creation."""
        async with self._store.for_org(org).read() as transaction:
            return await transaction.users.all()

    async def show(self, org: str, name_or_id: str) -> User:
        """One user. Raises UserUnknownError."""
        async with self._store.for_org(org).read() as transaction:
            return await transaction.users.find(name_or_id)

    async def disable(self, org: str, name_or_id: str, actor: Principal) -> User:
        """End a user's access: no token of his works any more.

        Raises:
            GrantForbiddenError: a user who can do more than the actor.
            LastOwnerError: nobody else would be an owner.
        """
        async with self._store.for_org(org).write() as transaction:
            user = await self._managed(transaction, name_or_id, actor)
            keep_an_owner(await transaction.users.all(), user)
            ended = users.disabled(user)
            await transaction.users.save(ended)
        return ended

    async def reset(self, org: str, name_or_id: str, actor: Principal) -> Invited:
        """Take password and authenticator away and make a sign-in code. Raises as ``disable``, and UserStateError."""
        code = users.code_text(self._chance.token_bytes(users.CODE_BYTES))
        async with self._store.for_org(org).write() as transaction:
            user = await self._managed(transaction, name_or_id, actor)
            fresh = users.reset(user, users.code_digest(code), self._clock.now_ms())
            fresh = self._noted(fresh, await transaction.users.all())
            await transaction.users.save(fresh)
        return Invited(fresh, code)

    async def set_role(self, org: str, name_or_id: str, role: Role, actor: Principal) -> User:
        """Give another role; tokens of the old one are void. Raises as ``disable``."""
        may_manage(actor.role, role, org)
        async with self._store.for_org(org).write() as transaction:
            user = await self._managed(transaction, name_or_id, actor)
            if role is not Role.OWNER:
                keep_an_owner(await transaction.users.all(), user)
            changed = users.with_role(user, role)
            await transaction.users.save(changed)
        return changed

    def _noted(self, user: User, everyone: Iterable[User]) -> User:
        """The user with those who are shown his code; who began an org alone makes its second without that."""
        others = deciders(each for each in everyone if each.id != user.id)
        if len(others) < 2 and not user.has_signed_in:
            return user
        return replace(user, seen_by=tuple(each for each in self._shown_to if each.startswith("user-")))

    async def _managed(self, transaction: OrgTransaction, name_or_id: str, actor: Principal) -> User:
        user = await transaction.users.find(name_or_id)
        may_manage(actor.role, user.role, transaction.org)
        return user


def require_room(everyone: Sequence[User]) -> None:
    """Refuse one more user than an org may have. Raises UserLimitError."""
    if len(everyone) >= MAX_USERS:
        raise UserLimitError(f"an org has at most {MAX_USERS} users", field="user", next_step="disable one")


def keep_an_owner(everyone: Iterable[User], leaving: User) -> None:
    """Refuse the loss of the last owner (LastOwnerError).

    Owners who can sign in count; while there is none yet, those who were invited.
    """
    owners = [each for each in everyone if each.role is Role.OWNER and each.state is not UserState.DISABLED]
    active = [each for each in owners if each.state is UserState.ACTIVE]
    require_owner_left([each.id for each in active or owners], leaving.id)


def deciders(everyone: Iterable[User]) -> tuple[User, ...]:
    """Persons who approve, also one whose sign-in was reset and waits for him."""
    return tuple(each for each in everyone if decides(each.role) and each.has_signed_in)


def others_who_approve(verb: Verb, everyone: Iterable[User], authors: Collection[str], about: str) -> int:
    """How many could be asked to approve an act: without the user that it is about, and without one author.

    A program has all who saw its secret behind it, and still only one of them is who asks.
    """
    able = [each for each in deciders(everyone) if each.role in TABLE[verb]]
    found = [each for each in able if about not in (each.id, each.name)]
    return len(found) - any(each.id in authors for each in found)
