"""Acts of commands that work on a control plane's files and are no operation of its API: on record all the same."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from certs.errors import TrustError
from controlplane.bootstrap.local import LOCAL_SOURCE, local_principal
from controlplane.bootstrap.plane import Plane, SystemChance
from controlplane.bootstrap.workbench import REQUEST_ID_BYTES, workbench
from controlplane.domain.acts import Act, Outcome, parameters_digest
from controlplane.domain.errors import ControlPlaneError, RefusedError
from controlplane.services.acts import ActLog
from outpost.core.errors import OutpostError


def act_of(org: str, operation: str, now_ms: int, target: str) -> Act:
    """The record of an act of whoever runs this process."""
    return Act(
        time_ms=now_ms,
        org=org,
        principal=local_principal(),
        source=LOCAL_SOURCE,
        request_id=SystemChance().token_bytes(REQUEST_ID_BYTES).hex(),
        operation=operation,
        verb=operation,
        target=target,
        parameters=parameters_digest({"target": target}),
        outcome=Outcome.DONE,
    )


@contextlib.asynccontextmanager
async def on_record(plane: Plane, org: str, operation: str, target: str) -> AsyncIterator[int]:
    """On record before anything is done, and once it is done; gives the moment before.

    What is refused is on record, too. Raises OrgUnknownError.
    """
    async with workbench(plane) as bench:
        now_ms = plane.clock.now_ms()
        act = act_of(org, operation, now_ms, target)
        await _append(plane, bench.acts, act, Outcome.INTENDED)
        try:
            yield now_ms
        except (ControlPlaneError, TrustError, OutpostError) as error:
            outcome = Outcome.REFUSED if isinstance(error, RefusedError) else Outcome.FAILED
            await _append(plane, bench.acts, replace(act, code=error.code), outcome)
            raise
        await _append(plane, bench.acts, act, Outcome.DONE)
        await bench.acts.sign_grown()


async def _append(plane: Plane, acts: ActLog, act: Act, outcome: Outcome) -> None:
    async with plane.store.for_org(act.org).write() as transaction:
        await acts.append(transaction, replace(act, outcome=outcome, time_ms=plane.clock.now_ms()))
