"""Attempts over the wire: an outpost of one org, with its own certificate, at the things of another.

Each attempt is made twice: with what is known of the other org, and with made-up things of an org that does not exist.
Both must be answered alike, but for nonces and clocks.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from outpost_wire.v1 import audit_pb2, enrollment_pb2, enrollment_pb2_grpc, sync_pb2, types_pb2

from bench.fleet.wires import Wire
from bench.orgs.tally import Tally, traces_in
from bench.orgs.world import Known, Org, nobody
from certs import keys, recover
from certs.csr import build_request
from certs.keys import private_key_from_pem
from certs.shell.signers import generate_signing_key, generate_tls_key
from tests.integration.controlplane_client import Client, channel

SECONDS = 20.0
SOURCES = 40  # addresses that strangers come from; each may be refused 10 times a minute
ERROR_KEY = "outpost-error-bin"
BUSY = "identity.view_stale"  # on a machine that cannot keep up: of the caller's own org, and said to be tried again
LAST_START = "7fffffff"  # the counter of a boot id that no Hello ever says, so that it is no copy of another start
BOOTS = count(1)
Messages = list[Any]


@dataclass
class Attacker:
    """An outpost of one org with its connection, and doors of enrollment from many addresses."""

    org: Org
    client: Client
    doors: list[Any]
    turn: asyncio.Lock  # one stream at a time
    csrs: list[bytes]
    log_key: bytes

    def door(self) -> Any:
        """The next door in turn."""
        self.doors.append(self.doors.pop(0))
        return self.doors[0]


Aim = Callable[[Attacker, Known, random.Random], Awaitable[Messages]]


async def fetch(attacker: Attacker, known: Known, chance: random.Random) -> Messages:
    """A file by its hash."""
    request = sync_pb2.FetchRequest(sha256=chance.choice(known.digests), offset=chance.choice((0, 0, 1, 100)))
    return [chunk async for chunk in attacker.client.sync.Fetch(request, timeout=SECONDS)]


async def append(attacker: Attacker, known: Known, chance: random.Random) -> Messages:
    """Entries of its own for another log."""
    log = attacker.client.log
    request = audit_pb2.AppendRequest(
        origin=known.origin, first=0, entries=log.records[:1], checkpoint=chance.choice((b"", known.checkpoint))
    )
    return [await attacker.client.audit.Append(request, timeout=SECONDS)]


async def replay(attacker: Attacker, known: Known, chance: random.Random) -> Messages:
    """The very upload of another log, with its own signature."""
    request = audit_pb2.AppendRequest(
        origin=known.origin, first=0, entries=known.entries[: chance.randint(1, 3)], checkpoint=known.checkpoint
    )
    return [await attacker.client.audit.Append(request, timeout=SECONDS)]


async def root(attacker: Attacker, known: Known, chance: random.Random) -> Messages:
    """The root of another log."""
    request = audit_pb2.RootRequest(origin=known.origin, size=chance.randint(0, 3))
    return [await attacker.client.audit.Root(request, timeout=SECONDS)]


async def renew(attacker: Attacker, known: Known, chance: random.Random) -> Messages:
    """A renewal with the join sequence, the start and the request of another outpost."""
    request = sync_pb2.RenewRequest(
        csr_der=known.csr_der, join_sequence=known.sequence, boot_id=LAST_START + known.boot_tail
    )
    return [await attacker.client.sync.Renew(request, timeout=SECONDS)]


async def hello(attacker: Attacker, known: Known, chance: random.Random) -> Messages:
    """A Hello that claims the start, the files and the revision of another outpost, and answers its offer."""
    held = [sync_pb2.HeldFile(name=f"file-{at}", sha256=each) for at, each in enumerate(known.digests[:8])]
    said = sync_pb2.Hello(
        protocol_min=1,
        protocol_max=1,
        software_version="0.1.0",
        boot_id=f"{next(BOOTS):08x}{known.boot_tail}",
        join_sequence=known.sequence,
        held=held,
        set_sha256=known.set_sha256,
        active_revision="1.1",
        capabilities=["partial-offers"],
    )
    async with attacker.turn:
        call = attacker.client.sync.Sync(timeout=SECONDS)
        await call.write(sync_pb2.SyncUp(hello=said))
        heard = await call.read()
        await call.write(sync_pb2.SyncUp(ack=sync_pb2.Ack(nonce=known.boot_tail, revision="9.9", release=9)))
        call.cancel()
    return [heard]


async def challenge(attacker: Attacker, known: Known, chance: random.Random) -> Messages:
    """A nonce for another outpost's recovery."""
    request = enrollment_pb2.ChallengeRequest(org=known.org, outpost_id=known.outpost_id)
    return [await attacker.door().Challenge(request, timeout=SECONDS)]


async def take_over(attacker: Attacker, known: Known, chance: random.Random) -> Messages:
    """The recovery of another outpost, proved with its own key."""
    own = attacker.client
    org, outpost_id = chance.choice(
        ((known.org, known.outpost_id), (attacker.org.name, known.outpost_id), (known.org, own.answer.outpost_id))
    )
    door = attacker.door()
    nonce = (await door.Challenge(enrollment_pb2.ChallengeRequest(org=org, outpost_id=outpost_id))).nonce
    csr, boot = chance.choice(attacker.csrs), LAST_START + known.boot_tail
    message = recover.recover_message(recover.RecoverClaim(org, outpost_id, nonce, csr, known.sequence, boot))
    key: Any = private_key_from_pem(own.key_pem)
    request = enrollment_pb2.RecoverRequest(
        org=org,
        outpost_id=outpost_id,
        nonce=nonce,
        csr_der=csr,
        join_sequence=known.sequence,
        serial=known.serial,
        proof=key.sign(message, ec.ECDSA(hashes.SHA256())),
        boot_id=boot,
        now_ms=time.time_ns() // 1_000_000,
        software_version="0.1.0",
        leaf_der=chance.choice((b"", known.leaf_der, own.answer.chain_der[0])),
    )
    return [await door.Recover(request, timeout=SECONDS)]


async def enroll(attacker: Attacker, known: Known, chance: random.Random) -> Messages:
    """A join token of one org in the name of another."""
    org, secret = chance.choice(((attacker.org.name, known.secret), (known.org, attacker.org.join_secret)))
    request = enrollment_pb2.EnrollRequest(
        token_org=org,
        token_secret=secret,
        csr_der=chance.choice(attacker.csrs),
        audit_log_public_key=attacker.log_key,
        now_ms=time.time_ns() // 1_000_000,
        software_version="0.1.0",
    )
    return [await attacker.door().Enroll(request, timeout=SECONDS)]


AIMS: dict[str, tuple[int, Aim]] = {
    "Fetch": (32, fetch),
    "Append": (12, append),
    "Append replayed": (12, replay),
    "Root": (20, root),
    "Renew": (6, renew),
    "Sync": (8, hello),
    "Challenge": (5, challenge),
    "Recover": (3, take_over),
    "Enroll": (2, enroll),
}
"""With the share of each; strangers are throttled, so theirs are small."""


class Wires:
    """The attackers of every org, on a control plane that runs."""

    def __init__(self, orgs: dict[str, Org], enroll_endpoint: str, chance: random.Random) -> None:
        self._orgs = orgs
        self._endpoint = enroll_endpoint
        self._chance = chance
        self._wires = [Wire([enroll_endpoint], f"127.77.0.{number}") for number in range(1, SOURCES + 1)]
        self._channels: list[Any] = []
        self._attackers: list[Attacker] = []
        self._missing: dict[tuple[str, str], set[tuple[Any, ...]]] = {}
        self._nobody = nobody()

    async def open(self) -> None:
        """Connect everybody."""
        doors = []
        for wire in self._wires:
            roots = self._orgs["acme"].attacker.answer.trust_bundle_der
            pem = keys.certificates_pem(keys.certificate_from_der(der) for der in roots)
            self._channels.append(channel(await wire.start(), pem))
            stub: Any = enrollment_pb2_grpc.EnrollmentStub
            doors.append(stub(self._channels[-1]))
        csrs = [build_request(generate_tls_key()) for _ in range(8)]
        log_key = generate_signing_key().public_key().public_bytes_raw()
        for org in self._orgs.values():
            old = org.attacker
            client = Client(old.answer, old.key_pem, old.log)
            if not client.log.records:
                client.log.grow(1)
            self._channels.append(client.channel)
            self._attackers.append(Attacker(org, client, doors, asyncio.Lock(), csrs, log_key))

    async def close(self) -> None:
        """Let everything go."""
        for each in self._channels:
            await each.close()
        for wire in self._wires:
            await wire.stop()

    async def attempt(self, tally: Tally) -> None:
        """One attempt of a random outpost at a random org."""
        chance = self._chance
        attacker = chance.choice(self._attackers)
        victim = chance.choice([org for org in self._orgs.values() if org is not attacker.org])
        name = chance.choices(list(AIMS), [weight for weight, _ in AIMS.values()])[0]
        seed = chance.random()
        answer, messages = await _answered(tally, name, (attacker, victim.known), random.Random(seed))
        missing = self._missing.setdefault((attacker.org.name, name), set())
        if answer not in missing:
            missing.add((await _answered(tally, name, (attacker, self._stand_in(victim)), random.Random(seed)))[0])
        tally.count("rpc", name, answer[0])
        if answer not in missing:
            tally.differ(f"{name}: {answer} instead of {missing}")
        if traces_in(b"\0".join(messages), tally.others(attacker.org)):
            tally.row(f"{name} of {attacker.org.name} at {victim.name}")

    def _stand_in(self, victim: Org) -> Known:
        """The org that does not exist, with as much of everything as the one that does."""
        return replace(self._nobody, digests=self._nobody.digests * len(victim.known.digests))


async def _answered(
    tally: Tally, name: str, pair: tuple[Attacker, Known], chance: random.Random
) -> tuple[Any, list[bytes]]:
    """What came back, without what differs from call to call, and the bytes of it."""
    while True:
        try:
            messages = await AIMS[name][1](*pair, chance)
        except grpc.aio.AioRpcError as error:
            raw = bytes(dict(error.trailing_metadata() or ()).get(ERROR_KEY, b""))
            detail = types_pb2.ErrorDetail.FromString(raw)
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED or detail.code == BUSY:
                tally.again[detail.code] += 1
                await asyncio.sleep(min(5.0, max(0.2, detail.retry_after_ms / 1000)))
                continue
            return (f"{error.code().name} {detail.code}", str(detail)), [raw, str(error.details()).encode()]
        shown = tuple(_shown(each) for each in messages)
        return (f"OK {_kind(messages)}", *shown), [
            each.SerializeToString() for each in messages if each is not grpc.aio.EOF
        ]


def _shown(message: Any) -> str:
    """A message without nonces and clocks; of an offer only the names of its files."""
    match message:
        case enrollment_pb2.ChallengeResponse():
            return f"nonce of {len(message.nonce)} bytes"
        case sync_pb2.SyncDown() if message.WhichOneof("message") == "offer":
            return f"offer of {sorted(each.name for each in message.offer.files)} {message.offer.withheld}"
        case _:
            return str(message)


def _kind(messages: Messages) -> str:
    """What an answer that is no refusal comes to."""
    match messages:
        case [audit_pb2.AppendResponse() as one]:
            return audit_pb2.WitnessStatus.Name(one.status).removeprefix("WITNESS_STATUS_").lower()
        case [audit_pb2.RootResponse() as one]:
            return "root" if one.root else "no root"
        case [sync_pb2.SyncDown() as one]:
            return f"own {one.WhichOneof('message')}"
        case _:
            return ", ".join(type(each).__name__ for each in messages)
