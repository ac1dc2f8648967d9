"""Files that travel by hand between an outpost that no network reaches and its control plane.

A request goes out, an answer comes back: the same call as over the network, written down. The request holds the secret
of the join token, as the call does: it is for the operator's eyes, and good for one certificate. The answer is signed
by a server of the control plane, whose chain travels with it and ends at the root that the join token pins; it names
the digest of the request, so it is good for no other.

Receipts say how much of an audit log the control plane holds: its own signature under a checkpoint of that log.

CourierError
├── airgap.malformed   not a file of this kind, or changed
├── airgap.foreign     it is for another outpost, org or request
├── airgap.unsigned    the control plane that the token pins did not sign it
└── airgap.older       what it says is known already, and more
"""

import hashlib
from dataclasses import dataclass, field

from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.limits import MAX_INTEGER, MAX_METADATA_BYTES
from outpost.core.errors import BundleError

REQUEST_SCHEMA = "outpost.airgap_request/1"
ANSWER_SCHEMA = "outpost.airgap_answer/1"
RECEIPTS_SCHEMA = "outpost.airgap_receipts/1"
SIGNED_CONTEXT = b"outpost.airgap_answer/1\n"
"""No other protocol signs with a server's key what starts so: a TLS handshake starts with 64 spaces (RFC 8446)."""
MAX_FILE_BYTES = 1024 * 1024  # of what an answer says: certificates and a root, in hex; the file has twice as much
MAX_DER_BYTES = 8192  # of a certificate or a request
MAX_CERTIFICATES = 16  # of a chain or a bundle
MAX_SECRET_BYTES = 32
MAX_KEY_BYTES = 64
MAX_SIGNATURE_BYTES = 80  # a P-256 signature in DER has at most 72
MAX_NOTE_BYTES = 8192  # of a cosigned checkpoint


class CourierError(BundleError):
    """A file that came by hand and does not count here."""

    code = "airgap"


class CourierMalformedError(CourierError):
    """Not a file of this kind, or changed on its way."""

    code = "airgap.malformed"


class CourierForeignError(CourierError):
    """A file for another outpost, org or request."""

    code = "airgap.foreign"


class CourierUnsignedError(CourierError):
    """The control plane that is believed here did not sign the file."""

    code = "airgap.unsigned"


class CourierOlderError(CourierError):
    """What the file says is known already, and more."""

    code = "airgap.older"


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """What an outpost asks of the control plane; the other side trusts nothing of it.

    Attributes:
        org, name: of the join token.
        secret: of the join token.
        csr_der: certificate request.
        log_key: public key of the audit log.
        made_ms: by the outpost's clock.
        software: version that wrote it.
    """

    org: str
    name: str
    secret: bytes = field(repr=False)
    csr_der: bytes
    log_key: bytes
    made_ms: int
    software: str

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return encode(
            {
                "schema": REQUEST_SCHEMA,
                "org": self.org,
                "name": self.name,
                "secret": self.secret.hex(),
                "csr": self.csr_der.hex(),
                "log_key": self.log_key.hex(),
                "made_ms": self.made_ms,
                "software": self.software,
            }
        )


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """What the control plane answers.

    Attributes:
        request_sha256: of the very request, 64 hex digits.
        chain, trust_bundle, issuers: DER.
        logical: logical outpost; the name itself for one that stands alone.
        tuf_root: exact bytes of the root at which verification starts.
        made_ms: by the control plane's clock.
    """

    request_sha256: str
    org: str
    outpost_id: str
    name: str
    logical: str
    trust_domain: str
    chain: tuple[bytes, ...]
    trust_bundle: tuple[bytes, ...]
    issuers: tuple[bytes, ...]
    witness_name: str
    witness_key: bytes
    tuf_root: bytes
    join_sequence: int
    made_ms: int

    def payload(self) -> bytes:
        """Canonical bytes, which are what is signed."""
        return encode(
            {
                "schema": ANSWER_SCHEMA,
                "request_sha256": self.request_sha256,
                "org": self.org,
                "outpost_id": self.outpost_id,
                "name": self.name,
                "logical": self.logical,
                "trust_domain": self.trust_domain,
                "chain": [each.hex() for each in self.chain],
                "trust_bundle": [each.hex() for each in self.trust_bundle],
                "issuers": [each.hex() for each in self.issuers],
                "witness_name": self.witness_name,
                "witness_key": self.witness_key.hex(),
                "tuf_root": self.tuf_root.hex(),
                "join_sequence": self.join_sequence,
                "made_ms": self.made_ms,
            }
        )


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """An answer as it travels; not believed before the signature was checked.

    Attributes:
        payload: canonical bytes of the answer.
        server_chain: DER of the server's certificate and those above it.
        signature: ECDSA with SHA-256 over ``signed_message(payload)``, DER.
    """

    payload: bytes
    server_chain: tuple[bytes, ...]
    signature: bytes

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return encode(
            {
                "schema": ANSWER_SCHEMA,
                "payload": self.payload.hex(),
                "server_chain": [each.hex() for each in self.server_chain],
                "signature": self.signature.hex(),
            }
        )


@dataclass(frozen=True, slots=True)
class Receipts:
    """How much of a log the control plane holds.

    Attributes:
        checkpoint: signed by the log, exact bytes.
        line: the control plane's line under it.
    """

    org: str
    outpost_id: str
    checkpoint: bytes
    line: bytes

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return encode(
            {
                "schema": RECEIPTS_SCHEMA,
                "org": self.org,
                "outpost_id": self.outpost_id,
                "checkpoint": self.checkpoint.hex(),
                "line": self.line.hex(),
            }
        )


def signed_message(payload: bytes) -> bytes:
    """What a server signs of an answer."""
    return SIGNED_CONTEXT + hashlib.sha256(payload).digest()


def read_request(data: bytes) -> JoinRequest:
    """Read a request from untrusted bytes. Raises CourierMalformedError."""
    fields = _opened(data, "request", REQUEST_SCHEMA)
    try:
        request = JoinRequest(
            org=fields.text("org", limit=64),
            name=fields.text("name", limit=128),
            secret=_bytes(fields, "secret", MAX_SECRET_BYTES),
            csr_der=_bytes(fields, "csr", MAX_DER_BYTES),
            log_key=_bytes(fields, "log_key", MAX_KEY_BYTES),
            made_ms=fields.integer("made_ms", 0, MAX_INTEGER),
            software=fields.text("software", limit=32, empty=True),
        )
        fields.done()
    except BundleError as error:
        raise malformed("request", error) from None
    return request


def read_signed_answer(data: bytes) -> SignedAnswer:
    """Read what travels from untrusted bytes. Raises CourierMalformedError."""
    fields = _opened(data, "answer", ANSWER_SCHEMA)
    try:
        answer = SignedAnswer(
            payload=_bytes(fields, "payload", MAX_FILE_BYTES),
            server_chain=_certificates(fields, "server_chain"),
            signature=_bytes(fields, "signature", MAX_SIGNATURE_BYTES),
        )
        fields.done()
    except BundleError as error:
        raise malformed("answer", error) from None
    return answer


def read_answer(payload: bytes) -> JoinAnswer:
    """Read what was signed. Raises CourierMalformedError."""
    fields = _opened(payload, "answer", ANSWER_SCHEMA)
    try:
        answer = JoinAnswer(
            request_sha256=fields.sha256("request_sha256"),
            org=fields.text("org", limit=64),
            outpost_id=fields.text("outpost_id", limit=64),
            name=fields.text("name", limit=128),
            logical=fields.text("logical", limit=128, empty=True),
            trust_domain=fields.text("trust_domain", limit=255),
            chain=_certificates(fields, "chain"),
            trust_bundle=_certificates(fields, "trust_bundle"),
            issuers=_certificates(fields, "issuers"),
            witness_name=fields.text("witness_name"),
            witness_key=_bytes(fields, "witness_key", MAX_KEY_BYTES),
            tuf_root=_bytes(fields, "tuf_root", MAX_METADATA_BYTES),
            join_sequence=fields.integer("join_sequence", 0, MAX_INTEGER),
            made_ms=fields.integer("made_ms", 0, MAX_INTEGER),
        )
        fields.done()
    except BundleError as error:
        raise malformed("answer", error) from None
    return answer


def read_receipts(data: bytes) -> Receipts:
    """Read receipts from untrusted bytes; whether they count, the log says. Raises CourierMalformedError."""
    fields = _opened(data, "receipts", RECEIPTS_SCHEMA)
    try:
        receipts = Receipts(
            org=fields.text("org", limit=64),
            outpost_id=fields.text("outpost_id", limit=64),
            checkpoint=_bytes(fields, "checkpoint", MAX_NOTE_BYTES),
            line=_bytes(fields, "line", MAX_NOTE_BYTES),
        )
        fields.done()
    except BundleError as error:
        raise malformed("receipts", error) from None
    return receipts


def malformed(name: str, error: BundleError) -> CourierMalformedError:
    """The error of a file that is not of its form."""
    return CourierMalformedError(
        f"The {name} cannot be read: {error.message}",
        field=error.field or name,
        next_step="Copy the file again from where it was written.",
    )


def _opened(data: bytes, name: str, schema: str) -> Fields:
    """The fields of a file of a schema."""
    if len(data) > 2 * MAX_FILE_BYTES:
        raise CourierMalformedError(f"The {name} is too large.", field=name, next_step="Check the path.")
    try:
        fields = Fields(decode(data, name), name)
        fields.choice("schema", (schema,))
    except BundleError as error:
        raise malformed(name, error) from None
    return fields


def _bytes(fields: Fields, name: str, limit: int) -> bytes:
    return _unhex(fields.raw(name), limit, fields, name)


def _certificates(fields: Fields, name: str) -> tuple[bytes, ...]:
    return tuple(_unhex(each, MAX_DER_BYTES, fields, name) for each in fields.items(name, MAX_CERTIFICATES))


def _unhex(value: object, limit: int, fields: Fields, name: str) -> bytes:
    if not isinstance(value, str) or len(value) > 2 * limit:
        raise fields.fail(name, f"must be at most {limit} bytes in hex")
    try:
        data = bytes.fromhex(value)
    except ValueError:
        raise fields.fail(name, "must be bytes in hex") from None
    if data.hex() != value:
        raise fields.fail(name, "must be bytes in lower-case hex")
    return data
