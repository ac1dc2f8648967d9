"""``outpost register|list|show|revoke``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out
from controlplane.cli import status as members
from controlplane.cli.secret_file import reserved

TTL_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000}


class Duration(click.ParamType[int]):
    """A time such as 900s, 15m or 2h, in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds."""
        if isinstance(value, int):
            return value
        number, unit = value[:-1], value[-1:]
        if not number.isdecimal() or unit not in TTL_UNITS or len(number) > 6:
            self.fail("write it as 900s, 15m or 2h", param, ctx)
        return int(number) * TTL_UNITS[unit]


@click.group()
def outpost() -> None:
    """Register, list, show and revoke outposts."""


@outpost.command()
@click.argument("name")
@out.org_option
@click.option("--ttl", type=Duration(), default="15m", show_default=True, help="life of the join token")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="write the token here, mode 0600, instead of showing it"
)
@out.state_option
@out.output_option
def register(name: str, org: str, token_file: Path | None, state: Path, output: str, **options: Any) -> None:
    """Register an outpost: makes a join token that works once, and prints the line to paste at the customer's.
    A name that never enrolled gets a new token, and its earlier one is void.
    """

    async def work(plane: Any) -> Any:
        door = await plane.door()
        return await plane.administration.register(org, name, options["ttl"], door), door

    with reserved(token_file, output) as keep:
        registered, door = out.on_plane(state, output, work)
        keep(registered.token + "\n")
    paste = f"outpost enroll --token-file {token_file or 'FILE'}"
    expires = out.moment(registered.expires_ms)
    if output == "json":
        shown = {} if token_file else {"token": registered.token}
        facts = {
            "outpost": registered.outpost.id,
            "name": name,
            "org": org,
            "endpoint": door.endpoint,
            "pin": door.pin,
            "expires_ms": registered.expires_ms,
            "again": registered.again,
            "paste": paste,
        }
        out.emit_json("controlplane.registration/1", facts | shown)
        return
    if token_file is None:
        click.echo(registered.token)
    if registered.again:
        out.note(f"{name} was registered before and never enrolled: this token replaces the earlier one, which is void")
    out.note(f"outpost {name} is registered as {registered.outpost.id} in org {org}; state pending")
    out.note(f"  endpoint  {door.endpoint}")
    out.note(f"  CA pin    {door.pin}")
    out.note(f"  expires   {expires}; the token works once and is shown once")
    out.note("paste this where the outpost runs, with the token in the file:")
    if token_file is None:
        out.note(f"  {paste}")
    else:
        click.echo(f"{paste}   # expires {expires}, CA {door.pin[:8]}…{door.pin[-4:]}")


@outpost.command("list")
@out.org_option
@out.state_option
@out.output_option
def list_outposts(org: str, state: Path, output: str) -> None:
    """List the outposts of an org."""

    async def work(plane: Any) -> Any:
        return await plane.administration.outposts(org, plane.silent_ms)

    found = out.on_plane(state, output, work)
    rows = [members.member(each) for each in found]
    if output == "json":
        facts = [_facts(each.outpost) | row for each, row in zip(found, rows, strict=True)]
        out.emit_json("controlplane.outposts/1", {"org": org, "outposts": facts})
        return
    out.emit_table(members.MEMBER_HEADERS, [members.member_row(row) for row in rows])


@outpost.command()
@click.argument("name")
@out.org_option
@out.state_option
@out.output_option
def show(name: str, org: str, state: Path, output: str) -> None:
    """Show one outpost: identity, configuration, heartbeat, audit log."""

    async def work(plane: Any) -> Any:
        return await plane.administration.show(org, name)

    summary = out.on_plane(state, output, work)
    facts = _facts(summary.outpost) | {
        "status": dict(summary.status),
        "delivery": asdict(summary.delivery) if summary.delivery else None,
        "audit": {"size": summary.log.size, "cosigned": summary.log.cosigned_size} if summary.log else None,
        "audit_refusals": [
            {"status": status, "size": size, "at_ms": at_ms} for status, size, at_ms in summary.refusals[:10]
        ],
        "certificates": [
            {"serial": each.serial, "issued_s": each.issued_s, "not_after_s": each.not_after_s}
            for each in summary.certificates
        ],
    }
    if output == "json":
        out.emit_json("controlplane.outpost/1", facts)
        return
    for label, text in out.lines_of(facts):
        click.echo(f"{label:<32}{text}")


@outpost.command()
@click.argument("name")
@out.org_option
@click.option("--reason", default="", help="kept with the outpost")
@click.option("--yes", is_flag=True, help="do not ask")
@out.state_option
@out.output_option
def revoke(name: str, org: str, state: Path, output: str, **options: Any) -> None:
    """Revoke an outpost for ever: its streams end within a second, and only its audit tail is taken for 7 more
    days.
    """
    import sys

    if not options["yes"] and sys.stdin.isatty():
        click.confirm(f"Revoke {name} of org {org} for ever?", abort=True, err=True)

    async def work(plane: Any) -> Any:
        from outpost.core.bundle.revocations import REVOKED, RevokedOutpost

        outpost = await plane.administration.revoke(org, name, options["reason"][:200])
        await plane.publisher.list_revoked(org, [RevokedOutpost(outpost.id, REVOKED, outpost.join_sequence)])
        return outpost

    revoked = out.on_plane(state, output, work)
    if output == "json":
        out.emit_json("controlplane.outpost/1", _facts(revoked))
    else:
        click.echo(f"outpost {revoked.name} ({revoked.id}) is revoked")


def _facts(outpost: Any) -> dict[str, Any]:
    return {
        "id": outpost.id,
        "name": outpost.name,
        "state": outpost.state.value,
        "created_ms": outpost.created_ms,
        "activated_ms": outpost.activated_ms,
        "revoked_ms": outpost.revoked_ms,
        "reason": outpost.reason,
        "last_seen_ms": outpost.last_seen_ms,
        "join_sequence": outpost.join_sequence,
        "serial": outpost.serial,
        "software_version": outpost.software_version,
        "alert": outpost.alert,
    }
