"""``outpost register|reenroll|list|show|lock|lock-all|revoke``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.secret_file import reserved
from controlplane.cli.target import Target, target_options, target_options_beside_token

DEFAULT_TTLS = {False: 900_000, True: 604_800_000}  # milliseconds; domain.join
TTL_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000}
MAX_REASON_CHARS = 200
LOGICAL_HEADERS = ("LOGICAL", "WELL", "STATE", "REVISION", "LAST SEEN", "ATTENTION")
MEMBER_HEADERS = ("NAME", "ID", "STATE", "REVISION", "LAST SEEN", "VERSION", "ATTENTION")


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
    """Register, list, show, lock and revoke outposts."""


@outpost.command()
@click.argument("name")
@out.org_option
@click.option("--ttl", type=Duration(), help="life of the join token  [default: 15m; 168h with --courier]")
@click.option("--courier", is_flag=True, help="for an outpost that no network reaches: enrolled by files (airgap)")
@click.option("--logical", default="", help="logical outpost of which this one is a replica  [default: its own name]")
@click.option("--source", default="", help="only callers from this network may use the token, such as 192.0.2.0/24")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="write the token here, mode 0600, instead of showing it"
)
@target_options_beside_token
def register(name: str, org: str, token_file: Path | None, target: Target, **options: Any) -> None:
    """Register an outpost: makes a join token that works once, and prints the line to paste at the customer's.
    A name that never enrolled gets a new token, and its earlier one is void.

    Example: controlplane outpost register prod-eu --org acme --token-file prod-eu.token
    """
    courier = options["courier"]
    ttl_ms = options["ttl"] if options["ttl"] is not None else DEFAULT_TTLS[courier]
    terms = {"ttl_ms": ttl_ms, "logical": options["logical"], "source": options["source"], "courier": courier}
    with reserved(token_file, target.output) as keep:
        made = dict(client.ask(target, "outposts.register", {"org": org}, {"name": name, **terms}).document)
        keep(made["token"] + "\n")
    _show_token(made, token_file, target)


@outpost.command()
@click.argument("name")
@out.org_option
@click.option("--ttl", type=Duration(), default="15m", show_default=True, help="life of the join token")
@click.option("--source", default="", help="only callers from this network may use the token, such as 192.0.2.0/24")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="write the token here, mode 0600, instead of showing it"
)
@target_options_beside_token
def reenroll(name: str, org: str, token_file: Path | None, target: Target, **options: Any) -> None:
    """Make a join token that gives an outpost, locked or not, a fresh identity over its own audit log. Until it is
    spent nothing changes; then every certificate of before is void.

    Example: controlplane outpost reenroll prod-eu --org acme --token-file prod-eu.token
    """
    terms = {"ttl_ms": options["ttl"], "source": options["source"]}
    with reserved(token_file, target.output) as keep:
        made = dict(client.ask(target, "outposts.reenroll", {"org": org, "outpost": name}, terms).document)
        keep(made["token"] + "\n")
    _show_token(made, token_file, target)


def _show_token(made: dict[str, Any], token_file: Path | None, target: Target) -> None:
    made["paste"] = paste = made["paste"].replace("FILE", str(token_file or "FILE"), 1)
    if token_file:
        del made["token"]
    if target.is_json:
        out.show(target, made, lambda: None)
        return
    expires = out.moment(made["expires_ms"])
    if token_file is None:
        click.echo(made["token"])
    if made["again"]:
        out.note(f"{made['name']} is registered and never enrolled: this token voids the earlier one")
    out.note(f"outpost {made['name']} is {made['outpost']} in org {made['org']}")
    out.note(f"  endpoint  {made['endpoint']}")
    out.note(f"  CA pin    {made['pin']}")
    out.note(f"  expires   {expires}; the token works once and is shown once")
    out.note("paste this where the outpost runs, with the token in the file:")
    if token_file is None:
        out.note(f"  {paste}")
    else:
        click.echo(f"{paste}   # expires {expires}, CA {made['pin'][:8]}…{made['pin'][-4:]}")


@outpost.command("list")
@out.org_option
@click.option("--logical", is_flag=True, help="replicas of one logical outpost in one line")
@target_options
def list_outposts(org: str, logical: bool, target: Target) -> None:
    """List the outposts of an org.

    Example: controlplane outpost list --org acme --logical
    """
    if logical:
        document = client.listed(target, "logical.list", "logical_outposts", {"org": org})
        rows = [_logical_row(each) for each in document["logical_outposts"]]
        out.show(target, document, lambda: out.emit_table(LOGICAL_HEADERS, rows), "logical_outposts")
        return
    document = client.listed(target, "outposts.list", "outposts", {"org": org})
    rows = [member_row(each) for each in document["outposts"]]
    out.show(target, document, lambda: out.emit_table(MEMBER_HEADERS, rows), "outposts")


@outpost.command()
@click.argument("name")
@out.org_option
@click.option("--logical", is_flag=True, help="NAME is a logical outpost: show it with its replicas")
@target_options
def show(name: str, org: str, logical: bool, target: Target) -> None:
    """Show one outpost: identity, configuration, heartbeat, audit log.

    Example: controlplane outpost show prod-eu --org acme
    """
    if logical:
        document = client.ask(target, "logical.show", {"org": org, "logical": name}).document
        out.show(target, document, lambda: _emit_logical(document))
        return
    document = client.ask(target, "outposts.show", {"org": org, "outpost": name}).document
    out.show(target, document, lambda: out.emit_lines(document))


@outpost.command()
@click.argument("name")
@out.org_option
@click.option("--reason", default="", help="kept with the outpost")
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def revoke(name: str, org: str, target: Target, **options: Any) -> None:
    """Revoke an outpost for ever: its streams end within a second, and only its audit tail is taken for 7 more
    days.

    Example: controlplane outpost revoke prod-eu --org acme --reason "site closed" --yes
    """
    out.confirm(f"Revoke {name} of org {org} for ever?", yes=options["yes"])
    reason = {"reason": options["reason"][:MAX_REASON_CHARS]}
    answer = client.ask(target, "outposts.revoke", {"org": org, "outpost": name}, reason)
    if not out.waits(target, answer, org):
        revoked = answer.document
        out.show(target, revoked, lambda: click.echo(f"outpost {revoked['name']} ({revoked['id']}) is revoked"))


@outpost.command()
@click.argument("name")
@out.org_option
@click.option("--reason", default="operator.lock", show_default=True, help="a code that the outpost shows")
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def lock(name: str, org: str, target: Target, **options: Any) -> None:
    """Lock an outpost and order it to wipe its keys, configuration and vault; its audit log stays. It is refused from
    now on, whether or not it hears the order; `controlplane outpost reenroll` leads
    back.

    Example: controlplane outpost lock prod-eu --org acme --reason machine.stolen --yes
    """
    out.confirm(f"Lock {name} of org {org}, and order it to wipe?", yes=options["yes"])
    answer = client.ask(target, "outposts.lock", {"org": org, "outpost": name}, {"reason": options["reason"]})
    if not out.waits(target, answer, org):
        locked = answer.document
        out.show(target, locked, lambda: click.echo(f"outpost {locked['name']} ({locked['id']}) is {locked['state']}"))


@outpost.command("lock-all")
@out.org_option
@click.option("--reason", default="operator.lock", show_default=True, help="a code that outposts show")
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def lock_all(org: str, target: Target, **options: Any) -> None:
    """Lock every outpost of an org and order all of them to wipe. In an org with the two-person rule another person
    approves it first.

    Example: controlplane outpost lock-all --org acme --reason site.stolen --yes
    """
    out.confirm(f"Lock every outpost of org {org}, and order them to wipe?", yes=options["yes"])
    answer = client.ask(target, "outposts.lock_all", {"org": org}, {"reason": options["reason"]})
    if not out.waits(target, answer, org):
        names = answer.document["locked"]
        out.show(target, answer.document, lambda: click.echo(f"{len(names)} outposts are locked"))


def _logical_row(each: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        each["name"],
        f"{each['well']}/{each['serving']}",
        each["state"],
        ", ".join(each["revisions"]) or "-",
        out.moment(each["last_seen_ms"]),
        "; ".join(each["attention"]) or "-",
    )


def _emit_logical(document: Mapping[str, Any]) -> None:
    out.emit_table(LOGICAL_HEADERS, [_logical_row(document)])
    click.echo()
    out.emit_table(MEMBER_HEADERS, [member_row(each) for each in document["members"]])


def member_row(each: dict[str, Any]) -> tuple[str, ...]:
    """One outpost as a row under ``MEMBER_HEADERS``."""
    return (
        each["name"],
        each["id"],
        each["reported_state"],
        each["active_revision"] or "-",
        out.moment(each["last_seen_ms"]),
        each["software_version"] or "-",
        ", ".join(each["attention"]) or "-",
    )
