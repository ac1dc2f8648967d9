"""Access tokens: one algorithm, our issuer, our keys, our time. Whatever else is no token."""

import base64
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from certs.keys import private_key_pem
from controlplane.domain.rbac import Principal, PrincipalKind, Role, UnauthenticatedError
from controlplane.domain.signing_keys import LEAD_MS, LIFE_MS, SigningKey, believed, current
from controlplane.services.tokens import (
    CLIENT_LIFE_SECONDS,
    MAX_TOKEN_BYTES,
    PERSON_LIFE_SECONDS,
    RELOAD_SECONDS,
    SKEW_SECONDS,
    Tokens,
)
from controlplane.store.token_keys import StoredTokenKeys
from tests.unit.controlplane.admin_bed import TRUST_DOMAIN, AdminBed, admin_bed

ALICE = Principal(PrincipalKind.PERSON, "user-0123456789abcdef", "alice", "acme", Role.OWNER)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def wrapped(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    head, body, signature = token.split(".")
    return decoded(head), decoded(body), signature


def decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


async def issued(bed: AdminBed) -> str:
    return (await bed.bench.tokens.issue(ALICE, 1, PERSON_LIFE_SECONDS)).text


async def test_a_token_says_who_and_until_when(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        head, body, _ = parts_of(await issued(bed))
        assert head == {"alg": "Ed25519", "kid": (await bed.bench.tokens.jwks())[0]["kid"], "typ": "at+jwt"}
        now_s = bed.clock.ms // 1000
        assert (body["iss"], body["aud"]) == (f"https://{TRUST_DOMAIN}", f"https://{TRUST_DOMAIN}/admin")
        assert (body["iat"], body["exp"], body["sub"]) == (now_s, now_s + PERSON_LIFE_SECONDS, ALICE.id)
        claims = await bed.bench.tokens.verify(await issued(bed))
        assert (claims.subject, claims.org, claims.role, claims.version) == (ALICE.id, "acme", Role.OWNER, 1)


async def test_anybody_verifies_it_with_the_published_keys(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        keys = (await bed.ok("oauth.jwks"))["keys"]
        token = jwt.decode(await issued(bed), OKPKey.import_key(keys[0]), algorithms=["Ed25519"])
        assert token.claims["sub"] == ALICE.id


Forge = Callable[[dict[str, Any], dict[str, Any], str, OKPKey], str]
OTHER = OKPKey.generate_key("Ed25519")
SECRET = OctKey.generate_key(256)


def by_secret(head: dict[str, Any], body: dict[str, Any], secret: bytes) -> str:
    """Algorithm confusion: what everybody knows, taken for a shared secret."""
    signed = f"{encoded({**head, 'alg': 'HS256'})}.{encoded(body)}"
    tag = hmac.new(secret, signed.encode(), "sha256").digest()
    return f"{signed}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"


def resigned(**changes: Any) -> Forge:
    """Claims changed and signed by the real key: what a fault of ours could issue."""

    def forge(head: dict[str, Any], body: dict[str, Any], signature: str, key: OKPKey) -> str:
        return jwt.encode(head, {**body, **changes}, key, algorithms=["Ed25519"], default_type=None)

    return forge


def headed(**changes: Any) -> Forge:
    def forge(head: dict[str, Any], body: dict[str, Any], signature: str, key: OKPKey) -> str:
        return jwt.encode({**head, **changes}, body, key, algorithms=["Ed25519"], default_type=None)

    return forge


FORGERIES: dict[str, Forge] = {
    "no algorithm": lambda head, body, signature, key: f"{encoded({**head, 'alg': 'none'})}.{encoded(body)}.",
    "a changed claim": lambda head, body, signature, key: (
        f"{encoded(head)}.{encoded({**body, 'org': 'globex'})}.{signature}"
    ),
    "another key under our id": lambda head, body, signature, key: jwt.encode(
        head, body, OTHER, algorithms=["Ed25519"], default_type=None
    ),
    "the public key as a secret": lambda head, body, signature, key: by_secret(head, body, key.as_pem(private=False)),
    "a secret's signature": lambda head, body, signature, key: jwt.encode(
        {**head, "alg": "HS256"}, body, SECRET, algorithms=["HS256"], default_type=None
    ),
    "an unknown key id": headed(kid="0" * 16),
    "a key id that is no text": lambda head, body, signature, key: f"{encoded({**head, 'kid': 1})}.{encoded(body)}.x",
    "no key id": lambda head, body, signature, key: f"{encoded({'alg': 'Ed25519'})}.{encoded(body)}.{signature}",
    "another type": headed(typ="JWT"),
    "a critical header": lambda head, body, signature, key: (
        f"{encoded({**head, 'crit': ['x'], 'x': 1})}.{encoded(body)}.{signature}"
    ),
    "another issuer": resigned(iss="https://elsewhere"),
    "another audience": resigned(aud="https://elsewhere/admin"),
    "a list of audiences": resigned(aud=[f"https://{TRUST_DOMAIN}/admin"]),
    "no issuer": resigned(iss=None),
    "an expiry that is a text": resigned(exp="9999999999"),
    "an expiry that is a fraction": resigned(exp=9999999999.5),
    "an expiry that is true": resigned(exp=True),
    "a life beyond the longest": resigned(exp=1_795_000_000 + 10 * CLIENT_LIFE_SECONDS),
    "issued later than now": resigned(iat=1_795_000_000 + 3_000, exp=1_795_000_000 + 3_900),
    "a role that is none": resigned(role="root"),
    "a kind that is none": resigned(kind="robot"),
    "whoever has the files": resigned(kind="local"),
    "a scope that is none": resigned(scope="everything"),
    "a version that is a text": resigned(ver="1"),
    "two parts": lambda head, body, signature, key: f"{encoded(head)}.{encoded(body)}",
    "four parts": lambda head, body, signature, key: f"{encoded(head)}.{encoded(body)}.{signature}.x",
    "a body that is no object": lambda head, body, signature, key: f"{encoded(head)}.{encoded([])}.{signature}",
    "a head of brackets": lambda head, body, signature, key: f"{wrapped('[' * 2_000)}.{encoded(body)}.{signature}",
    "brackets beside our key id": lambda head, body, signature, key: (
        wrapped(json.dumps(head)[:-1] + ', "x": ' + "[" * 1_000 + "]" * 1_000 + "}") + f".{encoded(body)}.{signature}"
    ),
    "a body of brackets": lambda head, body, signature, key: f"{encoded(head)}.{wrapped('[' * 2_000)}.{signature}",
    "too long": lambda head, body, signature, key: "a" * (MAX_TOKEN_BYTES + 1),
    "not ASCII": lambda head, body, signature, key: "ä.b.c",
    "nothing": lambda head, body, signature, key: "",
}


@pytest.mark.parametrize("case", FORGERIES)
async def test_no_token(case: str, tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        head, body, signature = parts_of(alice.token)
        signer = await StoredTokenKeys(bed.store).signer((await StoredTokenKeys(bed.store).all())[0])
        key = OKPKey.import_key(private_key_pem(signer._private_key))  # type: ignore[attr-defined]
        forged = FORGERIES[case](head, body, signature, key)
        assert await bed.refused("orgs.show", {"org": "acme"}, token=forged) == (401, "access.unauthenticated")
        assert await bed.ok("orgs.show", {"org": "acme"}, token=alice.token)


async def test_a_rotation_overlaps(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        before = await issued(bed)
        made = await bed.ok("tokens.rotate_key", local="root")
        assert parts_of(await issued(bed))[0]["kid"] != made["kid"], "other replicas read it first"
        bed.clock.ms += LEAD_MS
        assert parts_of(await issued(bed))[0]["kid"] == made["kid"]
        assert len((await bed.ok("oauth.jwks"))["keys"]) == 2
        assert await bed.bench.tokens.verify(before)
        bed.clock.ms += (CLIENT_LIFE_SECONDS + SKEW_SECONDS) * 1000
        assert [each["kid"] for each in (await bed.ok("oauth.jwks"))["keys"]] == [made["kid"]]


async def test_another_replica_learns_a_new_key(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        other = Tokens(StoredTokenKeys(bed.store), TRUST_DOMAIN, bed.clock)
        assert await other.verify(await issued(bed))
        await bed.bench.tokens.rotate()
        bed.clock.ms += LEAD_MS
        assert await other.verify(await issued(bed))
        unknown = FORGERIES["an unknown key id"](*parts_of(await issued(bed)), OTHER)
        await bed.bench.tokens.rotate()
        with pytest.raises(UnauthenticatedError):
            await other.verify(unknown)
        bed.clock.ms += int(RELOAD_SECONDS * 1000)
        assert len(await other.jwks()) == 3


async def test_several_processes_begin_with_one_key(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        keys = StoredTokenKeys(bed.store)
        made = {(await StoredTokenKeys(bed.store).add(bed.clock.ms)).public_key for _ in range(1)}
        assert {key.public_key for key in await keys.all()} == made


async def test_a_key_rotates_by_itself_once_a_month(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        assert not await bed.bench.tokens.rotate_when_due(LIFE_MS)
        assert len(await bed.bench.tokens.jwks()) == 1
        bed.clock.ms += LIFE_MS
        assert await bed.bench.tokens.rotate_when_due(LIFE_MS)


def a_key(number: int, created_ms: int) -> SigningKey:
    return SigningKey(number, bytes([number]) * 32, created_ms)


def test_which_key_signs_and_which_are_believed() -> None:
    keys = (a_key(1, 0), a_key(2, 100_000), a_key(3, 200_000))
    assert current(keys, 0) == keys[0]
    assert current(keys, 100_000 + LEAD_MS - 1) == keys[0]
    assert current(keys, 100_000 + LEAD_MS) == keys[1]
    assert current(keys[:1], -5) == keys[0]
    assert believed(keys, 100_000 + LEAD_MS + 49_999, 50_000) == keys
    assert believed(keys, 100_000 + LEAD_MS + 50_000, 50_000) == keys[1:]
    assert believed(keys, 10**9, 50_000) == keys[2:]
