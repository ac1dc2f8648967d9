"""Laws of trust: rubbish meets only our own refusals, and what is written reads back."""

import base64
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import adoption, crl, csr, join_token, keys, rotation, spiffe, verify
from certs.errors import TrustError
from certs.shell.dev import create_hierarchy
from certs.shell.signers import generate_tls_key
from tests.unit.certs.forge import NOW, ORG, OUTPOST

HIERARCHY = create_hierarchy(NOW)
CHAIN = HIERARCHY.outpost(ORG, OUTPOST, NOW).chain_der
SERVER_CHAIN = HIERARCHY.server(NOW).chain_der
REQUEST = csr.build_request(generate_tls_key())
LIST = crl.build_list(HIERARCHY.outposts.certificate, HIERARCHY.outposts.signer, {5: NOW}, 1, NOW)
TOKEN = join_token.JoinToken(ORG, "branch", "cp.example.org:8443", HIERARCHY.pin, bytes(32)).encode()

OLD = create_hierarchy(NOW)
CROSS = keys.certificate_der(HIERARCHY.cross(OLD, NOW))


def adopted(*behind: bytes) -> object:
    return adoption.adopt_roots([*SERVER_CHAIN, *behind], [OLD.root.certificate], NOW, HIERARCHY.trust_domain)


READERS: dict[str, Callable[[bytes], object]] = {
    "a chain": lambda data: verify.verify_outpost_chain([data, *CHAIN[1:]], HIERARCHY.anchors, NOW),
    "an intermediate": lambda data: verify.verify_outpost_chain([CHAIN[0], data], HIERARCHY.anchors, NOW),
    "a pinned chain": lambda data: verify.root_by_pin([data], HIERARCHY.pin),
    "a cross-certificate": adopted,
    "a trust bundle": lambda data: adoption.read_trust_bundle([data]),
    "a request": csr.read_request,
    "a revocation list": lambda data: crl.read_list(data, HIERARCHY.outposts.certificate, NOW),
    "a certificate": keys.certificate_from_der,
    "PEM certificates": keys.certificates_from_pem,
    "a private key": keys.private_key_from_pem,
    "a raw key": keys.signing_key_from_raw,
    "a SPIFFE ID": lambda data: spiffe.parse(data.decode("latin-1")),
    "a join token": lambda data: join_token.parse(data.decode("latin-1")),
    "the body of a join token": lambda data: join_token.parse(
        "ojt1." + base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    ),
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(READERS)), st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_trust_errors(reader: str, data: bytes) -> None:
    with suppress(TrustError):
        READERS[reader](data)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Bytes that were good: some changed, cut, doubled or with more behind."""
    place = draw(st.integers(0, len(good) - 1))
    kind = draw(st.sampled_from(["change", "cut", "insert", "drop"]))
    if kind == "change":
        return good[:place] + bytes([good[place] ^ draw(st.integers(1, 255))]) + good[place + 1 :]
    if kind == "cut":
        return good[:place]
    if kind == "insert":
        return good[:place] + draw(st.binary(min_size=1, max_size=8)) + good[place:]
    return good[:place] + good[place + 1 :]


@settings(max_examples=200, deadline=None)
@given(damaged(CHAIN[0]))
def test_a_damaged_leaf_is_nobody(data: bytes) -> None:
    if data == CHAIN[0]:
        return
    try:
        peer = verify.verify_outpost_chain([data, *CHAIN[1:]], HIERARCHY.anchors, NOW)
    except TrustError:
        return
    raise AssertionError(f"accepted as {peer.spiffe_id}")


KNOWING = verify.TrustAnchors(HIERARCHY.trust_domain, HIERARCHY.anchors.roots, (HIERARCHY.outposts.certificate,))
WHOLE = (*CHAIN, keys.certificate_der(HIERARCHY.root.certificate))
HONEST_PEER = verify.verify_outpost_chain(CHAIN, HIERARCHY.anchors, NOW)
BITS = 8 * sum(map(len, WHOLE))


def flipped(chain: tuple[bytes, ...], bits: set[int]) -> list[bytes]:
    """The chain with some of its bits turned over, counted over all its certificates."""
    joined = bytearray(b"".join(chain))
    for bit in bits:
        joined[bit // 8] ^= 1 << bit % 8
    found, start = [], 0
    for each in chain:
        found.append(bytes(joined[start : start + len(each)]))
        start += len(each)
    return found


@settings(max_examples=400, deadline=None)
@given(st.sets(st.integers(0, BITS - 1), min_size=1, max_size=4), st.booleans())
def test_flipped_bits_never_make_another_identity(bits: set[int], issuer_is_known: bool) -> None:
    """What is accepted is the same leaf, to the byte: a damaged root or a known issuing CA was not needed."""
    chain = flipped(WHOLE, bits)
    try:
        peer = verify.verify_outpost_chain(chain, KNOWING if issuer_is_known else HIERARCHY.anchors, NOW)
    except TrustError:
        return
    assert peer == HONEST_PEER
    assert chain[0] == CHAIN[0]
    assert issuer_is_known or chain[1] == CHAIN[1]


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, BITS - 1), min_size=1, max_size=4))
def test_flipped_bits_never_make_a_server_or_an_ingress(bits: set[int]) -> None:
    for judge in (verify.verify_server_chain, verify.verify_ingress_chain):
        with pytest.raises(TrustError):
            judge(flipped(WHOLE, bits), KNOWING, NOW)


@settings(max_examples=100, deadline=None)
@given(damaged(CHAIN[1]))
def test_a_damaged_intermediate_vouches_for_nobody(data: bytes) -> None:
    if data == CHAIN[1]:
        return
    try:
        verify.verify_outpost_chain([CHAIN[0], data], HIERARCHY.anchors, NOW)
    except TrustError:
        return
    raise AssertionError("accepted")


def test_the_cross_certificate_is_good() -> None:
    """Otherwise the law below would prove nothing."""
    assert adopted(CROSS) == (OLD.root.certificate, HIERARCHY.root.certificate)


@settings(max_examples=150, deadline=None)
@given(damaged(CROSS))
def test_a_damaged_cross_certificate_vouches_for_nobody(data: bytes) -> None:
    if data == CROSS:
        return
    with pytest.raises(TrustError):
        adopted(data)


@settings(max_examples=100, deadline=None)
@given(damaged(SERVER_CHAIN[2]))
def test_a_damaged_root_is_not_the_pinned_one(data: bytes) -> None:
    if data == SERVER_CHAIN[2]:
        return
    try:
        verify.root_by_pin([*SERVER_CHAIN[:2], data], HIERARCHY.pin)
    except TrustError:
        return
    raise AssertionError("accepted")


@settings(max_examples=150, deadline=None)
@given(damaged(REQUEST))
def test_a_damaged_request_is_refused(data: bytes) -> None:
    if data == REQUEST:
        return
    try:
        csr.read_request(data)
    except TrustError:
        return
    raise AssertionError("accepted")


@settings(max_examples=100, deadline=None)
@given(damaged(LIST))
def test_a_damaged_revocation_list_is_refused(data: bytes) -> None:
    if data == LIST:
        return
    try:
        crl.read_list(data, HIERARCHY.outposts.certificate, NOW)
    except TrustError:
        return
    raise AssertionError("accepted")


ORGS = st.from_regex(r"[a-z][a-z0-9-]{1,30}", fullmatch=True)


@settings(max_examples=100, deadline=None)
@given(
    ORGS,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
    st.integers(1, 65535),
    st.binary(min_size=32, max_size=32),
)
def test_every_join_token_reads_back(org: str, name: str, port: int, secret: bytes) -> None:
    token = join_token.JoinToken(org, name, f"cp.example.org:{port}", "0f" * 32, secret)
    assert join_token.parse(token.encode()) == token


@settings(max_examples=200, deadline=None)
@given(damaged(TOKEN.encode()))
def test_a_damaged_join_token_is_refused_or_another_token(data: bytes) -> None:
    """A token has no checksum: a change inside a value makes another token, never a second text for one token."""
    text = data.decode("latin-1")
    try:
        token = join_token.parse(text)
    except TrustError:
        return
    assert token.encode() == text.strip()


@settings(max_examples=100, deadline=None)
@given(ORGS, st.from_regex(r"op-[0-9a-f]{16}", fullmatch=True))
def test_every_identity_reads_back(org: str, outpost: str) -> None:
    identity = spiffe.OutpostIdentity("outpost.internal", org, outpost)
    assert spiffe.parse(identity.uri) == identity


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=120))
def test_a_text_that_is_an_identity_is_its_only_text(text: str) -> None:
    try:
        identity = spiffe.parse(text)
    except TrustError:
        return
    assert identity.uri == text


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 2**40), st.floats(0, 1, exclude_max=True))
def test_renewal_lies_inside_the_life(not_before: int, life: int, chance: float) -> None:
    moment = rotation.renew_at(not_before, not_before + life, chance)
    assert int(0.4 * life) - 1 <= moment - not_before <= int(0.6 * life) + 1
