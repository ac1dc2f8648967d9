"""CAs: who is believed and who signs; replacing them step by step; revocation lists for readers outside."""

import hashlib
from typing import Literal

from certs.keys import certificate_from_der, certificates_pem
from controlplane.domain.authorities import Authority, AuthorityKind, AuthorityUnknownError
from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import PrincipalKind, Verb
from controlplane.services.authorities import RootKeyAwayError
from controlplane.services.trust import certificate_of, key_id
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Effect, Model, NoBody, NoParams, Operation, Scope

Kind = Literal["root", "outposts", "servers"]


class KindParams(Model):
    """Which of the three."""

    kind: Kind


class NewCa(Model):
    """How the next generation is made."""

    root_away: bool = False


class Force(Model):
    """Whether who is not that far is left behind. Outposts adopt and recover by themselves, ingresses do not."""

    force: bool = False


class CaFacts(Model):
    """One generation of one kind."""

    kind: str
    generation: int
    state: str
    root: int
    not_after_ms: int
    sha256: str
    changed_ms: int


class CaChanges(Model):
    """Generations that changed. ``root_key`` is the private key of a root that is kept elsewhere, shown once."""

    cas: tuple[CaFacts, ...]
    root_key: str = ""


class CaShown(Model):
    """Every generation, and how far outposts are: how many of those in contact believe exactly what is believed now.

    ``ingresses``: for each, the CA that signed its newest certificate.
    """

    cas: tuple[CaFacts, ...]
    in_contact: int
    current: int
    away: int
    leaves: dict[str, int]
    ingresses: dict[str, str]
    roots: str
    issuers: str


class Lists(Model):
    """Revocation lists of the issuing CA for outposts and of its root, PEM."""

    lists: str


def facts(authority: Authority) -> CaFacts:
    """One generation."""
    return CaFacts(
        kind=authority.kind.value,
        generation=authority.generation,
        state=authority.state.value,
        root=authority.root,
        not_after_ms=int(certificate_of(authority).not_valid_after_utc.timestamp()) * 1000,
        sha256=hashlib.sha256(authority.certificate).hexdigest(),
        changed_ms=authority.changed_ms,
    )


async def show(context: Context, params: NoParams, body: NoBody) -> CaShown:
    """All of them."""
    known = await context.bench.authorities.all()
    uptake = await context.bench.authorities.uptake()
    believed = [each for each in known if each.is_trusted]
    labels = {key_id(certificate_of(each)): each.label for each in known}
    kinds = {kind: [each for each in believed if each.kind is kind] for kind in AuthorityKind}
    return CaShown(
        cas=tuple(facts(each) for each in known),
        in_contact=uptake.active,
        current=uptake.current,
        away=uptake.away,
        leaves=uptake.leaves,
        ingresses={name: labels.get(issuer, "") for name, issuer in uptake.ingresses.items()},
        roots=_pem(kinds[AuthorityKind.ROOT]),
        issuers=_pem([*kinds[AuthorityKind.OUTPOSTS], *kinds[AuthorityKind.ROOT]]),
    )


async def prepare(context: Context, params: KindParams, body: NewCa) -> CaChanges:
    """The next generation, believed from now on; it signs once it is activated."""
    if body.root_away and context.principal.kind is not PrincipalKind.LOCAL:
        raise RootKeyAwayError(
            "the private key of a root is given to nobody over the network",
            field="root_away",
            next_step="prepare it where the state directory is: controlplane ca prepare root --root-key-out FILE",
        )
    kind, key = AuthorityKind(params.kind), context.bench.root_key
    made = await context.bench.authorities.prepare(kind, key, root_stays=not body.root_away)
    return CaChanges(cas=tuple(map(facts, made.added)), root_key=made.root_key_pem.decode())


async def activate(context: Context, params: KindParams, body: Force) -> CaChanges:
    """The prepared generation signs from now on."""
    after = await context.bench.authorities.activate(AuthorityKind(params.kind), force=body.force)
    return CaChanges(cas=tuple(map(facts, after)))


async def taint(context: Context, params: KindParams, body: NoBody) -> CaChanges:
    """Those before are on their way out."""
    after = await context.bench.authorities.taint(AuthorityKind(params.kind))
    return CaChanges(cas=tuple(map(facts, after)))


async def retire(context: Context, params: KindParams, body: Force) -> CaChanges:
    """Tainted ones are believed no longer."""
    after = await context.bench.authorities.retire(AuthorityKind(params.kind), force=body.force)
    return CaChanges(cas=tuple(map(facts, after)))


async def lists(context: Context, params: NoParams, body: NoBody) -> Lists:
    """Signed anew, with the next number."""
    return Lists(lists=(await context.bench.authorities.revocation_lists(context.bench.root_key)).decode())


def _pem(found: list[Authority]) -> str:
    return certificates_pem([certificate_from_der(each.certificate) for each in found]).decode()


OPERATIONS = (
    Operation(
        name="cas.show",
        summary="Show every CA, who is believed, and how far outposts are with it.",
        verb=Verb.CAS_READ,
        method="GET",
        path="/v1/cas",
        scope=Scope.OPERATOR,
        params=NoParams,
        body=NoBody,
        result=CaShown,
        handler=show,
        schema="controlplane.cas/1",
    ),
    Operation(
        name="cas.prepare",
        summary="Make the next generation of a CA: believed at once, signing once it is activated.",
        verb=Verb.CAS_MANAGE,
        method="POST",
        path="/v1/cas/{kind}/prepare",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=KindParams,
        body=NewCa,
        result=CaChanges,
        handler=prepare,
        schema="controlplane.ca_changes/1",
        families=(ConflictError, AuthorityUnknownError),
        target="ca/{kind}",
        secret=True,
    ),
    Operation(
        name="cas.activate",
        summary="Let the prepared generation of a CA sign.",
        verb=Verb.CAS_MANAGE,
        method="POST",
        path="/v1/cas/{kind}/activate",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=KindParams,
        body=Force,
        result=CaChanges,
        handler=activate,
        schema="controlplane.ca_changes/1",
        families=(ConflictError, AuthorityUnknownError),
        target="ca/{kind}",
    ),
    Operation(
        name="cas.taint",
        summary="Put the generations before the signing one on their way out: who depends on them is asked to renew.",
        verb=Verb.CAS_MANAGE,
        method="POST",
        path="/v1/cas/{kind}/taint",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=KindParams,
        body=NoBody,
        result=CaChanges,
        handler=taint,
        schema="controlplane.ca_changes/1",
        families=(ConflictError, AuthorityUnknownError),
        target="ca/{kind}",
    ),
    Operation(
        name="cas.retire",
        summary="Believe the tainted generations, or one that was only prepared, no longer.",
        verb=Verb.CAS_MANAGE,
        method="POST",
        path="/v1/cas/{kind}/retire",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=KindParams,
        body=Force,
        result=CaChanges,
        handler=retire,
        schema="controlplane.ca_changes/1",
        families=(ConflictError, AuthorityUnknownError),
        target="ca/{kind}",
    ),
    Operation(
        name="cas.lists",
        summary="Sign revocation lists for readers outside, such as an ingress: of the issuing CA and of its root.",
        verb=Verb.CAS_LISTS,
        method="POST",
        path="/v1/cas/lists",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=NoParams,
        body=NoBody,
        result=Lists,
        handler=lists,
        schema="controlplane.revocation_lists/1",
        families=(ConflictError, AuthorityUnknownError),
        target="ca/lists",
    ),
)
