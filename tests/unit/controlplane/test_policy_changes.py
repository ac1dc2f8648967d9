"""What a key holder is told of a release before he signs it: nothing that loosens is left unmarked."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controlplane.domain.policy_changes import LOOSENS, policy_changes
from controlplane.domain.releases import Documents, Draft, with_release
from controlplane.services.defaults import default_documents, default_provider
from outpost.core.bundle import names
from outpost.core.bundle.caps import CapsDocument, build_caps
from outpost.core.bundle.content import SetContent
from outpost.core.bundle.documents import DetectorsDocument, RoutesDocument, build_detectors, build_routes
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release_document import SelfTest
from outpost.core.bundle.rollout import RolloutDocument, build_rollout
from outpost.core.policy.document import canonical_bytes, parse_document

PROVIDER = default_provider("https://api.example.com/v1", "provider", ("gpt-*",))
BASE = default_documents("acme", [PROVIDER])
CONTENT = read_documents(BASE, "acme")
PACKS = CONTENT.stable.packs


def packs(change: Callable[[dict[str, Any]], object]) -> Draft:
    document = json.loads(PACKS)
    change(document)
    return Draft({names.PACKS: canonical_bytes(parse_document(json.dumps(document).encode()))})


def first_rule(document: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = document["packs"][0]["rules"][0]
    return rule


def routes(*providers: Any, edition: int = 2) -> Draft:
    return Draft({names.ROUTES: build_routes(RoutesDocument("acme", providers, edition))})


def caps(**fields: Any) -> Draft:
    return Draft({names.CAPS: build_caps(CapsDocument("acme", **fields))})


NEW_RULE = {"id": "new", "sequence": 5, "applies_to": "both", "action": "ALLOW", "conditions": {"models": ["x"]}}
LIFTED = "providers and models that were switched off under the old routes are on again, if there are any"
SERVES = "with secret provider for gpt-*"
LOOSENING: dict[str, tuple[Draft, str]] = {
    "a rule is gone": (
        packs(lambda d: d["packs"][0]["rules"].pop(1)),
        "rule baseline/secrets is gone (BLOCK)",
    ),
    "a rule is weaker": (
        packs(lambda d: first_rule(d).update(action="CANCEL")),
        "rule baseline/payment-and-identity becomes CANCEL, was BLOCK",
    ),
    "a rule holds for less": (
        packs(lambda d: first_rule(d)["conditions"].update(models=["gpt-4"])),
        "rule baseline/payment-and-identity (BLOCK) holds under other conditions",
    ),
    "a rule that lets pass": (
        packs(lambda d: d["packs"][0]["rules"].append(NEW_RULE)),
        "rule baseline/new is new (ALLOW)",
    ),
    "rules combine in another way": (
        packs(lambda d: d.update(combining="first_applicable")),
        "rules combine by first_applicable, was deny_overrides",
    ),
    "no pack is asked": (packs(lambda d: d.update(org_chain=[])), "other packs are asked, or in another order"),
    "a provider more": (
        routes(PROVIDER, replace(PROVIDER, name="other", base_url="https://evil.example.com/v1")),
        "provider other is new: https://evil.example.com/v1 with secret provider for gpt-*",
    ),
    "a provider elsewhere": (
        routes(replace(PROVIDER, base_url="https://evil.example.com/v1")),
        f"provider default changes: https://evil.example.com/v1 {SERVES}; was https://api.example.com/v1 {SERVES}",
    ),
    "the same routes again": (routes(PROVIDER), LIFTED),
    "detectors that are off": (
        Draft({names.DETECTORS: build_detectors(DetectorsDocument("acme", "builtin-1", ("ssn",)))}),
        "detectors switched off: ssn; were none",
    ),
    "a later seal": (
        Draft(terms={"seal_after_seconds": 30 * 86_400}),
        "seals after 2592000 s, was 604800 s",
    ),
    "no seal": (Draft(terms={"seal_after_seconds": None}), "seals after never, was 604800 s"),
    "larger bodies": (Draft(terms={"max_body_bytes": 2_000_000}), "bodies up to 2000000 bytes, was 1000000"),
    "no inspection tier": (Draft(terms={"required_tiers": ()}), "inspection tiers none, where there were 1"),
    "no self-test": (Draft(terms={"self_tests": ()}), "0 self-tests, 1 of 1 are gone"),
}
TIGHTENING: dict[str, tuple[Draft, str]] = {
    "a rule that denies": (
        packs(lambda d: d["packs"][0]["rules"].append(NEW_RULE | {"action": "BLOCK"})),
        "rule baseline/new is new (BLOCK)",
    ),
    "another message": (
        packs(lambda d: first_rule(d).update(message="No cards, please.")),
        "rule baseline/payment-and-identity (BLOCK) says another message",
    ),
    "what no rule speaks of is blocked": (
        packs(lambda d: d["default"].update(input="BLOCK")),
        "what no rule speaks of: BLOCK on input, was ALLOW",
    ),
    "caps where there were none": (caps(max_keys=5), "max_keys: 5, was any"),
    "caps of groups": (caps(groups=("staff",)), "caps of groups: staff, was any"),
    "caps of models": (caps(models=("gpt-*",)), "caps of models: gpt-*, was any"),
    "an earlier seal": (Draft(terms={"seal_after_seconds": 86_400}), "seals after 86400 s, was 604800 s"),
    "sealing when revoked": (Draft(terms={"on_revoked": "seal"}), "a revoked outpost will seal, was enforce"),
    "smaller bodies": (Draft(terms={"max_body_bytes": 1000}), "bodies up to 1000 bytes, was 1000000"),
    "a tier more": (Draft(terms={"required_tiers": (1, 2)}), "inspection tiers 1, 2, where there were 1"),
    "a self-test more": (
        Draft(terms={"self_tests": (*CONTENT.stable.release.self_tests, SelfTest("x", "email"))}),
        "2 self-tests, 0 of 1 are gone",
    ),
}


def merged_files(documents: Documents, content: SetContent, draft: Draft) -> dict[str, bytes]:
    """The policy files in which the new release stands beside the old one."""
    changes = with_release(documents, content, draft, beside=True)
    both: dict[str, bytes | None] = {**documents, **changes}
    return {path: data for path, data in both.items() if data is not None}


def told(draft: Draft) -> list[str]:
    return policy_changes(BASE, merged_files(BASE, CONTENT, draft), "acme")


@pytest.mark.parametrize("sentence", LOOSENING)
def test_what_loosens_is_marked(sentence: str) -> None:
    draft, line = LOOSENING[sentence]
    assert f"{LOOSENS}{line}" in told(draft)


@pytest.mark.parametrize("sentence", TIGHTENING)
def test_what_tightens_is_told_and_not_marked(sentence: str) -> None:
    draft, line = TIGHTENING[sentence]
    lines = told(draft)
    assert line in lines
    assert not any(each.startswith(LOOSENS) for each in lines)


def test_widened_caps_are_marked() -> None:
    narrow = caps(groups=("staff",), models=("gpt-4*",), max_keys=5, max_key_life_seconds=60, channels=("api",))
    base = merged_files(BASE, CONTENT, narrow)
    both = {**base, names.ROLLOUT_PATH: build_rollout(RolloutDocument("acme", 2))}
    lines = policy_changes(both, merged_files(both, read_documents(both, "acme"), caps()), "acme")
    assert {line for line in lines if line.startswith(LOOSENS)} == {
        f"{LOOSENS}caps of groups: any, was staff",
        f"{LOOSENS}caps of channels: any, was api",
        f"{LOOSENS}caps of models: any, was gpt-4*",
        f"{LOOSENS}max_keys: any, was 5",
        f"{LOOSENS}max_key_life_seconds: any, was 60",
    }


def test_the_same_documents_change_nothing() -> None:
    assert policy_changes(BASE, BASE, "acme") == ["the releases stay as they are"]


def test_a_resource_that_is_not_in_the_file_is_marked() -> None:
    draft = packs(lambda d: first_rule(d).update(message="x"))
    files = {path: data for path, data in merged_files(BASE, CONTENT, draft).items() if "packs-" not in path}
    lines = policy_changes({path: data for path, data in BASE.items() if "packs-" not in path}, files, "acme")
    assert any(line.startswith(f"{LOOSENS}other packs (") for line in lines)


def test_without_anything_to_compare_with_all_is_marked() -> None:
    assert policy_changes({}, BASE, "acme") == [f"{LOOSENS}there is nothing to compare with"]
