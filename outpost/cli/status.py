"""`outpost status` and `outpost health`: what a running outpost says of itself."""

import asyncio
import http.client
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import click

from outpost import settings
from outpost.cli import output
from outpost.cli.main import settings_options
from outpost.core.errors import StoreError
from outpost.ipc import sockets
from outpost.paths import StatePaths

ASK_TIMEOUT_SECONDS = 5.0


class AdminUnreachableError(StoreError):
    """No outpost runs on this state folder."""

    code = "admin.unreachable"
    fatal = False


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ASK_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the admin socket instead of a host."""
        self.sock = sockets.connect(self._path)
        self.sock.settimeout(ASK_TIMEOUT_SECONDS)


def ask(state: Path) -> dict[str, Any]:
    """The status of the outpost that runs on a state folder.

    Raises:
        AdminUnreachableError: none runs there.
        NotEnrolledError: and none could.
    """
    connection = _UnixConnection(StatePaths(state).admin_socket)
    try:
        connection.request("GET", "/status")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException) as error:
        from outpost.bootstrap.state import require_orgs

        require_orgs(StatePaths(state))
        raise AdminUnreachableError(
            "no outpost runs on this state folder",
            field=str(state),
            next_step=settings.with_state("outpost run", state),
        ) from error
    finally:
        connection.close()
    return answer


@click.command()
@settings_options
@output.output_option
def status(state: Path | None, config_file: Path | None, **options: str) -> None:
    """Show state per org, certificate, audit backlog and processes. Example: outpost status --output json

    Ends with 7 when an org is not ACTIVE, a function of it has failed, or a process is down.
    """
    answer = ask(settings.load(config_file, {"state": state}).state)
    if options["output"] == "json":
        output.emit_json(answer)
    else:
        _tables(answer)
    sys.exit(output.OK if is_well(answer) else output.DEGRADED)


def is_well(answer: dict[str, Any]) -> bool:
    """Whether every org is ACTIVE with every function well, and every process runs."""
    orgs = answer["orgs"].values()
    if not orgs or not all(process["ready"] for process in answer["processes"]):
        return False
    return all(org["state"] == "ACTIVE" and set(org["functions"].values()) == {"ok"} for org in orgs)


def _tables(answer: dict[str, Any]) -> None:
    rows = []
    for name, org in sorted(answer["orgs"].items()):
        failed = [f"{org['code']}: {org['reason']}"] if org["state"] != "ACTIVE" and org["code"] else []
        failed += [f"{function}: {code}" for function, code in sorted(org["functions"].items()) if code != "ok"]
        days = (org["certificate_expires_ms"] / 1000 - time.time()) / 86400
        audit = f"{org['audit_cosigned']}/{org['audit_size']}"
        rows.append(
            (
                name,
                org["state"],
                org["revision"] or "-",
                f"{days:.1f} d",
                audit,
                "; ".join(failed) or _no_news(org["state"]),
            )
        )
    output.emit_table(("ORG", "STATE", "REVISION", "CERTIFICATE", "AUDIT COSIGNED", "HEALTH"), rows)
    click.echo()
    processes = [(p["role"], p["index"], p["pid"], "ready" if p["ready"] else "down") for p in answer["processes"]]
    output.emit_table(("PROCESS", "INDEX", "PID", "STATE"), processes)


def _no_news(state: str) -> str:
    return "ok" if state == "ACTIVE" else "-"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="address of the listener")
@click.option("--port", default=8300, show_default=True, help="port of the listener")
@click.option("--ready", is_flag=True, help="ask for readiness, not only for life")
@output.output_option
def health(host: str, port: int, *, ready: bool, **options: str) -> None:
    """Ask a running outpost whether it lives; made for container health checks. Example: outpost health --ready"""
    code, text = asyncio.run(_probe(host, port, "/readyz" if ready else "/healthz"))
    if options["output"] == "json":
        output.emit_json({"schema": "outpost.health/1", "ok": code == output.OK, "answer": _data(text)})
    elif code == output.UNREACHABLE:
        click.echo(f"nothing answers on {host}:{port}", err=True)
    else:
        click.echo(text)
    sys.exit(code)


def _data(text: str) -> Any:
    """What was answered as data; something else than an outpost may listen there."""
    try:
        return json.loads(text)
    except ValueError:
        return None


async def _probe(host: str, port: int, path: str) -> tuple[int, str]:
    import aiohttp

    # The listener's certificate may be of a CA that this machine does not know; a probe reads no secret and sends none.
    for scheme in ("http", "https"):
        try:
            timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_SECONDS)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{scheme}://{host}:{port}{path}", ssl=False) as answer,
            ):
                return output.OK if answer.status == 200 else output.DEGRADED, await answer.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, socket.gaierror):
            continue
    return output.UNREACHABLE, ""
