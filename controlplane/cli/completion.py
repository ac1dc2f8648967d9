"""``completion``: what a shell needs to complete commands."""

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    Example: controlplane completion bash > /etc/bash_completion.d/controlplane
    """
    from click.shell_completion import get_completion_class

    from controlplane.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(cli, {}, "controlplane", "_CONTROLPLANE_COMPLETE").source())
