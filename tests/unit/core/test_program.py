"""From a verified set to a program: which release, and where a request may go."""

from dataclasses import replace

import pytest

from outpost.core.bundle import names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.kill import KillList
from outpost.core.bundle.rollout import EVERYBODY
from outpost.core.bundle.trust import next_high_water
from outpost.core.errors import DeniedError
from outpost.core.program import build
from outpost.sync.tuf import verify
from tests.fakes.stolen_online_keys import KILLED, OLDER, STABLE, install_and_steal, rollout
from tests.unit.core.bundle.samples import AUDIENCE, NOTHING, NOW_MS, new_keys, repository
from tests.unit.gateway.harness import ORG, program, shared_database, verified_set

ROUTES: dict[str, tuple[KillList, str, str]] = {
    "nothing is switched off": (KillList(), "gpt-4o", "sim"),
    "another provider and model are switched off": (KillList(("other",), ("gpt-3*",)), "gpt-4o", "sim"),
    "the model is switched off": (KillList((), ("gpt-4o",)), "gpt-4o", "model.killed"),
    "a glob of models is switched off, whatever the case": (KillList((), ("GPT-4*",)), "gpt-4O", "model.killed"),
    "the only provider is switched off": (KillList(("sim",)), "gpt-4o", "provider.killed"),
    "a model that nobody serves, while its provider is switched off": (KillList(("sim",)), "claude-3", ""),
    "a model that nobody serves, switched off": (KillList((), ("claude-*",)), "claude-3", "model.killed"),
}


@pytest.mark.parametrize("sentence", ROUTES)
def test_where_a_request_goes(sentence: str) -> None:
    killed, model, expected = ROUTES[sentence]
    made = replace(program(), killed=killed)
    try:
        provider = made.route(model)
        found = provider.name if provider is not None else ""
    except DeniedError as error:
        found = error.code if error.message and error.next_step else "says too little"
    assert found == expected
    assert made.serves(model) == (expected == "sim")


def test_the_next_provider_serves_what_a_killed_one_would() -> None:
    made = program()
    (first,) = made.providers
    second = replace(first, name="spare")
    both = replace(made, providers=(first, second), killed=KillList(("sim",)))
    assert both.route("gpt-4o") == second


def test_a_kill_list_counts_only_under_its_own_routes() -> None:
    assert build(verified_set(ORG, "http://127.0.0.1:9/v1", killed=KILLED), shared_database().clone()).killed == KILLED
    other = verified_set(ORG, "http://127.0.0.1:9/v1", killed=KILLED)
    chosen = replace(other.chosen, release=verified_set(ORG, "http://127.0.0.1:10/v1").release)
    assert build(replace(other, chosen=chosen), shared_database().clone()).killed == KillList()


def test_the_candidate_runs_below_the_threshold_and_the_other_release_can_be_built() -> None:
    _, thief = install_and_steal()
    keys, where = new_keys(), names.release_path(STABLE)
    candidate = encode(decode(thief.signed.targets[where], "x") | {"fallback": OLDER})
    documents = {**thief.signed.targets, where: candidate, **rollout(OLDER, STABLE, EVERYBODY)}
    signed = repository(keys).create(documents, NOW_MS)
    root = signed.metadata["1.root.json"]
    verified = verify(root, signed, NOTHING, NOW_MS, AUDIENCE)
    assert (verified.chosen.version, verified.versions["release"]) == (STABLE, OLDER)
    made = build(verified, shared_database().clone())
    assert (made.revision, made.candidate) == ("6.1", True)
    assert verified.other is not None
    shadow = build(verified, shared_database().clone(), verified.other)
    assert (shadow.revision, shadow.candidate) == ("4.1", False)
    halted = repository(keys).publish(signed, rollout(OLDER), NOW_MS + 1)
    back = verify(root, halted, next_high_water(NOTHING, verified, NOW_MS), NOW_MS + 1, AUDIENCE)
    assert (back.chosen.version, back.other) == (OLDER, None)
