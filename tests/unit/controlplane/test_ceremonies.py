"""Keys that the customer holds: proposals go out, come back signed, and are published; nothing less is."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.domain.ceremony import Ceremony
from controlplane.domain.ceremony_reading import CeremonyBaseError, read_ceremony, require_known_base
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.summary import summarise
from controlplane.services.ceremonies import KeyProposal
from controlplane.services.defaults import default_policy
from controlplane.services.payloads import ALL_ROLES, VALIDITY_MS
from controlplane.services.sets import Published
from outpost.core.bundle import names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.release import Audience, HighWater, SignedSet, VerifiedSet
from outpost.core.errors import BundleError
from outpost.sync.tuf import verify
from tests.unit.controlplane.bed import START_MS, Bed, bed
from tests.unit.controlplane.test_services import KEY, signed

ROOT = [Ed25519PrivateKey.generate() for _ in range(3)]
TARGETS = [Ed25519PrivateKey.generate()]
POLICY = [Ed25519PrivateKey.generate() for _ in range(3)]
STRANGER = Ed25519PrivateKey.generate()
OTHER_POLICY = default_policy("acme").replace(b" found.", b" seen.")
DAY_MS = 24 * 3600 * 1000


def raw(*keys: Ed25519PrivateKey) -> tuple[bytes, ...]:
    return tuple(key.public_key().public_bytes_raw() for key in keys)


TAKEOVER = KeyProposal(
    {names.ROOT: raw(*ROOT), names.TARGETS: raw(*TARGETS), names.POLICY: raw(*POLICY[:2])},
    {names.ROOT: 2, names.POLICY: 2},
)


def sign(ceremony: Ceremony, *keys: Ed25519PrivateKey) -> Ceremony:
    for key in keys:
        ceremony = ceremony.signed_by(raw(key)[0], {part.role: key.sign(part.payload) for part in ceremony.parts})
    return ceremony


async def accepted(plane: Bed, root: bytes, high_water: HighWater | None = None) -> VerifiedSet:
    """What an outpost enrolled under the first root makes of the newest set."""
    _, newest = await signed(plane)
    return verify(root, newest, high_water or HighWater({}, 0), plane.clock.ms, Audience("acme"))


async def taken_over(plane: Bed) -> bytes:
    """Let the customer take over; returns the root of before."""
    root, _ = await signed(plane)
    ceremony = await plane.ceremonies.propose("acme", TAKEOVER)
    await plane.ceremonies.apply("acme", sign(ceremony, ROOT[0], ROOT[2], *TARGETS, *POLICY[:2]).to_bytes())
    return root


async def test_the_customer_takes_over_and_outposts_follow(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        root = await taken_over(plane)
        verified = await accepted(plane, root)
        assert {role: verified.versions[role] for role in ("root", "targets", "policy", "access")} == {
            "root": 2,
            "targets": 2,
            "policy": 2,
            "access": 1,
        }
        assert verified.role_keys["policy"].threshold == 2
        assert set(verified.role_keys["policy"].keys.values()) == set(raw(*POLICY[:2]))


async def test_online_roles_go_on_by_themselves(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        root = await taken_over(plane)
        await plane.publisher.create_key("acme", KEY)
        plane.clock.ms += VALIDITY_MS["timestamp"] // 2
        assert await plane.publisher.refresh("acme") is not None
        assert (await accepted(plane, root)).versions["access"] == 2
        plane.clock.ms += 60 * DAY_MS
        refreshed = await plane.publisher.refresh("acme")
        assert refreshed is not None  # access, vendor and rollout are signed again; targets and policy cannot be
        verified = await accepted(plane, root)
        assert (verified.versions["access"], verified.versions["policy"]) == (3, 2)


async def test_a_policy_waits_for_the_customers_signatures(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        root = await taken_over(plane)
        waiting = await plane.publisher.publish_policy("acme", OTHER_POLICY)
        assert (waiting.waiting, waiting.changed) == (True, False)
        assert (await accepted(plane, root)).revision == "1.2"
        draft = read_ceremony(await plane.ceremonies.draft("acme"), "acme")
        for keys in ((), POLICY[:1]):
            with pytest.raises(BundleError) as refused:
                await plane.ceremonies.import_release("acme", sign(draft, *keys).to_bytes())
            assert refused.value.code == ("bundle.threshold" if keys else "bundle.unsigned")
        published = await plane.ceremonies.import_release("acme", sign(draft, *POLICY[:2]).to_bytes())
        assert published.revision == "2.3"
        verified = await accepted(plane, root)
        assert verified.chosen.packs == OTHER_POLICY
        assert verified.release.fallback == 1
        with pytest.raises(ControlPlaneError) as gone:
            await plane.ceremonies.draft("acme")
        assert gone.value.code == "release.no_draft"


async def test_the_customer_rotates_one_of_his_keys(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        root = await taken_over(plane)
        proposal = KeyProposal({names.POLICY: raw(POLICY[0], POLICY[2])}, {names.POLICY: 2})
        ceremony = await plane.ceremonies.propose("acme", proposal)
        assert [part.role for part in ceremony.parts] == ["targets", "policy"]
        await plane.ceremonies.apply("acme", sign(ceremony, *TARGETS, POLICY[0], POLICY[2]).to_bytes())
        assert set((await accepted(plane, root)).role_keys["policy"].keys.values()) == set(raw(POLICY[0], POLICY[2]))


async def test_what_the_customer_signed_is_renewed_before_it_ends(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        root = await taken_over(plane)
        plane.clock.ms += 80 * DAY_MS
        await plane.publisher.refresh("acme")
        outlook = {each.role: each for each in await plane.ceremonies.outlook("acme")}
        assert outlook["targets"].warning == (
            "targets expires in 10 days: holders of 1 of its keys must sign (controlplane root propose --renew targets)"
        )
        assert outlook["policy"].warning.startswith("policy expires in 10 days: holders of 2 of its keys must sign")
        assert [role for role, each in outlook.items() if not each.by_itself] == ["targets", "policy", "root"]
        assert not outlook["access"].warning
        ceremony = await plane.ceremonies.propose("acme", KeyProposal(renewed=frozenset({"targets", "policy"})))
        await plane.ceremonies.apply("acme", sign(ceremony, *TARGETS, *POLICY[:2]).to_bytes())
        plane.clock.ms += 20 * DAY_MS
        await plane.publisher.refresh("acme")
        assert (await accepted(plane, root)).versions["policy"] == 3


@pytest.mark.parametrize("role", ALL_ROLES)
async def test_every_role_is_rotated_at_once_while_all_keys_are_here(role: str, tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        root, before = await signed(plane)
        rotated = await plane.ceremonies.rotate("acme", role, write=False)
        assert isinstance(rotated, Published)
        after = {each.role: set(each.keys) for each in await plane.ceremonies.outlook("acme")}
        old = set(plane_keys(before, role))
        assert not old & after[role]
        assert len(after[role]) == len(old)
        await plane.publisher.create_key("acme", KEY)
        assert (await accepted(plane, root)).versions["access"] >= 2


def plane_keys(current: SignedSet, role: str) -> Sequence[str]:
    from controlplane.services.payloads import layout_of

    return [*layout_of(current.metadata)[role].keys]


ROTATIONS = {
    "timestamp": (["root"], ROOT[:2]),
    "access": (["targets"], TARGETS),
}


@pytest.mark.parametrize("role", ROTATIONS)
async def test_an_online_role_is_rotated_by_ceremony_when_others_must_agree(role: str, tmp_path: Path) -> None:
    roles, keys = ROTATIONS[role]
    async with bed(tmp_path) as plane:
        root = await taken_over(plane)
        with pytest.raises(ControlPlaneError) as refused:
            await plane.ceremonies.rotate("acme", role, write=False)
        assert refused.value.code == "ceremony.proposal"
        ceremony = await plane.ceremonies.rotate("acme", role, write=True)
        assert isinstance(ceremony, Ceremony)
        assert [part.role for part in ceremony.parts] == roles
        await plane.ceremonies.apply("acme", sign(ceremony, *keys).to_bytes())
        assert (await accepted(plane, root)).versions[role] >= 2


# what is not taken


def body(ceremony: Ceremony) -> dict[str, Any]:
    return decode(ceremony.to_bytes(), "x")


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Ceremony], bytes]:
    def make(ceremony: Ceremony) -> bytes:
        value = body(ceremony)
        change(value)
        return encode(value)

    return make


def resigned_part(ceremony: Ceremony, **fields: Any) -> bytes:
    """A part with other content, signed by a key that may."""
    value = body(sign(ceremony, *ROOT, *TARGETS, *POLICY[:2]))
    part = next(each for each in value["parts"] if each["role"] == "targets")
    part["signed"] = {**part["signed"], **fields}
    part["signatures"] = {key: TARGETS[0].sign(encode(part["signed"])).hex() for key in part["signatures"]}
    return encode(value)


def own_authority(ceremony: Ceremony) -> bytes:
    """A stranger names himself as the one who must sign."""
    from tests.unit.core.bundle.samples import key_id

    value = body(ceremony)
    for part in value["parts"]:
        part["authorities"] = [{"threshold": 1, "keys": {key_id(STRANGER): raw(STRANGER)[0].hex()}}]
        part["signatures"] = {key_id(STRANGER): STRANGER.sign(encode(part["signed"])).hex()}
    made = read_ceremony(encode(value))
    return replace(made, summary=summarise(made)).to_bytes()


def zeroed(value: dict[str, Any]) -> None:
    signatures = value["parts"][1]["signatures"]
    signatures.update(dict.fromkeys(signatures, "00" * 64))


def whole(ceremony: Ceremony) -> Ceremony:
    return sign(ceremony, ROOT[0], ROOT[2], *TARGETS, *POLICY[:2])


NOT_TAKEN: dict[str, tuple[Callable[[Ceremony], bytes], str]] = {
    "nobody signed": (lambda c: c.to_bytes(), "bundle.threshold"),
    "one of two root keys": (lambda c: sign(c, ROOT[0], *TARGETS, *POLICY[:2]).to_bytes(), "bundle.threshold"),
    "one of two policy keys": (lambda c: sign(c, *ROOT, *TARGETS, POLICY[0]).to_bytes(), "bundle.threshold"),
    "no targets key": (lambda c: sign(c, *ROOT, *POLICY[:2]).to_bytes(), "bundle.unsigned"),
    "a stranger who names himself": (own_authority, "bundle.unknown_key"),
    "a changed signature": (lambda c: edited(zeroed)(whole(c)), "bundle.signature"),
    "a changed summary": (lambda c: edited(lambda v: v.update(summary=["nothing"]))(whole(c)), "ceremony.summary"),
    "other documents than those that are signed": (
        lambda c: edited(
            lambda v: v["documents"].update(
                {p: t.replace(" found.", " seen.") for p, t in v["documents"].items() if "packs-" in p}
            )
        )(whole(c)),
        "bundle.hash",
    ),
    "a targets version of the future": (lambda c: resigned_part(c, version=9), "ceremony.summary"),
    "a file of another org": (lambda c: edited(lambda v: v.update(org="globex"))(whole(c)), "bundle.other_org"),
    "an unknown field": (lambda c: edited(lambda v: v.update(more=1))(whole(c)), "bundle.unknown_field"),
    "another schema": (lambda c: edited(lambda v: v.update(schema="outpost.ceremony/9"))(whole(c)), "bundle.schema"),
    "a role twice": (lambda c: edited(lambda v: v["parts"].append(v["parts"][0]))(whole(c)), "bundle.document"),
    "no part at all": (lambda c: edited(lambda v: v["parts"].clear())(whole(c)), "bundle.document"),
    "a kind that does not exist": (lambda c: edited(lambda v: v.update(kind="gift"))(whole(c)), "bundle.document"),
    "keys as a release": (lambda c: edited(lambda v: v.update(kind="release"))(whole(c)), "ceremony.proposal"),
    "cut short": (lambda c: whole(c).to_bytes()[:-1], "bundle.malformed"),
    "too large": (lambda c: b" " * (9 * 1024 * 1024), "bundle.oversized"),
}


@pytest.mark.parametrize("sentence", NOT_TAKEN)
async def test_a_ceremony_file_that_is_not_taken(sentence: str, tmp_path: Path) -> None:
    make, code = NOT_TAKEN[sentence]
    async with bed(tmp_path) as plane:
        ceremony = await plane.ceremonies.propose("acme", TAKEOVER)
        with pytest.raises((ControlPlaneError, BundleError)) as refused:
            await plane.ceremonies.apply("acme", make(ceremony))
        assert refused.value.code == code, refused.value.message
        _, current = await signed(plane)
        assert "2.root.json" not in current.metadata


async def test_a_file_that_others_overtook_is_stale(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        first = await plane.ceremonies.propose("acme", TAKEOVER)
        await plane.publisher.publish_policy("acme", OTHER_POLICY)
        with pytest.raises(ControlPlaneError) as refused:
            await plane.ceremonies.apply("acme", whole(first).to_bytes())
        assert refused.value.code == "ceremony.stale"
        second = await plane.ceremonies.propose("acme", TAKEOVER)
        await plane.publisher.create_key("acme", KEY)  # an online role may move on meanwhile
        assert (await plane.ceremonies.apply("acme", whole(second).to_bytes())).changed


PROPOSALS: dict[str, KeyProposal] = {
    "nothing": KeyProposal(),
    "a threshold that the keys cannot reach": KeyProposal({names.POLICY: raw(POLICY[0])}, {names.POLICY: 2}),
    "a threshold of nobody": KeyProposal({names.POLICY: raw(POLICY[0])}, {names.POLICY: 0}),
}


@pytest.mark.parametrize("sentence", PROPOSALS)
async def test_a_proposal_that_is_none(sentence: str, tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        with pytest.raises(ControlPlaneError) as refused:
            await plane.ceremonies.propose("acme", PROPOSALS[sentence])
        assert refused.value.code == "ceremony.proposal"


async def test_a_key_that_may_sign_nothing_is_told(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        ceremony = await plane.ceremonies.propose("acme", TAKEOVER)
        with pytest.raises(ControlPlaneError) as refused:
            sign(ceremony, STRANGER)
        assert refused.value.code == "ceremony.key"


async def test_a_key_holder_knows_whether_the_comparison_is_true(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        await taken_over(plane)
        await plane.publisher.publish_policy("acme", OTHER_POLICY)
        draft = read_ceremony(await plane.ceremonies.draft("acme"), "acme")
        assert any("says another message" in line for line in draft.summary)
        require_known_base(draft, raw(POLICY[0])[0])
        release = names.release_path(1)
        lies = {
            "other documents in force": (replace(draft, base={**draft.base, release: b"{}"}), POLICY[0]),
            "a document less": (replace(draft, base={k: v for k, v in draft.base.items() if k != release}), POLICY[0]),
            "no policy metadata": (replace(draft, base={k: v for k, v in draft.base.items() if "/" in k}), POLICY[0]),
            "a version of before": (
                replace(draft, parts=tuple(replace(p, signed={**p.signed, "version": 9}) for p in draft.parts)),
                POLICY[0],
            ),
        }
        for ceremony, key in lies.values():
            with pytest.raises(CeremonyBaseError):
                require_known_base(ceremony, raw(key)[0])


async def test_the_file_is_readable_json_and_says_what_changes(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        ceremony = await plane.ceremonies.propose("acme", TAKEOVER)
        assert read_ceremony(ceremony.to_bytes(), "acme") == ceremony
        text = json.loads(ceremony.to_bytes())
        assert any("role policy needs 2 signatures, where it needed 1" in line for line in text["summary"])
        assert {part["role"]: part["signed"]["version"] for part in text["parts"]} == {
            "root": 2,
            "targets": 2,
            "policy": 2,
        }
        assert ceremony.created_ms == START_MS
