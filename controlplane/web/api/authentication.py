"""From an access token to a principal, as the store knows him at this moment.

A token is believed only while its user or client still is what it says: disabled, revoked, in another role or with a
newer version, it opens nothing. So a revocation counts at the next request.
"""

from controlplane.domain.clients import MachineClient
from controlplane.domain.errors import NotFoundError
from controlplane.domain.orgs import OrgNameError
from controlplane.domain.rbac import Principal, PrincipalKind
from controlplane.domain.users import User, UserState
from controlplane.ports.store import OrgTransaction, Store
from controlplane.services.tokens import Claims, Tokens, unauthenticated


def person_of(user: User, org: str) -> Principal:
    """A user as a principal."""
    return Principal(PrincipalKind.PERSON, user.id, user.name, org, user.role, behind=user.seen_by)


def machine_of(client: MachineClient, org: str) -> Principal:
    """A machine client as a principal, with all of its own scopes."""
    scopes = frozenset(client.scopes) or None
    return Principal(PrincipalKind.CLIENT, client.id, client.name, org, client.role, scopes, client.seen_by)


async def authenticate(text: str, tokens: Tokens, store: Store) -> Principal:
    """The principal of an untrusted token. Raises UnauthenticatedError: one answer for every cause."""
    claims = await tokens.verify(text)
    try:
        async with store.for_org(claims.org).read() as transaction:
            found = await confirmed(transaction, claims)
    except (OrgNameError, NotFoundError):
        found = None
    if found is None:
        raise unauthenticated()
    return found


async def confirmed(transaction: OrgTransaction, claims: Claims) -> Principal | None:
    """The principal that claims are about, if the store still says the same."""
    if claims.kind is PrincipalKind.PERSON:
        user = await transaction.users.find(claims.subject)
        valid = user.state is UserState.ACTIVE and (user.role, user.version) == (claims.role, claims.version)
        return person_of(user, claims.org) if valid else None
    client = await transaction.clients.get(claims.subject)
    if client is None or client.revoked_ms or (client.role, client.version) != (claims.role, claims.version):
        return None
    whole = machine_of(client, claims.org)
    return Principal(whole.kind, whole.id, whole.name, whole.org, whole.role, claims.scopes, whole.behind)


async def author_now(transaction: OrgTransaction, author: str, org: str) -> Principal | None:
    """A principal by id, as the store knows him now; None when he can do nothing any more.

    Args:
        transaction: of his org.
        author: id of a user or of a client. Local principals are not stored: the caller knows them.
        org: his org.
    """
    if author.startswith("user-"):
        try:
            user = await transaction.users.find(author)
        except NotFoundError:
            return None
        return person_of(user, org) if user.state is UserState.ACTIVE else None
    client = await transaction.clients.get(author)
    return machine_of(client, org) if client is not None and not client.revoked_ms else None
