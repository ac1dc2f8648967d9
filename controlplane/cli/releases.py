"""``release draft|list|show|status|simulate|publish|halt|withdraw|rollback|rules|export|import``."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from controlplane.cli import ceremony_files as files
from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.documents import object_in
from controlplane.cli.publishing import published, remarks, roll_options
from controlplane.cli.target import Target, target_options

OVER = frozenset({"complete", "halted", "withdrawn", "superseded"})
LOOK_SECONDS = 0.5  # between two looks of --wait
DOCUMENT = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def release() -> None:
    """Releases on their way: drafts, simulation, roll-outs, rollbacks; and those whose keys are held elsewhere."""


@release.command()
@out.org_option
@click.option("--policy", type=DOCUMENT, help="a policy document")
@click.option("--terms", type=DOCUMENT, help="JSON: seal_after_seconds, on_revoked, max_body_bytes, self_tests, caps")
@click.option("--routes", type=DOCUMENT, help="JSON: providers")
@click.option("--rollout", type=DOCUMENT, help="JSON: percents, soak_seconds, answer_seconds, failed_permille ...")
@click.option("--title", default="", help="one line for people")
@target_options
def draft(org: str, policy: Path | None, title: str, target: Target, **options: Path | None) -> None:
    """Lint a policy, terms or routes, and keep them as a release to come; nothing is signed.

    Example: controlplane release draft --org acme --policy policy.yaml --title "block mail addresses"
    """

    async def work(api: client.Api) -> Any:
        start = "see docs/controlplane.md"
        body: dict[str, Any] = {name: object_in(file, start) for name, file in options.items() if file is not None}
        if policy is not None:
            body["policy"] = files.read_text(policy)
        return await api.ask("releases.draft", {"org": org}, {**body, "title": title})

    document = client.run(target, work).document
    remarks(document["findings"])
    out.show(target, document, lambda: click.echo(f"{document['id']} is {document['state']}: {document['title']}"))
    if not target.is_json:
        out.note(f"next: controlplane release simulate {document['id']} --org {org}; then release publish")


@release.command("list")
@out.org_option
@target_options
def list_releases(org: str, target: Target) -> None:
    """List releases on their way and those before them, newest first.

    Example: controlplane release list --org acme
    """
    document = client.listed(target, "releases.list", "releases", {"org": org})
    rows = [
        (each["id"], each["release"] or "-", _state(each), each["title"], each["author"] or "-", each["reason"] or "-")
        for each in document["releases"]
    ]
    headers = ("PLAN", "RELEASE", "STATE", "TITLE", "BY", "REASON")
    out.show(target, document, lambda: out.emit_table(headers, rows), "releases")


@release.command()
@click.argument("plan")
@out.org_option
@click.option("--wait", "wait_seconds", type=click.IntRange(0), default=0, help="SECONDS until it is over, at most")
@target_options
def show(plan: str, org: str, wait_seconds: int, target: Target) -> None:
    """Show a release: state, history, how far its stage is, and how it would have decided. Exit code 7 when it was
    halted, or is not over in time.

    Example: controlplane release show plan-7 --org acme --wait 600
    """

    async def work(api: client.Api) -> Any:
        deadline = time.monotonic() + wait_seconds
        while True:
            document = (await api.ask("releases.show", {"org": org, "plan": plan})).document
            if not wait_seconds or document["state"] in OVER or time.monotonic() >= deadline:
                return document
            await asyncio.sleep(LOOK_SECONDS)

    document = client.run(target, work)
    out.show(target, document, lambda: _told(document))
    if document["state"] == "halted" or (wait_seconds and document["state"] not in OVER):
        raise SystemExit(out.DEGRADED)


@release.command()
@click.argument("plan")
@out.org_option
@target_options
def status(plan: str, org: str, target: Target) -> None:
    """Show what each outpost made of the newest configuration: downloaded, active, or why it was refused.

    Example: controlplane release status plan-7 --org acme
    """
    document = client.listed(target, "releases.outposts", "outposts", {"org": org, "plan": plan})
    rows = [
        (
            each["name"],
            "yes" if each["member"] else "-",
            each["state"] or "-",
            each["release"] or "-",
            out.moment(each["downloaded_ms"]),
            out.moment(each["activated_ms"]),
            f"{each['code']} {each['message']}".strip() or "-",
        )
        for each in document["outposts"]
    ]
    headers = ("OUTPOST", "STAGE", "STATE", "RELEASE", "DOWNLOADED", "ACTIVE", "REASON")
    out.show(target, document, lambda: out.emit_table(headers, rows), "outposts")


@release.command()
@click.argument("plan")
@out.org_option
@click.option("--samples", type=DOCUMENT, help="prompts, one a line: text, or JSON with prompt, model, groups ...")
@click.option("--decisions", type=click.IntRange(0, 20_000), default=1_000, show_default=True, help="newest recorded")
@target_options
def simulate(plan: str, org: str, samples: Path | None, decisions: int, target: Target) -> None:
    """Show what a release would do to sample prompts, and to decisions that outposts recorded; nothing is kept.

    Example: controlplane release simulate plan-7 --org acme --samples prompts.txt
    """

    async def work(api: client.Api) -> Any:
        prompts = _samples(samples) if samples is not None else []
        body = {"samples": prompts, "decisions": decisions}
        return (await api.ask("releases.simulate", {"org": org, "plan": plan}, body)).document

    document = client.run(target, work)

    def text() -> None:
        for number, each in enumerate(document["samples"], start=1):
            found = ", ".join(f"{count} {kind}" for kind, count in each["found"].items()) or "nothing found"
            click.echo(f"sample {number}: {each['before']} -> {each['after']} ({each['rule']}; {found})")
        told = document["decisions"]
        click.echo(f"{told['compared']} recorded decisions, {document['unknown']} of releases that are gone")
        for each in told["changes"]:
            click.echo(f"  {each['count']} {each['direction']}: {each['before']} -> {each['after']}")

    out.show(target, document, text)


@release.command("publish")
@click.argument("plan")
@out.org_option
@roll_options
@target_options
def publish(plan: str, org: str, target: Target, *, roll: dict[str, str]) -> None:
    """Sign a release that waits, and begin its roll-out. In an org with the two-person rule it waits until another
    person approves it.

    Example: controlplane release publish plan-7 --org acme
    """
    published(client.ask(target, "releases.publish", {"org": org, "plan": plan, **roll}), org, target)


@release.command()
@click.argument("plan")
@out.org_option
@click.option("--reason", default="", help="kept with the release")
@target_options
def halt(plan: str, org: str, reason: str, target: Target) -> None:
    """End a roll-out: the stable release runs everywhere again, by one online signature, within a second.

    Example: controlplane release halt plan-7 --org acme --reason "complaints"
    """
    _ended(client.ask(target, "releases.halt", {"org": org, "plan": plan}, {"reason": reason}).document, target)


@release.command()
@click.argument("plan")
@out.org_option
@click.option("--reason", default="", help="kept with the release")
@target_options
def withdraw(plan: str, org: str, reason: str, target: Target) -> None:
    """End a release that does not roll yet.

    Example: controlplane release withdraw plan-7 --org acme
    """
    _ended(client.ask(target, "releases.withdraw", {"org": org, "plan": plan}, {"reason": reason}).document, target)


@release.command()
@click.argument("version", type=click.IntRange(1))
@out.org_option
@click.option("--title", default="", help="one line for people")
@roll_options
@target_options
def rollback(version: int, org: str, title: str, target: Target, *, roll: dict[str, str]) -> None:
    """Sign what release VERSION said under a new, higher version, and roll it out; a halted one is tried again so. In
    an org with the two-person rule it waits until another person approves it.

    Example: controlplane release rollback 6 --org acme --at-once
    """
    body = {"release": version, "title": title}
    published(client.ask(target, "releases.rollback", {"org": org, **roll}, body), org, target)


@release.command()
@out.org_option
@click.option("--percents", help="rising shares, the last 100: 5,25,100")
@click.option("--soak-seconds", type=click.IntRange(1), help="a stage is watched once every connected outpost has it")
@click.option("--answer-seconds", type=click.IntRange(1), help="a connected outpost that does not answer halts it")
@click.option("--failed-permille", type=click.IntRange(0, 1000), help="failures of our own among its requests")
@click.option("--least-requests", type=click.IntRange(1), help="before that share counts")
@target_options
def rules(org: str, percents: str | None, target: Target, **options: int | None) -> None:
    """Show how careful the roll-outs of an org are, or set it for releases from now on.

    Example: controlplane release rules --org acme --soak-seconds 600
    """
    changed: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if percents is not None:
        changed["percents"] = [int(each) if each.strip().isdecimal() else 0 for each in percents.split(",")]
    if not changed:
        document = client.ask(target, "releases.rules", {"org": org}).document
    else:
        answer = client.ask(target, "releases.set_rules", {"org": org}, changed)
        if out.waits(target, answer, org):
            return
        document = answer.document
    out.show(target, document, lambda: out.emit_lines(document))


@release.command()
@out.org_option
@click.option("--out", "file", type=files.NEW_FILE, required=True, help="file to be signed")
@target_options
def export(org: str, file: Path, target: Target) -> None:
    """Write the draft that waits into a file, for those who hold the policy keys.

    Example: controlplane release export --org acme --out release.json
    """

    async def work(api: client.Api) -> Any:
        made = (await api.ask("releases.export", {"org": org})).document
        files.write_new(file, made["file"].encode())
        return made

    files.show_facts(client.run(target, work), target.output)
    out.note(f"next: controlplane root sign {file} --key KEY; then controlplane release import {file} --org {org}")


@release.command("import")
@click.argument("file", type=files.FILE)
@out.org_option
@click.option("--wait", is_flag=True, help="until every connected outpost has it active, at most 30 s")
@target_options
def import_(file: Path, org: str, target: Target, *, wait: bool) -> None:
    """Publish a release that its key holders have signed. In an org with the two-person rule it waits until another
    person approves it.

    Example: controlplane release import release.json --org acme
    """
    from controlplane.cli import waiting

    async def work(api: client.Api) -> Any:
        if wait:
            await waiting.require_running(api, target)
        answer = await api.ask("releases.import", {"org": org}, {"file": files.read_text(file)})
        waits = wait and answer.status != out.WAITING
        return answer, await waiting.wait_active(api, org, answer.document["set"]) if waits else None

    answer, waited = client.run(target, work)
    published(answer, org, target)
    if waited is not None:
        waiting.tell(waited)


def _state(plan: Mapping[str, Any]) -> str:
    rolling = plan["state"] == "rolling"
    return f"rolling {plan['stage']} %" if rolling else "waits for keys" if plan["waiting"] else str(plan["state"])


def _told(plan: Mapping[str, Any]) -> None:
    facts = {name: value for name, value in plan.items() if name not in ("history", "approval", "progress", "shadow")}
    out.emit_lines(facts)
    for each in plan["history"]:
        why = f" {each['code']} {each['reason']}".rstrip()
        by = f" by {each['by']}" if each["by"] else ""
        click.echo(f"{out.moment(each['at_ms'])}  {each['state']} {each['stage']} %{by}{why}")
    if plan["progress"] is not None:
        far = plan["progress"]
        click.echo(f"{far['active']} of {far['members']} outposts of this stage have it, {far['refused']} refused it")
        click.echo(f"next: {far['next_step']}, {far['why']}")
    if plan["shadow"] is not None:
        told = plan["shadow"]
        click.echo(f"in the shadow: {told['compared']} decisions compared")
        for each in told["changes"]:
            click.echo(f"  {each['count']} {each['direction']}: {each['before']} -> {each['after']}")


def _ended(plan: Mapping[str, Any], target: Target) -> None:
    out.show(target, dict(plan), lambda: click.echo(f"{plan['id']} is {plan['state']}"))


def _samples(file: Path) -> list[dict[str, Any]]:
    """Prompts of a file, one a line."""
    found = []
    for line in files.read_text(file).splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if line.strip():
            found.append(value if isinstance(value, dict) else {"prompt": line})
    return found
