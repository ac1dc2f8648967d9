"""Files of an offer that do not travel in it: what came already is kept, whatever breaks on the way.

A control plane that is asked by a whole fleet at once tells each outpost when its turn is; that moment is waited for on
the stream that is there. A file whose transfer broke goes on at the byte where it broke, over this connection or the
next one. Nothing is kept but what the offer in work names, so its bounds are ours.
"""

from outpost import ports
from outpost.core.bundle.delta import DeltaError
from outpost.core.errors import PeerError
from outpost.sync.install import Fetch
from outpost.sync.knowledge import Parts

JITTER_SECONDS = 0.5  # on top of a turn that we were given
MOST_TURNS = 20  # of one file on one connection; with the longest wait between them, two hours
LONGEST_TURN_SECONDS = 300.0  # whatever the control plane says, we ask again


class Downloads:
    """What was fetched of the offer in work."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._begun: dict[bytes, bytearray] = {}
        self._whole: dict[bytes, bytes] = {}

    def end(self) -> None:
        """The offer is active, or refused for good."""
        self._begun, self._whole = {}, {}

    def over(self, plane: ports.ControlPlane, offer: ports.Offer) -> Fetch:
        """Work on an offer: what of it is not here yet is fetched over a connection, and nothing else is kept."""
        named = {item.sha256 for item in offer.files}
        self._begun = {sha256: part for sha256, part in self._begun.items() if sha256 in named}
        self._whole = {sha256: body for sha256, body in self._whole.items() if sha256 in named}

        async def fetch(sha256: bytes, size: int) -> bytes:
            if sha256 not in self._whole:
                self._whole[sha256] = await self._fetch(plane, sha256, size)
                self._begun.pop(sha256, None)
            return self._whole[sha256]

        return fetch

    async def _fetch(self, plane: ports.ControlPlane, sha256: bytes, size: int) -> bytes:
        for _ in range(MOST_TURNS):
            part = self._begun.setdefault(sha256, bytearray())
            before = len(part)
            try:
                return await plane.fetch(sha256, size, part)
            except DeltaError:
                raise  # what came before the damage is good
            except PeerError as error:
                if error.as_dict()["fatal"]:
                    self._begun.pop(sha256, None)
                    raise
                wait = min(error.retry_after_seconds, LONGEST_TURN_SECONDS)
                if not wait and len(part) == before:
                    raise
                await self._parts.sleep(wait + JITTER_SECONDS * self._parts.chance.uniform())
        return await plane.fetch(sha256, size, self._begun.setdefault(sha256, bytearray()))
