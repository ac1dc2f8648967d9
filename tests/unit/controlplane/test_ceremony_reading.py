"""What a key holder is shown is what he signs, and what it is compared with is what he signed last."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain.ceremony import Ceremony
from controlplane.domain.ceremony_reading import CeremonyBaseError, read_ceremony, require_known_base
from controlplane.domain.policy_changes import LOOSENS
from controlplane.domain.summary import summarise
from controlplane.services.ceremonies import KeyProposal
from outpost.core.bundle import names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.errors import BundleError
from tests.unit.controlplane.bed import Bed, bed
from tests.unit.controlplane.test_ceremonies import OTHER_POLICY, POLICY, ROOT, STRANGER, raw, taken_over

Change = Callable[[dict[str, Any]], object]
LOOSE = OTHER_POLICY.replace(b'["credit_card","us_ssn"]', b'["credit_card"]')


def path_of(value: dict[str, Any], name: str) -> str:
    """The newest of the documents of a kind."""
    release = max((path for path in value["documents"] if names.release_version(path)), key=names.release_version)
    return str(decode(value["documents"][release].encode(), "release")["resources"][name]["path"])


def shows_harmless(value: dict[str, Any]) -> None:
    """The payload names the loose policy; the file shows the one in force in its place."""
    packs = path_of(value, names.PACKS)
    harmless = next(text for path, text in value["base"].items() if path.startswith("policy/packs-"))
    assert value["documents"][packs] != harmless
    value["documents"][packs] = harmless


LIES: dict[str, tuple[Change, str]] = {
    "a harmless document is shown in the place of the one that is signed": (shows_harmless, "bundle.hash"),
    "a document that is signed is not shown": (
        lambda v: v["documents"].pop(path_of(v, names.PACKS)),
        "bundle.missing_target",
    ),
    "a document is shown that is not signed": (
        lambda v: v["documents"].update({"policy/extra.json": "{}"}),
        "bundle.unlisted_target",
    ),
    "it compares with metadata of an online role": (
        lambda v: v["base"].update({"access.json": v["base"]["policy.json"]}),
        "bundle.unlisted_metadata",
    ),
    "it compares with a root under a strange name": (
        lambda v: v["base"].update({"02.root.json": v["base"]["2.root.json"]}),
        "bundle.unlisted_metadata",
    ),
    "it compares with metadata that has another form": (
        lambda v: v["base"].update({"targets.json": "{}"}),
        "bundle.document",
    ),
    "it compares with keys that are nowhere": (
        lambda v: v["base"].update({"2.root.json": without_keys(v["base"]["2.root.json"])}),
        "bundle.document",
    ),
}


def without_keys(text: str) -> str:
    value = decode(text.encode(), "root")
    signed = value["signed"]
    assert isinstance(signed, dict)
    return encode({**value, "signed": {**signed, "keys": {}}}).decode()


async def loosening(plane: Bed) -> Ceremony:
    """The draft of a loose policy, after the customer took his keys over."""
    await taken_over(plane)
    assert LOOSE != OTHER_POLICY
    await plane.publisher.publish_policy("acme", LOOSE)
    return read_ceremony(await plane.ceremonies.draft("acme"), "acme")


@pytest.mark.parametrize("sentence", LIES)
async def test_a_file_that_shows_something_else_than_what_is_signed(sentence: str, tmp_path: Path) -> None:
    change, code = LIES[sentence]
    async with bed(tmp_path) as plane:
        draft = await loosening(plane)
        value = decode(draft.to_bytes(), "draft")
        change(value)
        with pytest.raises(BundleError) as refused:
            read_ceremony(encode(value), "acme")
        assert refused.value.code == code, refused.value.message


async def test_a_document_in_force_is_not_read_from_the_new_ones(tmp_path: Path) -> None:
    """The new documents bring their own idea of the old policy: the difference is told all the same."""
    async with bed(tmp_path) as plane:
        draft = await loosening(plane)
        told = [line for line in draft.summary if line.startswith(LOOSENS)]
        assert told
        old = next(path for path in draft.base if path.startswith("policy/packs-"))
        new = next(path for path in draft.documents if path.startswith("policy/packs-") and path not in draft.base)
        bent = replace(draft, documents={**draft.documents, old: draft.documents[new]})
        assert [line for line in summarise(bent) if line.startswith(LOOSENS)] == told


async def test_who_never_signed_a_root_cannot_know_what_is_in_force(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        await taken_over(plane)
        added = KeyProposal({names.ROOT: raw(*ROOT, STRANGER)}, {names.ROOT: 2})
        ceremony = await plane.ceremonies.propose("acme", added)
        require_known_base(ceremony, raw(ROOT[0])[0])
        with pytest.raises(CeremonyBaseError):
            require_known_base(ceremony, raw(ROOT[1])[0])  # two of three have signed the takeover


async def test_a_root_key_cannot_be_slipped_in_by_a_false_comparison(tmp_path: Path) -> None:
    """The file compares with a root that has the stranger already; no line would say that he is new."""
    async with bed(tmp_path) as plane:
        await taken_over(plane)
        added = KeyProposal({names.ROOT: raw(*ROOT, STRANGER)}, {names.ROOT: 2})
        ceremony = await plane.ceremonies.propose("acme", added)
        stranger = hashlib.sha256(_described(raw(STRANGER)[0])).hexdigest()[:12]
        assert any(line.startswith("role root gains") and stranger in line for line in ceremony.summary)
        (root,) = (part for part in ceremony.parts if part.role == names.ROOT)
        false = encode({"signatures": [], "signed": {**root.signed, "version": root.version - 1}})
        bent = replace(ceremony, base={**ceremony.base, f"{root.version - 1}.root.json": false})
        summary = summarise(bent)
        assert not any(line.startswith("role root gains") for line in summary)
        assert any(line.startswith("role root: 2 of keys") and stranger in line for line in summary)
        with pytest.raises(CeremonyBaseError):
            require_known_base(bent, raw(ROOT[0])[0])


def _described(public_key: bytes) -> bytes:
    """A key as TUF describes it. Source: TUF 1.0.34 §4.2."""
    return encode({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public_key.hex()}})


async def test_every_key_that_may_sign_from_then_on_is_told(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        await taken_over(plane)
        ceremony = await plane.ceremonies.propose("acme", KeyProposal({names.POLICY: raw(*POLICY[1:])}))
        told = [line for line in ceremony.summary if line.startswith("role policy: ")]
        ids = sorted(hashlib.sha256(_described(key)).hexdigest()[:12] for key in raw(*POLICY[1:]))
        assert told == [f"role policy: 2 of keys {', '.join(ids)} must sign"]
