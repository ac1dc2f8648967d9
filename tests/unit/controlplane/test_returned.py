"""Configuration that outposts give back after a restore: believed for its signatures, and never to loosen anything."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest

from controlplane.bootstrap import backups, restores
from controlplane.bootstrap.plane import Plane, initialise, opened
from controlplane.domain.backup_frames import MIN_SCRYPT_N
from controlplane.services.administer import Terms
from controlplane.services.defaults import default_policy, default_provider
from controlplane.services.returned import Returns, Taken
from controlplane.services.sets import current_set
from controlplane.settings import Settings
from outpost.core.bundle import names
from outpost.core.bundle.access import ClientKey
from outpost.core.bundle.content import SetContent
from outpost.core.bundle.loosening import require_not_looser
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.revocations import REVOKED, RevokedOutpost

ORG = "acme"
PASSPHRASE = b"correct horse battery staple"
PROVIDER = default_provider("http://127.0.0.1:9/v1", "provider")
STRICT = default_policy(ORG).replace(b'"input":"ALLOW"', b'"input":"BLOCK"')
OTHER = default_policy(ORG).replace(b"Baseline protection", b"Another name")


@dataclass(frozen=True)
class History:
    """A control plane that went on after its backup.

    Attributes:
        sets: what was in force at each step after the backup.
        outpost: id of the outpost that was revoked then.
    """

    folder: Path
    sets: tuple[SignedSet, ...]
    outpost: str


def a_key(name: str) -> ClientKey:
    return ClientKey("", "", name, "", ("staff",), "", "api", "internal", (), 0, 86_400, revoked=False)


async def in_force(plane: Plane) -> SignedSet:
    async with plane.store.for_org(ORG).read() as transaction:
        return (await current_set(transaction))[1]


async def lived(folder: Path) -> History:
    """Keys, a release, a revocation, a kill: after the backup."""
    await initialise(folder / "cp", Settings(enroll_endpoint="cp:8443", grpc_port=0), None)
    async with opened(folder / "cp") as plane:
        await plane.publisher.create(ORG, [PROVIDER])
        await plane.publisher.create_key(ORG, a_key("kept"))
        await plane.publisher.create_key(ORG, a_key("doomed"))
        registered = await plane.administration.register(ORG, "prod", Terms(900_000), await plane.door())
    await backups.take(folder / "cp", folder / "cp.backup", PASSPHRASE, MIN_SCRYPT_N)
    sets = []
    async with opened(folder / "cp") as plane:
        await plane.publisher.create_key(ORG, a_key("young"))
        sets.append(await in_force(plane))
        await plane.publisher.revoke_key(ORG, "doomed")
        await plane.publisher.publish_policy(ORG, STRICT)
        sets.append(await in_force(plane))
        await plane.publisher.kill(ORG, ["provider"], [])
        revoked = await plane.administration.revoke(ORG, "prod", "sold")
        await plane.publisher.list_revoked(ORG, [RevokedOutpost(revoked.id, REVOKED, 1)])
        sets.append(await in_force(plane))
    return History(folder, tuple(sets), registered.outpost.id)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return asyncio.run(lived(tmp_path_factory.mktemp("history")))


@dataclass
class Again:
    """The restored control plane."""

    plane: Plane
    returns: Returns

    async def give_back(self, signed: SignedSet) -> Taken:
        files = {**signed.metadata, **signed.targets}
        held = {name: sha256(data).digest() for name, data in files.items()}
        missing = await self.returns.missing(ORG, held)
        by_hash = {sha256(data).digest(): data for data in files.values()}
        return await self.returns.take(ORG, held, {digest: by_hash[digest] for digest in missing})

    async def content(self) -> SetContent:
        return await self.plane.publisher.content(ORG)

    async def live_keys(self) -> set[str]:
        return {key.name for key in await self.plane.publisher.client_keys(ORG) if not key.revoked}

    async def problem(self) -> str:
        async with self.plane.store.for_org(ORG).read() as transaction:
            restored = await transaction.restored.get()
        assert restored is not None
        return restored.problem


@asynccontextmanager
async def again(history: History, folder: Path) -> AsyncIterator[Again]:
    shutil.copy(history.folder / "cp.backup", folder / "cp.backup")
    await restores.restore(folder / "cp.backup", PASSPHRASE, folder / "cp", restores.Database())
    async with opened(folder / "cp") as plane:
        yield Again(plane, Returns(plane.store, plane.clock))


async def test_the_newest_set_takes_the_place_of_the_backup(history: History, tmp_path: Path) -> None:
    async with again(history, tmp_path) as cp:
        assert await cp.live_keys() == {"kept", "doomed"}
        taken = await cp.give_back(history.sets[-1])
        assert (taken.whole, taken.code) == (True, "")
        assert await cp.plane.publisher.policy(ORG) == STRICT
        assert await cp.live_keys() == {"kept", "young"}
        content = await cp.content()
        assert [each.id for each in content.revocations.outposts] == [history.outpost]
        assert [each.providers for each in content.kill.lists.values()] == [("provider",)]
        assert (await cp.plane.administration.show(ORG, "prod")).outpost.state.value == "revoked"


async def test_sets_come_back_in_any_order(history: History, tmp_path: Path) -> None:
    async with again(history, tmp_path) as cp:
        for at in (1, 0, 2, 1, 2):
            await cp.give_back(history.sets[at])
        assert await cp.live_keys() == {"kept", "young"}
        assert await cp.plane.publisher.policy(ORG) == STRICT


async def test_after_a_publication_only_what_protects_is_taken_over(history: History, tmp_path: Path) -> None:
    async with again(history, tmp_path) as cp:
        await cp.plane.publisher.publish_policy(ORG, OTHER)
        taken = await cp.give_back(history.sets[-1])
        assert not taken.whole
        assert taken.revision
        assert await cp.plane.publisher.policy(ORG) == OTHER
        assert await cp.live_keys() == {"kept"}
        assert [each.id for each in (await cp.content()).revocations.outposts] == [history.outpost]


async def test_nothing_that_was_revoked_since_lives_again(history: History, tmp_path: Path) -> None:
    async with again(history, tmp_path) as cp:
        await cp.plane.publisher.revoke_key(ORG, "kept")
        await cp.plane.publisher.kill(ORG, [], ["gpt-*"])
        await cp.give_back(history.sets[-1])
        assert await cp.live_keys() == {"young"}
        killed = (await cp.content()).kill.lists.values()
        assert {model for each in killed for model in each.models} == {"gpt-*"}


@pytest.mark.parametrize("at", range(3))
async def test_an_outpost_that_holds_a_returned_set_takes_what_follows(
    at: int, history: History, tmp_path: Path
) -> None:
    async with again(history, tmp_path) as cp:
        for given in history.sets[: at + 1]:
            await cp.give_back(given)
        await cp.plane.publisher.publish_policy(ORG, OTHER)
        held, offered = history.sets[at], await in_force(cp.plane)
        versions = [version_of(held, role) < version_of(offered, role) for role in ("timestamp", "snapshot", "access")]
        assert versions == [True, True, True]
        from outpost.core.bundle.reading import read_documents

        require_not_looser(read_documents(offered.targets, ORG), read_documents(held.targets, ORG))


def version_of(signed: SignedSet, role: str) -> int:
    return int(json.loads(signed.metadata[names.metadata_file(role)])["signed"]["version"])


def flipped(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    data = bytearray(files[name])
    data[len(data) // 2] ^= 1
    return {**files, name: bytes(data)}


def with_metadata(change: Callable[[SignedSet], dict[str, bytes]]) -> Callable[[SignedSet], SignedSet]:
    return lambda signed: replace(signed, metadata=change(signed))


def without(name: str) -> Callable[[SignedSet], SignedSet]:
    return with_metadata(lambda signed: {key: data for key, data in signed.metadata.items() if key != name})


FORGED: dict[str, Callable[[SignedSet], SignedSet]] = {
    **{
        f"a changed {name}": with_metadata(lambda signed, name=name: flipped(signed.metadata, name))  # type: ignore[misc]
        for name in map(names.metadata_file, ("timestamp", "snapshot", "targets", "policy", "access", "rollout"))
    },
    **{f"no {role}": without(names.metadata_file(role)) for role in ("timestamp", "snapshot", "targets", "access")},
    "changed keys": lambda signed: replace(signed, targets=flipped(signed.targets, names.KEYS_PATH)),
    "no keys": lambda signed: replace(
        signed, targets={name: data for name, data in signed.targets.items() if name != names.KEYS_PATH}
    ),
    "a root that nobody signed": with_metadata(
        lambda signed: {
            **signed.metadata,
            "2.root.json": signed.metadata["1.root.json"].replace(b'"version":1', b'"version":2'),
        }
    ),
    "roots with a gap": with_metadata(
        lambda signed: {**signed.metadata, "3.root.json": signed.metadata["1.root.json"]}
    ),
}


@pytest.mark.parametrize("name", FORGED)
async def test_what_was_not_signed_so_is_not_used(name: str, history: History, tmp_path: Path) -> None:
    async with again(history, tmp_path) as cp:
        before = await in_force(cp.plane)
        taken = await cp.give_back(FORGED[name](history.sets[-1]))
        assert taken.code
        assert not taken.revision
        assert await cp.problem() == taken.code
        assert await in_force(cp.plane) == before
        await cp.give_back(history.sets[-1])
        assert await cp.problem() == ""


async def test_parts_of_two_sets_are_no_set(history: History, tmp_path: Path) -> None:
    async with again(history, tmp_path) as cp:
        old, new = history.sets[0], history.sets[-1]
        for name in map(names.metadata_file, ("timestamp", "snapshot", "access")):
            mixed = replace(new, metadata={**new.metadata, name: old.metadata[name]})
            assert (await cp.give_back(mixed)).code
        assert await cp.live_keys() == {"kept", "doomed"}


async def test_another_orgs_set_is_not_used(history: History, tmp_path: Path) -> None:
    async with again(history, tmp_path) as cp:
        await cp.plane.publisher.create("globex", [PROVIDER])
        async with cp.plane.store.for_org("globex").read() as transaction:
            foreign = (await current_set(transaction))[1]
        assert (await cp.give_back(foreign)).code


async def test_a_control_plane_that_was_never_restored_asks_for_nothing(history: History) -> None:
    async with opened(history.folder / "cp") as plane:
        returns = Returns(plane.store, plane.clock)
        assert await returns.missing(ORG, {"timestamp.json": b"x" * 32}) == ()
        assert await returns.take(ORG, {"timestamp.json": b"x" * 32}, {}) == Taken()
