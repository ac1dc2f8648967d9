"""``migrate``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out


@click.command()
@click.option(
    "--database-url-file",
    type=click.Path(path_type=Path),
    help="file with the URL of a PostgreSQL database, as the owner of its schema",
)
@click.option("--app-role", default="", help="PostgreSQL role of the application: gets its rights on the schema")
@click.option("--to", "revision", default="", help="revision to go to, or base  [default: this program's newest]")
@click.option("--down", is_flag=True, help="allow an older revision; what newer programs stored is lost")
@out.state_option
@out.output_option
def migrate(database_url_file: Path | None, state: Path, output: str, **options: Any) -> None:
    """Bring the database to this program's schema. Runs before a new version serves; doing it again changes nothing.
    Without --database-url-file it takes the SQLite files of the state directory, which serve brings up by itself.

    Example: controlplane migrate --database-url-file database.url --app-role controlplane
    """

    async def work() -> Any:
        from controlplane.bootstrap import database, plane
        from controlplane.store.migrations.listing import HEAD

        revision = options["revision"] or HEAD
        if database_url_file is not None:
            return await database.migrate_postgres(
                database_url_file, revision, options["app_role"], down=options["down"]
            )
        return plane.migrate_state(state, revision, down=options["down"])

    done = out.perform(work, output)
    if output == "json":
        facts = {"database": done.database, "from": done.before, "to": done.after, "steps": list(done.steps)}
        out.emit_json("controlplane.migration/1", facts | {"app_roles": list(done.app_roles)})
        return
    if done.steps:
        click.echo(f"{done.database} database brought from {done.before} to {done.after}")
        for step in done.steps:
            click.echo(f"  {'undone ' if options['down'] else ''}{step}")
    else:
        click.echo(f"{done.database} database is at {done.after}; nothing to do")
    if done.app_roles:
        click.echo(f"  rights given to {', '.join(done.app_roles)}")
    elif done.database == "postgresql" and done.after != "base":
        out.note("no role may use it yet: controlplane migrate --database-url-file FILE --app-role ROLE")
