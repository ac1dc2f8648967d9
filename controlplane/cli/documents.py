"""Documents that a person wrote as JSON, in canonical form."""

from pathlib import Path

from controlplane.domain.errors import InputError


def canonical(file: Path, next_step: str, **defaults: object) -> bytes:
    """The canonical form of a JSON object in a file.

    Args:
        file: what the person wrote.
        next_step: how to get a valid one.
        defaults: fields that need not be written.

    Raises:
        InputError: not a JSON object.
    """
    import json

    from outpost.core.bundle.canonical import encode

    try:
        value = json.loads(file.read_bytes())
        if isinstance(value, dict):
            return encode({**defaults, **value})
    except (ValueError, TypeError):
        pass  # the same answer as for another type
    raise InputError("the file is not a JSON object", field=file.name, next_step=next_step)
