"""What the operating system refuses, as a typed error."""

from controlplane.domain.errors import ConfigurationError


class PathRefusedError(ConfigurationError):
    """The operating system refused a file or a folder."""

    code = "path.refused"


def path_refused(error: OSError) -> PathRefusedError:
    """The error with its path and its cause."""
    path = str(error.filename or "")
    cause = error.strerror or type(error).__name__
    return PathRefusedError(
        f"{path or 'a file'} cannot be used: {cause}",
        field=path,
        next_step="free the path or its permissions, or name another, such as with --state DIR",
    )
