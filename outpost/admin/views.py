"""What `outpost status` shows of an org: what its agent knows and what a worker judges, in one place."""

from collections.abc import Mapping
from typing import Any

UNKNOWN = {"state": "UNKNOWN", "code": "worker.none", "reason": "No worker has reported yet."}
FUNCTION = "provider_keys"  # the one function that a worker tells; the others are the agent's


def join_views(health: Mapping[str, Any], states: Mapping[str, Any]) -> dict[str, Any]:
    """Per org: what the agent knows, and the state as a worker judges it.

    Args:
        health: org to what its agent published.
        states: org to state, code, reason and provider_keys.
    """
    joined: dict[str, Any] = {}
    for org, known in health.items():
        state = states.get(org, UNKNOWN)
        joined[org] = {**known, **state}
        if FUNCTION in state:
            joined[org]["functions"] = {**known.get("functions", {}), FUNCTION: joined[org].pop(FUNCTION)}
    return joined
