"""The error tree of the control plane.

ControlPlaneError
├── InputError          the caller sent something that cannot be accepted
├── RefusedError        the caller is not allowed, or no longer
├── NotFoundError       what the caller names does not exist here
├── ConflictError       it exists already, or something else changed it meanwhile
├── ThrottledError      too much at once; try again later
├── StateError          our files or database failed
└── ConfigurationError  settings or the state directory are not usable

Rooms define their own leaves below these families, each with a stable dotted ``code``. Classes know neither
gRPC nor exit codes; tables at the edges map families. Messages never hold a secret, key material or a token.
"""

from typing import ClassVar


class ControlPlaneError(Exception):
    """Root of everything that the control plane raises on purpose.

    Args:
        message: what happened and why, one sentence, no payload.
        field: the field, file or option that is to blame, or empty.
        next_step: the command or act that helps, or empty.
    """

    code: ClassVar[str] = "internal"
    fatal: ClassVar[bool] = True  # FATAL never retries; False is TRANSIENT

    def __init__(self, message: str, *, field: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.next_step = next_step

    def as_dict(self) -> dict[str, str | bool]:
        """Fields for a JSON answer or a log line."""
        return {
            "code": self.code,
            "message": self.message,
            "fatal": self.fatal,
            "field": self.field,
            "next": self.next_step,
        }


class InputError(ControlPlaneError):
    """The caller sent something that cannot be accepted."""

    code = "input.invalid"


class RefusedError(ControlPlaneError):
    """The caller is not allowed, or no longer."""

    code = "refused"


class NotFoundError(ControlPlaneError):
    """What the caller names does not exist here."""

    code = "not_found"


class ConflictError(ControlPlaneError):
    """It exists already, or something else changed it meanwhile."""

    code = "conflict"


class ThrottledError(ControlPlaneError):
    """Too much at once; a later try may pass.

    Args:
        message: as for every error; so are ``field`` and ``next_step``.
        retry_after_ms: not sooner than this; 0 = as the caller likes.
    """

    code = "throttled"
    fatal = False

    def __init__(self, message: str, *, field: str = "", next_step: str = "", retry_after_ms: int = 0) -> None:
        super().__init__(message, field=field, next_step=next_step)
        self.retry_after_ms = retry_after_ms


class StateError(ControlPlaneError):
    """Our own files or database failed."""

    code = "store.failed"
    fatal = False


class ConfigurationError(ControlPlaneError):
    """Settings or the state directory are not usable."""

    code = "configuration.invalid"
