"""One's own account: who am I, and another authenticator."""

from typing import Annotated

from pydantic import Field, SecretStr

from controlplane.domain.acts import Outcome
from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import PrincipalKind, Verb, verbs_of
from controlplane.domain.users import MAX_PASSWORD_CHARS, User
from controlplane.ports.store import OrgTransaction
from controlplane.services.sign_in import Claimant, Recorder
from controlplane.web.api.authentication import person_of
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Effect, Model, NoBody, Operation, OrgParams, Scope

Password = Annotated[SecretStr, Field(max_length=MAX_PASSWORD_CHARS)]
OneTimePassword = Annotated[SecretStr, Field(max_length=16)]


class NoPersonError(ConflictError):
    """Only persons have passwords and authenticators."""

    code = "account.no_person"


class WhoAmI(Model):
    """The caller, as the control plane knows him now."""

    kind: str
    id: str
    name: str
    org: str
    role: str
    verbs: tuple[str, ...]


class Proof(Model):
    """Password and a one-time password of the authenticator in use."""

    password: Password
    totp: OneTimePassword


class Answer(Model):
    """A one-time password of the new authenticator."""

    totp: OneTimePassword


class AuthenticatorShown(Model):
    """A new authenticator, shown once; it counts once it has answered."""

    secret: str
    otpauth_uri: str


class Confirmed(Model):
    """The new authenticator counts."""

    user: str


async def show(context: Context, params: OrgParams, body: NoBody) -> WhoAmI:
    """The caller."""
    who = context.principal
    verbs = verbs_of(who.role, context.org)
    if who.scopes is not None:
        verbs &= who.scopes
    return WhoAmI(
        kind=who.kind.value,
        id=who.id,
        name=who.name,
        org=context.org,
        role=who.role.value,
        verbs=tuple(sorted(verb.value for verb in verbs)),
    )


async def enroll_totp(context: Context, params: OrgParams, body: Proof) -> AuthenticatorShown:
    """Another authenticator; the one in use counts until the new one has answered."""
    made = await context.bench.sign_in.change_authenticator(
        _claimant(context),
        body.password.get_secret_value(),
        body.totp.get_secret_value(),
        recorder(context),
    )
    return AuthenticatorShown(secret=made.secret, otpauth_uri=made.uri)


async def confirm_totp(context: Context, params: OrgParams, body: Answer) -> Confirmed:
    """The new authenticator takes the old one's place."""
    user = await context.bench.sign_in.confirm_authenticator(
        _claimant(context), body.totp.get_secret_value(), recorder(context)
    )
    return Confirmed(user=user.name)


def recorder(context: Context) -> Recorder:
    """Writes the act of a person who has just proved who he is."""

    async def record(transaction: OrgTransaction, user: User) -> None:
        act = context.write_act(person_of(user, context.org), Outcome.DONE)
        await context.bench.acts.append(transaction, act)

    return record


def _claimant(context: Context) -> Claimant:
    if context.principal.kind is not PrincipalKind.PERSON:
        raise NoPersonError(
            "only a person has a password and an authenticator",
            field="user",
            next_step="sign in as the user: controlplane login",
        )
    return Claimant(context.org, context.principal.name, context.origin.source)


OPERATIONS = (
    Operation(
        name="account.show",
        summary="Show who is calling, with which role and which verbs.",
        verb=Verb.OWN_ACCOUNT,
        method="GET",
        path="/v1/orgs/{org}/account",
        scope=Scope.SPACE,
        params=OrgParams,
        body=NoBody,
        result=WhoAmI,
        handler=show,
        schema="controlplane.account/1",
    ),
    Operation(
        name="users.enroll_totp",
        summary="Get another authenticator for one's own account.",
        verb=Verb.OWN_ACCOUNT,
        method="POST",
        path="/v1/orgs/{org}/account/totp",
        scope=Scope.SPACE,
        effect=Effect.OWN,
        params=OrgParams,
        body=Proof,
        result=AuthenticatorShown,
        handler=enroll_totp,
        schema="controlplane.authenticator/1",
        families=(ConflictError,),
        target="account",
        secret=True,
    ),
    Operation(
        name="users.confirm_totp",
        summary="Let the new authenticator of one's own account count.",
        verb=Verb.OWN_ACCOUNT,
        method="POST",
        path="/v1/orgs/{org}/account/totp/confirm",
        scope=Scope.SPACE,
        effect=Effect.OWN,
        params=OrgParams,
        body=Answer,
        result=Confirmed,
        handler=confirm_totp,
        schema="controlplane.confirmed/1",
        families=(ConflictError,),
        target="account",
    ),
)
