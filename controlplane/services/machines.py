"""Machine clients of an org: made, rotated, revoked."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from controlplane.domain import clients
from controlplane.domain.clients import MachineClient
from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import Principal, Role, Verb, may_manage, verbs_of
from controlplane.ports.store import Store
from controlplane.ports.world import Chance, Clock


class ClientLimitError(ConflictError):
    """The org has as many live clients as it may have."""

    code = "client.limit"


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A client with a secret that is shown once."""

    client: MachineClient
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientWish:
    """What somebody asks for.

    Attributes:
        scopes: names of verbs; empty is all of the role.
    """

    name: str
    role: Role
    scopes: tuple[str, ...]
    life_days: int


class Machines:
    """The use case.

    Args:
        shown_to: ids of those who are shown what an act makes, beside who asks for it.
    """

    def __init__(self, store: Store, clock: Clock, chance: Chance, shown_to: Collection[str] = ()) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._shown_to = shown_to

    async def create(self, org: str, wish: ClientWish, actor: Principal) -> NewSecret:
        """Make a client.

        Raises:
            GrantForbiddenError: a role that can do more than the actor's.
            ClientNameError: the name; so are ClientExistsError, ScopeUnknownError and ClientLimitError.
        """
        await self.check(org, wish, actor)
        now_ms = self._clock.now_ms()
        secret = clients.secret_text(org, self._chance.token_bytes(clients.SECRET_BYTES))
        client = MachineClient(
            id=clients.client_id(org, self._chance.token_bytes(clients.ID_BYTES)),
            name=clients.checked_name(wish.name),
            role=wish.role,
            scopes=scopes_of(wish, org),
            seen_by=self._seen_by(actor),
            created_ms=now_ms,
            life_ms=wish.life_days * clients.DAY_MS,
            digest=clients.secret_digest(secret),
            expires_ms=now_ms + wish.life_days * clients.DAY_MS,
        )
        async with self._store.for_org(org).write() as transaction:
            _require_room(await transaction.clients.all())
            await transaction.clients.add(client)
        return NewSecret(client, secret)

    async def check(self, org: str, wish: ClientWish, actor: Principal) -> None:
        """Refuse what ``create`` would refuse now. Raises as it does."""
        may_manage(actor.role, wish.role, org)
        scopes_of(wish, org)
        name = clients.checked_name(wish.name)
        async with self._store.for_org(org).read() as transaction:
            everyone = await transaction.clients.all()
        _require_room(everyone)
        if any(each.name == name and not each.revoked_ms for each in everyone):
            raise clients.ClientExistsError(
                f"the org has a live client {name} already",
                field="name",
                next_step="choose another name, or revoke it: controlplane client revoke NAME --org ORG",
            )

    async def all(self, org: str) -> tuple[MachineClient, ...]:
        """All clients, revoked ones too, in order of creation."""
        async with self._store.for_org(org).read() as transaction:
            return await transaction.clients.all()

    async def rotate(self, org: str, name_or_id: str, grace_ms: int, actor: Principal) -> NewSecret:
        """Make a new secret; the old one works until the grace ends.

        Raises:
            ClientUnknownError: no such live client; so is GrantForbiddenError for its role.
        """
        now_ms = self._clock.now_ms()
        secret = clients.secret_text(org, self._chance.token_bytes(clients.SECRET_BYTES))
        async with self._store.for_org(org).write() as transaction:
            client = await transaction.clients.find(name_or_id)
            may_manage(actor.role, client.role, org)
            fresh = clients.rotated(client, clients.secret_digest(secret), self._seen_by(actor), now_ms, grace_ms)
            await transaction.clients.save(fresh)
        return NewSecret(fresh, secret)

    async def revoke(self, org: str, name_or_id: str, actor: Principal) -> MachineClient:
        """End a client and all its tokens at once. Raises as ``rotate``."""
        async with self._store.for_org(org).write() as transaction:
            client = await transaction.clients.find(name_or_id)
            may_manage(actor.role, client.role, org)
            ended = clients.revoked(client, self._clock.now_ms())
            await transaction.clients.save(ended)
        return ended

    def _seen_by(self, actor: Principal) -> tuple[str, ...]:
        return tuple(dict.fromkeys((actor.id, *actor.behind, *self._shown_to)))


def _require_room(everyone: Iterable[MachineClient]) -> None:
    if sum(not each.revoked_ms for each in everyone) >= clients.MAX_CLIENTS:
        raise ClientLimitError(
            f"an org has at most {clients.MAX_CLIENTS} clients",
            field="name",
            next_step="revoke one: controlplane client revoke NAME --org ORG",
        )


def scopes_of(wish: ClientWish, org: str) -> tuple[Verb, ...]:
    """The verbs that a client may ask for. Raises ScopeUnknownError: one that its role does not have."""
    allowed = {verb.value: verb for verb in verbs_of(wish.role, org)}
    unknown = [name for name in wish.scopes if name not in allowed]
    if unknown:
        raise clients.ScopeUnknownError(
            f"the role {wish.role.value} does not have every one of these scopes",
            field="scope",
            next_step="choose among: " + " ".join(sorted(allowed)),
        )
    return tuple(sorted({allowed[name] for name in wish.scopes}))
