"""Enrollment: a join token and a certificate request become an identity.

Order: keyed hash looked up -> request read, possession proved -> the token's rules -> certificate linted
-> one transaction spends the token, records the intent and activates the outpost -> signed -> stored -> answered.
A bad request burns nothing. The same request may retry and gets the same leaf. Only refusals are throttled: whoever
holds a token is let through, however many bad ones come from his address or for his org.
"""

from dataclasses import dataclass, field, replace

from certs.csr import VerifiedRequest, read_request
from certs.errors import TrustError
from certs.join_token import SECRET_BYTES, secret_digest
from certs.keys import signing_key_from_raw
from certs.spiffe import OutpostIdentity
from controlplane import telemetry
from controlplane.domain import join, outposts
from controlplane.domain.enrolling import Joining, enrolled
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.join import JoinToken, Redemption, TokenRefusedError
from controlplane.domain.outposts import Outpost, OutpostState
from controlplane.domain.records import CertificateRecord
from controlplane.domain.throttle import (
    BAD_TOKENS_PER_ORG,
    BAD_TOKENS_PER_SOURCE,
    MINUTE_MS,
    Rate,
    Throttle,
    throttled_error,
)
from controlplane.ports.store import OrgSpace, Store
from controlplane.ports.world import Clock
from controlplane.services.even import refused_evenly
from controlplane.services.issuance import Chain, OutpostIssuer, stamped
from outpost.core.bundle import names

MAX_VERSION_BYTES = 32  # enrollment.proto


@dataclass(frozen=True, slots=True)
class EnrollmentCall:
    """What a stranger sent; nothing here is trusted.

    Attributes:
        source: address of the caller, for the throttle.
        caller_ms: the caller's clock.
        courier: it came in a file that an operator brought in.
    """

    org: str
    secret: bytes = field(repr=False)
    csr_der: bytes
    audit_public_key: bytes
    caller_ms: int
    software_version: str
    source: str
    courier: bool = False


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The new identity.

    Attributes:
        tuf_root: newest root metadata, exact bytes.
        now_ms: our clock.
    """

    org: str
    outpost: Outpost
    chain: Chain
    tuf_root: bytes
    now_ms: int


class Enrollment:
    """The use case.

    Args:
        pepper: key of the keyed hashes of join tokens, 32 bytes.
    """

    def __init__(self, store: Store, issuer: OutpostIssuer, pepper: bytes, clock: Clock) -> None:
        self._store = store
        self._issuer = issuer
        self._pepper = pepper
        self._clock = clock
        self._by_source = Throttle(_a_minute(BAD_TOKENS_PER_SOURCE))
        self._by_org = Throttle(_a_minute(BAD_TOKENS_PER_ORG))

    async def enroll(self, call: EnrollmentCall) -> Enrolled:
        """Spend a join token for a certificate.

        Raises:
            ThrottledError: in the place of TokenRefusedError, after too many from this source or for this org.
            TokenRefusedError: no such token, whatever the cause.
            TokenExpiredError: told only when the secret matches; so are TokenUsedError and ClockSkewError.
            TokenSourceError: so are this and TokenCourierError.
            OutpostRevokedError: the outpost was revoked before it enrolled.
            AuditKeyChangedError: it enrolls anew without its audit log.
            CertificateRequestError: the request; nothing is spent.
        """
        async with refused_evenly(self._clock):
            space, token = await self._match(call)
        request = read_request(call.csr_der)
        signing_key_from_raw(call.audit_public_key, field="audit_log_public_key")
        try:
            return await self._redeem(space, token, request, call)
        except (ControlPlaneError, TrustError) as error:
            telemetry.log(
                telemetry.Event.ENROLL_REFUSED,
                org=space.org,
                outpost=token.outpost_id,
                source=call.source,
                code=error.code,
            )
            raise

    async def _match(self, call: EnrollmentCall) -> tuple[OrgSpace, JoinToken]:
        """The stored row behind a secret, or the one refusal that all strangers get.

        Whatever is wrong, the same is done: a keyed hash and a look for a row; for an org that is not here in a view
        that has none.
        """
        secret = call.secret if len(call.secret) == SECRET_BYTES else bytes(SECRET_BYTES)
        digest = secret_digest(self._pepper, secret)
        async with self._store.view_for_stranger(call.org) as transaction:
            token = await transaction.tokens.match(digest)
        if token is None or len(call.secret) != SECRET_BYTES or transaction.org != call.org:
            raise self._refusal(call)
        return self._store.for_org(call.org), token

    def _moment_ms(self) -> float:
        """Throttles count by a clock that never steps: else a corrected one would lock a source out."""
        return self._clock.monotonic() * 1000

    def _refusal(self, call: EnrollmentCall) -> ControlPlaneError:
        now_ms = self._moment_ms()
        over = self._by_source.is_over(call.source, now_ms) or self._by_org.is_over(call.org, now_ms)
        if not over:
            self._by_source.strike(call.source, now_ms)
            self._by_org.strike(call.org, now_ms)
        refusal = throttled_error() if over else TokenRefusedError()
        telemetry.log(telemetry.Event.ENROLL_REFUSED, source=call.source, code=refusal.code)
        return refusal

    async def _redeem(
        self, space: OrgSpace, token: JoinToken, request: VerifiedRequest, call: EnrollmentCall
    ) -> Enrolled:
        now_ms = self._clock.now_ms()
        if _judged(token, request, call, now_ms) is Redemption.RETRY:
            return await self._answer_again(space, token, request)
        identity = OutpostIdentity(self._issuer.trust_domain, space.org, token.outpost_id)
        issuance = self._issuer.prepare(identity, request, now_ms // 1000)
        serial = issuance.record.serial
        async with space.write() as transaction:
            outpost = await transaction.outposts.get(token.outpost_id)
            won = await transaction.tokens.spend(token, request.request_sha256, serial, now_ms)
            if won:
                joining = Joining(serial, call.audit_public_key, call.source, token.anew)
                active = enrolled(outpost, joining, now_ms)
                record = stamped(issuance, active.join_sequence, call.source)
                await transaction.outposts.save(active)
                await transaction.certificates.intend(record)
            else:  # another call was faster: judge the row as it is now
                token = await transaction.tokens.match(token.digest) or token
        if not won:
            _judged(token, request, call, now_ms)
            return await self._answer_again(space, token, request)
        told = {"org": space.org, "outpost": identity.outpost, "serial": serial, "source": call.source}
        telemetry.log(telemetry.Event.ENROLLED, **told)  # type: ignore[arg-type]
        return await self._answer(space, await self._issuer.finish(space, issuance), record)

    async def _answer_again(self, space: OrgSpace, token: JoinToken, request: VerifiedRequest) -> Enrolled:
        """The leaf of an earlier call with the same request; signed now if that call died before."""
        async with space.read() as transaction:
            record = await transaction.certificates.get(token.serial)
            outpost = await transaction.outposts.get(token.outpost_id)
        if outpost.state in (OutpostState.REVOKED, OutpostState.LOCKED):
            raise outposts.ended_error(outpost)
        if record is None:
            raise LookupError("a spent token has no recorded issuance")
        if record.leaf_der:
            return await self._answer(space, self._issuer.chain(record.leaf_der, record.issuer), record)
        identity = OutpostIdentity(self._issuer.trust_domain, space.org, outpost.id)
        again = self._issuer.prepare_again(identity, request, record)
        return await self._answer(space, await self._issuer.finish(space, again), record)

    async def _answer(self, space: OrgSpace, chain: Chain, record: CertificateRecord) -> Enrolled:
        async with space.read() as transaction:
            outpost = await transaction.outposts.get(record.outpost_id)
            newest = await transaction.releases.newest()
            contents = await transaction.releases.contents(newest) if newest else {}
        root = max((names.root_version(name), name) for name in contents)[1]
        told = replace(outpost, join_sequence=record.sequence)
        return Enrolled(space.org, told, chain, contents[root], self._clock.now_ms())


def _judged(token: JoinToken, request: VerifiedRequest, call: EnrollmentCall, now_ms: int) -> Redemption:
    if call.courier:
        return join.judge_courier(token, request.request_sha256, call.caller_ms, now_ms)
    return join.judge(token, request.request_sha256, call.caller_ms, call.source, now_ms)


def _a_minute(limit: int) -> Rate:
    """All at once or one after the other: a limit is used up, and comes back bit by bit within a minute."""
    return Rate(MINUTE_MS / limit, limit)
