"""What administration needs: persons, machine clients, approvals, the act log, secrets at rest."""

from typing import Protocol

from certs.signer import Signer
from controlplane.domain.acts import Act, ActFilter, ActHead, ActRow
from controlplane.domain.approvals import Approval
from controlplane.domain.clients import MachineClient
from controlplane.domain.replies import Reply
from controlplane.domain.signing_keys import SigningKey
from controlplane.domain.users import User


class Users(Protocol):
    """Persons of one org."""

    async def add(self, user: User) -> None:
        """Insert. Raises UserExistsError: the name is taken."""
        ...

    async def save(self, user: User) -> None:
        """Replace the row of ``user.id``."""
        ...

    async def named(self, name: str) -> User | None:
        """By name."""
        ...

    async def find(self, name_or_id: str) -> User:
        """By name or id. Raises UserUnknownError."""
        ...

    async def all(self) -> tuple[User, ...]:
        """In order of creation."""
        ...


class Clients(Protocol):
    """Machine clients of one org."""

    async def add(self, client: MachineClient) -> None:
        """Insert. Raises ClientExistsError: a live client has the name."""
        ...

    async def save(self, client: MachineClient) -> None:
        """Replace the row of ``client.id``."""
        ...

    async def get(self, client_id: str) -> MachineClient | None:
        """By id, revoked ones too."""
        ...

    async def find(self, name_or_id: str) -> MachineClient:
        """A live one by name or id. Raises ClientUnknownError."""
        ...

    async def all(self) -> tuple[MachineClient, ...]:
        """In order of creation."""
        ...


class Approvals(Protocol):
    """Acts of one org that wait for a second person, or did."""

    async def add(self, approval: Approval) -> None:
        """Insert."""
        ...

    async def save(self, approval: Approval) -> None:
        """Replace the row of ``approval.id``."""
        ...

    async def get(self, approval_id: str) -> Approval:
        """By id. Raises ApprovalUnknownError."""
        ...

    async def pending_on(self, subject: str) -> tuple[Approval, ...]:
        """Those on a subject that are stored as pending, expired ones too."""
        ...

    async def pending_count(self, now_ms: int) -> int:
        """How many wait now."""
        ...

    async def withdraw_all(self, reason: str, now_ms: int) -> int:
        """End all that are stored as pending. Returns how many there were."""
        ...

    async def newest(self, before: str, limit: int) -> tuple[Approval, ...]:
        """Newest first, those made before the one with id ``before``; from the newest when that is empty."""
        ...


class Acts(Protocol):
    """The act log of one org: exact bytes and leaf hashes."""

    async def head(self) -> ActHead:
        """What is held; an empty head before the first record."""
        ...

    async def append(self, act: Act, row: ActRow, leaf: bytes, frontier: tuple[bytes, ...]) -> None:
        """Add a record at the end, with the tree's left edge after it."""
        ...

    async def sign(self, size: int, note: bytes, now_ms: int) -> None:
        """Keep a signed head for ever."""
        ...

    async def entries(self, first: int, count: int) -> tuple[bytes, ...]:
        """Exact records from ``first``."""
        ...

    async def leaves(self, first: int, count: int) -> tuple[bytes, ...]:
        """Leaf hashes from ``first``."""
        ...

    async def newest(self, chosen: ActFilter, before: int, limit: int) -> tuple[ActRow, ...]:
        """Records below a sequence number, newest first."""
        ...

    async def checkpoints(self) -> tuple[tuple[int, bytes], ...]:
        """All signed heads, by size."""
        ...

    async def checkpoint(self, size: int) -> bytes | None:
        """The signed head of a size."""
        ...


class Replies(Protocol):
    """Answers that are kept for repeated requests with one idempotency key."""

    async def find(self, principal: str, key: str, since_ms: int) -> Reply | None:
        """The kept answer that is not older."""
        ...

    async def keep(self, reply: Reply) -> None:
        """Insert or replace."""
        ...

    async def drop(self, principal: str, key: str) -> None:
        """Forget one."""
        ...

    async def prune(self, before_ms: int) -> int:
        """Forget what is older. Returns how many there were."""
        ...


class AdminRules(Protocol):
    """How one org wants to be administered."""

    async def two_person(self) -> bool:
        """Whether the two-person rule holds."""
        ...

    async def set_two_person(self, *, on: bool) -> None:
        """Switch it."""
        ...


class TokenKeyRows(Protocol):
    """Public halves of the keys that sign access tokens, in the operator's space."""

    async def all(self) -> tuple[SigningKey, ...]:
        """By number."""
        ...

    async def add(self, key: SigningKey) -> None:
        """Insert."""
        ...


class TokenKeys(Protocol):
    """Keys that sign access tokens; private halves never leave the adapter."""

    async def all(self) -> tuple[SigningKey, ...]:
        """By number."""
        ...

    async def add(self, now_ms: int) -> SigningKey:
        """Make one more."""
        ...

    async def signer(self, key: SigningKey) -> Signer:
        """The signer of a key."""
        ...


class Passwords(Protocol):
    """Slow hashes of passwords, a few at a time and off the event loop."""

    @property
    def nobodys(self) -> str:
        """A hash that no password has; checking against it takes as long as against any."""
        ...

    async def hash(self, password: str) -> str:
        """Encode a password."""
        ...

    async def matches(self, encoded: str, password: str) -> bool:
        """Whether a password is the one that was encoded."""
        ...

    def is_outdated(self, encoded: str) -> bool:
        """Whether it was encoded with other parameters than today's."""
        ...


class Seal(Protocol):
    """Small secrets at rest: closed under the key-encryption key, bound to what they are for."""

    def close(self, purpose: str, plain: bytes) -> bytes:
        """Encrypt."""
        ...

    def open(self, purpose: str, closed: bytes) -> bytes:
        """Decrypt. Raises SealError: another key or purpose, or changed bytes."""
        ...

    def mark(self, purpose: str, data: bytes) -> bytes:
        """A keyed digest of 32 bytes, for what is handed out and must come back unchanged."""
        ...
