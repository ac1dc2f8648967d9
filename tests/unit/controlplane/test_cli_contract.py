"""The contract of the command line (docs/controlplane.md), held for every command that there is."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from controlplane.cli import output as out
from controlplane.cli.main import cli

DESTRUCTIVE = {"revoke", "disable", "reset-password"}
WITHOUT_CHOICE = {"serve", "completion"}  # one line, and a script: there is nothing to choose
VALUES = {"switch": "off", "kind": "servers"}
SECRET_WORDS = ("password", "secret", "totp", "token", "code")


def commands(group: click.Group, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


ALL = dict(commands(cli))


def options(command: click.Command) -> dict[str, click.Option]:
    return {name: each for each in command.params if isinstance(each, click.Option) for name in each.opts}


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_help_has_an_example_that_is_a_command(words: tuple[str, ...]) -> None:
    text = ALL[words].help or ""
    assert f"Example: controlplane {' '.join(words)}" in text


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_answers_programs(words: tuple[str, ...]) -> None:
    if words[-1] in WITHOUT_CHOICE:
        return
    assert {"--output", "--json"} <= set(options(ALL[words]))
    choice = options(ALL[words])["--output"].type
    assert isinstance(choice, click.Choice)
    assert list(choice.choices) == ["table", "json", "ndjson"]


def test_a_single_document_is_one_line_of_ndjson() -> None:
    runner = CliRunner()
    told = [runner.invoke(cli, ["version", "--output", each]).stdout for each in ("json", "ndjson")]
    assert len(told[0].splitlines()) > 1
    assert len(told[1].splitlines()) == 1
    assert json.loads(told[0]) == json.loads(told[1])


SIGNING = ("root", "sign")  # looks at a file of its own first, and refuses with a code of its own
ASKING = [words for words in ALL if "--yes" in options(ALL[words]) and words != SIGNING]


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_nothing_is_done_unasked_where_nobody_can_answer(words: tuple[str, ...], tmp_path: Path) -> None:
    arguments = [VALUES.get(each.name or "", "x") for each in ALL[words].params if isinstance(each, click.Argument)]
    org = ["--org", "acme"] if "--org" in options(ALL[words]) else []
    done = CliRunner().invoke(cli, [*words, *arguments, *org, "--state", str(tmp_path)])
    assert (done.exit_code, "say --yes" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("words", [words for words in ALL if words[-1] in DESTRUCTIVE], ids=" ".join)
def test_what_cannot_be_undone_asks_unless_told(words: tuple[str, ...]) -> None:
    assert "--yes" in options(ALL[words])


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_no_secret_is_an_argument(words: tuple[str, ...]) -> None:
    for name, option in options(ALL[words]).items():
        if any(word in name for word in SECRET_WORDS) and not option.is_flag:
            assert name.endswith("-file") or name in ("--provider-key-secret", "--key-secret"), name


STATUSES = {401: 3, 403: 3, 404: 4, 400: 5, 409: 5, 412: 5, 413: 5, 415: 5, 422: 5, 428: 5, 429: 6, 503: 6, 408: 6}


@pytest.mark.parametrize(("status", "code"), STATUSES.items())
def test_a_refusal_ends_with_the_documented_code(status: int, code: int) -> None:
    assert out.exit_code_of(status, "x.y") == code


def test_our_own_faults_are_1_and_settings_8() -> None:
    assert (out.exit_code_of(500, "internal"), out.exit_code_of(500, "settings.invalid")) == (1, 8)


FORGED = "kept\x1b[2K\r\nap-000000000000  executed  \u202eevil"


def test_nothing_that_was_stored_forges_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    out.emit_table(("WHAT", "BY"), [(FORGED, "alice")])
    out.emit_lines({"reason": FORGED, "names": [FORGED], "nested": [{FORGED: FORGED}]})
    with pytest.raises(SystemExit):
        out.fail_with({"code": "c", "message": FORGED, "field": FORGED, "next": FORGED}, 5, "table")
    told = capsys.readouterr()
    assert (len(told.out.splitlines()), len(told.err.splitlines())) == (2 + 3, 3)
    assert all(each.isprintable() for each in (told.out + told.err).splitlines())
