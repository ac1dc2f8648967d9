"""Signed sets on their way to outposts: offers, answers, and fetched bytes.

What an outpost is offered depends only on the newest set and on the set that it holds. Most of a fleet hold the same
one, so an offer is made once for each pair and shared by all streams; so are the names and hashes of what they hold.
A set that an outpost refused is not offered to it again, on whatever stream or replica: it is told why nothing comes.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from controlplane import telemetry
from controlplane.domain import offers
from controlplane.domain.boots import Hello
from controlplane.domain.errors import InputError, NotFoundError
from controlplane.domain.offers import SetFile, SignedRelease
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal
from controlplane.services.views import OrgView, Views
from controlplane.services.words import Words

PART_BYTES = 1024 * 1024  # read from the store at once
KEPT_PLANS = 64  # offers of an org that are kept made; a fleet that is up to date needs one


class FileUnknownError(NotFoundError):
    """No set of this org holds a file with that hash."""

    code = "fetch.not_found"


class RangeError(InputError):
    """An offset beyond the file."""

    code = "fetch.range"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Holding:
    """What outposts hold: SHA-256 of each file by name, one object for all that hold the same."""

    digest: bytes
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class OfferPlan:
    """What to offer to those who hold something.

    Attributes:
        number: of the signed set; 0 when the org has none.
        files: the complete set; empty when they hold exactly it, or when it is withheld.
        inline: bytes that travel with the offer, by name.
        after: what they hold when they have taken it.
        withheld: code with which the outpost refused the set.
    """

    number: int
    revision: str
    files: tuple[SetFile, ...]
    inline: Mapping[str, bytes]
    after: Holding
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an outpost says of an offer.

    Attributes:
        code: of the error with which it refused, else empty; so are its message and the file to blame.
        release: version of the release that it runs now, or refused.
        downloaded: every byte was there.
        downloaded_ms: since when, by its own clock; so is ``activated_ms``.
    """

    code: str = ""
    message: str = ""
    resource: str = ""
    release: int = 0
    downloaded: bool = False
    downloaded_ms: int = 0
    activated_ms: int = 0


NO_ANSWER = Answer()


@dataclass(slots=True)
class _Shelf:
    """Plans for one org's newest set."""

    number: int = 0
    plans: dict[bytes, "asyncio.Future[OfferPlan]"] = field(default_factory=dict)


class DeliveryDesk:
    """The use case."""

    def __init__(self, store: Store, views: Views, words: Words, clock: Clock) -> None:
        self._store = store
        self._views = views
        self._words = words
        self._clock = clock
        self._holdings: WeakValueDictionary[bytes, Holding] = WeakValueDictionary()
        self._shelves: dict[str, _Shelf] = {}

    def holding(self, files: Mapping[str, bytes]) -> Holding:
        """The one object for these names and hashes."""
        listing = b"".join(b"%b\0%b" % (name.encode(), files[name]) for name in sorted(files))
        digest = hashlib.sha256(listing).digest()
        found = self._holdings.get(digest)
        if found is None:
            found = self._holdings[digest] = Holding(digest, dict(files))
        return found

    async def hello(self, principal: Principal, said: Hello) -> None:
        """An outpost opened its stream.

        Raises:
            IdentitySupersededError: a later start of the outpost has spoken.
            OutpostLockedError: two starts with one counter: the identity is locked.
            StateError: the store failed.
        """
        known = self._views.held(principal.org).outposts.get(principal.outpost_id)
        new = (said.boot_id, said.software_version, said.source)
        if known is None or (known.boot_id, known.software_version, known.boot_source) != new:
            await self._words.hello(principal, said)

    async def plan(self, principal: Principal, held: Holding) -> OfferPlan | None:
        """The newest set against what the outpost holds; None when the org has no set yet."""
        view = self._views.held(principal.org)
        newest = view.newest
        if newest is None:
            return None
        refused = view.refused.get(principal.outpost_id, "")
        if refused:
            return OfferPlan(newest.number, newest.revision, (), {}, held, withheld=refused)
        return await self._shared(view, newest, held)

    def offered(self, principal: Principal, plan: OfferPlan) -> None:
        """Note that an outpost was made an offer."""
        self._words.answer(principal.org, self._word(principal, plan, DeliveryState.OFFERED))
        telemetry.log(
            telemetry.Event.OFFERED,
            org=principal.org,
            outpost=principal.outpost_id,
            revision=plan.revision,
            number=plan.number,
        )

    def acknowledged(self, principal: Principal, plan: OfferPlan, answer: Answer) -> None:
        """Keep that a set is active."""
        self._words.answer(principal.org, self._word(principal, plan, DeliveryState.ACTIVE, answer))
        telemetry.log(
            telemetry.Event.ACKNOWLEDGED, org=principal.org, outpost=principal.outpost_id, revision=plan.revision
        )

    def refused(self, principal: Principal, plan: OfferPlan, answer: Answer) -> None:
        """Keep that a set was refused, at once."""
        word = self._word(principal, plan, DeliveryState.REFUSED, answer)
        view = self._views.held(principal.org)
        if view.number == plan.number:
            view.refused[principal.outpost_id] = answer.code
        self._words.answer(principal.org, word, urgent=True)
        telemetry.log(
            telemetry.Event.NOT_ACKNOWLEDGED,
            org=principal.org,
            outpost=principal.outpost_id,
            revision=plan.revision,
            code=answer.code,
        )

    async def fetch(self, principal: Principal, sha256: bytes, offset: int) -> AsyncIterator[bytes]:
        """Bytes of a file of the caller's org from an offset.

        Raises:
            FileUnknownError: no such file in this org.
            RangeError: the offset is beyond its end.
        """
        space = self._store.for_org(principal.org)
        async with space.read() as transaction:
            size = await transaction.releases.size_of(sha256)
        if size is None:
            raise FileUnknownError("no signed set of this org holds such a file", field="sha256")
        if offset > size:
            raise RangeError(f"the file has {size} bytes", field="offset")
        while offset < size:
            async with space.read() as transaction:
                part = await transaction.releases.part(sha256, offset, PART_BYTES)
            yield part
            offset += len(part)

    async def _shared(self, view: OrgView, newest: SignedRelease, held: Holding) -> OfferPlan:
        """The plan for a pair of sets, made once."""
        shelf = self._shelves.get(view.org)
        if shelf is None or shelf.number != newest.number:
            shelf = self._shelves[view.org] = _Shelf(newest.number)
        found = shelf.plans.get(held.digest)
        if found is None:
            found = asyncio.ensure_future(self._make(view.org, newest, held))
            found.add_done_callback(_looked_at)
            shelf.plans[held.digest] = found
            while len(shelf.plans) > KEPT_PLANS:
                del shelf.plans[next(iter(shelf.plans))]
        try:
            return await asyncio.shield(found)
        except Exception:
            if shelf.plans.get(held.digest) is found:
                del shelf.plans[held.digest]
            raise

    async def _make(self, org: str, newest: SignedRelease, held: Holding) -> OfferPlan:
        if offers.is_current(newest.files, held.files):
            return OfferPlan(newest.number, newest.revision, (), {}, held)
        names = offers.inline(offers.missing(newest.files, held.files))
        async with self._store.for_org(org).read() as transaction:
            contents = await transaction.releases.contents(newest)
        after = self.holding({file.name: file.sha256 for file in newest.files})
        inline = {name: contents[name] for name in names}
        return OfferPlan(newest.number, newest.revision, newest.files, inline, after)

    def _word(
        self, principal: Principal, plan: OfferPlan, state: DeliveryState, answer: Answer = NO_ANSWER
    ) -> Delivery:
        now_ms = self._clock.now_ms()
        downloaded_ms = answer.downloaded_ms or (now_ms if answer.downloaded else 0)
        return Delivery(
            outpost_id=principal.outpost_id,
            number=plan.number,
            revision=plan.revision,
            state=state,
            at_ms=now_ms,
            code=answer.code,
            message=answer.message,
            resource=answer.resource,
            release=answer.release,
            downloaded_ms=downloaded_ms,
            activated_ms=answer.activated_ms,
        )


def _looked_at(made: "asyncio.Future[OfferPlan]") -> None:
    """Whoever waits is told of a failure; when nobody does any more, it is no news."""
    if not made.cancelled():
        made.exception()
