"""All detectors that ship: the set named ``builtin-1``."""

from outpost.core.detect.rules_base import Rule
from outpost.core.detect.rules_network import NETWORK
from outpost.core.detect.rules_personal import PERSONAL
from outpost.core.detect.rules_secrets import SECRETS

RULE_SET = "builtin-1"
RULES: tuple[Rule, ...] = PERSONAL + NETWORK + SECRETS
ENTITY_TYPES: frozenset[str] = frozenset(rule.entity_type for rule in RULES)
