"""Labelled texts through a running outpost: what was decided, what was found, and that nothing found was written down.

    make eval DATA=../shared/data/dlp        # QUICK=1: a tenth of the texts

Reads `pii_*dev.jsonl` ({"text", "spans": [[start, end, TYPE]]}) and `secrets_*.jsonl` ({"b64", "label"}) below DATA.
Findings and decisions are read from the audit log by request id.
"""

import asyncio
import base64
import json
import os
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from outpost.cli.stack import Stack, stack, wait_ready
from outpost.ledger.reader import iterate

ORG = "evaluation"
TYPES = {
    "EMAIL_ADDRESS": "email",
    "CREDIT_CARD": "credit_card",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip_address",
    "US_SSN": "us_ssn",
    "PHONE_NUMBER": "phone",
}
BOUND = ("email", "credit_card", "iban", "ip_address", "us_ssn")
RECALL_BOUND = 0.9
MIN_VALUE_CHARS = 8
IN_FLIGHT = 8
QUICK_SHARE = 10
NOT_MEASURED = [
    "structured_f1_exact",
    "phone_f1_exact",
    "names_f1_overlap",
    "names_f1_exact",
    "hidden_chars",
    "secrets_precision",
    "secrets_recall",
    "false_per_10kb_code",
    "false_per_10kb_logs",
    "injection_auc",
    "injection_recall_1pct_fpr",
    "notinject_fpr",
]


@dataclass
class Case:
    text: str
    gold: dict[str, int] = field(default_factory=dict)
    values: list[tuple[str, str]] = field(default_factory=list)  # (type, value)
    secret: int | None = None
    status: int = 0
    request_id: str = ""
    error_text: str = ""


def load(folder: Path, share: int) -> list[Case]:
    cases = []
    for file in sorted(folder.glob("pii_*dev.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines()[::share]:
            row = json.loads(line)
            case = Case(row["text"])
            for start, end, name in row["spans"]:
                kind = TYPES.get(name)
                if kind is not None:
                    case.gold[kind] = case.gold.get(kind, 0) + 1
                    case.values.append((kind, row["text"][start:end]))
            cases.append(case)
    for file in sorted(folder.glob("secrets_*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines()[::share]:
            row = json.loads(line)
            cases.append(Case(base64.b64decode(row["b64"]).decode("utf-8", "replace"), secret=row["label"]))
    return cases


async def send(url: str, key: str, cases: list[Case]) -> None:
    gate = asyncio.Semaphore(IN_FLIGHT)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:

        async def one(case: Case) -> None:
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": case.text}]}
            async with gate, session.post(f"{url}/v1/chat/completions", json=body) as reply:
                case.status = reply.status
                case.request_id = reply.headers["X-Request-Id"]
                text = await reply.text()
                case.error_text = text if reply.status >= 400 else ""

        await asyncio.gather(*(one(case) for case in cases))


async def run(folder: Path, cases: list[Case]) -> tuple[dict[str, Any], bytes, list[dict[str, Any]]]:
    """Everything up, all texts through, everything down; returns records by request, metrics, what the provider saw."""
    async with stack(folder) as running:
        url, key, provider, metrics_url = await set_up(running)
        await send(url, key, cases)
        async with aiohttp.ClientSession() as session:
            async with session.get(metrics_url) as reply:
                metrics = await reply.read()
            async with session.get(f"{provider}/_sim/requests") as reply:
                seen = (await reply.json())["requests"]
    records: dict[str, Any] = defaultdict(list)
    for record in iterate(running.outpost_state() / "orgs" / ORG / "audit"):
        parsed = json.loads(record)
        records[parsed.get("request_id", "")].append(parsed)
    return records, metrics, seen


async def set_up(running: Stack) -> tuple[str, str, str, str]:
    provider = await running.start_provider()
    await running.start_controlplane()
    await running.controlplane("org", "create", ORG, "--single-person", "--provider-url", provider)
    key = await running.create_key(ORG)
    await running.enroll(ORG)
    secrets = running.outpost_state() / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "provider").write_text("sk-simulated")
    program = await running.start_outpost("outpost", "--workers", "1")
    await wait_ready(program.ready["url"])
    return program.ready["url"], key, provider.removesuffix("/v1"), program.ready["metrics"]


def found_types(records: list[dict[str, Any]]) -> dict[str, int]:
    for record in records:
        if record["event"] == "request.decided":
            return {entity["entity_type"]: entity["count"] for entity in record["features"]["entities"]}
    return {}


def leaks(folder: Path, cases: list[Case], found: dict[int, dict[str, int]], metrics: bytes) -> list[str]:
    """Places where a value that we found stands. Values themselves are never printed."""
    places = {"metrics": metrics, "errors": "\n".join(case.error_text for case in cases).encode()}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            places[str(path.relative_to(folder))] = path.read_bytes()
    values = {
        value.encode()
        for number, case in enumerate(cases)
        for kind, value in case.values
        if kind in found[number] and len(value) >= MIN_VALUE_CHARS
    }
    return sorted({place for place, data in places.items() for value in values if value in data})


def report(cases: list[Case], records: dict[str, Any], folder: Path, metrics: bytes) -> dict[str, Any]:
    found = {number: found_types(records[case.request_id]) for number, case in enumerate(cases)}
    gold: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    decisions: dict[str, Counter[str]] = defaultdict(Counter)
    for number, case in enumerate(cases):
        for kind, count in case.gold.items():
            gold[kind] += count
            hit[kind] += min(count, found[number].get(kind, 0))
        for record in records[case.request_id]:
            if record["event"] == "request.decided":
                for kind in found[number] or {"(nothing)": 1}:
                    decisions[kind][record["decision"]["action"]] += 1
    secret_cases = [(number, case) for number, case in enumerate(cases) if case.secret is not None]
    caught = sum(case.secret == 1 and bool(found[number]) for number, case in secret_cases)
    print(f"{'type':<22}{'gold':>6}{'found':>7}{'recall':>8}")
    recall = {}
    for kind in TYPES.values():
        recall[kind] = hit[kind] / gold[kind] if gold[kind] else None
        shown = f"{recall[kind]:.3f}" if recall[kind] is not None else "-"
        print(f"{kind:<22}{gold[kind]:>6}{hit[kind]:>7}{shown:>8}")
    print(f"\n{'decisions by type':<28}" + "".join(f"{action:>10}" for action in ("ALLOW", "REDACT", "BLOCK")))
    for kind, actions in sorted(decisions.items()):
        print(f"{kind:<28}" + "".join(f"{actions[action]:>10}" for action in ("ALLOW", "REDACT", "BLOCK")))
    errors = sum(case.status not in (200, 403) for case in cases)
    unaudited = sum(not records[case.request_id] for case in cases)
    leaked = leaks(folder, cases, found, metrics)
    true = sum(case.secret == 1 for _, case in secret_cases)
    print(f"\nsecrets: {caught} of {true} found; texts: {len(cases)}; errors: {errors}; not audited: {unaudited}")
    print(f"places that hold a found value: {leaked or 'none'}")
    line: dict[str, Any] = dict.fromkeys(NOT_MEASURED)
    line |= {
        "why": "this run judges decisions and recall through the running outpost; span scores need a later harness"
    }
    line |= {"texts": len(cases), "errors": errors, "not_audited": unaudited, "leaked_places": len(leaked)}
    line |= {f"recall_{kind}": round(value, 4) for kind, value in recall.items() if value is not None}
    line |= {"secrets_recall": round(caught / true, 4) if true else None}
    line["ok"] = not (errors or unaudited or leaked) and all((recall[kind] or 1) >= RECALL_BOUND for kind in BOUND)
    return line


def main() -> int:
    data = Path(sys.argv[1])
    share = QUICK_SHARE if os.environ.get("QUICK") else 1
    cases = load(data, share)
    if not cases:
        print(f"no labelled texts below {data}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="outpost-eval-") as name:
        records, metrics, _ = asyncio.run(run(Path(name), cases))
        line = report(cases, records, Path(name), metrics)
    print(json.dumps(line))
    return 0 if line["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
