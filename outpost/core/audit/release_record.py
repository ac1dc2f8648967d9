"""Records of releases that did not do what they promised; the forms are those of ``record``."""

from dataclasses import dataclass

from outpost.core.audit.canonical import Value, encode
from outpost.core.audit.record import RecordHead


@dataclass(frozen=True, slots=True)
class ReleaseLeft:
    """A candidate failed its own test here, and the stable release of the same set took its place.

    Attributes:
        release: version of the candidate.
        fallback: version of the release that runs now.
        error_code: code of the failure.
        reason: one sentence.
    """

    head: RecordHead
    release: int
    fallback: int
    error_code: str
    reason: str

    def to_bytes(self) -> bytes:
        """Body of the record, without a sequence number."""
        head: dict[str, str | int] = {"time_ms": self.head.time_ms, "org": self.head.org, "outpost": self.head.outpost}
        fields: dict[str, Value] = {
            "release": self.release,
            "fallback": self.fallback,
            "error_code": self.error_code,
            "reason": self.reason,
        }
        return encode("release.left", head, fields)
