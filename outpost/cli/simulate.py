"""`outpost simulate-provider`: a provider that costs nothing and knows no one."""

import asyncio
import contextlib
import json

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="address; keep it on loopback")
@click.option("--port", default=8399, show_default=True, help="port; 0 picks a free one")
def simulate_provider(host: str, port: int) -> None:
    """Run a pretended OpenAI- and Anthropic-shaped provider. Example: outpost simulate-provider --port 8399

    It answers with what it was asked, and shows on /_sim/requests what it saw. Prints one JSON line when it listens.
    """
    asyncio.run(_serve(host, port))


async def _serve(host: str, port: int) -> None:
    from outpost.settings import listening as naming
    from outpost.simulator.server import serve

    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(host, port, listening))
    serving.add_done_callback(lambda _: listening.cancel())
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    if not listening.cancelled():
        click.echo(json.dumps({"event": "ready", "url": f"http://{host}:{listening.result()}/v1"}))
    elsewhere = "stop what uses the port, or choose another: outpost simulate-provider --port PORT"
    with naming("port", host, port, elsewhere):
        await serving
