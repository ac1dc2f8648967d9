"""What the documents of a set say, as values. ``reading`` makes them, ``loosening`` judges them."""

from collections.abc import Mapping
from dataclasses import dataclass

from outpost.core.bundle import names
from outpost.core.bundle.access import AccessDocument
from outpost.core.bundle.caps import CapsDocument
from outpost.core.bundle.documents import DetectorsDocument, RoutesDocument
from outpost.core.bundle.kill import KillDocument
from outpost.core.bundle.release_document import Release
from outpost.core.bundle.revocations import RevocationsDocument
from outpost.core.bundle.rollout import RolloutDocument, choose


@dataclass(frozen=True, slots=True)
class ReleaseContent:
    """A release with what it names.

    Attributes:
        release: the head.
        routes: providers.
        caps: what online keys may hand out.
        detectors: choice of detectors.
        packs: the policy document, bytes; the policy compiler reads them.
    """

    release: Release
    routes: RoutesDocument
    caps: CapsDocument
    detectors: DetectorsDocument
    packs: bytes

    @property
    def version(self) -> int:
        """Version of the release."""
        return self.release.version

    @property
    def routes_sha256(self) -> str:
        """SHA-256 of the routes document, to which kill lists are bound."""
        return self.release.resources[names.ROUTES].sha256


@dataclass(frozen=True, slots=True)
class SetContent:
    """The documents of a set, read and found to agree.

    Attributes:
        org: org that each names.
        rollout: which release runs where.
        releases: version to release; one or two.
        access: client keys.
        revocations: outposts that lost their identity.
        kill: providers and models that are switched off.
    """

    org: str
    rollout: RolloutDocument
    releases: Mapping[int, ReleaseContent]
    access: AccessDocument
    revocations: RevocationsDocument
    kill: KillDocument

    @property
    def stable(self) -> ReleaseContent:
        """The release that runs wherever the candidate does not."""
        return self.releases[self.rollout.stable]

    @property
    def named(self) -> tuple[ReleaseContent, ...]:
        """Releases that the roll-out names: the stable one, then the candidate."""
        return tuple(self.releases[version] for version in self.rollout.named)

    def chosen(self, logical: str) -> ReleaseContent:
        """The release that runs on a logical outpost."""
        return self.releases[choose(self.rollout, logical)]
