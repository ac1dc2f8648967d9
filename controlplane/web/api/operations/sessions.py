"""Signing in: with password and authenticator, or for the first time with a sign-in code."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field, SecretStr

from controlplane.domain.acts import Act, Outcome
from controlplane.domain.errors import RefusedError
from controlplane.domain.rbac import Principal, SignInError
from controlplane.services.sign_in import Claimant
from controlplane.services.tokens import PERSON_LIFE_SECONDS
from controlplane.web.api.authentication import person_of
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Effect, Model, NoParams, Operation, Scope
from controlplane.web.api.operations.accounts import AuthenticatorShown, Confirmed, OneTimePassword, Password, recorder

Code = Annotated[SecretStr, Field(max_length=128, description="one-time sign-in code")]
Name = Annotated[str, Field(max_length=64)]


class Credentials(Model):
    """Who somebody says he is."""

    org: Name
    user: Name
    password: Password
    totp: OneTimePassword


class Session(Model):
    """An access token, good for 15 minutes."""

    access_token: str
    token_type: str
    expires_ms: int
    expires_in: int
    org: str
    user: str
    role: str


class FirstSignIn(Model):
    """A sign-in code and the password that is to count."""

    org: Name
    user: Name
    code: Code
    password: Password


class FirstAnswer(Model):
    """The same sign-in code, and what the new authenticator answers."""

    org: Name
    user: Name
    code: Code
    totp: OneTimePassword


async def create(context: Context, params: NoParams, body: Credentials) -> Session:
    """Sign in."""
    space = replace_org(context, body.org)
    who = Claimant(body.org, body.user, context.origin.source)
    user = await context.bench.sign_in.sign_in(
        who, body.password.get_secret_value(), body.totp.get_secret_value(), recorder(space)
    )
    issued = await context.bench.tokens.issue(person_of(user, body.org), user.version, PERSON_LIFE_SECONDS)
    return Session(
        access_token=issued.text,
        token_type="Bearer",  # noqa: S106 -- the word of RFC 6750
        expires_ms=issued.expires_ms,
        expires_in=issued.life_seconds,
        org=body.org,
        user=user.name,
        role=user.role.value,
    )


async def activate(context: Context, params: NoParams, body: FirstSignIn) -> AuthenticatorShown:
    """Set a password and get an authenticator."""
    made = await context.bench.sign_in.begin(
        Claimant(body.org, body.user, context.origin.source),
        body.code.get_secret_value(),
        body.password.get_secret_value(),
    )
    return AuthenticatorShown(secret=made.secret, otpauth_uri=made.uri)


async def confirm(context: Context, params: NoParams, body: FirstAnswer) -> Confirmed:
    """Both count from now on."""
    user = await context.bench.sign_in.confirm(
        Claimant(body.org, body.user, context.origin.source),
        body.code.get_secret_value(),
        body.totp.get_secret_value(),
        recorder(replace_org(context, body.org)),
    )
    return Confirmed(user=user.name)


def replace_org(context: Context, org: str) -> Context:
    """The context of a person who is about to prove that he is of this org."""

    def write_act(who: Principal, outcome: Outcome) -> Act:
        return replace(context.write_act(who, outcome), org=org)

    return replace(context, org=org, write_act=write_act)


OPERATIONS = (
    Operation(
        name="sessions.create",
        summary="Sign in with password and one-time password: an access token for 15 minutes.",
        verb=None,
        method="POST",
        path="/v1/sessions",
        scope=Scope.PUBLIC,
        effect=Effect.OWN,
        params=NoParams,
        body=Credentials,
        result=Session,
        handler=create,
        schema="controlplane.session/1",
        status=201,
        families=(SignInError,),
        target="user/{user}",
        secret=True,
    ),
    Operation(
        name="sessions.activate",
        summary="With a sign-in code, set a password and get an authenticator.",
        verb=None,
        method="POST",
        path="/v1/activations",
        scope=Scope.PUBLIC,
        effect=Effect.OWN,
        params=NoParams,
        body=FirstSignIn,
        result=AuthenticatorShown,
        handler=activate,
        schema="controlplane.authenticator/1",
        status=201,
        families=(RefusedError,),
        target="user/{user}",
        secret=True,
    ),
    Operation(
        name="sessions.confirm",
        summary="With the same sign-in code, let the new authenticator answer; then one can sign in.",
        verb=None,
        method="POST",
        path="/v1/activations/confirm",
        scope=Scope.PUBLIC,
        effect=Effect.OWN,
        params=NoParams,
        body=FirstAnswer,
        result=Confirmed,
        handler=confirm,
        schema="controlplane.confirmed/1",
        families=(RefusedError,),
        target="user/{user}",
    ),
)
