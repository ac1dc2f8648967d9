"""Enrollment: one CSR until it is answered, answers that are not ours, and tokens that are not read again."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certs import csr, keys
from certs.errors import TrustError
from certs.issue import CertificateTemplate, prepare, sign
from certs.join_token import JoinToken
from certs.profiles import CertificateKind
from certs.shell.dev import create_hierarchy
from certs.shell.signers import random_serial
from certs.spiffe import OutpostIdentity
from certs.verify import PinError
from outpost import issuing
from outpost.core.errors import OutpostError, PeerError
from outpost.ledger.identity import load_identity
from outpost.paths import StatePaths
from outpost.sync import enroll as enrolling
from outpost.sync import identity as identities
from tests.unit.core.bundle.samples import ORG, forge, rotated
from tests.unit.ledger.support import WITNESS
from tests.unit.sync.enrolled import NAME, OUTPOST, TRUST_DOMAIN, Clock

NOW_MS = 1_790_000_000_000
NOW = NOW_MS // 1000
TRUST = create_hierarchy(NOW, TRUST_DOMAIN)
OTHER_TRUST = create_hierarchy(NOW, TRUST_DOMAIN)
SERVER = TRUST.server(NOW)
SECRET = os.urandom(32)
FORGE = forge()
ROOT = FORGE.root
NEXT_ROOT = rotated(FORGE.signed, FORGE.keys, FORGE.keys).metadata["2.root.json"]
TOKEN = JoinToken(org=ORG, name=NAME, endpoint="cp.example:8443", pin=TRUST.pin, secret=SECRET)

Change = Callable[[issuing.EnrollmentAnswer], issuing.EnrollmentAnswer]


@dataclass
class ControlPlane:
    """The enrollment side of a control plane: signs what it is asked to, and may fail or lie."""

    change: Change = lambda answer: answer
    failures: int = 0
    org: str = ORG
    outpost: str = OUTPOST
    expected_root: bytes = b""
    chain: tuple[bytes, ...] = SERVER.chain_der
    asked: list[issuing.EnrollmentRequest] = field(default_factory=list)
    dialled: list[tuple[str, int]] = field(default_factory=list)

    async def presented_chain(self, host: str, port: int) -> tuple[bytes, ...]:
        self.dialled.append((host, port))
        return self.chain

    async def enroll(
        self, endpoint: str, root_pem: bytes, request: issuing.EnrollmentRequest
    ) -> issuing.EnrollmentAnswer:
        assert (endpoint, root_pem) == (TOKEN.endpoint, TRUST.roots_pem)
        self.asked.append(request)
        if len(self.asked) <= self.failures:
            raise PeerError("the answer was lost")
        return self.change(self.answer(request))

    def answer(self, request: issuing.EnrollmentRequest) -> issuing.EnrollmentAnswer:
        template = CertificateTemplate(
            kind=CertificateKind.OUTPOST,
            trust_domain=TRUST_DOMAIN,
            public_key=csr.read_request(request.csr_der).public_key,
            serial=random_serial(),
            now=NOW,
            identity=OutpostIdentity(TRUST_DOMAIN, self.org, self.outpost),
        )
        issued = sign(prepare(template, TRUST.outposts.certificate), TRUST.outposts.signer)
        return issuing.EnrollmentAnswer(
            org=ORG,
            outpost_id=OUTPOST,
            name=NAME,
            trust_domain=TRUST_DOMAIN,
            chain=(keys.certificate_der(issued.certificate), keys.certificate_der(TRUST.outposts.certificate)),
            trust_bundle=(keys.certificate_der(TRUST.root.certificate),),
            tuf_root=ROOT,
            witness_public_key=WITNESS.public_key,
            witness_name=WITNESS.name,
            sync_endpoint="cp.example:8444",
            join_sequence=1,
            now_ms=NOW_MS,
        )

    @property
    def calls(self) -> enrolling.Calls:
        return enrolling.Calls(self.presented_chain, self.enroll, self.expected_root)


async def enroll(state: Path, plane: ControlPlane, token: str | None = None) -> identities.Identity:
    state.mkdir(mode=0o700, exist_ok=True)
    text = TOKEN.encode() if token is None else token
    joining = enrolling.Joining("1.0")
    return (await enrolling.enroll(StatePaths(state), text, plane.calls, Clock(NOW_MS), joining))[0]


async def test_a_token_becomes_an_identity(tmp_path: Path) -> None:
    plane = ControlPlane()
    identity = await enroll(tmp_path / "s", plane)
    files = StatePaths(tmp_path / "s").org(ORG)
    assert identity.verify(NOW).spiffe_id.outpost == OUTPOST
    assert identities.load(files.identity) == identity
    assert files.tuf_root.read_bytes() == ROOT
    log = load_identity(files.audit)
    assert (log.origin, log.public_key) == (identity.origin, plane.asked[0].audit_log_public_key)
    assert plane.dialled == [("cp.example", 8443)]


ISSUERS: dict[str, tuple[tuple[bytes, ...], bool]] = {
    "knows our issuing CA": ((b"another", keys.certificate_der(TRUST.outposts.certificate)), True),
    "knows another one": ((keys.certificate_der(TRUST.servers.certificate),), False),
    "is of a version that does not say": ((), False),
}


@pytest.mark.parametrize("who", ISSUERS)
async def test_the_leaf_may_travel_alone_when_the_control_plane(who: str, tmp_path: Path) -> None:
    issuers, alone = ISSUERS[who]
    told = ("a.example:8444", "b.example:8444")
    plane = ControlPlane(change=lambda answer: replace(answer, issuers=issuers, sync_endpoints=told))
    identity = await enroll(tmp_path / "s", plane)
    assert (identity.enrollment.leaf_alone, identity.enrollment.sync_endpoints) == (alone, told)


LOGICAL = {"of the same name": ("prod-eu", ""), "of another name": ("plant-7", "plant-7"), "not said": ("", "")}


@pytest.mark.parametrize("which", LOGICAL)
async def test_the_logical_outpost_is_kept(which: str, tmp_path: Path) -> None:
    told, kept = LOGICAL[which]
    plane = ControlPlane(change=lambda answer: replace(answer, logical=told))
    identity = await enroll(tmp_path / "s", plane)
    assert identities.load(StatePaths(tmp_path / "s").org(ORG).identity).enrollment.logical == kept
    assert identity.enrollment.audience.logical == (kept or "prod-eu")


async def test_only_a_request_travels_and_private_keys_stay(tmp_path: Path) -> None:
    plane = ControlPlane()
    identity = await enroll(tmp_path / "s", plane)
    sent = plane.asked[0]
    assert (sent.token_org, sent.token_secret, sent.now_ms) == (ORG, SECRET, NOW_MS)
    assert SECRET.hex() not in repr(sent)
    key = load_pem_private_key(identity.key_pem, None)
    request = x509.load_der_x509_csr(sent.csr_der)
    assert request.is_signature_valid
    assert isinstance(request.signature_hash_algorithm, hashes.SHA256)
    assert request.public_key() == key.public_key()


async def test_a_retry_sends_the_same_request(tmp_path: Path) -> None:
    plane = ControlPlane(failures=2)
    for _ in range(2):
        with pytest.raises(PeerError):
            await enroll(tmp_path / "s", plane)
    identity = await enroll(tmp_path / "s", plane)
    assert len({(sent.csr_der, sent.audit_log_public_key) for sent in plane.asked}) == 1
    assert identity.verify(NOW)


async def test_nothing_pending_is_left_after_success(tmp_path: Path) -> None:
    await enroll(tmp_path / "s", ControlPlane())
    names = {path.name for path in StatePaths(tmp_path / "s").org(ORG).identity.iterdir()}
    assert names == {"enrollment.json", "leaf.pem", "trust-bundle.pem"}


async def test_with_an_identity_the_token_is_not_spent_again(tmp_path: Path) -> None:
    first = await enroll(tmp_path / "s", ControlPlane())
    plane = ControlPlane(failures=1)
    other = replace(TOKEN, secret=os.urandom(32), endpoint="elsewhere.example:1")
    assert await enroll(tmp_path / "s", plane, other.encode()) == first
    assert (plane.asked, plane.dialled) == ([], [])


def other_root(answer: issuing.EnrollmentAnswer) -> issuing.EnrollmentAnswer:
    return replace(answer, trust_bundle=(keys.certificate_der(OTHER_TRUST.root.certificate),))


def another_s_certificate(answer: issuing.EnrollmentAnswer) -> issuing.EnrollmentAnswer:
    return replace(answer, chain=TRUST.outpost(ORG, OUTPOST, NOW).chain_der)


REFUSED: dict[str, tuple[ControlPlane, str]] = {
    "the answer is for another org": (ControlPlane(lambda a: replace(a, org="globex")), "enrollment.answer"),
    "the answer is for another name": (ControlPlane(lambda a: replace(a, name="other")), "enrollment.answer"),
    "the trust bundle lacks the pinned root": (ControlPlane(other_root), "enrollment.answer"),
    "the trust bundle is empty": (ControlPlane(lambda a: replace(a, trust_bundle=())), "enrollment.answer"),
    "the certificate is for another key": (ControlPlane(another_s_certificate), "identity.unreadable"),
    "the certificate names another outpost": (ControlPlane(outpost="op-" + "f" * 16), "identity.unreadable"),
    "the certificate names another org": (ControlPlane(org="globex"), "identity.unreadable"),
    "the certificate is of another trust domain": (
        ControlPlane(lambda a: replace(a, trust_domain="other.internal")),
        "chain.",
    ),
    "the chain is empty": (ControlPlane(lambda a: replace(a, chain=())), ""),
    "the chain is no certificate": (ControlPlane(lambda a: replace(a, chain=(b"x",))), ""),
    "the witness's key is no key": (ControlPlane(lambda a: replace(a, witness_public_key=b"x")), "enrollment.answer"),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_no_identity_comes_of_it_when(why: str, tmp_path: Path) -> None:
    plane, code = REFUSED[why]
    with pytest.raises((OutpostError, TrustError)) as refused:
        await enroll(tmp_path / "s", plane)
    assert isinstance(refused.value, OutpostError | TrustError)
    assert refused.value.code.startswith(code)
    assert StatePaths(tmp_path / "s").orgs() == ()


async def test_a_server_with_another_root_is_told_nothing(tmp_path: Path) -> None:
    plane = ControlPlane(chain=OTHER_TRUST.server(NOW).chain_der)
    with pytest.raises(PinError):
        await enroll(tmp_path / "s", plane)
    assert plane.asked == []


BAD_TOKENS = {
    "empty": "",
    "something else": "hello",
    "a token that was cut": TOKEN.encode()[:-5],
    "a token of another version": TOKEN.encode().replace("ojt1.", "ojt2."),
    "a token that is too long": TOKEN.encode() + "A" * 2000,
}


@pytest.mark.parametrize("what", BAD_TOKENS)
async def test_a_token_is_refused_before_anybody_is_called(what: str, tmp_path: Path) -> None:
    plane = ControlPlane()
    with pytest.raises(TrustError) as refused:
        await enroll(tmp_path / "s", plane, BAD_TOKENS[what])
    assert refused.value.code == "token.malformed"
    assert (plane.dialled, plane.asked) == ([], [])
    assert BAD_TOKENS[what] == "" or BAD_TOKENS[what] not in str(refused.value.as_dict())


async def test_a_token_for_another_name_is_not_swallowed(tmp_path: Path) -> None:
    plane = ControlPlane()
    first = await enroll(tmp_path / "s", plane)
    with pytest.raises(enrolling.AlreadyEnrolledError) as refused:
        await enroll(tmp_path / "s", plane, replace(TOKEN, name="another").encode())
    told = refused.value
    assert (told.code, len(plane.asked)) == ("state.enrolled", 1)
    assert f"enrolled already as {NAME}" in told.message
    assert "--state" in told.next_step
    assert await enroll(tmp_path / "s", plane) == first


ROOTS: dict[str, tuple[bytes, bytes]] = {
    "none was given: the answer's counts": (b"", ROOT),
    "the same one": (ROOT, ROOT),
    "an older one: verification starts there": (ROOT, NEXT_ROOT),
    "a newer one: verification starts there": (NEXT_ROOT, ROOT),
}


@pytest.mark.parametrize("sentence", ROOTS)
async def test_the_root_at_which_verification_starts(sentence: str, tmp_path: Path) -> None:
    expected, answered = ROOTS[sentence]
    plane = ControlPlane(lambda answer: replace(answer, tuf_root=answered), expected_root=expected)
    await enroll(tmp_path / "s", plane)
    assert StatePaths(tmp_path / "s").org(ORG).tuf_root.read_bytes() == (expected or answered)


WRONG_ROOTS: dict[str, tuple[bytes, bytes, str, int]] = {
    "another one than was given": (ROOT, forge().root, "enrollment.root", 1),
    "the answer's is none": (b"", b'{"signed":{}}', "bundle.malformed", 1),
    "the answer's is another org's": (b"", forge("globex").root, "bundle.other_org", 1),
    "the one that was given is another org's": (forge("globex").root, ROOT, "bundle.other_org", 0),
    "the one that was given is not signed by its own keys": (
        FORGE.edited("root", lambda part: None, FORGE.keys["root"][:1]).metadata["1.root.json"],
        ROOT,
        "bundle.threshold",
        0,
    ),
}


@pytest.mark.parametrize("sentence", WRONG_ROOTS)
async def test_a_root_that_is_not_believed_ends_the_enrollment(sentence: str, tmp_path: Path) -> None:
    expected, answered, code, asked = WRONG_ROOTS[sentence]
    plane = ControlPlane(lambda answer: replace(answer, tuf_root=answered), expected_root=expected)
    with pytest.raises(OutpostError) as refused:
        await enroll(tmp_path / "s", plane)
    assert (refused.value.code, len(plane.asked)) == (code, asked)
    assert not (StatePaths(tmp_path / "s").org(ORG).identity / "enrollment.json").exists()
