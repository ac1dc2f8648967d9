"""Wire messages to plain values and back, under the bounds of the wire."""

import re
from collections.abc import Sequence

from outpost_wire.v1 import audit_pb2, enrollment_pb2, sync_pb2

from certs.csr import MAX_REQUEST_BYTES
from certs.keys import ED25519_PUBLIC_KEY_BYTES
from certs.recover import MAX_NONCE_BYTES, MAX_PROOF_BYTES
from controlplane.domain.boots import BOOT_ID, Hello
from controlplane.domain.errors import InputError
from controlplane.domain.outposts import Outpost
from controlplane.services.delivery import Answer, OfferPlan
from controlplane.services.enroll import Enrolled, EnrollmentCall
from controlplane.services.ingest import Appended, Upload
from controlplane.services.recover import Recovered, RecoveryCall
from controlplane.services.renew import RenewalCall, Renewed
from outpost.core.bundle.delta import DeltaError

PROTOCOL_VERSION = 1
# Bounds of the wire, in bytes unless said otherwise.
MAX_ORG = 31
MAX_OUTPOST_ID = 19
MAX_ISSUERS = 4  # entries
MAX_LEAF_BYTES = 4_096
SERIAL = re.compile(r"[0-9a-f]{1,40}")
SEQUENCE_LIMIT = 1 << 53  # a sequence counts enrollments and renewals; beyond this it is none
VERSION = re.compile(r"[0-9A-Za-z.+~_-]{0,32}")  # of software; it is shown on terminals, so no controls
WORD = re.compile(r"[0-9A-Za-z._-]*")  # of health: functions, states and codes; stored, and shown on terminals
MAX_HELD_FILES = 256  # entries
MAX_SYNC_UP_BYTES = 64 * 1024  # a Hello with 256 files of the longest names has 45 KiB
MAX_CAPABILITIES = 32  # entries
MAX_FILE_NAME = 128
CHANGES = f"{DeltaError.code}."  # codes of refusals of changes
UNNAMED = "refused"  # code of a refusal that names none
MAX_STATE = 16
MAX_FUNCTION = 32
MAX_CODE = 64
MAX_MESSAGE = 512
MAX_ENDPOINTS = 8  # entries
MAX_FUNCTIONS = 16  # entries
MAX_TIERS = 16  # entries; three exist
MAX_CHANGES = 64  # entries of a report of the judgement in the shadow
MAX_ACTION = 32
DIRECTIONS = frozenset({"input", "output"})
MAX_TOTAL = (1 << 53) - 1  # beyond it JSON readers disagree
SHA256_BYTES = 32
CHUNK_BYTES = 65_536  # of FetchChunk.data and ReturnedPart.data
OFFER_TAG = bytes([sync_pb2.SyncDown.OFFER_FIELD_NUMBER << 3 | 2])  # field number and wire type LEN


class WireError(InputError):
    """A message with a field out of bounds."""

    code = "wire.invalid"


class SyncProtocolError(InputError):
    """A message out of order, or a protocol version that is not spoken here."""

    code = "sync.protocol"


def enrollment_call(message: enrollment_pb2.EnrollRequest, source: str) -> EnrollmentCall:
    """What a stranger sent."""
    require(len(message.token_org) <= MAX_ORG, "token_org")  # counted by name when refused
    require(VERSION.fullmatch(message.software_version) is not None, "software_version")
    require(len(message.audit_log_public_key) == ED25519_PUBLIC_KEY_BYTES, "audit_log_public_key")
    return EnrollmentCall(
        org=message.token_org,
        secret=message.token_secret,
        csr_der=message.csr_der,
        audit_public_key=message.audit_log_public_key,
        caller_ms=message.now_ms,
        software_version=message.software_version,
        source=source,
    )


def enrollment_answer(
    enrolled: Enrolled, trust_domain: str, witness: tuple[str, bytes], sync_endpoints: Sequence[str]
) -> enrollment_pb2.EnrollResponse:
    """The new identity.

    Args:
        enrolled: the outpost and its certificate.
        trust_domain: of this control plane.
        witness: its key name and public key.
        sync_endpoints: host:port of the mTLS listener, then of every replica's.
    """
    return enrollment_pb2.EnrollResponse(
        org=enrolled.org,
        outpost_id=enrolled.outpost.id,
        name=enrolled.outpost.name,
        trust_domain=trust_domain,
        chain_der=enrolled.chain.leaf_and_issuers,
        trust_bundle_der=enrolled.chain.roots,
        tuf_root=enrolled.tuf_root,
        witness_name=witness[0],
        witness_public_key=witness[1],
        sync_endpoint=sync_endpoints[0],
        join_sequence=enrolled.outpost.join_sequence,
        now_ms=enrolled.now_ms,
        sync_endpoints=sync_endpoints[1 : 1 + MAX_ENDPOINTS],
        issuer_der=enrolled.chain.known_issuers[:MAX_ISSUERS],
        logical=enrolled.outpost.site,
    )


def challenge(message: enrollment_pb2.ChallengeRequest) -> tuple[str, str]:
    """Org and outpost that a stranger names."""
    require(len(message.org) <= MAX_ORG, "org")
    require(len(message.outpost_id) <= MAX_OUTPOST_ID, "outpost_id")
    return message.org, message.outpost_id


def recovery_call(message: enrollment_pb2.RecoverRequest, source: str) -> RecoveryCall:
    """What a stranger sent to recover."""
    require(len(message.org) <= MAX_ORG, "org")
    require(len(message.outpost_id) <= MAX_OUTPOST_ID, "outpost_id")
    require(len(message.nonce) <= MAX_NONCE_BYTES, "nonce")
    require(len(message.csr_der) <= MAX_REQUEST_BYTES, "csr_der")
    require(message.join_sequence < SEQUENCE_LIMIT, "join_sequence")
    require(SERIAL.fullmatch(message.serial) is not None, "serial")
    require(len(message.proof) <= MAX_PROOF_BYTES, "proof")
    require(len(message.leaf_der) <= MAX_LEAF_BYTES, "leaf_der")
    require(BOOT_ID.fullmatch(message.boot_id) is not None, "boot_id")
    require(VERSION.fullmatch(message.software_version) is not None, "software_version")
    return RecoveryCall(
        org=message.org,
        outpost_id=message.outpost_id,
        nonce=message.nonce,
        csr_der=message.csr_der,
        join_sequence=message.join_sequence,
        serial=message.serial,
        proof=message.proof,
        leaf_der=message.leaf_der,
        boot_id=message.boot_id,
        caller_ms=message.now_ms,
        source=source,
    )


def recovery_answer(recovered: Recovered, sync_endpoints: Sequence[str]) -> enrollment_pb2.RecoverResponse:
    """A certificate for a proof of the bound key."""
    return enrollment_pb2.RecoverResponse(
        chain_der=recovered.chain.leaf_and_issuers,
        trust_bundle_der=recovered.chain.roots,
        join_sequence=recovered.join_sequence,
        now_ms=recovered.now_ms,
        sync_endpoints=sync_endpoints[:MAX_ENDPOINTS],
        issuer_der=recovered.chain.known_issuers[:MAX_ISSUERS],
    )


def renewal_call(message: sync_pb2.RenewRequest, source: str) -> RenewalCall:
    """What an outpost asks for its next certificate with."""
    require(message.join_sequence < SEQUENCE_LIMIT, "join_sequence")
    require(BOOT_ID.fullmatch(message.boot_id) is not None, "boot_id")
    return RenewalCall(message.csr_der, message.join_sequence, message.boot_id, source)


def hello(message: sync_pb2.Hello, source: str) -> Hello:
    """What a start says of itself; its fields were checked."""
    return Hello(message.boot_id, message.software_version, source, message.refused_revision)


def question(nonce: str, now_ms: int) -> bytes:
    """An offer of nothing, whose nonce only somebody who lives can send back."""
    return offer(nonce, now_ms, b"")


def rotate_now(spread_seconds: int) -> bytes:
    """Renew at a random moment."""
    return sync_pb2.SyncDown(rotate_now=sync_pb2.RotateNow(spread_seconds=spread_seconds)).SerializeToString()


def lock(outpost: Outpost) -> bytes:
    """The signed order to wipe."""
    signatures = [
        sync_pb2.LockSignature(key_id=key_id, signature=bytes.fromhex(signature))
        for key_id, signature in outpost.lock_signatures
    ]
    order = sync_pb2.Lock(reason=outpost.reason[:MAX_CODE], order=outpost.lock_order.encode(), signatures=signatures)
    return sync_pb2.SyncDown(lock=order).SerializeToString()


def sync_up(data: bytes) -> sync_pb2.SyncUp:
    """Read a message of a sync stream. Its listener takes far larger ones, for uploads of audit entries.

    Raises:
        WireError: larger than a Hello can be.
        DecodeError: no message of its type.
    """
    require(len(data) <= MAX_SYNC_UP_BYTES, "message")
    return sync_pb2.SyncUp.FromString(data)


def check_hello(message: sync_pb2.Hello) -> dict[str, bytes]:
    """Files that the outpost holds, by name.

    Raises:
        SyncProtocolError: no common protocol version.
        WireError: a field out of bounds.
    """
    if not message.protocol_min <= PROTOCOL_VERSION <= message.protocol_max:
        raise SyncProtocolError(
            f"this control plane speaks protocol version {PROTOCOL_VERSION}",
            field="protocol_max",
            next_step="run versions of outpost and control plane that are at most one apart",
        )
    require(VERSION.fullmatch(message.software_version) is not None, "software_version")
    require(BOOT_ID.fullmatch(message.boot_id) is not None, "boot_id")
    require(len(message.held) <= MAX_HELD_FILES, "held")
    require(len(message.trust_bundle_sha256) in (0, SHA256_BYTES), "trust_bundle_sha256")
    require(len(message.capabilities) <= MAX_CAPABILITIES, "capabilities")
    for file in message.held:
        require(len(file.name.encode()) <= MAX_FILE_NAME and len(file.sha256) == SHA256_BYTES, "held")
    return {file.name: file.sha256 for file in message.held}


def offer_body(plan: OfferPlan) -> bytes:
    """What an offer says to all who hold the same: what differs from that by name and hash, and the bytes of it that
    travel, plainly or as deltas.
    """
    packing = plan.packing
    nothing = b"", b""
    listed = []
    for file in packing.files:
        frame, old_sha256 = packing.deltas.get(file.name, nothing)
        listed.append(
            sync_pb2.OfferedFile(
                name=file.name,
                sha256=file.sha256,
                size=file.size,
                metadata=file.metadata,
                inline=plan.inline.get(file.name, b""),
                delta=frame,
                delta_sha256=old_sha256,
            )
        )
    message = sync_pb2.Offer(
        revision=plan.revision, files=listed, removed=packing.removed, withheld=plan.withheld[:MAX_CODE]
    )
    if not packing.is_empty:
        message.base_sha256 = packing.base_sha256
    return message.SerializeToString()


def offer(nonce: str, now_ms: int, body: bytes) -> bytes:
    """A SyncDown with an offer, put together from what is its own and what it shares.

    Fields of a message may stand in any order, and bytes of two messages of one type, one behind the other, are the
    message with the fields of both (protobuf encoding, "Last One Wins").
    """
    own = sync_pb2.Offer(nonce=nonce, now_ms=now_ms).SerializeToString()
    return OFFER_TAG + _varint(len(own) + len(body)) + own + body


def wanted(sha256s: Sequence[bytes]) -> bytes:
    """Give these files of the held set back."""
    return sync_pb2.SyncDown(wanted=sync_pb2.Wanted(sha256=sha256s[:MAX_HELD_FILES])).SerializeToString()


def drain(spread_seconds: int) -> bytes:
    """Reconnect at a random moment."""
    return sync_pb2.SyncDown(drain=sync_pb2.Drain(spread_seconds=spread_seconds)).SerializeToString()


def endpoints(sync: Sequence[str]) -> bytes:
    """Every address at which an outpost may connect."""
    return sync_pb2.SyncDown(endpoints=sync_pb2.Endpoints(sync=sync[:MAX_ENDPOINTS])).SerializeToString()


def acknowledgement(message: sync_pb2.Ack) -> Answer:
    """What an outpost says of a set that is active."""
    downloaded_ms = max(message.downloaded_ms, 0)
    return Answer(
        release=message.release,
        downloaded=downloaded_ms > 0,
        downloaded_ms=downloaded_ms,
        activated_ms=max(message.activated_ms, 0),
    )


def refusal(message: sync_pb2.Nack) -> Answer:
    """What an outpost says of a set that it refused, fit to be stored and shown."""
    error = message.error
    of_changes = error.code.startswith(CHANGES)
    return Answer(
        code=plain(error.code, MAX_CODE) or UNNAMED,
        message=plain(error.message, MAX_MESSAGE),
        resource=plain(message.resource, MAX_FILE_NAME),
        release=message.release,
        final=error.fatal and not of_changes,  # earlier versions of the outpost hold it for final
        of_changes=of_changes,
        downloaded=message.downloaded,
    )


def plain(text: str, size: int) -> str:
    """A text of a peer without control characters, cut to so many characters: it is stored and shown on terminals."""
    return "".join(each if each.isprintable() else "?" for each in text[:size])


def _is_word(text: str, size: int) -> bool:
    return len(text) <= size and WORD.fullmatch(text) is not None


def _varint(number: int) -> bytes:
    """Base 128, the lowest seven bits first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def status(message: sync_pb2.Status) -> dict[str, object]:
    """A heartbeat as plain JSON: names, codes and totals."""
    require(len(message.health) <= MAX_FUNCTIONS and len(message.tiers) <= MAX_TIERS, "health")
    require(_is_word(message.state, MAX_STATE), "state")
    require(len(message.trust_bundle_sha256) in (0, SHA256_BYTES), "trust_bundle_sha256")
    require(VERSION.fullmatch(message.active_revision) is not None, "active_revision")
    require(VERSION.fullmatch(message.software_version) is not None, "software_version")
    require(VERSION.fullmatch(message.downloaded_revision) is not None, "downloaded_revision")
    for each in message.health:
        require(_is_word(each.function, MAX_FUNCTION) and _is_word(each.state, MAX_STATE), "health")
        require(_is_word(each.code, MAX_CODE), "health")
    return {
        "state": message.state,
        "active_revision": message.active_revision,
        "certificate_expires_ms": message.certificate_expires_ms,
        "audit_size": message.audit_size,
        "audit_cosigned": message.audit_cosigned,
        "tiers": list(message.tiers),
        "workers_ready": message.workers_ready,
        "workers": message.workers,
        "software_version": message.software_version,
        "clock_ms": message.now_ms,
        "trust_bundle": message.trust_bundle_sha256.hex(),
        "health": {each.function: each.code or each.state for each in message.health},
        "release": message.release,
        "downloaded_revision": message.downloaded_revision,
        "requests": _total(message.requests),
        "failed": _total(message.failed),
        **({"shadow": shadow(message.shadow)} if message.HasField("shadow") else {}),
    }


def shadow(message: sync_pb2.ShadowReport) -> dict[str, object]:
    """How a candidate would have decided, as plain JSON: names of actions and totals."""
    require(len(message.changes) <= MAX_CHANGES, "shadow")
    for each in message.changes:
        require(each.direction in DIRECTIONS, "shadow")
        require(_is_word(each.before, MAX_ACTION) and _is_word(each.after, MAX_ACTION), "shadow")
    changes = [
        {"direction": each.direction, "before": each.before, "after": each.after, "count": _total(each.count)}
        for each in message.changes
    ]
    return {"release": message.release, "compared": _total(message.compared), "changes": changes}


def _total(value: int) -> int:
    """A total as JSON readers agree on it: what is more is not believed, and cut."""
    return min(value, MAX_TOTAL)


def renewal_answer(renewed: Renewed) -> sync_pb2.RenewResponse:
    """A new certificate."""
    return sync_pb2.RenewResponse(
        chain_der=renewed.chain.leaf_and_issuers,
        trust_bundle_der=renewed.chain.roots,
        join_sequence=renewed.join_sequence,
        issuer_der=renewed.chain.known_issuers[:MAX_ISSUERS],
    )


def upload(message: audit_pb2.AppendRequest) -> Upload:
    """Entries of one tile; their bounds are the witness's to judge."""
    return Upload(message.origin, message.first, tuple(message.entries), message.checkpoint)


def append_answer(appended: Appended) -> audit_pb2.AppendResponse:
    """The witness's answer."""
    return audit_pb2.AppendResponse(
        status=audit_pb2.WitnessStatus.Name(appended.status),
        known_size=appended.known_size,
        cosigned_checkpoint=appended.cosigned,
    )


def require(condition: bool, field: str) -> None:
    """Raises WireError unless the condition holds."""
    if not condition:
        raise WireError(f"the field {field} is out of the bounds of the wire", field=field)
