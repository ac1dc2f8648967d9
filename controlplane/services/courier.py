"""What travels in files to and from outposts that no network reaches: the services of the network, by other means.

Whoever calls brought the files in: an operator. Nothing in them is believed for that.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.domain import outposts
from controlplane.domain.errors import ConflictError, InputError
from controlplane.domain.outposts import Act
from controlplane.domain.sources import COURIER
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.enroll import Enrollment, EnrollmentCall
from controlplane.services.identity import Principal
from controlplane.services.ingest import Ingest, Upload
from controlplane.services.sets import current_set, keep_set, repository_of, revision_of
from outpost.core.audit.archive import ArchiveHead
from outpost.core.audit.merkle import TILE_WIDTH
from outpost.core.bundle.archive import pack_archive
from outpost.core.bundle.courier import JoinAnswer, JoinRequest, Receipts
from outpost.core.bundle.limits import MAX_TIMESTAMP_VALIDITY_MS

ACCEPTED, WRONG_SIZE = 200, 409  # C2SP tlog-witness


class CourierAuditError(ConflictError):
    """The witness refuses the audit log in a file."""

    code = "airgap.audit_refused"


class CourierAuditGapError(CourierAuditError):
    """The file begins behind the last record that is held here."""

    code = "airgap.audit_gap"


class CourierValidityError(InputError):
    """A bundle may not be fresh for so long."""

    code = "airgap.validity"


@dataclass(frozen=True, slots=True)
class CarriedBundle:
    """A set as one file.

    Attributes:
        revision: of it.
        fresh_until_ms: end of its timestamp's validity.
    """

    data: bytes
    revision: str
    fresh_until_ms: int


class CourierDesk:
    """The use case."""

    def __init__(self, store: Store, enrollment: Enrollment, ingest: Ingest, clock: Clock) -> None:
        self._store = store
        self._enrollment = enrollment
        self._ingest = ingest
        self._clock = clock

    async def answer(self, request: JoinRequest, data: bytes, trust_domain: str) -> JoinAnswer:
        """Enroll whoever made a request; the answer is still to be signed.

        Args:
            request: read from a file.
            data: exact bytes of that file.
            trust_domain: of this control plane.

        Raises:
            TokenRefusedError: no such token; so are TokenCourierError, TokenUsedError, TokenExpiredError.
            CertificateRequestError: the request; nothing is spent.
        """
        call = EnrollmentCall(
            org=request.org,
            secret=request.secret,
            csr_der=request.csr_der,
            audit_public_key=request.log_key,
            caller_ms=request.made_ms,
            software_version=request.software,
            source=COURIER,
            courier=True,
        )
        enrolled = await self._enrollment.enroll(call)
        witness, outpost = self._ingest.witness, enrolled.outpost
        return JoinAnswer(
            request_sha256=hashlib.sha256(data).hexdigest(),
            org=enrolled.org,
            outpost_id=outpost.id,
            name=outpost.name,
            logical=outpost.logical,
            trust_domain=trust_domain,
            chain=enrolled.chain.leaf_and_issuers,
            trust_bundle=enrolled.chain.roots,
            issuers=enrolled.chain.known_issuers,
            witness_name=witness.name,
            witness_key=witness.public_key,
            tuf_root=enrolled.tuf_root,
            join_sequence=outpost.join_sequence,
            made_ms=enrolled.now_ms,
        )

    async def bundle(self, org: str, validity_ms: int) -> CarriedBundle:
        """The configuration in force as a file, fresh for longer than one on the network may be.

        Its timestamp is one that nobody is offered over the network: the next one follows at once, so that connected
        outposts take no old set for a fresh one.

        Raises:
            CourierValidityError: too long.
            OrgUnknownError: no such org.
            SignerMissingError: the keys of the timestamp are not here.
        """
        if not 0 < validity_ms <= MAX_TIMESTAMP_VALIDITY_MS:
            most = MAX_TIMESTAMP_VALIDITY_MS // 86_400_000
            raise CourierValidityError(
                f"a bundle is fresh for {most} days at most",
                field="days",
                next_step=f"bring a new one every {most} days",
            )
        async with self._store.for_org(org).write() as transaction:
            repository, now_ms = await repository_of(transaction), self._clock.now_ms()
            number, current = await current_set(transaction)
            carried = repository.refresh(current, now_ms, validity_ms)
            await keep_set(transaction, org, repository.refresh(carried, now_ms), number + 1, now_ms)
        return CarriedBundle(pack_archive(carried, org), revision_of(org, carried), now_ms + validity_ms)

    async def take_audit(self, head: ArchiveHead, records: Iterator[bytes]) -> Receipts:
        """Take in a part of an audit log, record by record as over the network.

        Args:
            head: of the file.
            records: of the file; read as they are taken in.

        Returns:
            Receipts for the whole log up to the checkpoint of the file.

        Raises:
            OutpostUnknownError: no such outpost; OrgUnknownError, OutpostRevokedError.
            CourierAuditGapError: what lies between is missing.
            CourierAuditError: it is no continuation of what is held: changed, cut, forked, foreign.
            AuditInvalidError: not records.
        """
        principal = await self._who(head)
        first, cosigned = head.first, b""
        while True:
            count = min(TILE_WIDTH - first % TILE_WIDTH, head.size - first)
            entries = tuple(next(records) for _ in range(count))
            last = first + count == head.size
            upload = Upload(head.origin, first, entries, head.checkpoint if last else b"")
            answer = await self._ingest.append(principal, upload)
            if answer.status != ACCEPTED:
                raise _refused(answer.status, answer.known_size, first)
            first, cosigned = first + count, answer.cosigned
            if last:
                break
        for _ in records:  # it reads on to the end of the file, and refuses what stands behind
            pass
        if not cosigned.startswith(head.checkpoint):
            raise _refused(WRONG_SIZE, first, first)
        return Receipts(head.org, head.outpost_id, head.checkpoint, cosigned[len(head.checkpoint) :])

    async def _who(self, head: ArchiveHead) -> Principal:
        """The outpost of a log, if its log is still taken."""
        async with self._store.for_org(head.org).read() as transaction:
            outpost = await transaction.outposts.get(head.outpost_id)
        outposts.authorise(outpost, outpost.serial, Act.DRAIN, self._clock.now_ms())
        return Principal(head.org, outpost.id, outpost.serial, 0)


def _refused(status: int, known: int, first: int) -> CourierAuditError:
    if status == WRONG_SIZE and known < first:
        return CourierAuditGapError(
            f"{known} records are held here, and the file begins with record {first}",
            field="audit",
            next_step=f"write it again on the outpost: outpost airgap audit --out FILE --first {known}",
        )
    return CourierAuditError(
        f"the log in the file does not continue the one that is held here ({status}); {known} records are held",
        field="audit",
        next_step="keep the file as evidence, and look at the outpost: outpost verify-audit",
    )
