"""All steps of the schema, oldest first. A new one is a new module in ``steps`` and a new line here."""

from controlplane.store.migrations.steps import (
    s0001_base,
    s0002_replicas_and_quotas,
    s0003_delivery_times,
    s0004_identities,
    s0005_admin,
    s0006_plans,
    s0007_restorations,
    s0008_sign_in,
)

STEPS = (
    s0001_base.STEP,
    s0002_replicas_and_quotas.STEP,
    s0003_delivery_times.STEP,
    s0004_identities.STEP,
    s0005_admin.STEP,
    s0006_plans.STEP,
    s0007_restorations.STEP,
    s0008_sign_in.STEP,
)
HEAD = STEPS[-1].revision
BASE = "base"
"""Word for the state before the first step."""


def position(revision: str) -> int:
    """How many steps lead to a revision. Raises LookupError: no such revision."""
    if revision == BASE:
        return 0
    for count, step in enumerate(STEPS, start=1):
        if step.revision == revision:
            return count
    raise LookupError(f"there is no revision {revision}")


def revision_at(count: int) -> str:
    """The revision after so many steps."""
    return STEPS[count - 1].revision if count else BASE
