"""Documents that a person wrote as JSON."""

from pathlib import Path
from typing import Any

from controlplane.domain.errors import InputError


def object_in(file: Path, next_step: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        file: what the person wrote.
        next_step: how to get a valid one.

    Raises:
        InputError: not a JSON object.
    """
    import json

    try:
        value = json.loads(file.read_bytes())
    except ValueError:
        value = None  # the same answer as for another type
    if isinstance(value, dict):
        return value
    raise InputError("the file is not a JSON object", field=file.name, next_step=next_step)
