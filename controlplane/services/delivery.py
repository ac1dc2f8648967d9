"""Signed sets on their way to outposts: offers, answers, and fetched bytes.

What an outpost is offered depends only on the newest set and on the set that it holds. Most of a fleet hold the same
one, so an offer is made once for each pair and shared by all streams; so are the names and hashes of what they hold.
A set that an outpost refused is not offered to it again, on whatever stream or replica: it is told why nothing comes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from controlplane import telemetry
from controlplane.domain import boots, offers
from controlplane.domain.boots import Hello
from controlplane.domain.errors import InputError, NotFoundError, ThrottledError
from controlplane.domain.offers import OfferPacking, SignedRelease
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.domain.throttle import FETCHED_BYTES, Throttle
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.deltas import Deltas
from controlplane.services.identity import Principal
from controlplane.services.views import OrgView, Views
from controlplane.services.words import Words
from outpost.core.bundle.delta import set_identity

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
    """What outposts hold, one object for all that hold the same.

    Attributes:
        identity: of the set, as ``core.bundle.delta`` makes it.
        files: SHA-256 of each file by name.
        partial: whether they understand offers that list only what changed; those of the version before do not.
    """

    identity: bytes
    files: Mapping[str, bytes]
    partial: bool


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class OfferPlan:
    """What to offer to those who hold something.

    Attributes:
        number: of the signed set.
        packing: what is listed and what travels; empty when they hold exactly the set, or when it is withheld.
        inline: bytes that travel plainly, by name.
        after: what they hold when they have taken it.
        withheld: code with which the outpost refused the set.
    """

    number: int
    revision: str
    packing: OfferPacking
    inline: Mapping[str, bytes]
    after: Holding
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an outpost says of an offer.

    Attributes:
        code: of the error with which it refused, else empty; so are its message and the file to blame.
        final: the same set would be refused again.
        of_changes: it is the changes that do not fit what is held there; of the set itself nothing is said.
        release: version of the release that it runs now, or refused.
        downloaded: every byte was there.
        downloaded_ms: since when, by its own clock; so is ``activated_ms``.
    """

    code: str = ""
    message: str = ""
    resource: str = ""
    final: bool = False
    of_changes: bool = False
    release: int = 0
    downloaded: bool = False
    downloaded_ms: int = 0
    activated_ms: int = 0


NO_ANSWER = Answer()
REFUSED_BEFORE = "refused"  # code of a refusal of which only the revision is known
NOTHING = OfferPacking(b"", (), (), frozenset(), {})


@dataclass(slots=True)
class _Shelf:
    """Plans for one org's newest set."""

    number: int = 0
    plans: dict[Holding, "asyncio.Future[OfferPlan]"] = field(default_factory=dict)


class DeliveryDesk:
    """The use case."""

    def __init__(self, store: Store, views: Views, words: Words, clock: Clock) -> None:
        self._store = store
        self._views = views
        self._words = words
        self._clock = clock
        self._holdings: WeakValueDictionary[tuple[bytes, bool], Holding] = WeakValueDictionary()
        self._shelves: dict[str, _Shelf] = {}
        self._fetched = Throttle(FETCHED_BYTES)
        self._deltas = Deltas(store)

    def holding(self, files: Mapping[str, bytes], told: bytes = b"", *, partial: bool = False) -> Holding:
        """The one object for these names and hashes.

        Args:
            files: SHA-256 of each file by name.
            told: identity of the set as the outpost computed it; when it is another one than ours, or none, the outpost
                is offered complete sets only.
            partial: whether it says that it understands others.
        """
        return self._holding(files, partial=partial if not files else told == set_identity(files))

    def like(self, held: Holding, *, partial: bool) -> Holding:
        """The same set, held by somebody who is offered changes, or complete sets."""
        if held.partial == partial:
            return held
        found = self._holdings.get((held.identity, partial))
        if found is None:
            found = self._holdings[held.identity, partial] = Holding(held.identity, held.files, partial)
        return found

    def _holding(self, files: Mapping[str, bytes], *, partial: bool) -> Holding:
        key = set_identity(files), partial
        found = self._holdings.get(key)
        if found is None:
            found = self._holdings[key] = Holding(key[0], dict(files), partial)
        return found

    async def hello(self, principal: Principal, said: Hello) -> None:
        """An outpost opened its stream. A new start may be of another version, or on a mended disk: nothing is withheld
        from it that the one before refused.

        Raises:
            IdentitySupersededError: a later start of the outpost has spoken.
            OutpostLockedError: two starts with one counter: the identity is locked.
            StateError: the store failed.
        """
        known = self._views.held(principal.org).outposts.get(principal.outpost_id)
        new = (said.boot_id, said.software_version, said.source)
        if known is None or (known.boot_id, known.software_version, known.boot_source) != new:
            await self._words.hello(principal, said)
            view = self._views.held(principal.org)
            if known is None or known.boot_id != said.boot_id:
                view.refused.pop(principal.outpost_id, None)
            # An earlier start that comes before the feed brings the row must not pass for the newest.
            if (row := view.outposts.get(principal.outpost_id)) is not None and row.boot_id != said.boot_id:
                view.outposts[principal.outpost_id] = boots.started(row, said, self._clock.now_ms())
        if known is not None and known.boot_id == said.boot_id:
            self._refused_before(principal, said.refused)

    def _refused_before(self, principal: Principal, revision: str) -> None:
        """Keep what a start says that it refused, when its word was lost on the way."""
        view = self._views.held(principal.org)
        newest = view.newest
        if newest is not None and newest.revision == revision and principal.outpost_id not in view.refused:
            plan = OfferPlan(newest.number, revision, NOTHING, {}, self.holding({}))
            self.refused(principal, plan, Answer(REFUSED_BEFORE, "said when it connected again", final=True))

    async def plan(self, principal: Principal, held: Holding) -> OfferPlan | None:
        """The newest set against what the outpost holds; None when the org has no set yet."""
        view = self._views.held(principal.org)
        newest = view.newest
        if newest is None:
            return None
        refused = view.refused.get(principal.outpost_id, "")
        if refused:
            return OfferPlan(newest.number, newest.revision, NOTHING, {}, held, withheld=refused)
        return await self._shared(view, newest, held)

    def offered(self, principal: Principal, plan: OfferPlan) -> None:
        """Note that an outpost was made an offer."""
        self._words.answer(principal.org, self._word(principal, plan, DeliveryState.OFFERED))
        telemetry.log(
            telemetry.Event.OFFERED,
            level=logging.DEBUG,  # what comes of it is told
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
        """Keep that a set was refused, at once; for good, or until it is offered again."""
        word = self._word(principal, plan, DeliveryState.REFUSED if answer.final else DeliveryState.FAILED, answer)
        view = self._views.held(principal.org)
        if answer.final and view.number == plan.number:
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
        """Bytes of a file of the caller's org from an offset, in parts that end at multiples of ``PART_BYTES``.

        Raises:
            FileUnknownError: no such file in this org.
            RangeError: the offset is beyond its end.
            ThrottledError: the org's outposts fetch more than one org may.
        """
        space = self._store.for_org(principal.org)
        async with space.read() as transaction:
            size = await transaction.releases.size_of(sha256)
        if size is None:
            raise FileUnknownError("no signed set of this org holds such a file", field="sha256")
        if offset > size:
            raise RangeError(f"the file has {size} bytes", field="offset")
        self._require_pace(principal.org, size - offset)
        while offset < size:
            async with space.read() as transaction:
                part = await transaction.releases.part(sha256, offset, PART_BYTES - offset % PART_BYTES)
            yield part
            offset += len(part)

    def _require_pace(self, org: str, size: int) -> None:
        now_ms = self._clock.monotonic() * 1000
        if self._fetched.is_over(org, now_ms):
            raise ThrottledError(
                "the outposts of this org fetch more at once than one org may",
                next_step="nothing: the outpost fetches again by itself",
                retry_after_ms=self._fetched.give(org, now_ms, size),
            )
        self._fetched.strike(org, now_ms, size)

    async def _shared(self, view: OrgView, newest: SignedRelease, held: Holding) -> OfferPlan:
        """The plan for a pair of sets, made once."""
        shelf = self._shelves.get(view.org)
        if shelf is None or shelf.number != newest.number:
            shelf = self._shelves[view.org] = _Shelf(newest.number)
        found = shelf.plans.get(held)
        if found is None:
            found = asyncio.ensure_future(self._make(view.org, newest, held))
            found.add_done_callback(_looked_at)
            shelf.plans[held] = found
            while len(shelf.plans) > KEPT_PLANS:
                del shelf.plans[next(iter(shelf.plans))]
        try:
            return found.result() if found.done() else await asyncio.shield(found)
        except Exception:
            if shelf.plans.get(held) is found:
                del shelf.plans[held]
            raise

    async def _make(self, org: str, newest: SignedRelease, held: Holding) -> OfferPlan:
        found = offers.changes(newest.files, held.files)
        if not found.changed and not found.removed:
            return OfferPlan(newest.number, newest.revision, NOTHING, {}, held)
        deltas = {}
        for pair in offers.deltas_worth_trying(newest.files, held.files, found) if held.partial else ():
            frame = await self._deltas.of(org, pair)
            if frame is not None:
                deltas[pair] = frame
        if held.partial:
            packing = offers.pack(newest.files, held.files, deltas)
        else:
            packing = offers.pack_whole(newest.files, held.files)
        async with self._store.for_org(org).read() as transaction:
            inline = {
                file.name: await transaction.releases.part(file.sha256, 0, file.size)
                for file in packing.files
                if file.name in packing.inline
            }
        after = offers.listing(offers.wanted(newest.files, held.files) if held.partial else newest.files)
        return OfferPlan(newest.number, newest.revision, packing, inline, self._holding(after, partial=held.partial))

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
