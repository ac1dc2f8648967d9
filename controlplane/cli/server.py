"""``init``, ``serve``, ``version``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out

FILES = ("database_url_file", "kek_file")  # named from where the command runs, kept as whole paths


@click.command()
@out.state_option
@out.output_option
@click.option("--trust-domain", help="SPIFFE trust domain, fixed for ever  [default: outpost.internal]")
@click.option(
    "--host", "hosts", multiple=True, help="name or address in the server certificate; the first is told to outposts"
)
@click.option(
    "--listen", help="address to listen on  [default: 127.0.0.1; all addresses when a --host is not loopback]"
)
@click.option("--enroll-port", type=click.IntRange(0, 65535), help="enrollment  [default: 8443; 0: any free]")
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="outposts, mTLS  [default: 8444; 0: any free]")
@click.option(
    "--root-key-out", type=click.Path(path_type=Path), help="write the root CA's key here and keep it offline"
)
@click.option("--database-url-file", help="file with the URL of a PostgreSQL database  [default: SQLite in the state]")
@click.option(
    "--owner-url-file", type=click.Path(path_type=Path), help="the same as its owner: makes the schema before anything"
)
@click.option("--kek-file", help="key-encryption key; made when it is not there  [default: kek in the state]")
def init(state: Path, output: str, root_key_out: Path | None, owner_url_file: Path | None, **options: Any) -> None:
    """Make a control plane: root CA, two issuing CAs, server certificate, keys, databases."""
    from controlplane import settings
    from controlplane.bootstrap import plane

    given = {name: value for name, value in options.items() if value not in (None, ())}
    given |= {name: str(Path(given[name]).absolute()) for name in FILES if name in given}
    given.setdefault("listen", settings.listen_for(given.get("hosts", ())))

    async def work() -> Any:
        return await plane.initialise(state, settings.checked(given), root_key_out, owner_url_file)

    foundation = out.perform(work, output)
    kept = str(root_key_out or "in the database, sealed")
    if output == "json":
        out.emit_json("controlplane.init/1", {"state": str(state), "pin": foundation.pin, "root_key": kept})
        return
    click.echo(f"control plane made in {state}")
    click.echo(f"  listens on   {given['listen']} once it serves")
    click.echo(f"  root CA pin  {foundation.pin}")
    click.echo(f"  root CA key  {kept}")
    if root_key_out is None:
        out.note("The root key signs new issuing CAs only. To keep it offline from the start: init --root-key-out FILE")
    out.note(f"next: controlplane serve --state {state}")


@click.command()
@out.state_option
def serve(state: Path) -> None:
    """Run until SIGTERM. Prints one JSON line on standard output when both listeners accept connections: where it
    listens, and what outposts are told (enroll, grpc).
    """
    import json

    from controlplane.bootstrap import serving

    def ready(facts: Any) -> None:
        click.echo(json.dumps(facts, sort_keys=True))

    async def work() -> None:
        await serving.serve(state, ready)

    out.perform(work, loop_factory=out.fast_loop)


@click.command()
@out.output_option
def version(output: str) -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    if output == "json":
        out.emit_json("controlplane.version/1", {"version": installed("ai-outpost")})
    else:
        click.echo(installed("ai-outpost"))
