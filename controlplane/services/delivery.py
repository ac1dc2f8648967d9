"""Signed sets on their way to outposts: hello, offers, answers, and fetched bytes."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from controlplane import telemetry
from controlplane.domain import offers, outposts
from controlplane.domain.errors import InputError, NotFoundError
from controlplane.domain.offers import SetFile
from controlplane.domain.outposts import IdentitySupersededError
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal

WORDS_SCOPE = "deliveries"  # what outposts answer does not wait for what is published
PART_BYTES = 1024 * 1024  # read from the store at once


class FileUnknownError(NotFoundError):
    """No set of this org holds a file with that hash."""

    code = "fetch.not_found"


class RangeError(InputError):
    """An offset beyond the file."""

    code = "fetch.range"


@dataclass(frozen=True, slots=True)
class OfferPlan:
    """What to offer.

    Attributes:
        files: the complete set; empty when the outpost holds exactly it.
        inline: bytes that travel with the offer, by name.
    """

    number: int
    revision: str
    files: tuple[SetFile, ...]
    inline: Mapping[str, bytes]


class DeliveryDesk:
    """The use case."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def hello(self, principal: Principal, boot_id: str, software_version: str) -> None:
        """An outpost opened its stream.

        Raises:
            IdentitySupersededError: a start that another one followed came back; the anomaly is marked.
        """
        space = self._store.for_org(principal.org)
        async with space.write() as transaction:
            outpost = await transaction.outposts.get(principal.outpost_id)
            try:
                after = outposts.said_hello(outpost, boot_id, software_version, self._clock.now_ms())
                refusal = None
            except IdentitySupersededError as error:
                after, refusal = replace(outpost, alert=error.code), error
            if after != replace(outpost, last_seen_ms=after.last_seen_ms):
                await transaction.outposts.save(after)
        if refusal is not None:
            raise refusal

    async def plan(self, principal: Principal, held: Mapping[str, bytes]) -> OfferPlan | None:
        """The newest set against what the outpost holds; None when the org has no set yet."""
        async with self._store.for_org(principal.org).write(WORDS_SCOPE) as transaction:
            newest = await transaction.releases.newest()
            if newest is None:
                return None
            if offers.is_current(newest.files, held):
                return OfferPlan(newest.number, newest.revision, (), {})
            names = offers.inline(offers.missing(newest.files, held))
            contents = await transaction.releases.contents(newest)
            word = Delivery(
                principal.outpost_id, newest.number, newest.revision, DeliveryState.OFFERED, self._clock.now_ms()
            )
            await transaction.releases.keep_deliveries([word])
        telemetry.log(
            telemetry.Event.OFFERED,
            org=principal.org,
            outpost=principal.outpost_id,
            revision=newest.revision,
            number=newest.number,
        )
        return OfferPlan(newest.number, newest.revision, newest.files, {name: contents[name] for name in names})

    async def answered(self, principal: Principal, word: Delivery) -> None:
        """Keep what an outpost answered to an offer."""
        async with self._store.for_org(principal.org).write(WORDS_SCOPE) as transaction:
            await transaction.releases.keep_deliveries([word])
        accepted = word.state is DeliveryState.ACTIVE
        telemetry.log(
            telemetry.Event.ACKNOWLEDGED if accepted else telemetry.Event.NOT_ACKNOWLEDGED,
            org=principal.org,
            outpost=principal.outpost_id,
            revision=word.revision,
            code=word.code,
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
