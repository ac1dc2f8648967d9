"""How an act is carried out: in one transaction with its record, its kept answer and, where two persons are needed,
the approval that waits.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import orjson
from pydantic import BaseModel

from controlplane import telemetry
from controlplane.domain import approvals, rbac, replies
from controlplane.domain.acts import Act, Endorsement, Outcome, parameters_digest
from controlplane.domain.approvals import ID_BYTES, Approval, ApprovalContentError, Proposal
from controlplane.domain.errors import ConflictError, RefusedError, StateError
from controlplane.domain.orgs import OrgUnknownError
from controlplane.domain.rbac import Principal, Verb
from controlplane.domain.replies import MAX_KEY_CHARS, Reply
from controlplane.ports.store import OrgTransaction
from controlplane.services.persons import others_who_approve
from controlplane.web.api.calls import Answer, Call, Content, document_of, etag_of, matches, request_digest, target_of
from controlplane.web.api.context import Context, Executed, Remedy, Workbench
from controlplane.web.api.joined import Unit
from controlplane.web.api.operation import AnyOperation, Effect
from controlplane.web.api.registry import named
from controlplane.web.api.views import APPROVAL_SCHEMA, approval_view
from controlplane.web.problem import (
    TYPED,
    PreconditionFailedError,
    PreconditionMissingError,
    RequestInvalidError,
    TypedError,
)

MAX_PENDING: Final = 1_000  # approvals of one org that wait at once


class PendingLimitError(ConflictError):
    """As many acts of the org wait for a second person as may."""

    code = "approval.limit"


class EndUnknownError(StateError):
    """An act over more than one space had its effect, and its end could not be recorded."""

    code = "act.end_unknown"
    fatal = True


class Acting:
    """Carries out acts."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    async def carry_out(self, call: Call, context: Context, content: Content) -> Answer:
        """Do an act, or the first half of one that takes two persons.

        Raises:
            whatever the handler refuses with; that is on record then, and nothing else happened.
        """
        _require_key(call.idempotency_key)
        try:
            if call.operation.effect is Effect.SPANNING:
                return await self._span(call, context, content)
            return await self._act(call, context, content)
        except EndUnknownError:
            raise  # that it was begun is on record; nobody knows that it failed
        except TYPED as error:
            await self._failed(call, context, error)
            raise

    async def execute(self, context: Context, approval: Approval, author: Principal, remedy: Remedy) -> Executed:
        """Do the stored act of an approval within the approver's own act.

        Args:
            context: of the approver.
            approval: judged; its author and its approver have the right now.
            author: as the store knows him now.
            remedy: what is to be kept when the act itself is refused.
        """
        try:
            operation = named(approval.operation)
        except KeyError:
            raise stored_act_unknown(approval) from None
        content = stored_content(operation, approval)
        params, body = content.params, content.body
        further = await _further(operation, context, content)
        for each in (author, context.principal):  # what it takes may have changed since it was asked for
            rbac.authorise(each, further or approval.verb)
        context.after_failure.append(remedy)
        await _hold(operation, content.params.model_dump(), content.if_match, context)
        result = await operation.handler(replace(context, principal=author, second=context.principal), params, body)
        act = replace(
            context.write_act(author, Outcome.DONE),
            operation=operation.name,
            verb=approval.verb.value,
            target=target_of(operation, content),
            parameters=parameters_digest(content.plain),
            endorsement=Endorsement(approval.id, approval.digest, approval.author, context.principal.id),
        )
        await self._bench.acts.append(context.open, act)
        return operation.status, document_of(operation, result)

    async def ponder(self, context: Context, approval: Approval) -> None:
        """What the stored act of an approval takes of slow work, before there is a transaction."""
        try:
            operation = named(approval.operation)
        except KeyError:
            return  # the approval says so itself
        if operation.ponder is not None:
            content = stored_content(operation, approval)
            await operation.ponder(context, content.params, content.body)

    async def require_match(self, call: Call, context: Context) -> None:
        """Hold If-Match against what is stored now. Raises PreconditionMissingError, PreconditionFailedError."""
        if call.operation.must_match and not call.if_match:
            raise PreconditionMissingError(
                "this update replaces what is there, so it must say what it was made from",
                field="If-Match",
                next_step="read it first, and send its ETag as If-Match",
            )
        await _hold(call.operation, call.path, call.if_match, context)

    async def _act(self, call: Call, context: Context, content: Content) -> Answer:
        if call.operation.prepare is not None:
            context = replace(context, prepared=await call.operation.prepare(context))
        if call.operation.ponder is not None:
            await call.operation.ponder(context, content.params, content.body)
        async with self._bench.store.for_org(context.org).write() as transaction:
            kept = await self._kept(transaction, call, context, content)
            if kept is not None:
                return kept
            unit = Unit(self._bench.store, context.org, transaction)
            joined = replace(context, store=unit.store, transaction=transaction)
            await self.require_match(call, joined)
            verb = await self._second_person_for(call.operation, joined, content)
            if verb is not None:
                content = replace(content, if_match=call.if_match if call.operation.guards else "")
                answer = await self._propose(call.operation, joined, content, verb)
            else:
                answer = await self._perform(call.operation, joined, content)
            if unit.broken:
                raise RuntimeError("a service's transaction failed, and its handler went on")
            await self._keep(transaction, call, context, content, answer)
        return answer

    async def _perform(self, operation: AnyOperation, context: Context, content: Content) -> Answer:
        result = await operation.handler(context, content.params, content.body)
        await self._bench.acts.append(context.open, context.write_act(context.principal, Outcome.DONE))
        document = document_of(operation, result)
        return Answer(operation.status, document, {"ETag": etag_of(document)} if operation.versioned else {})

    async def _span(self, call: Call, context: Context, content: Content) -> Answer:
        """An act over more than one space: on record before its first effect and after its last."""
        space = self._bench.store.for_org(context.org)
        await self.require_match(call, context)  # the handler looks again, where nothing can come between
        async with space.write() as transaction:
            kept = await self._kept(transaction, call, context, content)
            if kept is not None:
                return kept
            await self._keep(transaction, call, context, content, Answer(0, {}))
            await self._bench.acts.append(transaction, context.write_act(context.principal, Outcome.INTENDED))
        if call.idempotency_key:
            context.after_failure.append(_forget(context.principal.id, call.idempotency_key))
        result = await call.operation.handler(context, content.params, content.body)
        try:
            return await self._spanned(call, context, content, result)
        except TYPED as error:
            raise EndUnknownError(
                f"it was done, and that could not be recorded ({error.code})",
                field="operation",
                next_step="look at what is there now; the act log says intended, and the idempotency key stays taken",
            ) from error

    async def _spanned(self, call: Call, context: Context, content: Content, result: BaseModel) -> Answer:
        document = document_of(call.operation, result)
        answer = Answer(
            call.operation.status, document, {"ETag": etag_of(document)} if call.operation.versioned else {}
        )
        async with self._bench.store.for_org(context.org).write() as transaction:
            await self._bench.acts.append(transaction, context.write_act(context.principal, Outcome.DONE))
            await self._keep(transaction, call, context, content, answer)
        return answer

    async def _second_person_for(self, operation: AnyOperation, context: Context, content: Content) -> Verb | None:
        """The verb that takes a second person, or None. Raises RefusedError: a further verb that the caller lacks."""
        further = await _further(operation, context, content)
        if further is not None:
            rbac.authorise(context.principal, further)
        verbs = [verb for verb in (further, operation.verb) if verb is not None and verb in rbac.TWO_PERSONS]
        if not verbs or not await context.open.rules.two_person():
            return None
        about = getattr(content.params, operation.about) if operation.about else ""
        authors = {context.principal.id, *context.principal.behind}
        everyone, kind = await context.open.users.all(), context.principal.kind
        for verb in verbs:
            if rbac.needs_two_persons(verb, others_who_approve(verb, everyone, authors, about), kind):
                return verb
        return None

    async def _propose(self, operation: AnyOperation, context: Context, content: Content, verb: Verb) -> Answer:
        """Let an act wait; an older one on the same subject is withdrawn."""
        if operation.check is not None:
            await operation.check(context, content.params, content.body)
        table = context.open.approvals
        if await table.pending_count(context.now_ms) >= MAX_PENDING:
            raise PendingLimitError(
                f"{MAX_PENDING} acts of this org wait for a second person already",
                field="approval",
                next_step="decide on some: controlplane approval list --org ORG",
            )
        subject = f"{operation.name} {target_of(operation, content)}".strip()
        proposal = Proposal(operation.name, verb, subject, content.to_wait)
        chance = self._bench.chance.token_bytes(ID_BYTES)
        approval = approvals.propose(proposal, context.principal, chance, context.now_ms)
        for older in await table.pending_on(subject):
            await table.save(approvals.superseded(older, approval))
        await table.add(approval)
        endorsement = Endorsement(approval.id, approval.digest, approval.author, "")
        act = replace(context.write_act(context.principal, Outcome.PENDING), endorsement=endorsement)
        await self._bench.acts.append(context.open, act)
        view = approval_view(approval, context.org, context.now_ms)
        return Answer(202, {"schema": APPROVAL_SCHEMA, **view.model_dump(mode="json")})

    async def _kept(self, transaction: OrgTransaction, call: Call, context: Context, content: Content) -> Answer | None:
        """The answer that was given to this very request before."""
        if not call.idempotency_key:
            return None
        since_ms = context.now_ms - replies.LIFE_MS
        found = await transaction.replies.find(context.principal.id, call.idempotency_key, since_ms)
        reply = replies.judge(found, request_digest(call.operation, content), context.now_ms)
        if reply is None:
            return None
        held = orjson.loads(self._bench.seal.open(_purpose(context, call), reply.answer))
        return Answer(reply.status, held["document"], {**held["headers"], "Idempotency-Replayed": "true"})

    async def _keep(
        self, transaction: OrgTransaction, call: Call, context: Context, content: Content, answer: Answer
    ) -> None:
        if not call.idempotency_key:
            return
        plain = orjson.dumps({"document": answer.document, "headers": answer.headers})
        reply = Reply(
            principal=context.principal.id,
            key=call.idempotency_key,
            digest=request_digest(call.operation, content),
            at_ms=context.now_ms,
            status=answer.status,
            answer=self._bench.seal.close(_purpose(context, call), plain),
        )
        await transaction.replies.prune(context.now_ms - replies.LIFE_MS)
        await transaction.replies.keep(reply)

    async def _failed(self, call: Call, context: Context, error: TypedError) -> None:
        """Record that an act did not happen, and keep what handlers want kept of that."""
        outcome = Outcome.REFUSED if isinstance(error, RefusedError) else Outcome.FAILED
        act: Act = replace(context.write_act(context.principal, outcome), code=error.code)
        try:
            async with self._bench.store.for_org(context.org).write() as transaction:
                for remedy in context.after_failure:
                    await remedy(transaction, error)
                await self._bench.acts.append(transaction, act)
        except OrgUnknownError:
            return  # there is no log for what was asked of an org that is not here
        except TYPED as second:  # the first failure is the answer; this one is for whoever runs the control plane
            telemetry.log(
                telemetry.Event.ACT_UNRECORDED,
                level=logging.ERROR,
                org=context.org,
                code=second.code,
                request_id=call.origin.request_id,
            )


async def _hold(operation: AnyOperation, values: Mapping[str, object], if_match: str, context: Context) -> None:
    """Hold a validator against what is stored now. Raises PreconditionFailedError."""
    if not operation.guards or not if_match:
        return
    guard = named(operation.guards)
    params = guard.params.model_validate({name: values[name] for name in guard.path_fields})
    etag = etag_of(document_of(guard, await guard.handler(context, params, guard.body())))
    if not matches(if_match, etag):
        raise PreconditionFailedError(
            "somebody else changed it since it was read",
            field="If-Match",
            next_step="read it again, and decide anew",
        )


async def _further(operation: AnyOperation, context: Context, content: Content) -> Verb | None:
    """A further verb that this very act takes."""
    if operation.escalates is None:
        return None
    return await operation.escalates(context, content.params, content.body)


def stored_content(operation: AnyOperation, approval: Approval) -> Content:
    """Parameters and body of an act that waits."""
    stored = json.loads(approval.content)
    params = operation.params.model_validate(stored["params"])
    body = operation.body.model_validate_json(orjson.dumps(stored["body"]))
    return Content(params, body, stored.get("if_match", ""))


def stored_act_unknown(approval: Approval) -> ApprovalContentError:
    """An approval of an operation that this version does not have."""
    return ApprovalContentError(
        f"this version has no operation {approval.operation}", field="approval", next_step="ask for the act again"
    )


def _forget(principal: str, key: str) -> Remedy:
    """What frees an idempotency key whose act failed: the next try is a new one."""

    async def forget(transaction: OrgTransaction, error: Exception) -> None:
        await transaction.replies.drop(principal, key)

    return forget


def _purpose(context: Context, call: Call) -> str:
    return f"reply/{context.org}/{context.principal.id}/{call.idempotency_key}"


def _require_key(key: str) -> None:
    if len(key) > MAX_KEY_CHARS or not key.isascii() or not (key.isprintable() or not key) or " " in key:
        raise RequestInvalidError(
            f"an idempotency key is 1 to {MAX_KEY_CHARS} visible ASCII characters",
            field="Idempotency-Key",
            next_step="send a random one, such as a UUID",
        )
