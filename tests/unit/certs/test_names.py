"""SPIFFE IDs and join tokens: one form each, and no other."""

import base64
import json
import traceback

import pytest

from certs import join_token, spiffe
from certs.errors import IdentityError, TokenError
from certs.join_token import JoinToken, JoinTokenFormatError, parse, secret_digest, split_endpoint
from certs.spiffe import IngressIdentity, OutpostIdentity, ServerIdentity
from tests.unit.certs.forge import ORG, OUTPOST

SECRET = bytes(range(32))
TOKEN = JoinToken(ORG, "branch-berlin", "cp.example.org:8443", "ab" * 32, SECRET)


def test_identities_read_back() -> None:
    for identity in (
        OutpostIdentity("outpost.internal", ORG, OUTPOST),
        IngressIdentity("outpost.internal", "0"),
        IngressIdentity("outpost.internal", "edge-" + "1" * 58),
        ServerIdentity("a.b-c.example"),
    ):
        assert spiffe.parse(identity.uri) == identity
        assert str(identity) == identity.uri


BAD_IDS = {
    "empty": "",
    "another scheme": f"https://outpost.internal/org/acme/outpost/{OUTPOST}",
    "an upper-case scheme": f"SPIFFE://outpost.internal/org/acme/outpost/{OUTPOST}",
    "no trust domain": f"spiffe:///org/acme/outpost/{OUTPOST}",
    "an upper-case trust domain": f"spiffe://Outpost.internal/org/acme/outpost/{OUTPOST}",
    "an address as trust domain": "spiffe://10.0.0.1/server",
    "a port": f"spiffe://outpost.internal:8443/org/acme/outpost/{OUTPOST}",
    "user information": f"spiffe://a@outpost.internal/org/acme/outpost/{OUTPOST}",
    "a trailing dot": "spiffe://outpost.internal./server",
    "an empty label": "spiffe://outpost..internal/server",
    "a label with a hyphen at its end": "spiffe://outpost-.internal/server",
    "a long label": f"spiffe://{'a' * 64}.internal/server",
    "a long trust domain": f"spiffe://{'a.' * 127}a/server",
    "a trailing slash": f"spiffe://outpost.internal/org/acme/outpost/{OUTPOST}/",
    "a double slash": f"spiffe://outpost.internal//org/acme/outpost/{OUTPOST}",
    "a query": f"spiffe://outpost.internal/org/acme/outpost/{OUTPOST}?a=b",
    "a fragment": f"spiffe://outpost.internal/org/acme/outpost/{OUTPOST}#a",
    "an escape": "spiffe://outpost.internal/org/ac%6de/outpost/" + OUTPOST,
    "a dot segment": f"spiffe://outpost.internal/org/../org/acme/outpost/{OUTPOST}",
    "no path": "spiffe://outpost.internal",
    "another path": "spiffe://outpost.internal/ns/default/sa/web",
    "a short id": "spiffe://outpost.internal/org/acme/outpost/op-0123",
    "an upper-case id": "spiffe://outpost.internal/org/acme/outpost/op-0123456789ABCDEF",
    "an org of one letter": f"spiffe://outpost.internal/org/a/outpost/{OUTPOST}",
    "an org that starts with a digit": f"spiffe://outpost.internal/org/1acme/outpost/{OUTPOST}",
    "an org that is too long": f"spiffe://outpost.internal/org/{'a' * 32}/outpost/{OUTPOST}",
    "a line feed at the end": f"spiffe://outpost.internal/org/acme/outpost/{OUTPOST}\n",
    "a line feed after the org": f"spiffe://outpost.internal/org/acme\n/outpost/{OUTPOST}",
    "digits of another script": "spiffe://outpost.internal/org/acme/outpost/op-012345678٩abcdef",
    "a NUL": f"spiffe://outpost.internal\0/org/acme/outpost/{OUTPOST}",
    "too long": "spiffe://outpost.internal/" + "a" * 2048,
    "an ingress without a name": "spiffe://outpost.internal/ingress/",
    "an ingress whose name starts with a hyphen": "spiffe://outpost.internal/ingress/-a",
    "an ingress with an upper-case name": "spiffe://outpost.internal/ingress/Edge",
    "an ingress with a dot in its name": "spiffe://outpost.internal/ingress/edge.1",
    "an ingress with a name of 64 letters": "spiffe://outpost.internal/ingress/" + "a" * 64,
    "an ingress with more behind its name": "spiffe://outpost.internal/ingress/edge-1/org/acme",
}


@pytest.mark.parametrize("case", BAD_IDS)
def test_no_identity_has(case: str) -> None:
    with pytest.raises(IdentityError):
        spiffe.parse(BAD_IDS[case])


def test_an_identity_cannot_be_built_of_bad_parts() -> None:
    with pytest.raises(IdentityError):
        OutpostIdentity("outpost.internal", "acme/outpost/x", OUTPOST)
    with pytest.raises(IdentityError):
        IngressIdentity("outpost.internal", "edge/1")
    with pytest.raises(IdentityError):
        ServerIdentity("outpost.internal/org")


def test_a_join_token_reads_back() -> None:
    assert parse(TOKEN.encode()) == TOKEN
    assert parse(f"  {TOKEN.encode()}\r\n") == TOKEN
    assert TOKEN.encode().startswith("ojt1.")
    assert len(TOKEN.encode()) <= join_token.MAX_TOKEN_CHARACTERS


def test_the_longest_token_fits() -> None:
    host = ".".join(["a" * 63] * 3 + ["a" * 61])
    longest = JoinToken("a" * 31, "n" * 63, f"{host}:65535", "f" * 64, SECRET)
    assert parse(longest.encode()) == longest


def encoded(body: bytes) -> str:
    return join_token.PREFIX + base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def altered(**changes: object) -> str:
    text = TOKEN.encode()[len(join_token.PREFIX) :]
    body = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    body |= changes
    kept = {key: value for key, value in body.items() if value is not None}
    return encoded(json.dumps(kept, separators=(",", ":"), sort_keys=True).encode())


SPACED = json.dumps(json.loads(base64.urlsafe_b64decode(TOKEN.encode()[5:] + "===").decode())).encode()
DUPLICATE = b'{"org":"evil",' + base64.urlsafe_b64decode(TOKEN.encode()[5:] + "===")[1:]

BAD_TOKENS = {
    "empty": "",
    "another prefix": TOKEN.encode().replace("ojt1.", "ojt2."),
    "no body": "ojt1.",
    "a body that is not base64": "ojt1.!!!!",
    "a body with padding": TOKEN.encode() + "=",
    "a body of the other base64 alphabet": "ojt1.++//",
    "a body that is not JSON": encoded(b"hello"),
    "a body that is a list": encoded(b"[]"),
    "a body that is deep": encoded(b"[" * 600),
    "a body that is not UTF-8": encoded(b'{"org":"\xff"}'),
    "white space in its JSON": encoded(SPACED),
    "a duplicated field": encoded(DUPLICATE),
    "a field more": altered(ca="x"),
    "a field less": altered(pin=None),
    "a number as org": altered(org=7),
    "a bad org": altered(org="../etc"),
    "a name with a slash": altered(name="a/b"),
    "an empty name": altered(name=""),
    "a name that is too long": altered(name="a" * 64),
    "a short pin": altered(pin="ab" * 31),
    "an upper-case pin": altered(pin="AB" * 32),
    "a short secret": altered(secret="AAAA"),
    "a secret with padding": altered(secret=base64.urlsafe_b64encode(SECRET).decode()),
    "a secret with stray bits": altered(secret=base64.urlsafe_b64encode(SECRET).decode().rstrip("=")[:-1] + "9"),
    "an endpoint without port": altered(endpoint="cp.example.org"),
    "an endpoint with a path": altered(endpoint="cp.example.org:8443/x"),
    "more than 1024 characters": "ojt1." + "A" * 1024,
    "two lines": TOKEN.encode() + "\n" + TOKEN.encode(),
    "a letter of another script": TOKEN.encode() + "é",
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_no_join_token_has(case: str) -> None:
    with pytest.raises(JoinTokenFormatError) as refusal:
        parse(BAD_TOKENS[case])
    told = "".join(traceback.format_exception(refusal.value))
    assert base64.urlsafe_b64encode(SECRET).decode().rstrip("=") not in told
    assert refusal.value.__cause__ is None or "secret" not in str(refusal.value.__cause__)
    assert refusal.value.next_step


def test_a_join_token_never_shows_its_secret() -> None:
    shown = repr(TOKEN) + str(TOKEN)
    assert "secret" not in shown
    assert repr(SECRET) not in shown


ENDPOINTS = {
    "a name": ("cp.example.org:8443", ("cp.example.org", 8443)),
    "a short name": ("localhost:1", ("localhost", 1)),
    "an IPv4 address": ("127.0.0.1:65535", ("127.0.0.1", 65535)),
    "an IPv6 address": ("[2001:db8::1]:8443", ("2001:db8::1", 8443)),
}


@pytest.mark.parametrize("case", ENDPOINTS)
def test_an_endpoint_may_be(case: str) -> None:
    text, wanted = ENDPOINTS[case]
    assert split_endpoint(text) == wanted


BAD_ENDPOINTS = ["", ":8443", "a", "a:", "a:0", "a:65536", "a:08443", "a:+1", "a: 1", "a:1 ", "a b:1", "::1:8443"]
BAD_ENDPOINTS += ["[::1]", "[::1%eth0]:1", "[x]:1", "http://a:1", "a/b:1", "-a:1", "a-:1", "a..b:1", "a:1\n"]
BAD_ENDPOINTS += ["ä:1", "a:١", "a" * 254 + ":1"]


@pytest.mark.parametrize("text", BAD_ENDPOINTS)
def test_no_endpoint_is(text: str) -> None:
    with pytest.raises(JoinTokenFormatError):
        split_endpoint(text)


def test_the_digest_of_a_secret_depends_on_the_pepper() -> None:
    first, second = bytes(32), b"\x01" * 32
    assert secret_digest(first, SECRET) == secret_digest(first, SECRET)
    assert secret_digest(first, SECRET) != secret_digest(second, SECRET)
    # From: openssl dgst -sha256 -mac HMAC -macopt hexkey:00...00
    wanted = "46bd320605c5a6b6163ab70bc6345b92a5f908e79fe58979c23ebb47d1a5e307"
    assert secret_digest(first, SECRET) == wanted
    with pytest.raises(JoinTokenFormatError):
        secret_digest(first, SECRET[:31])
    with pytest.raises(TokenError):
        secret_digest(b"short", SECRET)
