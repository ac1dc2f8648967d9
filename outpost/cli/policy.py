"""`outpost policy`: read, question and try a policy document, without a running outpost."""

import json
import sys
from dataclasses import asdict, replace
from typing import Any

import click

from outpost.cli import output
from outpost.cli.policy_input import read_bounded, read_features, read_text
from outpost.core.decision import Direction, Features
from outpost.core.detect.rules import ENTITY_TYPES, RULES
from outpost.core.inspection import BYTES_PER_TOKEN, Inspector, count_entities
from outpost.core.policy import lint as linting
from outpost.core.policy.compile import Program, compile_document
from outpost.core.policy.document import document_digest, json_schema, parse_document
from outpost.core.policy.explain import Trace
from outpost.core.policy.explain import explain as explaining
from outpost.core.policy.source import MAX_DOCUMENT_BYTES

EXPLANATION_SCHEMA = "outpost.policy_explanation/1"
LINT_SCHEMA = "outpost.policy_lint/1"


@click.group()
def policy() -> None:
    """Explain, check and describe policy documents."""


@policy.command()
def schema() -> None:
    """Print the JSON schema of a policy document. Example: outpost policy schema"""
    click.echo(json.dumps(json_schema(), indent=2, sort_keys=True))


@policy.command()
@click.argument("file", type=str)
@output.output_option
def lint(file: str, **options: str) -> None:
    """Say what can never happen, contradicts or is wide open. Example: outpost policy lint policy.yaml

    FILE is YAML or JSON; - reads standard input. Ends with 5 when a denial that somebody wrote has no effect.
    """
    document = parse_document(read_bounded(file, MAX_DOCUMENT_BYTES))
    program = compile_document(document)
    found = linting.lint(document, ENTITY_TYPES)
    errors = sum(finding.level is linting.LintLevel.ERROR for finding in found)
    if options["output"] == "json":
        findings = [asdict(finding) for finding in found]
        output.emit_json({"schema": LINT_SCHEMA, "digest": program.digest, "errors": errors, "findings": findings})
    else:
        for finding in found:
            where = "/".join(part for part in (finding.pack, finding.rule) if part) or "document"
            click.echo(f"{finding.level.value:<8}{where}: {finding.message} ({finding.code})")
            click.echo(f"        → {finding.next_step}")
        click.echo(f"{len(program.rules)} rules, {len(found)} findings, {errors} errors; digest {program.digest[:16]}")
    sys.exit(output.REFUSED if errors else output.OK)


@policy.command()
@click.argument("file", type=str)
@click.option("--features", help="JSON or YAML file with what rules look at; - reads standard input")
@click.option("--text", help="file with a prompt or answer to inspect; - reads standard input; it is never printed")
@click.option("--direction", type=click.Choice([each.value for each in Direction]), help="input or output")
@output.output_option
def explain(file: str, features: str | None, text: str | None, direction: str | None, **options: str) -> None:
    """Show how a decision comes out, rule by rule. Example: outpost policy explain policy.yaml --text prompt.txt

    FILE is YAML or JSON. With --text the built-in detectors find the entities; --features gives or completes the rest.
    """
    if [file, features, text].count("-") > 1:
        raise click.UsageError("only one of FILE, --features and --text can be standard input")
    document = parse_document(read_bounded(file, MAX_DOCUMENT_BYTES))
    program = compile_document(document)
    facts = read_features(features) if features is not None else Features(Direction.INPUT)
    if direction is not None:
        facts = replace(facts, direction=Direction(direction))
    if text is not None:
        facts = inspect(program, read_text(text), facts)
    trace = explaining(program, facts)
    if options["output"] == "json":
        output.emit_json({"schema": EXPLANATION_SCHEMA, "features": asdict(facts), **_trace_fields(trace)})
    else:
        _tell(trace, facts, document_digest(document))


def inspect(program: Program, text: str, facts: Features) -> Features:
    """Features of a text, as the gateway finds them; what is found joins nothing that was given."""
    from outpost.core.detect.pattern import Scanner

    found = Inspector(program, Scanner.compile(RULES)).find(text)
    return replace(
        facts,
        entities=count_entities(found),
        content_matches=program.match_content([text]),
        tokens=len(text.encode("utf-8")) // BYTES_PER_TOKEN,
    )


def _trace_fields(trace: Trace) -> dict[str, Any]:
    return {
        "direction": trace.direction.value,
        "digest": trace.digest,
        "chain": list(trace.chain),
        "steps": [asdict(step) for step in trace.steps],
        "decision": asdict(trace.decision),
    }


def _tell(trace: Trace, facts: Features, digest: str) -> None:
    found = ", ".join(f"{each.count} {each.entity_type} ({each.confidence} %)" for each in facts.entities)
    click.echo(f"direction {trace.direction.value}; found {found or 'nothing'}; chain {', '.join(trace.chain) or '-'}")
    rows = [
        (
            f"{step.pack}/{step.rule}",
            step.sequence,
            step.action.value,
            "required" if step.required else "",
            step.outcome.value.replace("_", " ") + (f": {', '.join(step.failed)}" if step.failed else ""),
        )
        for step in trace.steps
    ]
    output.emit_table(("RULE", "SEQUENCE", "ACTION", "", "OUTCOME"), rows)
    decision = trace.decision
    by = f"{decision.pack}/{decision.rule}" if decision.pack else "the default"
    click.echo(f"decision {decision.action.value} by {by}: {decision.reason}")
    if decision.redact:
        click.echo(f"replaces {', '.join(decision.redact)}")
    click.echo(f"digest   {digest[:16]}")
