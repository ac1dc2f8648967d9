"""A thief with every online key of an org: timestamp, snapshot, access, rollout, vendor; and the best he can make.

The policy, targets and root keys are the customer's. The set in force has everything that the enumerated list
protects: revoked keys and outposts, kill lists, caps, and a release that ran as stable.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from controlplane.domain.releases import first_release, resource
from controlplane.services.repository import Repository
from outpost.core.bundle import names
from outpost.core.bundle.access import AccessDocument, ClientKey, build_access
from outpost.core.bundle.caps import CapsDocument, build_caps
from outpost.core.bundle.documents import DetectorsDocument, Provider, RoutesDocument, build_detectors, build_routes
from outpost.core.bundle.kill import KillDocument, KillList, build_kill
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.release_document import SelfTest
from outpost.core.bundle.revocations import RevocationsDocument, RevokedOutpost, build_revocations
from outpost.core.bundle.rollout import EVERYBODY, RolloutDocument, build_rollout
from outpost.core.policy.document import canonical_bytes, parse_document
from tests.unit.core.bundle.samples import NOW_MS, ORG, Forge, Keys, client_key, new_keys, release, repository
from tests.unit.gateway.harness import DEFAULT_RULES, policy

Documents = Mapping[str, bytes | None]
ONLINE = (names.TIMESTAMP, names.SNAPSHOT, names.ACCESS, names.ROLLOUT, names.VENDOR)
DAY_SECONDS = 24 * 3600
NOW_SECONDS = NOW_MS // 1000
STABLE, OLDER = 6, 4
TEST_CARD = "4111" + " 1111" * 3


def key(number: int, **changes: Any) -> ClientKey:
    base = replace(
        client_key(number),
        models=("gpt-4*",),
        not_before=NOW_SECONDS - DAY_SECONDS,
        expires=NOW_SECONDS + 30 * DAY_SECONDS,
    )
    return replace(base, **changes)


LIVE, REVOKED = key(1), key(2, revoked=True)
LOST = RevokedOutpost("op-00000000000000aa", "revoked", 3)
PAUSED = RevokedOutpost("op-00000000000000bb", "locked", 2)
CAPS = CapsDocument(
    ORG,
    groups=("nurses", "staff"),
    data_classes=("public", "internal"),
    channels=("api",),
    models=("gpt-*",),
    max_keys=3,
    max_key_life_seconds=90 * DAY_SECONDS,
    max_requests_per_minute=100,
)


def provider(name: str) -> Provider:
    return Provider(name, "openai", f"https://{name}.example.com/v1", "main-key", ("gpt-*",), 5000, 60000)


ROUTES = build_routes(RoutesDocument(ORG, (provider("main"), provider("spare"))))
ROUTES_SHA256 = hashlib.sha256(ROUTES).hexdigest()
KILLED = KillList(("spare",), ("gpt-4-leaky",))


def resources(note: str, caps: CapsDocument) -> dict[str, bytes]:
    packs = policy(ORG, DEFAULT_RULES).replace(b'"Base"', f'"{note}"'.encode())
    return {
        names.PACKS: canonical_bytes(parse_document(packs)),
        names.ROUTES: ROUTES,
        names.DETECTORS: build_detectors(DetectorsDocument(ORG, "builtin-1", ())),
        names.CAPS: build_caps(caps),
    }


def access(*keys: ClientKey, per_minute: int = 60) -> dict[str, bytes]:
    return {names.KEYS_PATH: build_access(AccessDocument(ORG, keys, per_minute))}


def revocations(*outposts: RevokedOutpost) -> dict[str, bytes]:
    return {names.REVOCATIONS_PATH: build_revocations(RevocationsDocument(ORG, outposts))}


def kill(lists: Mapping[str, KillList]) -> dict[str, bytes]:
    return {names.KILL_PATH: build_kill(KillDocument(ORG, lists))}


def rollout(stable: int, candidate: int | None = None, threshold: int = 0) -> dict[str, bytes]:
    return {names.ROLLOUT_PATH: build_rollout(RolloutDocument(ORG, stable, candidate, threshold, 100))}


def in_force(caps: CapsDocument = CAPS) -> dict[str, bytes]:
    """Every document of the set in force: release 6 is stable, release 4 is still signed."""
    test = (SelfTest(f"my card is {TEST_CARD}", "credit_card"),)
    return {
        **first_release(release(version=OLDER, self_tests=test), resources("Older", caps)),
        **first_release(release(version=STABLE, self_tests=test), resources("Newer", caps)),
        **access(LIVE, REVOKED),
        **revocations(LOST, PAUSED),
        **kill({ROUTES_SHA256: KILLED}),
        **rollout(STABLE),
    }


@dataclass(frozen=True)
class Thief:
    """What he holds: the set in force, and the online keys of it."""

    signed: SignedSet
    keys: Keys

    def with_documents(self, documents: Documents) -> SignedSet:
        """A set with other documents of the online roles, signed all the way up."""
        made = Forge(self.keys, self.signed)
        for path, data in documents.items():
            made = Forge(self.keys, made.with_target(path, data) if data is not None else dropped(made, path))
        return made.edited(names.TIMESTAMP, lambda part: part.update(version=part["version"] + 1))


def dropped(made: Forge, path: str) -> SignedSet:
    changed = made.edited(names.role_of_target(path), lambda part: part["targets"].pop(path))
    return SignedSet(changed.metadata, {name: data for name, data in changed.targets.items() if name != path})


def install_and_steal(caps: CapsDocument = CAPS) -> tuple[Repository, Thief]:
    """The customer's repository, and a thief whose keys of all other roles are made up."""
    keys = new_keys()
    signed = repository(keys).create(in_force(caps), NOW_MS)
    stolen = {role: mine if role in ONLINE else new_keys()[role] for role, mine in keys.items()}
    return repository(keys), Thief(signed, stolen)


DETECTORS = resource(names.DETECTORS, resources("Newer", CAPS)[names.DETECTORS]).path
BLIND = build_detectors(DetectorsDocument(ORG, "builtin-1", ("credit_card", "aws_access_key", "email")))
OTHER_SECRET = replace(REVOKED, sha256="cd" * 32)


@dataclass(frozen=True)
class Theft:
    """What the thief signs, and how it is refused.

    Attributes:
        documents: of the online roles.
        code: with which every outpost refuses it.
        caps: in force then.
    """

    documents: Documents
    code: str
    caps: CapsDocument = CAPS


def keys(*found: ClientKey) -> dict[str, bytes]:
    """The live key as somebody wants it, and the revoked one as it is."""
    return access(*found, REVOKED)


THEFTS: dict[str, Theft] = {
    # within the set: beyond what the policy role signed
    "a key of a group that the caps do not have": Theft(
        keys(LIVE, key(3, groups=("admins",))), "loosening.caps_groups"
    ),
    "a key for patient records, which the caps do not have": Theft(
        keys(LIVE, key(3, data_class="phi")), "loosening.caps_data_class"
    ),
    "a key of a channel that the caps do not have": Theft(
        keys(LIVE, key(3, channel="interactive")), "loosening.caps_channel"
    ),
    "a key for every model": Theft(keys(LIVE, key(3, models=())), "loosening.caps_models"),
    "a key for a model outside the caps": Theft(
        keys(LIVE, key(3, models=("gpt-4*", "claude-*"))), "loosening.caps_models"
    ),
    "more keys than the caps allow": Theft(
        keys(LIVE, *(key(number) for number in range(3, 6))), "loosening.caps_max_keys"
    ),
    "a key that lives for ten years": Theft(
        keys(LIVE, key(3, expires=NOW_SECONDS + 3650 * DAY_SECONDS)), "loosening.caps_key_life"
    ),
    "more requests a minute than the caps allow": Theft(
        access(LIVE, REVOKED, per_minute=101), "loosening.caps_allowance"
    ),
    "requests without a limit": Theft(access(LIVE, REVOKED, per_minute=0), "loosening.caps_allowance"),
    "a release of his own": Theft(rollout(9), "loosening.rollout_release"),
    "a candidate of his own": Theft(rollout(STABLE, 9, EVERYBODY), "loosening.rollout_release"),
    "a candidate beside a release to which it may not fall back": Theft(
        rollout(OLDER, STABLE, EVERYBODY), "loosening.fallback"
    ),
    "detectors that are switched off": Theft({DETECTORS: BLIND}, "loosening.detectors"),
    "no detectors at all": Theft({DETECTORS: None}, "loosening.detectors"),
    # against the set in force
    "a revoked key lives again": Theft(access(LIVE, replace(REVOKED, revoked=False)), "loosening.key_revived"),
    "the secret of a revoked key under a new id": Theft(
        access(LIVE, OTHER_SECRET, replace(REVOKED, id="key-new", revoked=False)), "loosening.key_revived"
    ),
    "a revoked key is gone": Theft(access(LIVE), "loosening.key_vanished"),
    "a key id with another secret": Theft(keys(replace(LIVE, sha256="ab" * 32)), "loosening.key_secret"),
    "a secret that moved to another id, with other rights": Theft(
        keys(replace(LIVE, id="key-new", groups=("staff",))), "loosening.key_secret"
    ),
    "a key that counts as another user": Theft(keys(replace(LIVE, user="root")), "loosening.key_user"),
    "a key that counts as another agent": Theft(keys(replace(LIVE, agent="trusted")), "loosening.key_agent"),
    "a key in another group": Theft(keys(replace(LIVE, groups=("staff",))), "loosening.key_groups"),
    "a key that left the group for which rules hold": Theft(keys(replace(LIVE, groups=())), "loosening.key_groups"),
    "a key that counts as another channel": Theft(
        keys(replace(LIVE, channel="interactive")), "loosening.key_channel", replace(CAPS, channels=None)
    ),
    "a key of a weaker data class": Theft(keys(replace(LIVE, data_class="public")), "loosening.key_data_class"),
    "a key for more models": Theft(keys(replace(LIVE, models=("gpt-*",))), "loosening.key_models"),
    "a key that lives longer": Theft(keys(replace(LIVE, expires=LIVE.expires + 1)), "loosening.key_life"),
    "a key that begins earlier": Theft(keys(replace(LIVE, not_before=LIVE.not_before - 1)), "loosening.key_life"),
    "a revoked outpost is forgotten": Theft(revocations(PAUSED), "loosening.outpost_entry"),
    "a revoked outpost is only locked": Theft(
        revocations(replace(LOST, kind="locked"), PAUSED), "loosening.outpost_entry"
    ),
    "a lock reaches over fewer identities": Theft(
        revocations(LOST, replace(PAUSED, join_sequence=1)), "loosening.outpost_entry"
    ),
    "a killed provider is on again": Theft(kill({ROUTES_SHA256: KillList((), KILLED.models)}), "loosening.kill_entry"),
    "a killed model is on again": Theft(kill({ROUTES_SHA256: KillList(KILLED.providers)}), "loosening.kill_entry"),
    "the kill list is bound to other routes": Theft(kill({"ab" * 32: KILLED}), "loosening.kill_entry"),
    "back to a signed release of before": Theft(rollout(OLDER), "loosening.release_floor"),
}
"""Sentence to what the thief tries."""

TIGHTER: dict[str, Documents] = {
    "another key is revoked": access(replace(LIVE, revoked=True), REVOKED),
    "a key goes away": access(REVOKED),
    "a key ends earlier and may ask for fewer models": keys(
        replace(LIVE, expires=LIVE.expires - 1, not_before=LIVE.not_before + 1, models=("gpt-4o",))
    ),
    "a key gets another label": keys(replace(LIVE, name="another label")),
    "a new key within the caps": keys(LIVE, key(3)),
    "fewer requests a minute": access(LIVE, REVOKED, per_minute=1),
    "another outpost is revoked, and a locked one too": revocations(
        LOST, replace(PAUSED, kind="revoked", join_sequence=9), RevokedOutpost("op-00000000000000cc", "locked", 1)
    ),
    "another provider and model are switched off": kill(
        {ROUTES_SHA256: KillList(("spare", "main"), ("gpt-4-leaky", "gpt-3*"))}
    ),
}
"""Sentence to what one online signature may do."""
