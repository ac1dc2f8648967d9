"""Who signs what in an org's configuration, and ceremonies: files that travel to keys which are held elsewhere."""

from dataclasses import asdict, replace
from typing import Annotated, Literal

from pydantic import Field

from controlplane.domain.ceremony import MAX_CEREMONY_BYTES, Ceremony
from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import Verb
from controlplane.services.ceremonies import KeyProposal
from controlplane.services.payloads import ALL_ROLES
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Effect, Model, NoBody, Operation, OrgParams
from controlplane.web.api.operations.policy import Publication, publication
from outpost.core.bundle import limits

MAX_FILE_BODY_BYTES = 2 * MAX_CEREMONY_BYTES  # a file as a JSON string: quotes take a backslash

RoleName = Literal["root", "timestamp", "snapshot", "targets", "policy", "vendor", "access", "rollout"]
PublicKey = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="32 bytes of an Ed25519 key, in hex")]
Keys = Annotated[tuple[PublicKey, ...], Field(min_length=1, max_length=limits.MAX_SIGNATURES)]
Threshold = Annotated[int, Field(ge=1, le=limits.MAX_SIGNATURES)]


class RoleParams(OrgParams):
    """One role of an org's configuration."""

    role: RoleName


class RoleFacts(Model):
    """One role: who must sign, until when, and whether somebody must act soon."""

    role: str
    version: int
    expires_ms: int
    threshold: int
    keys: dict[str, bool]
    by_itself: bool
    warning: str


class Roles(Model):
    """All roles, by the moment of expiry."""

    org: str
    roles: tuple[RoleFacts, ...]


class RootFile(Model):
    """The newest root, as it was signed: what an enrollment may pin."""

    org: str
    file: str


class Proposal(Model):
    """Other keys or thresholds. A role that is named gets exactly the keys that are named for it."""

    keys: dict[RoleName, Keys] = Field(default_factory=dict)
    thresholds: dict[RoleName, Threshold] = Field(default_factory=dict)
    renewed: Annotated[tuple[RoleName, ...], Field(max_length=len(ALL_ROLES))] = ()


class CeremonyFile(Model):
    """A ceremony file with its signatures."""

    file: Annotated[str, Field(max_length=MAX_CEREMONY_BYTES, description="the whole file, schema outpost.ceremony/1")]


class Authority(Model):
    """Who must sign a part."""

    threshold: int
    keys: tuple[str, ...]


class PartFacts(Model):
    """A part of a ceremony file. ``missing`` signatures are made by holders of keys that are not here."""

    role: str
    version: int
    signed_by: tuple[str, ...]
    missing: int
    authorities: tuple[Authority, ...]


class CeremonyFacts(Model):
    """What a ceremony file says, and the file."""

    org: str
    kind: str
    created_ms: int
    summary: tuple[str, ...]
    parts: tuple[PartFacts, ...]
    complete: bool
    file: str


class MayWrite(Model):
    """What a rotation may come to."""

    file: Annotated[bool, Field(description="a file for holders of other keys may come of it")] = False


class Rotated(Model):
    """What a rotation came to: a new configuration, or a file that others must sign first."""

    publication: Publication | None
    ceremony: CeremonyFacts | None


def ceremony_facts(ceremony: Ceremony, file: bytes) -> CeremonyFacts:
    """What a file says. Signatures count that are made here when it comes back."""
    parts = tuple(
        PartFacts(
            role=part.role,
            version=part.version,
            signed_by=tuple(sorted(part.signatures)),
            missing=max(part.missing, 0),
            authorities=tuple(
                Authority(threshold=each.threshold, keys=tuple(sorted(each.keys))) for each in part.authorities
            ),
        )
        for part in ceremony.parts
    )
    return CeremonyFacts(
        org=ceremony.org,
        kind=ceremony.kind,
        created_ms=ceremony.created_ms,
        summary=ceremony.summary,
        parts=parts,
        complete=all(part.missing == 0 for part in parts),
        file=file.decode(),
    )


async def show(context: Context, params: OrgParams, body: NoBody) -> Roles:
    """Who must sign, until when, which keys are here."""
    found = await context.ceremonies.outlook(context.org)
    return Roles(org=context.org, roles=tuple(RoleFacts(**asdict(each)) for each in found))


async def newest(context: Context, params: OrgParams, body: NoBody) -> RootFile:
    """As signed."""
    return RootFile(org=context.org, file=(await context.ceremonies.root(context.org)).decode())


async def propose(context: Context, params: OrgParams, body: Proposal) -> CeremonyFacts:
    """Other keys, to be signed.

    In an org with the two-person rule the file leaves without the signatures of the keys that are here: they are made
    when two persons have agreed to apply it. Else one person could carry a signed change of keys to outposts himself.
    """
    keys: dict[str, tuple[bytes, ...]] = {
        role: tuple(bytes.fromhex(key) for key in named) for role, named in body.keys.items()
    }
    thresholds: dict[str, int] = {role: number for role, number in body.thresholds.items()}  # noqa: C416 -- dict is invariant
    proposal = KeyProposal(keys, thresholds, frozenset(body.renewed))
    ceremony = await context.ceremonies.propose(context.org, proposal)
    travels = ceremony
    if await context.open.rules.two_person():
        travels = replace(ceremony, parts=tuple(replace(part, signatures={}) for part in ceremony.parts))
    return ceremony_facts(ceremony, travels.to_bytes())


async def apply(context: Context, params: OrgParams, body: CeremonyFile) -> Publication:
    """Publish other keys."""
    return publication(context.org, await context.ceremonies.apply(context.org, body.file.encode()))


async def rotate(context: Context, params: RoleParams, body: MayWrite) -> Rotated:
    """Fresh keys in the place of those that are here."""
    found = await context.ceremonies.rotate(context.org, params.role, write=body.file)
    if isinstance(found, Ceremony):
        return Rotated(publication=None, ceremony=ceremony_facts(found, found.to_bytes()))
    return Rotated(publication=publication(context.org, found), ceremony=None)


async def _check_keys(context: Context, params: OrgParams, body: CeremonyFile) -> None:
    await context.ceremonies.check_keys(context.org, body.file.encode())


OPERATIONS = (
    Operation(
        name="roots.show",
        summary="Who signs what in the configuration of an org, until when, and which keys are here.",
        verb=Verb.ROOTS_READ,
        method="GET",
        path="/v1/orgs/{org}/roots",
        params=OrgParams,
        body=NoBody,
        result=Roles,
        handler=show,
        schema="controlplane.roles/1",
        families=(ConflictError,),
    ),
    Operation(
        name="roots.newest",
        summary="The newest root of an org, as it was signed: what an enrollment may pin.",
        verb=Verb.ROOTS_READ,
        method="GET",
        path="/v1/orgs/{org}/roots/newest",
        params=OrgParams,
        body=NoBody,
        result=RootFile,
        handler=newest,
        schema="controlplane.root/1",
        families=(ConflictError,),
    ),
    Operation(
        name="roots.propose",
        summary="Prepare other keys, thresholds or fresh signatures; answers with the file to be signed.",
        verb=Verb.ROOTS_MANAGE,
        method="POST",
        path="/v1/orgs/{org}/roots/proposals",
        effect=Effect.ACT,
        params=OrgParams,
        body=Proposal,
        result=CeremonyFacts,
        handler=propose,
        schema="controlplane.ceremony/1",
        families=(ConflictError,),
        target="roots/proposal",
    ),
    Operation(
        name="roots.apply",
        summary="Publish the keys that a file proposes, once all who must have signed it.",
        verb=Verb.ROOTS_APPLY,
        method="PUT",
        path="/v1/orgs/{org}/roots",
        effect=Effect.ACT,
        params=OrgParams,
        body=CeremonyFile,
        result=Publication,
        handler=apply,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="roots",
        check=_check_keys,
        max_body_bytes=MAX_FILE_BODY_BYTES,
    ),
    Operation(
        name="roots.rotate",
        summary="Give a role fresh keys in the place of those that are here; at once when all who must sign are here.",
        verb=Verb.ROOTS_MANAGE,
        method="POST",
        path="/v1/orgs/{org}/roots/{role}/rotate",
        effect=Effect.ACT,
        params=RoleParams,
        body=MayWrite,
        result=Rotated,
        handler=rotate,
        schema="controlplane.rotation/1",
        families=(ConflictError,),
        target="roots/{role}",
    ),
)
