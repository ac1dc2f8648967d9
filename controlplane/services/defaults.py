"""The configuration that a new org starts with: enforcing, not empty."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256

from outpost.core.bundle import names
from outpost.core.bundle.access import AccessDocument, build_access
from outpost.core.bundle.documents import (
    DetectorsDocument,
    Provider,
    RolloutDocument,
    RoutesDocument,
    build_detectors,
    build_release,
    build_rollout,
    build_routes,
)
from outpost.core.bundle.release import Release, Resource, SelfTest
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
    documents = {
        names.PACKS_PATH: default_policy(org),
        names.ROUTES_PATH: build_routes(RoutesDocument(org, tuple(providers))),
        names.DETECTORS_PATH: build_detectors(DetectorsDocument(org, DETECTOR_SET, ())),
        names.KEYS_PATH: build_access(AccessDocument(org, (), 0)),
    }
    first = Release(
        org=org,
        version=1,
        required_tiers=(1,),
        seal_after_seconds=SEAL_AFTER_SECONDS,
        max_body_bytes=MAX_BODY_BYTES,
        self_tests=(SelfTest(f"my card is {TEST_CARD}", "credit_card"),),
        resources=resources_of(documents),
    )
    documents[names.RELEASE_PATH] = build_release(first)
    documents[names.ROLLOUT_PATH] = build_rollout(RolloutDocument(org, 1, 100))
    return documents


def resources_of(documents: Mapping[str, bytes]) -> dict[str, Resource]:
    """What a release names: packs, routes and detectors by hash and size."""
    named = (names.PACKS_PATH, names.ROUTES_PATH, names.DETECTORS_PATH)
    return {path: Resource(sha256(documents[path]).hexdigest(), len(documents[path])) for path in named}
