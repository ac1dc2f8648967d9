"""Users of an org, as those who administer see them."""

from typing import Annotated

from pydantic import Field

from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import Role, Verb, decides, granting_verb, may_manage
from controlplane.domain.users import NAME, User, UserExistsError, checked_name, with_code
from controlplane.services.persons import keep_an_owner, require_room
from controlplane.web.api.context import Context
from controlplane.web.api.cursors import Cursors, cut
from controlplane.web.api.operation import (
    Effect,
    Model,
    NameOrId,
    NoBody,
    OneLine,
    Operation,
    OrgParams,
    PageParams,
    Scope,
    shaped,
)
from controlplane.web.api.operations.orgs import Invitation, invitation


class UserParams(OrgParams):
    """One user."""

    user: NameOrId


class NewUser(Model):
    """A user to invite."""

    name: Annotated[str, Field(max_length=128, json_schema_extra=shaped(NAME.pattern)), OneLine]
    role: Role


class RoleChange(Model):
    """Another role."""

    role: Role


class UserShown(Model):
    """A user; nothing that opens is shown."""

    org: str
    id: str
    name: str
    role: str
    state: str
    created_ms: int
    signed_in_ms: int
    code_seen_by: tuple[str, ...]
    wrong_codes: int


class UserList(Model):
    """A page of users."""

    org: str
    users: tuple[UserShown, ...]
    next_cursor: str


def user_shown(user: User, org: str) -> UserShown:
    """What is shown of a user."""
    return UserShown(
        org=org,
        id=user.id,
        name=user.name,
        role=user.role.value,
        state=user.state.value,
        created_ms=user.created_ms,
        signed_in_ms=user.signed_in_ms,
        code_seen_by=user.seen_by,
        wrong_codes=user.wrong_codes,
    )


async def create(context: Context, params: OrgParams, body: NewUser) -> Invitation:
    """A one-time sign-in code."""
    return invitation(await context.persons.create(context.org, body.name, body.role, context.principal))


async def list_users(context: Context, params: PageParams, body: NoBody) -> UserList:
    """A page, in order of creation."""
    cursors = Cursors(context.bench.seal, {"operation": "users.list", "org": context.org})
    found = await context.persons.all(context.org)
    page = cut(found, lambda each: each.id, cursors, (params.cursor, params.limit))
    rows = tuple(user_shown(each, context.org) for each in page.items)
    return UserList(org=context.org, users=rows, next_cursor=page.following)


async def show(context: Context, params: UserParams, body: NoBody) -> UserShown:
    """One user."""
    return user_shown(await context.persons.show(context.org, params.user), context.org)


async def disable(context: Context, params: UserParams, body: NoBody) -> UserShown:
    """Tokens are void at once."""
    return user_shown(await context.persons.disable(context.org, params.user, context.principal), context.org)


async def reset(context: Context, params: UserParams, body: NoBody) -> Invitation:
    """Password and authenticator are gone; a one-time sign-in code sets new ones."""
    return invitation(await context.persons.reset(context.org, params.user, context.principal))


async def set_role(context: Context, params: UserParams, body: RoleChange) -> UserShown:
    """Tokens of the old role are void at once."""
    changed = await context.persons.set_role(context.org, params.user, body.role, context.principal)
    return user_shown(changed, context.org)


async def _check_new(context: Context, params: OrgParams, body: NewUser) -> None:
    may_manage(context.principal.role, body.role, context.org)
    require_room(await context.open.users.all())
    if await context.open.users.named(checked_name(body.name)) is not None:
        raise UserExistsError(f"the org has a user {body.name} already", field="user", next_step="choose another name")


async def _check_ending(context: Context, params: UserParams, body: NoBody) -> None:
    await _check_managed(context, params, body)
    keep_an_owner(await context.open.users.all(), await context.persons.show(context.org, params.user))


async def _check_role(context: Context, params: UserParams, body: RoleChange) -> None:
    await _check_managed(context, params, body)
    if body.role is not Role.OWNER:
        keep_an_owner(await context.open.users.all(), await context.persons.show(context.org, params.user))


async def _check_reset(context: Context, params: UserParams, body: NoBody) -> None:
    await _check_managed(context, params, body)
    with_code(await context.persons.show(context.org, params.user), "", context.now_ms)


async def _check_managed(context: Context, params: UserParams, body: RoleChange | NoBody) -> None:
    user = await context.persons.show(context.org, params.user)
    for role in (user.role, *([body.role] if isinstance(body, RoleChange) else [])):
        may_manage(context.principal.role, role, context.org)


async def _granting(context: Context, params: OrgParams, body: NewUser) -> Verb | None:
    verb = granting_verb(body.role)
    return None if verb is Verb.USERS_MANAGE else verb


async def _changing(context: Context, params: UserParams, body: RoleChange) -> Verb | None:
    """Both roles count: who decides now is not taken out of the way by one person."""
    verb = granting_verb(body.role)
    if verb is not Verb.USERS_GRANT_OWNER and (ends := await _ending(context, params, NoBody())):
        return ends
    return None if verb is Verb.USERS_MANAGE else verb


async def _ending(context: Context, params: UserParams, body: NoBody) -> Verb | None:
    """One person must not remove whoever could say no; an invited user cannot say anything yet."""
    user = await context.persons.show(context.org, params.user)
    return Verb.USERS_END_DECIDER if decides(user.role) and user.has_signed_in else None


async def _handing_out(context: Context, params: UserParams, body: NoBody) -> Verb | None:
    """With a sign-in code for a user who decides, its holder could approve his own acts as that user."""
    if ends := await _ending(context, params, body):
        return ends
    user = await context.persons.show(context.org, params.user)
    return Verb.USERS_GRANT_DECIDER if decides(user.role) else None


OPERATIONS = (
    Operation(
        name="users.create",
        summary="Invite a user: makes a sign-in code that works once, for 15 minutes.",
        verb=Verb.USERS_MANAGE,
        method="POST",
        path="/v1/orgs/{org}/users",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=OrgParams,
        body=NewUser,
        result=Invitation,
        handler=create,
        schema="controlplane.invitation/1",
        status=201,
        families=(ConflictError,),
        target="user/{name}",
        check=_check_new,
        escalates=_granting,
        secret=True,
    ),
    Operation(
        name="users.list",
        summary="List users, disabled ones too.",
        verb=Verb.USERS_READ,
        method="GET",
        path="/v1/orgs/{org}/users",
        scope=Scope.SPACE,
        params=PageParams,
        body=NoBody,
        result=UserList,
        handler=list_users,
        schema="controlplane.users/1",
        items="users",
    ),
    Operation(
        name="users.show",
        summary="Show one user.",
        verb=Verb.USERS_READ,
        method="GET",
        path="/v1/orgs/{org}/users/{user}",
        scope=Scope.SPACE,
        params=UserParams,
        body=NoBody,
        result=UserShown,
        handler=show,
        schema="controlplane.user/1",
    ),
    Operation(
        name="users.disable",
        summary="End a user's access; tokens are void at once. The last owner cannot be disabled.",
        verb=Verb.USERS_MANAGE,
        method="POST",
        path="/v1/orgs/{org}/users/{user}/disable",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=UserParams,
        body=NoBody,
        result=UserShown,
        handler=disable,
        schema="controlplane.user/1",
        families=(ConflictError,),
        target="user/{user}",
        check=_check_ending,
        escalates=_ending,
        about="user",
    ),
    Operation(
        name="users.reset_password",
        summary="Take password and authenticator away and make a one-time sign-in code.",
        verb=Verb.USERS_MANAGE,
        method="POST",
        path="/v1/orgs/{org}/users/{user}/reset-password",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=UserParams,
        body=NoBody,
        result=Invitation,
        handler=reset,
        schema="controlplane.invitation/1",
        families=(ConflictError,),
        target="user/{user}",
        check=_check_reset,
        escalates=_handing_out,
        about="user",
        secret=True,
    ),
    Operation(
        name="users.set_role",
        summary="Give a user another role; tokens of the old one are void at once.",
        verb=Verb.USERS_MANAGE,
        method="PUT",
        path="/v1/orgs/{org}/users/{user}/role",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=UserParams,
        body=RoleChange,
        result=UserShown,
        handler=set_role,
        schema="controlplane.user/1",
        families=(ConflictError,),
        target="user/{user}",
        check=_check_role,
        escalates=_changing,
        about="user",
    ),
)
