"""``status``: what needs attention, org by org and outpost by outpost."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out

MAX_NAMED = 3  # outposts that the line of an org names; the table below has them all


@click.command()
@out.state_option
@out.output_option
def status(state: Path, output: str) -> None:
    """Orgs, their outposts and how long their signatures last; exit code 7 when something needs attention."""
    document = out.on_plane(state, output, _status)
    if output == "json":
        out.emit_json("controlplane.status/1", document)
    else:
        _print(document)
    if document["server"] != "running":
        out.note(f"no server runs here; outposts hear nothing new. Start it: controlplane serve --state {state}")
    if any(org["attention"] for org in document["orgs"]):
        raise SystemExit(out.DEGRADED)


def _print(document: dict[str, Any]) -> None:
    click.echo(f"trust domain {document['trust_domain']}, server {document['server']}")
    headers = ("ORG", "OUTPOSTS", "ACTIVE", "REVISION", "SIGNED UNTIL", "ATTENTION")
    columns = ("id", "outposts", "active", "revision")
    rows = [
        (*(org[name] for name in columns), out.moment(org["signed_until_ms"]), org["attention"] or "-")
        for org in document["orgs"]
    ]
    out.emit_table(headers, rows)
    members = [(org["id"], each) for org in document["orgs"] for each in org["members"]]
    if members:
        click.echo()
        out.emit_table(("ORG", *MEMBER_HEADERS), [(org, *member_row(each)) for org, each in members])


async def _status(plane: Any) -> dict[str, Any]:
    server = "running" if await plane.is_served() else "not running"
    orgs = [await _org(plane, org) for org in await plane.store.orgs()]
    return {"trust_domain": plane.settings.trust_domain, "server": server, "orgs": orgs}


async def _org(plane: Any, org: Any) -> dict[str, Any]:
    async with plane.store.for_org(org.id).read() as transaction:
        newest = await transaction.releases.newest()
    members = [member(each) for each in await plane.administration.outposts(org.id, plane.silent_ms)]
    until_ms = newest.timestamp_expires_ms if newest else 0
    attention = [] if org.ready else ["creation was interrupted"]
    if org.ready and until_ms < plane.clock.now_ms():
        attention.append("the timestamp expired: run the server")
    if org.ready:
        attention += [each.warning for each in await plane.ceremonies.outlook(org.id) if each.warning]
    troubled = [each for each in members if each["attention"]]
    attention += [f"{each['name']} {', '.join(each['attention'])}" for each in troubled[:MAX_NAMED]]
    if len(troubled) > MAX_NAMED:
        attention.append(f"{len(troubled) - MAX_NAMED} more outposts")
    return {
        "id": org.id,
        "outposts": len(members),
        "active": sum(each["state"] == "active" for each in members),
        "revision": newest.revision if newest else "-",
        "signed_until_ms": until_ms,
        "attention": "; ".join(attention),
        "members": members,
    }


MEMBER_HEADERS = ("NAME", "ID", "STATE", "REVISION", "LAST SEEN", "VERSION", "ATTENTION")


def member(condition: Any) -> dict[str, Any]:
    """One outpost for JSON. ``state`` is where it stands here, ``reported_state`` what its newest heartbeat says."""
    outpost, word = condition.outpost, condition.delivery
    return {
        "id": outpost.id,
        "name": outpost.name,
        "state": outpost.state.value,
        "reported_state": condition.state,
        "active_revision": condition.revision,
        "last_seen_ms": outpost.last_seen_ms,
        "software_version": outpost.software_version,
        "failed": dict(condition.failed),
        "delivery": asdict(word) if word else None,
        "attention": list(condition.attention),
    }


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
