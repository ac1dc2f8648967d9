"""The command line. Heavy modules are imported inside commands, so that help answers at once."""

import importlib
from typing import Any

import click


class LazyGroup(click.Group):
    """Commands that are imported when they are asked for."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a first hour."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, from the short texts here: nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])


COMMANDS = {
    "init": ("controlplane.cli.server:init", "make a control plane: CAs, keys, databases"),
    "migrate": ("controlplane.cli.migrate:migrate", "bring the database to this program's schema"),
    "backup": ("controlplane.cli.backups:backup", "write everything into one encrypted file"),
    "restore": ("controlplane.cli.backups:restore", "make a control plane out of a backup"),
    "serve": ("controlplane.cli.server:serve", "run it"),
    "status": ("controlplane.cli.status:status", "orgs, outposts and ages of signatures"),
    "org": ("controlplane.cli.orgs:org", "create, list and show orgs, set their quotas and rule"),
    "outpost": ("controlplane.cli.outposts:outpost", "register, list, show, lock and revoke outposts"),
    "policy": ("controlplane.cli.policy:policy", "lint, publish and show policies, and the terms of releases"),
    "route": ("controlplane.cli.routes:route", "set, show and switch off providers"),
    "key": ("controlplane.cli.keys:key", "create, list and revoke client keys"),
    "user": ("controlplane.cli.users:user", "invite, list and disable users, give them roles"),
    "client": ("controlplane.cli.clients:client", "make, rotate and revoke machine clients"),
    "approval": ("controlplane.cli.approvals:approval", "approve or reject what takes two persons"),
    "login": ("controlplane.cli.login:login", "sign in at the API"),
    "activate": ("controlplane.cli.login:activate", "set password and authenticator with a sign-in code"),
    "whoami": ("controlplane.cli.login:whoami", "who calls, with which role"),
    "logout": ("controlplane.cli.login:logout", "remove the session file"),
    "acts": ("controlplane.cli.acts:acts", "read, export and verify the log of administration"),
    "audit": ("controlplane.cli.audit:audit", "verify stored audit logs of outposts"),
    "ca": ("controlplane.cli.cas:ca", "show and replace CAs, write revocation lists"),
    "ingress": ("controlplane.cli.ingresses:ingress", "certificates of proxies that end outposts' TLS"),
    "token-key": ("controlplane.cli.login:token_key", "let a new key sign access tokens"),
    "airgap": ("controlplane.cli.airgap:airgap", "outposts that no network reaches, by files"),
    "completion": ("controlplane.cli.completion:completion", "completion for bash, zsh or fish"),
    "root": ("controlplane.cli.roots:root", "who signs what; keys that the customer holds"),
    "release": (
        "controlplane.cli.releases:release",
        "releases on their way: drafts, roll-outs, rollbacks, keys held elsewhere",
    ),
    "version": ("controlplane.cli.server:version", "print the version"),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Registers outposts, issues their certificates, signs their configuration and witnesses their audit logs.

    \b
    First steps:
      controlplane init                        make one in ./.controlplane
      controlplane serve                       run it: 8443 enrollment, 8444 outposts
      controlplane org create acme --single-person --provider-url https://api.openai.com/v1
      controlplane outpost register prod-eu --org acme --token-file prod-eu.token
      controlplane key create alice --org acme
    """  # noqa: D301 - \b is for click


def run() -> None:
    """Run the command line."""
    cli(standalone_mode=True)
