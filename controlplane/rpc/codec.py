"""Wire messages to plain values and back, under the bounds of the wire."""

import re
from collections.abc import Iterable, Mapping

from outpost_wire.v1 import audit_pb2, enrollment_pb2, sync_pb2

from certs.keys import ED25519_PUBLIC_KEY_BYTES
from controlplane.domain.errors import InputError
from controlplane.domain.offers import OfferPacking, SetFile
from controlplane.domain.outposts import BOOT_ID
from controlplane.services.enroll import Enrolled, EnrollmentCall
from controlplane.services.ingest import Appended, Upload
from controlplane.services.renew import Renewed

PROTOCOL_VERSION = 1
# Bounds of the wire, in bytes unless said otherwise.
MAX_ORG = 31
VERSION = re.compile(r"[0-9A-Za-z.+~_-]{0,32}")  # of software; it is shown on terminals, so no controls
MAX_HELD_FILES = 256  # entries
MAX_FILE_NAME = 128
MAX_NONCE = 32
MAX_REVISION = 32
MAX_FUNCTIONS = 16  # entries
MAX_TIERS = 16  # entries; three exist
SHA256_BYTES = 32


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
    enrolled: Enrolled, trust_domain: str, witness: tuple[str, bytes], sync_endpoint: str
) -> enrollment_pb2.EnrollResponse:
    """The new identity. ``witness`` is its key name and public key."""
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
        sync_endpoint=sync_endpoint,
        join_sequence=enrolled.outpost.join_sequence,
        now_ms=enrolled.now_ms,
    )


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
    for file in message.held:
        require(len(file.name.encode()) <= MAX_FILE_NAME and len(file.sha256) == SHA256_BYTES, "held")
    return {file.name: file.sha256 for file in message.held}


def offer(
    nonce: str, revision: str, files: Iterable[SetFile], inline: Mapping[str, bytes], now_ms: int
) -> sync_pb2.SyncDown:
    """A signed set by name and hash; ``inline`` has the bytes that travel with it."""
    listed = [
        sync_pb2.OfferedFile(
            name=file.name,
            sha256=file.sha256,
            size=file.size,
            metadata=file.metadata,
            inline=inline.get(file.name, b""),
        )
        for file in files
    ]
    return sync_pb2.SyncDown(offer=sync_pb2.Offer(nonce=nonce, revision=revision, files=listed, now_ms=now_ms))


def packed_offer(
    nonce: str, revision: str, packing: OfferPacking, contents: Mapping[str, bytes], now_ms: int
) -> sync_pb2.SyncDown:
    """A signed set as it was packed for what an outpost holds; ``contents`` has the bytes that travel plainly."""
    listed = [
        sync_pb2.OfferedFile(
            name=file.name,
            sha256=file.sha256,
            size=file.size,
            metadata=file.metadata,
            inline=contents[file.name] if file.name in packing.inline else b"",
            delta=packing.deltas[file.name][0] if file.name in packing.deltas else b"",
            delta_sha256=packing.deltas[file.name][1] if file.name in packing.deltas else b"",
        )
        for file in packing.files
    ]
    message = sync_pb2.Offer(nonce=nonce, revision=revision, files=listed, now_ms=now_ms, removed=packing.removed)
    if not packing.is_empty:
        message.base_sha256 = packing.base_sha256
    return sync_pb2.SyncDown(offer=message)


def withheld_offer(nonce: str, revision: str, code: str, now_ms: int) -> sync_pb2.SyncDown:
    """Nothing is offered, since the outpost refused what is newer, with this code."""
    offer = sync_pb2.Offer(nonce=nonce, revision=revision, now_ms=now_ms, withheld=code)
    return sync_pb2.SyncDown(offer=offer)


def drain(spread_seconds: int) -> sync_pb2.SyncDown:
    """Reconnect at a random moment."""
    return sync_pb2.SyncDown(drain=sync_pb2.Drain(spread_seconds=spread_seconds))


def status(message: sync_pb2.Status) -> dict[str, object]:
    """A heartbeat as plain JSON: names, codes and totals."""
    require(len(message.health) <= MAX_FUNCTIONS and len(message.tiers) <= MAX_TIERS, "health")
    require(len(message.state) <= 16 and len(message.active_revision) <= MAX_REVISION, "state")
    require(VERSION.fullmatch(message.software_version) is not None, "software_version")
    for each in message.health:
        require(len(each.function) <= 32 and len(each.state) <= 16 and len(each.code) <= 64, "health")
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
        "health": {each.function: each.code or each.state for each in message.health},
    }


def renewal_answer(renewed: Renewed) -> sync_pb2.RenewResponse:
    """A new certificate."""
    return sync_pb2.RenewResponse(
        chain_der=renewed.chain.leaf_and_issuers,
        trust_bundle_der=renewed.chain.roots,
        join_sequence=renewed.join_sequence,
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
