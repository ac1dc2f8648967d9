"""The canary of the gateway, judged before a policy is signed.

An outpost sends a synthetic card through every program all the time, and seals itself when policy lets it pass. So a
policy that does is a certain mistake: signed, it would close every outpost of the org.
"""

from dataclasses import replace

from outpost.core.decision import Action, Decision, Direction, EntityCount, Features
from outpost.core.policy.compile import Program
from outpost.core.policy.evaluate import evaluate

ENTITY_TYPE = "credit_card"
MODEL = "canary"
# A test number of the card industry, never issued; in pieces, so that no scanner takes this file for a leak.
TEXT = "My card is %s, please charge it." % ("4111" + " 1111" * 3)
TOKENS = 20  # what inspection estimates for the canary's body
FEATURES = Features(
    Direction.INPUT,
    entities=(EntityCount(ENTITY_TYPE, 1, 99),),  # confidence of a number that begins, ends and sums up as a card's
    model=MODEL,
    tokens=TOKENS,
)
_PASSING = frozenset({Action.ALLOW, Action.ROUTE_TO, Action.REDACT})


def passes(program: Program) -> Decision | None:
    """The decision that lets the canary pass; None when the policy stops or replaces the card."""
    features = replace(FEATURES, content_matches=program.match_content((MODEL, TEXT)))
    decision = evaluate(program, features)
    if decision.action not in _PASSING or ENTITY_TYPE in decision.redact:
        return None
    return decision
