"""Audit logs of outposts, as stored here."""

from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Model, NoBody, Operation, OrgParams


class AuditParams(OrgParams):
    """Which logs."""

    outpost: Annotated[str, Field(max_length=64, description="only this one, by name or id")] = ""


class LogVerified(Model):
    """Result of a check of one log."""

    outpost_id: str
    name: str
    size: int
    cosigned_size: int
    checkpoints: int
    fault: str


class AuditVerified(Model):
    """All logs that were checked."""

    org: str
    logs: tuple[LogVerified, ...]


async def verify(context: Context, params: AuditParams, body: NoBody) -> AuditVerified:
    """Everything is computed again."""
    reports = await context.ingest.verify(context.org, params.outpost)
    return AuditVerified(org=context.org, logs=tuple(LogVerified(**asdict(each)) for each in reports))


OPERATIONS = (
    Operation(
        name="audit.verify",
        summary="Compute every outpost's log again from the stored records and hold it against every cosigned head.",
        verb=Verb.AUDIT_VERIFY,
        method="GET",
        path="/v1/orgs/{org}/audit/verification",
        params=AuditParams,
        body=NoBody,
        result=AuditVerified,
        handler=verify,
        schema="controlplane.audit/1",
    ),
)
