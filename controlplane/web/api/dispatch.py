"""The one way into every operation, over HTTP and from the command line.

Order: authentication -> rate of the caller -> org of the path -> role and scope -> body -> idempotency key -> If-Match
-> two persons -> handler -> record, in the transaction of the act -> answer. A foreign org is answered exactly like a
missing one, and before anything is looked up. Whatever fails becomes problem details; nothing else leaves here.
"""

import logging
from dataclasses import dataclass, replace

from controlplane import telemetry
from controlplane.domain import pace, rbac
from controlplane.domain.acts import Act, Outcome, parameters_digest
from controlplane.domain.errors import ControlPlaneError, InputError, RefusedError
from controlplane.domain.orgs import OPERATOR, OrgUnknownError, checked_id
from controlplane.domain.pace import Pace
from controlplane.domain.rbac import Principal, PrincipalKind, Role, UnauthenticatedError
from controlplane.domain.sources import block_of
from controlplane.web.api.acting import Acting
from controlplane.web.api.authentication import authenticate
from controlplane.web.api.calls import (
    Answer,
    Call,
    Content,
    checked_body,
    checked_params,
    document_of,
    etag_of,
    target_of,
)
from controlplane.web.api.context import Context, Workbench
from controlplane.web.api.oauth_errors import oauth_answer
from controlplane.web.api.operation import Effect, NoBody, Scope
from controlplane.web.problem import INTERNAL_CODE, TYPED, problem_of

STRANGER = Principal(PrincipalKind.PERSON, "", "", "", Role.READ_ONLY, frozenset())


class OperatorOnlyError(RefusedError):
    """An operation of the operator, asked for by somebody of a customer's org."""

    code = "access.operator_only"


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast callers may be.

    Attributes:
        principals: by id of the caller.
        strangers: by block of addresses, for calls without a valid token.
    """

    principals: Pace
    strangers: Pace


def usual_rates() -> Rates:
    """Of a server."""
    return Rates(
        Pace(pace.REQUESTS_PER_SECOND, pace.REQUEST_BURST), Pace(pace.STRANGERS_PER_SECOND, pace.STRANGER_BURST)
    )


class Dispatcher:
    """Carries out calls; one object serves a process."""

    def __init__(self, bench: Workbench, rates: Rates) -> None:
        self._bench = bench
        self._rates = rates
        self._acting = Acting(bench)
        self.unauthenticated = 0  # counted, not recorded

    async def answer(self, call: Call) -> Answer:
        """Carry out a call; never raises but for cancellation."""
        try:
            return await self._answer(call)
        except TYPED as error:
            problem = problem_of(error, call.origin.request_id, reveal=call.local is not None)
            if problem.document["code"] == INTERNAL_CODE:
                self._log(error, call)
            elif call.operation.form and isinstance(error, InputError | UnauthenticatedError):
                return oauth_answer(error)
        except Exception as error:
            problem = problem_of(error, call.origin.request_id)
            self._log(error, call)
        return Answer(problem.status, problem.document, problem.headers)

    async def _answer(self, call: Call) -> Answer:
        operation = call.operation
        principal = await self._principal(call)
        try:
            org = self._org(call, principal)
            self._authorise(call, principal, org)
        except (RefusedError, OrgUnknownError) as error:
            await self._refused(call, principal, error)
            raise
        params = checked_params(operation, call)
        body = checked_body(operation, await call.read_body()) if operation.takes_body else NoBody()
        content = Content(params, body)
        context = self._context(call, principal, org, content)
        if operation.effect in (Effect.ACT, Effect.SPANNING):
            return await self._acting.carry_out(call, context, content)
        result = await operation.handler(context, params, body)
        document = document_of(operation, result)
        headers = {"ETag": etag_of(document)} if operation.versioned else {}
        return Answer(operation.status, document, headers)

    async def _principal(self, call: Call) -> Principal:
        """Who calls. Raises UnauthenticatedError, PaceError."""
        if call.local is not None:
            return call.local
        now = self._bench.clock.monotonic()
        if call.operation.scope is Scope.PUBLIC:
            self._rates.strangers.take(block_of(call.origin.source), now)
            return STRANGER
        try:
            principal = await authenticate(call.token, self._bench.tokens, self._bench.store)
        except UnauthenticatedError as error:
            self.unauthenticated += 1
            telemetry.log(
                telemetry.Event.ACCESS_REFUSED,
                source=call.origin.source,
                code=error.code,
                number=self.unauthenticated,
            )
            self._rates.strangers.take(block_of(call.origin.source), now)
            raise
        self._rates.principals.take(principal.id, now)
        return principal

    def _org(self, call: Call, principal: Principal) -> str:
        """The org that a call is for. Raises OrgUnknownError: it is not the caller's, or not there."""
        scope = call.operation.scope
        if scope not in (Scope.ORG, Scope.SPACE):
            return OPERATOR
        org = call.path["org"]
        if call.local is not None:
            checked_id(org)
        if not principal.belongs_to(org) or (scope is Scope.ORG and org == OPERATOR):
            raise OrgUnknownError(
                "this control plane has no such org", field="org", next_step="create it: controlplane org create ORG"
            )
        return org

    def _authorise(self, call: Call, principal: Principal, org: str) -> None:
        operation = call.operation
        if operation.verb is None:
            return
        if operation.scope is Scope.OPERATOR and not principal.belongs_to(org):
            raise OperatorOnlyError(
                "this is for the operator of the control plane", field="org", next_step="ask the operator"
            )
        rbac.authorise(principal, operation.verb)

    async def _refused(self, call: Call, principal: Principal, error: ControlPlaneError) -> None:
        """Record that somebody asked for what he may not do, in the log of his own org.

        Whoever has the files may everything, so this is never about him.
        """
        if call.local is not None:
            return
        act = self._act(call, principal, principal.org, Outcome.REFUSED)
        digest = parameters_digest({"params": dict(call.path)})
        await self._bench.acts.record(replace(act, parameters=digest, code=error.code))

    def _context(self, call: Call, principal: Principal, org: str, content: Content) -> Context:
        target = target_of(call.operation, content)
        digest = parameters_digest(content.plain)

        def write_act(who: Principal, outcome: Outcome) -> Act:
            return replace(self._act(call, who, org, outcome), parameters=digest, target=target)

        return Context(
            bench=self._bench,
            principal=principal,
            origin=call.origin,
            org=org,
            store=self._bench.store,
            transaction=None,
            now_ms=self._bench.clock.now_ms(),
            write_act=write_act,
            prepared=None,
            execute=self._acting.execute,
            ponder=self._acting.ponder,
            recheck=lambda seen: self._acting.require_match(call, seen),
        )

    def _act(self, call: Call, principal: Principal, org: str, outcome: Outcome) -> Act:
        """The record of a call, without what depends on its body."""
        verb = call.operation.verb
        return Act(
            time_ms=self._bench.clock.now_ms(),
            org=org,
            principal=principal,
            source=call.origin.source,
            request_id=call.origin.request_id,
            operation=call.operation.name,
            verb=verb.value if verb else "",
            target="",
            parameters="",
            outcome=outcome,
        )

    def _log(self, error: Exception, call: Call) -> None:
        telemetry.log(
            telemetry.Event.API_FAILED,
            level=logging.ERROR,
            method=call.operation.name,
            request_id=call.origin.request_id,
            message=type(error).__name__,
        )
