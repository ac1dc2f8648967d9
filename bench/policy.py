"""What one decision costs: 30 rules over 10 findings, compiled, beside the same rules interpreted.

Prints a table and, as its last line, one JSON object. QUICK=1 takes fewer rounds.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable

from outpost.core.decision import Direction, EntityCount, Features
from outpost.core.policy.compile import Program, compile_document
from outpost.core.policy.document import parse_document
from outpost.core.policy.evaluate import evaluate
from outpost.core.policy.explain import explain

RULES = 30
TYPES = [
    "credit_card", "iban", "us_ssn", "email", "phone", "ip_address", "aws_access_key", "jwt", "private_key", "password",
    "passport", "drivers_license", "medical_record", "date_of_birth", "person", "address", "bank_account", "tax_id",
]  # fmt: skip
BOUND_US = 20.0


def policy(combining: str) -> Program:
    """Thirty rules of every kind; none that fires is terminal before the last, so all thirty are asked."""
    rules = []
    for number in range(RULES):
        redacts, last = number % 4 == 0, number == RULES - 1
        conditions: dict[str, object] = {
            "entity_types": [TYPES[number % len(TYPES)], TYPES[(number * 5 + 3) % len(TYPES)]],
            "entity_confidence_min": "0.5" if redacts else "0.95",
        }
        if number % 2:
            conditions["user_groups"] = [f"team-{number % 7}", f"team-{number % 5 + 20}"]
        if number % 5 == 1:
            conditions["models"] = ["gpt-*", "o3*"]
        if number % 6 == 2:
            conditions |= {"tokens_min": 100, "countries": ["NO", "DE"]}
        if number % 10 == 4:
            conditions["content_regex"] = [f"(?i)project {number}"]
        rules.append(
            {
                "id": f"rule-{number}",
                "sequence": number,
                "applies_to": "both",
                "action": "BLOCK" if last else ("REDACT" if redacts else "CANCEL"),
                "conditions": {"entity_types": ["email"]} if last else conditions,
            }
        )
    document = {
        "schema": "outpost.policy/1",
        "org": "bench",
        "default": {"input": "ALLOW", "output": "ALLOW"},
        "combining": combining,
        "packs": [{"id": "base", "name": "Base", "kind": "custom", "rules": rules}],
        "org_chain": ["base"],
    }
    return compile_document(parse_document(json.dumps(document).encode()))


def features() -> Features:
    """Ten findings of ten types, three groups."""
    return Features(
        direction=Direction.INPUT,
        user="u-1",
        user_groups=("team-30", "team-31", "team-32"),
        entities=tuple(EntityCount(entity_type, 1, 90) for entity_type in TYPES[:10]),
        provider="openai",
        model="gpt-4o",
        country="NO",
        tokens=500,
    )


def microseconds(call: Callable[[], object], times: int) -> float:
    """Mean of one call over a round."""
    start = time.perf_counter_ns()
    for _ in range(times):
        call()
    return (time.perf_counter_ns() - start) / times / 1000


def main() -> int:
    """Measure interleaved rounds and print."""
    quick = bool(os.environ.get("QUICK"))
    # A round of a hundred decisions takes about a millisecond, less than a time slice: on a busy machine most rounds
    # run undisturbed, and the median tells what a decision costs.
    rounds, times = (300, 100) if quick else (3000, 100)
    facts = features()
    clean = Features(direction=Direction.INPUT, user_groups=facts.user_groups, model="gpt-4o", tokens=500)
    first, overrides = policy("first_applicable"), policy("deny_overrides")
    cases: dict[str, tuple[Callable[[], object], int]] = {
        "first_applicable, 10 findings": (lambda: evaluate(first, facts), times),
        "deny_overrides, 10 findings": (lambda: evaluate(overrides, facts), times),
        "first_applicable, no finding": (lambda: evaluate(first, clean), times),
        "explain (interpreted), 10 findings": (lambda: explain(first, facts), max(1, times // 50)),
    }
    decision = evaluate(first, facts)
    if decision.code != "policy.blocked" or decision.rule != f"rule-{RULES - 1}" or not decision.redact:
        raise SystemExit(f"the benchmark does not measure what it says: {decision}")
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (call, count) in cases.items():
            measured[name].append(microseconds(call, count))
    print(f"{RULES} rules, {rounds} interleaved rounds; median and 90th percentile of a round, microseconds")
    for name, values in measured.items():
        tenth = statistics.quantiles(values, n=10)[-1]
        print(f"  {name:<36}{statistics.median(values):>9.2f}{tenth:>9.2f}")
    medians = {name: round(statistics.median(values), 2) for name, values in measured.items()}
    result = {
        "us_per_decision": medians["first_applicable, 10 findings"],
        "us_deny_overrides": medians["deny_overrides, 10 findings"],
        "us_no_finding": medians["first_applicable, no finding"],
        "rules": RULES,
        "findings": len(facts.entities),
        "rounds": rounds,
        "decisions": rounds * times,
        "bound_us": BOUND_US,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
