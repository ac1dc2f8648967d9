"""``init``, ``serve``, ``version``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out

FILES = (
    "database_url_file",
    "kek_file",
    "pkcs11_module",
    "pkcs11_pin_file",
)  # named from where the command runs, kept as whole paths


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
    "--api-port",
    type=click.IntRange(0, 65535),
    help="admin API  [default: 8100; any free when the other two are; 0: any free]",
)
@click.option("--operator-user", default="", help="name of the operator's first owner; prints his sign-in code")
@click.option(
    "--root-key-out", type=click.Path(path_type=Path), help="write the root CA's key here and keep it offline"
)
@click.option("--database-url-file", help="file with the URL of a PostgreSQL database  [default: SQLite in the state]")
@click.option(
    "--owner-url-file", type=click.Path(path_type=Path), help="the same as its owner: makes the schema before anything"
)
@click.option("--kek-file", help="key-encryption key; made when it is not there  [default: kek in the state]")
@click.option("--enroll-endpoint", help="host:port that join tokens carry  [default: first host and the port]")
@click.option("--sync-endpoint", help="host:port that outposts call  [default: first host and the port]")
@click.option("--ingress", is_flag=True, default=None, help="an ingress that proves itself may pass certificates on")
@click.option("--pkcs11-module", help="PKCS#11 library that holds the CA keys  [default: sealed in the database]")
@click.option("--pkcs11-label", "pkcs11_token", help="label of the token")
@click.option("--pkcs11-pin-file", help="file of mode 0600 with the PIN of the token's user")
def init(state: Path, output: str, root_key_out: Path | None, owner_url_file: Path | None, **options: Any) -> None:
    """Make a control plane: root CA, two issuing CAs, server certificate, keys, databases.

    Example: controlplane init --host cp.example --operator-user alice
    """
    from controlplane import settings
    from controlplane.bootstrap import plane

    operator_user = options.pop("operator_user")
    given = {name: value for name, value in options.items() if value not in (None, ())}
    given |= {name: str(Path(given[name]).absolute()) for name in FILES if name in given}
    if given.get("enroll_port") == given.get("grpc_port") == 0:
        given.setdefault("api_port", 0)
    given.setdefault("listen", settings.listen_for(given.get("hosts", ())))

    async def work() -> Any:
        foundation = await plane.initialise(state, settings.checked(given), root_key_out, owner_url_file)
        return foundation, await _first_operator(state, operator_user) if operator_user else None

    foundation, invited = out.perform(work, output)
    kept = str(root_key_out or "in the database, sealed")
    if output == "json":
        facts = {"state": str(state), "pin": foundation.pin, "root_key": kept}
        out.emit_json("controlplane.init/1", facts | ({"operator": invited} if invited else {}))
        return
    click.echo(f"control plane made in {state}")
    click.echo(f"  listens on   {given['listen']} once it serves")
    click.echo(f"  root CA pin  {foundation.pin}")
    click.echo(f"  root CA key  {kept}")
    if root_key_out is None:
        out.note("The root key signs new issuing CAs only. To keep it offline from the start: init --root-key-out FILE")
    if invited:
        from controlplane.cli.orgs import invitation

        invitation(invited, out.OPERATOR)
    out.note(f"next: controlplane serve --state {state}")


async def _first_operator(state: Path, name: str) -> dict[str, Any]:
    """Invite the operator's first owner."""
    from controlplane.bootstrap.local import local_api

    async with local_api(state) as api:
        answer = await api.call("users.create", {"org": out.OPERATOR}, {"name": name, "role": "owner"})
    if answer.status >= 400:  # the control plane stands; only this user does not
        out.note(f"the user {name} was not made: {answer.document['detail']}")
        out.note(f"try again: controlplane user create NAME --operator --role owner --state {state}")
        return {}
    return {key: value for key, value in answer.document.items() if key != "schema"}


@click.command()
@out.state_option
def serve(state: Path) -> None:
    """Run until SIGTERM. Prints one JSON line on standard output when its listeners accept connections: where it
    listens, what outposts are told (enroll, grpc), and where the admin API is (api).

    Example: controlplane serve --state .controlplane
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
    """Print the version.

    Example: controlplane version
    """
    from importlib.metadata import version as installed

    if output == "json":
        out.emit_json("controlplane.version/1", {"version": installed("ai-outpost")})
    else:
        click.echo(installed("ai-outpost"))
