"""Access tokens: short signed statements of who somebody is, believed only as far as the store confirms them now.

A token is a JWT (RFC 9068) under Ed25519, the one algorithm that is ever accepted, by a key of the control plane's own.
Keys rotate with an overlap: a new one signs at once, the old one is believed until every token under it has expired.
A token alone opens nothing: each request asks the store again whether its user or client still is what the token says.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from certs.keys import require_signing_key
from certs.signer import Signer
from controlplane.domain.rbac import Principal, PrincipalKind, Role, UnauthenticatedError, Verb
from controlplane.domain.signing_keys import SigningKey, believed, current
from controlplane.ports.admin import TokenKeys
from controlplane.ports.world import Clock

ALGORITHM: Final = "Ed25519"  # RFC 9864: EdDSA with its curve said; nothing else is believed
TYPE: Final = "at+jwt"  # RFC 9068 §2.1
PERSON_LIFE_SECONDS: Final = 900
CLIENT_LIFE_SECONDS: Final = 3_600  # catalogue P1
MAX_TOKEN_BYTES: Final = 4_096  # ours have about 500
RELOAD_SECONDS: Final = 2.0  # an unknown key id asks the store again at most this often
SKEW_SECONDS: Final = 30  # between replicas


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; the store has not confirmed it yet."""

    kind: PrincipalKind
    subject: str
    org: str
    role: Role
    version: int
    scopes: frozenset[Verb] | None


@dataclass(frozen=True, slots=True)
class Issued:
    """A token; ``text`` is a secret."""

    text: str = field(repr=False)
    expires_ms: int = 0
    life_seconds: int = 0


class Tokens:
    """Issues and verifies.

    Args:
        keys: where the signing keys are.
        trust_domain: of this control plane; issuer and audience.
    """

    def __init__(self, keys: TokenKeys, trust_domain: str, clock: Clock) -> None:
        self._keys = keys
        self._trust_domain = trust_domain
        self._clock = clock
        self._known: tuple[SigningKey, ...] = ()
        self._public: dict[str, OKPKey] = {}
        self._loaded = float("-inf")

    @property
    def issuer(self) -> str:
        """The claim ``iss``."""
        return f"https://{self._trust_domain}"

    @property
    def audience(self) -> str:
        """The claim ``aud``."""
        return f"{self.issuer}/admin"

    async def issue(self, principal: Principal, version: int, life_seconds: int) -> Issued:
        """Sign a token for somebody who proved who he is."""
        now_s = self._clock.now_ms() // 1000
        key = current(await self._all(), now_s * 1000)
        claims: dict[str, object] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": principal.id,
            "org": principal.org,
            "kind": principal.kind.value,
            "role": principal.role.value,
            "ver": version,
            "iat": now_s,
            "exp": now_s + life_seconds,
        }
        if principal.scopes is not None:
            claims["scope"] = " ".join(sorted(principal.scopes))
        signer = await self._keys.signer(key)
        text = compact({"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}, claims, signer)
        return Issued(text, (now_s + life_seconds) * 1000, life_seconds)

    async def verify(self, text: str) -> Claims:
        """Check signature, time, issuer and audience of an untrusted token.

        Raises:
            UnauthenticatedError: one answer for every cause.
        """
        if not text or len(text) > MAX_TOKEN_BYTES or not text.isascii():
            raise unauthenticated()
        try:
            public = await self._public_key(_kid_of(text))
            token = jwt.decode(text, public, algorithms=[ALGORITHM])
            return self._claims(token.header, token.claims)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):  # what a parser of hostile text may raise
            raise unauthenticated() from None

    async def rotate(self) -> SigningKey:
        """Sign with a new key from now on."""
        key = await self._keys.add(self._clock.now_ms())
        await self._load()
        return key

    async def rotate_when_due(self, life_ms: int) -> bool:
        """Sign with a new key when the newest is older than ``life_ms``; the first one is made without a word."""
        await self._load()
        if self._clock.now_ms() - self._known[-1].created_ms < life_ms:
            return False
        await self.rotate()
        return True

    async def jwks(self) -> list[dict[str, str]]:
        """Public keys that are believed now, as RFC 7517 writes them."""
        await self._load()
        return [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": _encode(key.public_key),
                "kid": key.kid,
                "use": "sig",
                "alg": ALGORITHM,
            }
            for key in self._known
        ]

    async def _all(self) -> tuple[SigningKey, ...]:
        if not self._known:
            await self._load()
        return self._known

    async def _load(self) -> None:
        now_ms = self._clock.now_ms()
        keys = await self._keys.all()
        if not keys:
            keys = (await self._keys.add(now_ms),)
        overlap_ms = (CLIENT_LIFE_SECONDS + SKEW_SECONDS) * 1000
        self._known = believed(keys, now_ms, overlap_ms)
        self._public = {
            key.kid: OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": _encode(key.public_key)})
            for key in self._known
        }
        self._loaded = self._clock.monotonic()

    async def _public_key(self, kid: str) -> OKPKey:
        if kid not in self._public and self._clock.monotonic() - self._loaded >= RELOAD_SECONDS:
            await self._load()
        return self._public[kid]

    def _claims(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> Claims:
        now_s = self._clock.now_ms() // 1000
        issued, expires = _whole(claims["iat"]), _whole(claims["exp"])
        if header.get("typ") != TYPE or claims["iss"] != self.issuer or claims["aud"] != self.audience:
            raise unauthenticated()
        if not issued - SKEW_SECONDS <= now_s < expires or expires - issued > CLIENT_LIFE_SECONDS:
            raise unauthenticated()
        scope = claims.get("scope")
        return Claims(
            kind=PrincipalKind(claims["kind"]),
            subject=str(claims["sub"]),
            org=str(claims["org"]),
            role=Role(claims["role"]),
            version=_whole(claims["ver"]),
            scopes=None if scope is None else frozenset(Verb(each) for each in str(scope).split()),
        )


def unauthenticated() -> UnauthenticatedError:
    """The one answer."""
    return UnauthenticatedError(
        "no valid access token",
        field="Authorization",
        next_step="sign in: controlplane login --api URL --user NAME@ORG; tokens of persons live 15 minutes",
    )


def compact(header: Mapping[str, object], claims: Mapping[str, object], signer: Signer) -> str:
    """A JWS in compact form. The key stays behind its signer. Source: RFC 7515 §7.1."""
    require_signing_key(signer.public_key())
    parts = (json.dumps(part, separators=(",", ":"), sort_keys=True).encode() for part in (header, claims))
    signed = ".".join(_encode(part) for part in parts)
    return f"{signed}.{_encode(signer.sign(signed.encode()))}"


def _kid_of(text: str) -> str:
    """Key id that an untrusted token names; KeyError, TypeError or ValueError when it does not."""
    head = text.partition(".")[0]
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    kid = header["kid"]
    if not isinstance(kid, str):
        raise TypeError("kid")
    return kid


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a claim is no whole number")
    return value


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
