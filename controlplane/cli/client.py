"""One small client for every command: operations by name, on a state directory or over HTTPS."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import click

from controlplane.cli import output as out
from controlplane.cli.target import Target

Result = TypeVar("Result")
PAGE = 200  # the most that one page has
PENDING = 202  # an act that waits for a second person

Document = Mapping[str, Any]


class Answered(Protocol):
    """What an operation answered."""

    @property
    def status(self) -> int:
        """Of HTTP."""
        ...

    @property
    def document(self) -> Document:
        """JSON."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Of HTTP."""
        ...


class Caller(Protocol):
    """Calls operations."""

    async def call(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        if_match: str = "",
    ) -> Answered:
        """Carry out an operation; a refusal is an answer too."""
        ...


class RefusedAnswer(Exception):  # noqa: N818 - it is an answer, and is printed as one
    """An operation was refused; the problem says why."""

    def __init__(self, status: int, problem: Document) -> None:
        super().__init__(str(problem.get("code", "")))
        self.status = status
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Api:
    """Calls that raise when they are refused."""

    caller: Caller
    notes: list[str] = field(default_factory=list)

    async def ask(self, name: str, params: Document | None = None, body: Document | None = None) -> Answered:
        """Carry out an operation. Raises RefusedAnswer."""
        return _accepted(await self.caller.call(name, params, body))

    async def replace(self, name: str, params: Document, change: Callable[[Document], Document], read: str) -> Answered:
        """Read what ``read`` answers, change it, and put it in place, unless somebody else did meanwhile."""
        before = await self.ask(read, params)
        etag = before.headers.get("ETag", before.headers.get("etag", ""))
        return _accepted(await self.caller.call(name, params, change(before.document), etag))

    async def all(self, name: str, items: str, params: Document | None = None) -> dict[str, Any]:
        """All pages of a list as one document."""
        asked = {**(params or {}), "limit": PAGE}
        document = dict((await self.ask(name, asked)).document)
        rows = list(document[items])
        while cursor := document.pop("next_cursor", ""):
            following = (await self.ask(name, {**asked, "cursor": cursor})).document
            rows += following[items]
            document["next_cursor"] = following["next_cursor"]
        return {**document, items: rows}


def run(
    target: Target, work: Callable[[Api], Coroutine[Any, Any, Result]], root_key_file: Path | None = None
) -> Result:
    """Do ``work(api)``; whatever fails becomes one message and an exit code, never a traceback."""

    async def opened() -> Result:
        async with _opened(target, root_key_file) as caller:
            return await work(Api(caller))

    try:
        return asyncio.run(opened())
    except RefusedAnswer as refused:
        _fail(refused, target)
    except OSError as error:
        out.fail_os(error, target.output)
    except Exception as error:
        if not out.is_typed(error):
            raise
        out.fail(error, target.output)


def ask(target: Target, name: str, params: Document | None = None, body: Document | None = None) -> Answered:
    """One operation. Ends the program when it is refused."""
    return run(target, lambda api: api.ask(name, params, body))


def listed(target: Target, name: str, items: str, params: Document | None = None) -> dict[str, Any]:
    """A whole list. Ends the program when it is refused."""
    return run(target, lambda api: api.all(name, items, params))


@asynccontextmanager
async def _opened(target: Target, root_key_file: Path | None) -> AsyncIterator[Caller]:
    if target.api:
        if root_key_file is not None:
            raise click.UsageError("--root-key is read where the state directory is: leave out --api")
        from controlplane.cli.remote import remote_api

        async with remote_api(target) as remote:
            yield remote
    else:
        from controlplane.bootstrap.local import local_api

        async with local_api(target.state, root_key_file) as local:
            yield local


def _accepted(answer: Answered) -> Answered:
    if answer.status >= 400:
        raise RefusedAnswer(answer.status, answer.document)
    return answer


def _fail(refused: RefusedAnswer, target: Target) -> NoReturn:
    problem = refused.problem
    facts = {
        "code": problem.get("code", problem.get("error", "internal")),
        "message": problem.get("detail", problem.get("error_description", "the control plane refused")),
        "fault": problem.get("fault", "caller"),
        "fatal": problem.get("fatal", True),
        "field": problem.get("field", ""),
        "next": problem.get("next", ""),
    }
    out.fail_with(facts, out.exit_code_of(refused.status, str(facts["code"])), target.output)
