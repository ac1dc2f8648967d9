"""What a handler gets: who asks, for which org, and the services, bound to the transaction of its act."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from certs.signer import Signer
from controlplane.domain.acts import Act, Outcome
from controlplane.domain.approvals import Approval
from controlplane.domain.plans import NOBODY, Author
from controlplane.domain.rbac import Principal
from controlplane.ports.admin import Seal
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Chance, Clock
from controlplane.services.acts import ActLog
from controlplane.services.administer import Administration, Door
from controlplane.services.authorities import Authorities
from controlplane.services.ceremonies import Ceremonies
from controlplane.services.configuration import Publisher
from controlplane.services.ingest import Ingest
from controlplane.services.ingresses import IngressDesk
from controlplane.services.judging import PolicyJudge
from controlplane.services.locks import Locks
from controlplane.services.machines import Machines
from controlplane.services.persons import Persons
from controlplane.services.plans import Planner, Wish
from controlplane.services.sign_in import SignIn
from controlplane.services.tokens import Tokens
from controlplane.services.withdrawals import Withdrawals

NO_TERMS: Final[Mapping[str, object]] = MappingProxyType({})
Executed = tuple[int, Mapping[str, object]]
Remedy = Callable[[OrgTransaction, Exception], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Workbench:
    """What operations work with; one for a process.

    Attributes:
        witness: key that cosigns heads of outposts' logs.
        door: where outposts enroll.
        silent_ms: an outpost not seen for longer is silent.
        is_served: whether a server runs on this control plane.
        describe: the API as OpenAPI.
        authorities: the CAs.
        ingresses: certificates of ingresses.
        judge: of policy documents.
        root_key: of the root CA, when it is kept elsewhere and was brought here for this command.
    """

    store: Store
    clock: Clock
    chance: Chance
    seal: Seal = field(repr=False)
    acts: ActLog
    tokens: Tokens
    sign_in: SignIn
    trust_domain: str
    witness: Signer
    door: Callable[[], Awaitable[Door]]
    silent_ms: int
    is_served: Callable[[], Awaitable[bool]]
    describe: Callable[[], dict[str, Any]]
    authorities: Authorities
    ingresses: IngressDesk
    judge: PolicyJudge
    root_key: Signer | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call comes from.

    Attributes:
        source: address, or ``local``.
        request_id: of this call.
    """

    source: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Context:
    """One call of one operation, authenticated and authorised.

    Attributes:
        org: of the path; the operator's for operator operations.
        store: in an act, every transaction of it is the act's.
        transaction: of the act; None outside of acts.
        prepared: what the operation looked up before the transaction.
        now_ms: Unix milliseconds.
        write_act: makes the record of this call; handlers of OWN operations append it themselves.
        execute: does a stored act within this one; only approvals use it.
        ponder: does the slow work of a stored act, before the transaction.
        recheck: holds If-Match against what a context sees now; SPANNING operations do it in their own transaction.
        second: who approves the act, where it waited for a second person; None otherwise.
        after_failure: what is to be kept although the act failed; done in the transaction that records the failure.
    """

    bench: Workbench
    principal: Principal
    origin: Origin
    org: str
    store: Store
    transaction: OrgTransaction | None
    now_ms: int
    write_act: Callable[[Principal, Outcome], Act]
    prepared: Any
    execute: Callable[["Context", Approval, Principal, Remedy], Awaitable[Executed]]
    ponder: Callable[["Context", Approval], Awaitable[None]]
    recheck: Callable[["Context"], Awaitable[None]]
    second: Principal | None = None
    after_failure: list[Remedy] = field(default_factory=list)

    @property
    def open(self) -> OrgTransaction:
        """The act's transaction, where there is one."""
        if self.transaction is None:
            raise RuntimeError("this operation has no transaction of its own")
        return self.transaction

    @property
    def shown_to(self) -> tuple[str, ...]:
        """Ids of those who get the answer: who asked, or who approved what he asked for, and who stands behind him."""
        asked = self.second or self.principal
        return (asked.id, *asked.behind)

    @property
    def administration(self) -> Administration:
        """Outposts."""
        return Administration(self.store, self.bench.clock, self.bench.chance)

    @property
    def publisher(self) -> Publisher:
        """Signed configuration."""
        return Publisher(self.store, self.bench.clock, self.bench.chance)

    @property
    def planner(self) -> Planner:
        """Releases on their way."""
        return Planner(self.store, self.bench.clock)

    def wish(
        self, title: str = "", terms: Mapping[str, object] = NO_TERMS, *, at_once: bool = False, supersede: bool = False
    ) -> Wish:
        """How the caller wants a release."""
        second = Author(self.second.id, self.second.name) if self.second is not None else NOBODY
        return Wish(Author(self.principal.id, self.principal.name), second, title, at_once, supersede, terms)

    @property
    def ceremonies(self) -> Ceremonies:
        """Keys and releases that take signatures made elsewhere."""
        return Ceremonies(self.store, self.bench.clock)

    @property
    def persons(self) -> Persons:
        """Users."""
        return Persons(self.store, self.bench.clock, self.bench.chance, self.shown_to)

    @property
    def machines(self) -> Machines:
        """Machine clients."""
        return Machines(self.store, self.bench.clock, self.bench.chance, self.shown_to)

    @property
    def withdrawals(self) -> Withdrawals:
        """Identities that end."""
        return Withdrawals(self.store, self.bench.clock)

    @property
    def locks(self) -> Locks:
        """Orders to wipe."""
        return Locks(self.store, self.bench.clock)

    @property
    def ingest(self) -> Ingest:
        """The witness."""
        return Ingest(self.store, self.bench.trust_domain, self.bench.witness, self.bench.clock)


Handler = Callable[[Context, Any, Any], Awaitable[Any]]
