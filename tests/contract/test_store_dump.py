"""A stolen copy of the database: nothing in it can be used, in whatever form it is written down."""

import asyncio
import base64
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.join_token import parse, secret_digest
from certs.keys import PrivateKey
from controlplane.domain.rbac import Role
from controlplane.store.sealing import Keyring, role_place, vault_place
from controlplane.store.session import Engine, blob, integer
from outpost.core.bundle.access import ClientKey
from tests.contract.stores import Place
from tests.fakes.postgres_server import SUPERUSER, binaries
from tests.unit.controlplane.admin_bed import PASSWORD, admin_bed
from tests.unit.controlplane.bed import Bed, bed

ORGS = ("acme", "globex")
LINE = 64  # of PEM


async def test_a_dump_yields_nothing_that_can_be_used(place: Place) -> None:
    engine = await place.engine()
    async with bed(place.folder, *ORGS, engine=engine) as plane:
        secrets, public = await everything_secret(plane, engine)
    copies = await asyncio.to_thread(dumped, place)
    assert len(copies) > 50_000
    for what, value in public.items():
        assert [form for form in written(value) if form in copies], what  # the search finds what is there
    found = {what for what, value in secrets.items() for form in written(value) if form in copies}
    assert found == set()
    assert len(secrets) > 25


async def everything_secret(plane: Bed, engine: Engine) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Secrets that exist now, by what they are; and values that a dump must show."""
    token = await plane.token()
    enrolled = await plane.enrolled("second")
    key = ClientKey("", "", "alice", "", (), "", "api", "internal", (), 0, 86_400, revoked=False)
    text, record, _ = await plane.publisher.create_key("acme", key)
    secrets = {
        "secret of a join token": token.secret,
        "a join token": token.encode().encode(),
        "a client key": text.encode(),
        "random part of a client key": text.removeprefix("op_acme_").encode(),
        "pepper": plane.keyring.pepper(),
        "key-encryption key": plane.keyring.kek,
    }
    public = {
        "keyed hash of a join token": secret_digest(plane.keyring.pepper(), token.secret).encode(),
        "hash of a client key": record.sha256.encode(),
        "a leaf certificate": enrolled.chain.leaf_and_issuers[0],
    }
    async for name, opened in private_keys(engine, plane.keyring):
        for form, value in forms_of(opened):
            secrets[f"{name}, {form}"] = value
    return secrets, public


async def private_keys(engine: Engine, keyring: Keyring) -> AsyncIterator[tuple[str, PrivateKey]]:
    """Every key that the database holds sealed, opened."""
    async with engine.registry(write=False) as session:
        rows = await session.fetch("SELECT name, sealed FROM vault WHERE kind = 'file'")
    assert {str(row[0]).partition("/")[0] for row in rows} == {"ca", "server", "witness"}
    for name, sealed in rows:
        yield str(name), keyring.open(blob(sealed), vault_place(str(name)), name=str(name))
    for org in ORGS:
        async with engine.org(org, write=False) as session:
            rows = await session.fetch("SELECT role, number, sealed FROM role_keys WHERE org = $1")
        assert len(rows) == 10
        for role, number, sealed in rows:
            place = role_place(org, str(role), integer(number))
            yield f"{org} {role} {number}", keyring.open(blob(sealed), place, name=str(role))


def forms_of(key: PrivateKey) -> Iterator[tuple[str, bytes]]:
    """What a private key may be written as."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        yield "number", key.private_numbers().private_value.to_bytes(32, "big")
    else:
        yield "number", key.private_bytes_raw()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    yield "line of PEM", pem.splitlines()[1][:LINE]


def written(value: bytes) -> Iterator[bytes]:
    """A value as it is, in hex of both cases, and in base64 of both alphabets, wherever a group of three begins."""
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for skipped in range(3):
        whole = value[skipped : skipped + (len(value) - skipped) // 3 * 3]
        yield base64.b64encode(whole)
        yield base64.urlsafe_b64encode(whole)


def dumped(place: Place) -> bytes:
    """Everything that a thief of the database gets."""
    if place.server is None:
        return b"\n".join(path.read_bytes() for path in sorted(place.folder.rglob("*.db*")))
    folder = binaries()
    assert folder is not None
    command = [str(Path(folder) / "pg_dump"), "--dbname", place.server.url(place.database, SUPERUSER)]
    return subprocess.run(command, check=True, capture_output=True).stdout


async def test_a_dump_yields_nothing_that_signs_anybody_in(place: Place) -> None:
    engine = await place.engine()
    async with admin_bed(place.folder, "acme", engine=engine) as admin:
        person = await admin.person("acme", "alice")
        invited = await admin.ok("users.create", {"org": "acme"}, {"name": "bob", "role": "read_only"}, local="root")
        client, secret, access = await admin.machine("acme", "robot", Role.OPERATOR)
        key = {"idempotency_key": "k" * 16}
        joined = await admin.ok("outposts.register", {"org": "acme"}, {"name": "eu"}, token=person.token, **key)
        again = await admin.ok("outposts.register", {"org": "acme"}, {"name": "eu"}, token=person.token, **key)
        assert again["token"] == joined["token"]  # it is kept for a day, closed
        secrets = {
            "a password": PASSWORD,
            "what an authenticator holds": person.secret,
            "a sign-in code": invited["code"],
            "a machine client's secret": secret,
            "its random part": secret.rpartition("_")[2],
            "an access token": access,
            "a person's access token": person.token,
            "a join token in a kept answer": joined["token"],
            "the secret in it": parse(joined["token"]).secret,
        }
    copies = await asyncio.to_thread(dumped, place)
    assert client.encode() in copies
    raw = {what: value if isinstance(value, bytes) else value.encode() for what, value in secrets.items()}
    raw["bytes of what an authenticator holds"] = base64.b32decode(person.secret)
    assert {what for what, value in raw.items() for form in written(value) if form in copies} == set()
    assert all(len(value) >= 8 for value in raw.values())
