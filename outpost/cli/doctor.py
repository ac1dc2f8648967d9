"""`outpost doctor`: what is wrong, why, and the next command. Works on a stopped outpost and beside a running one."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

import click

from outpost.bootstrap.world import SystemClock
from outpost.cli import doctor_local, doctor_network, doctor_providers, doctor_state, output
from outpost.cli.doctor_report import GROUPS, Level, Line
from outpost.cli.main import settings_options
from outpost.paths import StatePaths
from outpost.settings import Settings, with_state

SCHEMA = "outpost.doctor/1"


@click.command()
@settings_options
@click.option("--offline", is_flag=True, help="leave the groups network and providers out")
@output.output_option
def doctor(state: Path | None, config_file: Path | None, *, offline: bool, **options: str) -> None:
    """Look at everything that can be wrong, and name the next command. Example: outpost doctor --offline

    Groups: config, process, clock, files, identity, network, bundle, providers, inspection, audit, limits.
    Ends with 7 when a line fails.
    """
    line, settings = doctor_local.check_settings(config_file, state)
    lines = [line]
    if settings is not None:
        state = settings.state
        found = examine(settings, offline=offline)
        lines += [replace(each, next_step=with_state(each.next_step, state)) for each in found]
    lines.sort(key=lambda each: GROUPS.index(each.group))  # stable: within a group in the order of looking
    fine = all(each.level is not Level.FAIL for each in lines)
    if options["output"] == "json":
        told = [{"group": each.group, **asdict(each)} for each in lines]
        output.emit_json({"schema": SCHEMA, "ok": fine, "offline": offline, "lines": told})
    else:
        _tell(lines)
    sys.exit(output.OK if fine else output.DEGRADED)


def examine(settings: Settings, *, offline: bool) -> Iterator[Line]:
    """Every line but the first, in the order of looking."""
    paths, now_ms = StatePaths(settings.state), SystemClock().now_ms()
    yield from doctor_local.check_listener(settings)
    yield from doctor_local.check_files(settings, paths)
    yield doctor_local.check_limits()
    yield doctor_local.check_running(paths)
    line, scanner = doctor_state.compile_detectors()
    yield line
    orgs = paths.orgs()
    if not orgs:
        yield Line(
            "OP-IDN-001",
            Level.FAIL,
            "this outpost is not enrolled",
            code="state.not_enrolled",
            next_step="outpost enroll --token-file TOKEN (from `controlplane outpost register`)",
        )
    floors: dict[str, int] = {}
    for org in orgs:
        yield from doctor_local.check_identity(paths, org, now_ms // 1000)
        loaded = doctor_state.load_bundle(settings, paths, org, scanner, now_ms)
        floors[org] = loaded.high_water.time_floor_ms
        yield from loaded.lines
        if loaded.program is not None:
            yield doctor_state.check_canary(loaded.program)
            if not offline:
                yield from doctor_providers.check_providers(loaded.program)
        yield from doctor_state.check_audit(paths, org)
        if not offline:
            yield from doctor_network.check_network(paths.org(org), now_ms // 1000)
    yield from doctor_local.check_clock(paths, floors, now_ms)


def _tell(lines: Iterable[Line]) -> None:
    counts = dict.fromkeys(Level, 0)
    for group, found in groupby(lines, key=lambda each: each.group):
        click.echo(group)
        for line in found:
            counts[line.level] += 1
            org = f"{line.org}: " if line.org else ""
            code = f" ({line.code})" if line.code else ""
            click.echo(f"  {line.level.value:<4}  {line.id}  {org}{line.message}{code}")
            if line.next_step:
                click.echo(f"        → {line.next_step}")
    click.echo(", ".join(f"{count} {level.value}" for level, count in counts.items()))
