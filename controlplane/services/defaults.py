"""The configuration that a new org starts with: enforcing, not empty."""

import json
from collections.abc import Sequence

from controlplane.domain.releases import first_release
from outpost.core.bundle import names
from outpost.core.bundle.access import AccessDocument, build_access
from outpost.core.bundle.caps import CapsDocument, build_caps
from outpost.core.bundle.documents import (
    DetectorsDocument,
    Provider,
    RoutesDocument,
    build_detectors,
    build_routes,
)
from outpost.core.bundle.kill import KillDocument, build_kill
from outpost.core.bundle.release_document import Release, SelfTest
from outpost.core.bundle.revocations import RevocationsDocument, build_revocations
from outpost.core.bundle.rollout import RolloutDocument, build_rollout
from outpost.core.policy.document import SCHEMA, canonical_bytes, parse_document

DETECTOR_SET = "builtin-1"
SEAL_AFTER_SECONDS = 7 * 24 * 3600  # /docs/design.md 3: the default bound of an outage
MAX_BODY_BYTES = 1_000_000  # of a chat body
CONNECT_TIMEOUT_MS = 5_000
READ_TIMEOUT_MS = 60_000
TEST_CARD = "4111 1111" + " 1111 1111"  # the number that every payment processor publishes for tests

# What must never leave: the request is blocked, and so is an answer that holds it.
SECRETS = (
    "api_key",
    "aws_access_key",
    "aws_secret_key",
    "azure_sas",
    "azure_storage_key",
    "bearer_token",
    "connection_string",
    "jwt",
    "password",
    "private_key",
    "unbounded_candidate",
)
BLOCKED = ("credit_card", "us_ssn")
# What the provider need not know: replaced by placeholders, restored in the answer.
REDACTED = (
    "email",
    "iban",
    "ip_address",
    "mac_address",
    "passport",
    "phone",
    "uk_nino",
    "us_dea",
    "us_ein",
    "us_npi",
    "us_routing_number",
)


def default_policy(org: str) -> bytes:
    """Canonical bytes of the first policy: block cards, social security numbers and secrets, redact personal data."""
    rules = [
        _rule("payment-and-identity", 10, "both", "BLOCK", BLOCKED) | {"message": "Card or identity number found."},
        _rule("secrets", 20, "both", "BLOCK", SECRETS) | {"message": "A key, token or password was found."},
        _rule("personal-data", 30, "input", "REDACT", REDACTED),
    ]
    pack = {"id": "baseline", "name": "Baseline protection", "kind": "custom", "rules": rules}
    document = {
        "schema": SCHEMA,
        "org": org,
        "default": {"input": "ALLOW", "output": "ALLOW"},
        "combining": "deny_overrides",
        "packs": [pack],
        "org_chain": ["baseline"],
    }
    return canonical_bytes(parse_document(json.dumps(document).encode()))


def _rule(name: str, sequence: int, applies_to: str, action: str, types: Sequence[str]) -> dict[str, object]:
    return {
        "id": name,
        "sequence": sequence,
        "applies_to": applies_to,
        "action": action,
        "conditions": {"entity_types": list(types)},
    }


def default_provider(base_url: str, key_secret: str, models: Sequence[str] = ("*",)) -> Provider:
    """An OpenAI-compatible provider that serves every model."""
    return Provider("default", "openai", base_url, key_secret, tuple(models), CONNECT_TIMEOUT_MS, READ_TIMEOUT_MS)


def default_documents(org: str, providers: Sequence[Provider]) -> dict[str, bytes]:
    """Every required document of a first set."""
    resources = {
        names.PACKS: default_policy(org),
        names.ROUTES: build_routes(RoutesDocument(org, tuple(providers))),
        names.DETECTORS: build_detectors(DetectorsDocument(org, DETECTOR_SET, ())),
        names.CAPS: build_caps(CapsDocument(org)),
    }
    first = Release(
        org=org,
        version=1,
        fallback=None,
        required_tiers=(1,),
        seal_after_seconds=SEAL_AFTER_SECONDS,
        max_body_bytes=MAX_BODY_BYTES,
        self_tests=(SelfTest(f"my card is {TEST_CARD}", "credit_card"),),
        resources={},
    )
    return {
        **first_release(first, resources),
        names.KEYS_PATH: build_access(AccessDocument(org, (), 0)),
        names.REVOCATIONS_PATH: build_revocations(RevocationsDocument(org)),
        names.KILL_PATH: build_kill(KillDocument(org)),
        names.ROLLOUT_PATH: build_rollout(RolloutDocument(org, 1)),
    }
