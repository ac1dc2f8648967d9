"""``key create|list|revoke``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out
from controlplane.cli.secret_file import reserved


@click.group()
def key() -> None:
    """Create, list and revoke client keys."""


@key.command()
@click.argument("name")
@out.org_option
@click.option("--user", default="", help="id of the user")
@click.option("--group", "groups", multiple=True, help="group of the user, for conditions of rules")
@click.option("--agent", default="", help="identity of an AI agent")
@click.option("--channel", type=click.Choice(["interactive", "api"]), default="api", show_default=True)
@click.option(
    "--data-class",
    type=click.Choice(["public", "internal", "confidential", "phi"]),
    default="internal",
    show_default=True,
)
@click.option("--model", "models", multiple=True, help="glob of models it may ask for  [default: all]")
@click.option("--expires-days", type=click.IntRange(1, 366), default=90, show_default=True)
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="write the key here, mode 0600, instead of showing it"
)
@out.state_option
@out.output_option
def create(name: str, org: str, key_file: Path | None, state: Path, output: str, **options: Any) -> None:
    """Create a client key. It is shown once and stored nowhere; outposts get its hash."""

    async def work(plane: Any) -> Any:
        from controlplane.domain.keys import DAY_SECONDS
        from outpost.core.bundle.access import ClientKey

        now_s = plane.clock.now_ms() // 1000
        description = ClientKey(
            id="",
            sha256="",
            name=name,
            user=options["user"],
            groups=options["groups"],
            agent=options["agent"],
            channel=options["channel"],
            data_class=options["data_class"],
            models=options["models"],
            not_before=now_s - 60,  # clocks of outposts may lag a little
            expires=now_s + options["expires_days"] * DAY_SECONDS,
            revoked=False,
        )
        return await plane.publisher.create_key(org, description)

    with reserved(key_file, output) as keep:
        text, record, published = out.on_plane(state, output, work)
        keep(text + "\n")
    if output == "json":
        shown = {} if key_file else {"key": text}
        facts = {"id": record.id, "name": name, "org": org, "expires_s": record.expires}
        out.emit_json("controlplane.key/1", facts | {"revision": published.revision} | shown)
        return
    if key_file is None:
        click.echo(text)
    out.note(f"key {name} ({record.id}) of org {org}, until {out.moment(record.expires * 1000)}; it is shown once")


@key.command("list")
@out.org_option
@out.state_option
@out.output_option
def list_keys(org: str, state: Path, output: str) -> None:
    """List client keys."""

    async def work(plane: Any) -> Any:
        return await plane.publisher.client_keys(org), plane.clock.now_ms() // 1000

    found, now_s = out.on_plane(state, output, work)
    if output == "json":
        from dataclasses import asdict

        out.emit_json("controlplane.keys/1", {"org": org, "keys": [asdict(each) for each in found]})
        return
    out.emit_table(
        ("NAME", "ID", "USER", "GROUPS", "EXPIRES", "STATE"),
        [
            (
                each.name,
                each.id,
                each.user or "-",
                ",".join(each.groups) or "-",
                out.moment(each.expires * 1000),
                "revoked" if each.revoked else "expired" if each.expires <= now_s else "live",
            )
            for each in found
        ],
    )


@key.command()
@click.argument("name")
@out.org_option
@out.state_option
@out.output_option
def revoke(name: str, org: str, state: Path, output: str) -> None:
    """Revoke a client key by name or id; connected outposts refuse it within a second."""

    async def work(plane: Any) -> Any:
        return await plane.publisher.revoke_key(org, name)

    record, published = out.on_plane(state, output, work)
    if output == "json":
        out.emit_json("controlplane.key/1", {"id": record.id, "name": record.name, "revision": published.revision})
    else:
        click.echo(f"key {record.name} ({record.id}) is revoked in configuration {published.revision}")
