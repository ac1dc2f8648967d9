"""Releases of an org whose policy keys are held elsewhere: they wait as a draft until their holders have signed."""

from controlplane.domain.ceremony_reading import read_ceremony
from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Effect, NoBody, Operation, OrgParams
from controlplane.web.api.operations.policy import Publication, publication
from controlplane.web.api.operations.roots import MAX_FILE_BODY_BYTES, CeremonyFacts, CeremonyFile, ceremony_facts


async def export(context: Context, params: OrgParams, body: NoBody) -> CeremonyFacts:
    """The draft that waits."""
    async with context.store.for_org(context.org).read():
        pass  # an unknown org is the first mistake to be told
    data = context.ceremonies.draft(context.org)
    return ceremony_facts(read_ceremony(data, context.org), data)


async def import_(context: Context, params: OrgParams, body: CeremonyFile) -> Publication:
    """Publish what was signed."""
    return publication(context.org, await context.ceremonies.import_release(context.org, body.file.encode()))


async def _check(context: Context, params: OrgParams, body: CeremonyFile) -> None:
    await context.ceremonies.check_release(context.org, body.file.encode())


OPERATIONS = (
    Operation(
        name="releases.export",
        summary="The release that waits for signatures of policy keys which are held elsewhere, as the file to sign.",
        verb=Verb.POLICY_READ,
        method="GET",
        path="/v1/orgs/{org}/releases/draft",
        params=OrgParams,
        body=NoBody,
        result=CeremonyFacts,
        handler=export,
        schema="controlplane.ceremony/1",
    ),
    Operation(
        name="releases.import",
        summary="Publish a release that its key holders have signed.",
        verb=Verb.POLICY_PUBLISH,
        method="POST",
        path="/v1/orgs/{org}/releases",
        effect=Effect.ACT,
        params=OrgParams,
        body=CeremonyFile,
        result=Publication,
        handler=import_,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="release",
        check=_check,
        max_body_bytes=MAX_FILE_BODY_BYTES,
    ),
)
