"""Ingresses: who may pass on the certificates of outposts, and who may stand where outposts call."""

from typing import Annotated

from pydantic import Field

from certs.csr import MAX_REQUEST_PEM_BYTES, request_from_pem
from certs.errors import CertificateRequestError, IdentityError, TrustError
from certs.profiles import MAX_DNS_NAMES
from controlplane.domain.ingress import IngressCertificate
from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Effect, Model, NoBody, NoParams, Operation, Scope

NAME = "^[a-z0-9][a-z0-9-]{0,62}$"  # certs.spiffe

Name = Annotated[str, Field(pattern=NAME, description="name of an ingress")]
Request = Annotated[str, Field(max_length=MAX_REQUEST_PEM_BYTES, description="certificate signing request, PEM")]


class IngressParams(Model):
    """One ingress."""

    ingress: Name


class NewIngress(Model):
    """A request of an ingress for what it is towards the control plane."""

    name: Name
    csr: Request


class NewFace(Model):
    """A request of an ingress for what it is towards outposts."""

    hosts: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=253)], ...],
        Field(min_length=1, max_length=MAX_DNS_NAMES, description="host names and addresses that outposts call"),
    ]
    csr: Request


class IngressFacts(Model):
    """A certificate of an ingress."""

    name: str
    serial: str
    issued_ms: int
    not_after_ms: int
    revoked_ms: int


class IngressList(Model):
    """Every certificate, newest first."""

    ingresses: tuple[IngressFacts, ...]


class Issued(Model):
    """A chain, PEM, leaf first."""

    not_after_ms: int
    chain: str


class RevokedIngress(Model):
    """How many certificates are refused from now on."""

    name: str
    certificates: int


def facts(certificate: IngressCertificate) -> IngressFacts:
    """One certificate."""
    return IngressFacts(**{name: getattr(certificate, name) for name in IngressFacts.model_fields})


async def issue(context: Context, params: NoParams, body: NewIngress) -> Issued:
    """What makes the word of an ingress count."""
    record, chain = await context.bench.ingresses.issue(body.name, request_from_pem(body.csr.encode()))
    return Issued(not_after_ms=record.not_after_ms, chain=chain.decode())


async def issue_server(context: Context, params: NoParams, body: NewFace) -> Issued:
    """What outposts believe an ingress by."""
    ends_ms, chain = await context.bench.ingresses.issue_server(body.hosts, request_from_pem(body.csr.encode()))
    return Issued(not_after_ms=ends_ms, chain=chain.decode())


async def list_ingresses(context: Context, params: NoParams, body: NoBody) -> IngressList:
    """All of them."""
    return IngressList(ingresses=tuple(facts(each) for each in await context.bench.ingresses.all()))


async def revoke(context: Context, params: IngressParams, body: NoBody) -> RevokedIngress:
    """Refused at every replica within two seconds."""
    return RevokedIngress(name=params.ingress, certificates=await context.bench.ingresses.revoke(params.ingress))


OPERATIONS = (
    Operation(
        name="ingresses.issue",
        summary="Certify an ingress as a client that may pass on the certificates of outposts.",
        verb=Verb.INGRESSES_MANAGE,
        method="POST",
        path="/v1/ingresses",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=NoParams,
        body=NewIngress,
        result=Issued,
        handler=issue,
        schema="controlplane.ingress_certificate/1",
        status=201,
        families=(CertificateRequestError, IdentityError),
        target="ingress/{name}",
    ),
    Operation(
        name="ingresses.issue_server",
        summary="Certify an ingress as the server that outposts call.",
        verb=Verb.INGRESSES_MANAGE,
        method="POST",
        path="/v1/ingress-servers",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=NoParams,
        body=NewFace,
        result=Issued,
        handler=issue_server,
        schema="controlplane.ingress_certificate/1",
        status=201,
        families=(CertificateRequestError, TrustError),
        target="ingress-server",
    ),
    Operation(
        name="ingresses.list",
        summary="List the certificates of ingresses.",
        verb=Verb.INGRESSES_READ,
        method="GET",
        path="/v1/ingresses",
        scope=Scope.OPERATOR,
        params=NoParams,
        body=NoBody,
        result=IngressList,
        handler=list_ingresses,
        schema="controlplane.ingresses/1",
    ),
    Operation(
        name="ingresses.revoke",
        summary="Refuse every certificate of an ingress from now on.",
        verb=Verb.INGRESSES_MANAGE,
        method="POST",
        path="/v1/ingresses/{ingress}/revoke",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=IngressParams,
        body=NoBody,
        result=RevokedIngress,
        handler=revoke,
        schema="controlplane.ingress_revoked/1",
        target="ingress/{ingress}",
    ),
)
