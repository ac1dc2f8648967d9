"""The admin API under requests that schemathesis makes from its OpenAPI document, and under another org's token.

Half of the requests fit the document, half break it; two orgs' tokens and the operator's are used. Then a token tries
the names of the other org. Prints a table and, as its last line, one JSON object. QUICK=1 sends a tenth.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from controlplane.domain.rbac import Role
from tests.fuzz.api_cases import Found, fuzz, running
from tests.integration.api_server import api_site

EXAMPLES = 2_000
TIMED = 2_000  # requests of each kind whose times are compared
QUICK_SHARE = 10


async def times(folder: Path, count: int) -> dict[str, float]:
    """Median microseconds until a foreign and until a missing org is refused, taken in turns."""
    async with api_site(folder, "acme", "globex") as site:
        alice = await site.bed.person("acme", "alice", Role.OWNER)
        spent: dict[str, list[float]] = {"globex": [], "nobody": []}
        for at in range(2 * count):
            org = ("globex", "nobody")[at % 2]
            begun = time.perf_counter()
            answer = await site.call("GET", f"/v1/orgs/{org}/outposts", alice.token)
            spent[org].append(time.perf_counter() - begun)
            assert answer.status_code == 404
        return {org: statistics.median(each) * 1e6 for org, each in spent.items()}


def table(found: Found, seconds: float, medians: dict[str, float]) -> None:
    """For people."""
    by_status = Counter[int]()
    for (_, status), count in found.statuses.items():
        by_status[status] += count
    print(f"{'requests':<28}{found.examples:>8}   {found.examples / seconds:,.0f}/s")
    for status, count in sorted(by_status.items()):
        print(f"  answered {status:<17}{count:>8}")
    for label, count in (
        ("server errors", found.server_errors),
        ("undocumented statuses", found.undocumented),
        ("answers off their schema", found.malformed),
        ("rows of the other org", found.foreign_rows),
    ):
        print(f"{label:<28}{count:>8}")
    print(f"{'foreign org refused, median':<28}{medians['globex']:>8.0f} µs")
    print(f"{'missing org refused, median':<28}{medians['nobody']:>8.0f} µs")
    for fault in found.faults[:20]:
        print(f"  {fault}")


def main() -> None:
    """Run, print, and end with 1 when something must not be."""
    share = QUICK_SHARE if os.environ.get("QUICK") else 1
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as target:
        begun = time.monotonic()
        found = fuzz(target, EXAMPLES // share)
        seconds = time.monotonic() - begun
    with tempfile.TemporaryDirectory() as folder:
        medians = asyncio.run(times(Path(folder), TIMED // share))
    table(found, seconds, medians)
    result = {
        "bench": "api-fuzz",
        "examples": found.examples,
        "operations": len({name for name, _ in found.statuses}),
        "server_errors": found.server_errors,
        "undocumented_statuses": found.undocumented,
        "malformed_answers": found.malformed,
        "foreign_rows": found.foreign_rows,
        "foreign_org_median_us": round(medians["globex"], 1),
        "missing_org_median_us": round(medians["nobody"], 1),
    }
    print(json.dumps(result))
    sys.exit(1 if found.faults else 0)


if __name__ == "__main__":
    main()
