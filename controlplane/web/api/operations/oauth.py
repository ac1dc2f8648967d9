"""Tokens of machine clients (RFC 6749 client credentials), and the public keys that tokens are verified with."""

import base64
import binascii
from dataclasses import replace
from typing import Annotated
from urllib.parse import unquote_plus

from pydantic import Field, SecretStr

from controlplane.domain import clients
from controlplane.domain.acts import Outcome
from controlplane.domain.errors import NotFoundError
from controlplane.domain.orgs import OPERATOR, OrgNameError
from controlplane.domain.rbac import UnauthenticatedError, Verb, verbs_of
from controlplane.services.tokens import CLIENT_LIFE_SECONDS
from controlplane.web.api.authentication import machine_of
from controlplane.web.api.context import Context
from controlplane.web.api.oauth_errors import OAuthError
from controlplane.web.api.operation import Effect, Model, NoBody, NoParams, Operation, Scope

GRANT = "client_credentials"


class ClientRefusedError(UnauthenticatedError):
    """Client id and secret do not belong together, or not any more: one answer for every cause."""

    code = "oauth.invalid_client"


class TokenRequest(Model):
    """The form of RFC 6749 §4.4.2; HTTP Basic wins over what stands here."""

    grant_type: Annotated[str, Field(max_length=64)] = ""
    client_id: Annotated[str, Field(max_length=256)] = ""
    client_secret: Annotated[SecretStr, Field(max_length=256)] = SecretStr("")
    scope: Annotated[str, Field(max_length=4096)] = ""


class TokenAnswer(Model):
    """An access token, as RFC 6749 §5.1 answers."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


class JWK(Model):
    """A public key (RFC 7517)."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str


class JWKS(Model):
    """Public keys."""

    keys: tuple[JWK, ...]


class KeyRotated(Model):
    """The key that signs from now on."""

    kid: str
    created_ms: int


async def token(context: Context, params: NoParams, body: TokenRequest) -> TokenAnswer:
    """A token for a machine client."""
    if body.grant_type != GRANT:
        raise OAuthError("unsupported_grant_type", f"grant_type is {GRANT}")
    name, secret = body.client_id, body.client_secret.get_secret_value()
    org = clients.org_of(name)
    client = await _client(context, org or OPERATOR, name if org else "")
    if not clients.accepts(client, secret, context.now_ms) or client is None:
        raise ClientRefusedError("client id or secret is not right", next_step="ask for a new secret")
    whole = machine_of(client, org)
    try:
        scopes = clients.granted_scopes(client, tuple(body.scope.split()), verbs_of(client.role, org))
    except clients.ScopeUnknownError as error:
        raise OAuthError("invalid_scope", error.message) from error
    principal = replace(whole, scopes=scopes)
    issued = await context.bench.tokens.issue(principal, client.version, CLIENT_LIFE_SECONDS)
    act = replace(context.write_act(principal, Outcome.DONE), org=org, target=f"client/{client.name}")
    await context.bench.acts.record(act)
    granted = verbs_of(client.role, org) if scopes is None else scopes
    return TokenAnswer(
        access_token=issued.text,
        token_type="Bearer",  # noqa: S106 -- the word of RFC 6750
        expires_in=issued.life_seconds,
        scope=" ".join(sorted(granted)),
    )


async def jwks(context: Context, params: NoParams, body: NoBody) -> JWKS:
    """Those that are believed now."""
    return JWKS(keys=tuple(JWK(**each) for each in await context.bench.tokens.jwks()))


async def rotate(context: Context, params: NoParams, body: NoBody) -> KeyRotated:
    """Tokens under the key before are believed until they expire."""
    key = await context.bench.tokens.rotate()
    return KeyRotated(kid=key.kid, created_ms=key.created_ms)


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Client id and secret of an untrusted Authorization header. Source: RFC 6749 §2.3.1.

    Returns:
        None when it is not HTTP Basic, or unreadable.
    """
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""  # it was meant as Basic, so the form does not count
    name, _, secret = text.partition(":")
    return unquote_plus(name), unquote_plus(secret)


async def _client(context: Context, org: str, client_id: str) -> clients.MachineClient | None:
    """The client of an id; for an unknown org the operator's space is asked in vain, which takes as long."""
    try:
        async with context.store.for_org(org).read() as transaction:
            return await transaction.clients.get(client_id)
    except (OrgNameError, NotFoundError):
        async with context.store.for_org(OPERATOR).read() as transaction:
            await transaction.clients.get("")
        return None


OPERATIONS = (
    Operation(
        name="oauth.token",
        summary="Get an access token for a machine client (client_credentials).",
        verb=None,
        method="POST",
        path="/oauth/token",
        scope=Scope.PUBLIC,
        effect=Effect.OWN,
        params=NoParams,
        body=TokenRequest,
        result=TokenAnswer,
        handler=token,
        families=(UnauthenticatedError,),
        form=True,
        secret=True,
    ),
    Operation(
        name="oauth.jwks",
        summary="Public keys that access tokens are verified with.",
        verb=None,
        method="GET",
        path="/.well-known/jwks.json",
        scope=Scope.PUBLIC,
        params=NoParams,
        body=NoBody,
        result=JWKS,
        handler=jwks,
    ),
    Operation(
        name="tokens.rotate_key",
        summary="Sign access tokens with a new key from now on; the one before is believed until its tokens expire.",
        verb=Verb.TOKENS_ROTATE,
        method="POST",
        path="/v1/token-keys",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=NoParams,
        body=NoBody,
        result=KeyRotated,
        handler=rotate,
        schema="controlplane.token_key/1",
        status=201,
        target="token_key",
    ),
)
