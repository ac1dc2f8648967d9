"""Documents before they are signed: what an outpost would refuse is refused here, by the same functions."""

from collections.abc import Mapping

from controlplane.domain.errors import ConflictError, InputError
from controlplane.domain.releases import Changes
from controlplane.services.payloads import ALL_ROLES, RepositoryCorruptError
from outpost.core.bundle import limits, names
from outpost.core.bundle.content import SetContent
from outpost.core.bundle.loosening import LooseningError, require_floor, require_not_looser
from outpost.core.bundle.reading import read_documents
from outpost.core.errors import BundleError


class UnpublishableError(InputError):
    """A document that every outpost would refuse."""

    code = "publish.document"


class ReleaseVersionError(ConflictError):
    """A release changed under its version, or a new one is not higher than all before."""

    code = "publish.release_version"


def merged(documents: Mapping[str, bytes], changes: Changes) -> dict[str, bytes]:
    """Documents with changes made; None takes a file away."""
    both: dict[str, bytes | None] = {**documents, **changes}
    return {path: data for path, data in both.items() if data is not None}


def require_publishable(documents: Mapping[str, bytes], org: str) -> SetContent:
    """Read the documents of a set as an outpost will.

    Raises:
        LooseningError: online documents go beyond what the policy role signed.
        UnpublishableError: an outpost would refuse them for another reason.
    """
    for path, data in documents.items():
        if not names.role_of_target(path):
            raise UnpublishableError("No role may name a file of this path.", field=path[: limits.MAX_NAME_BYTES])
        if len(data) > limits.MAX_TARGET_BYTES:
            raise UnpublishableError(f"{path} has more than {limits.MAX_TARGET_BYTES} bytes.", field=path)
    if len(documents) + len(ALL_ROLES) + limits.MAX_ROOT_HOPS > limits.MAX_SET_FILES:
        raise UnpublishableError("Too many documents for one set.", field="documents")
    try:
        return read_documents(documents, org)
    except LooseningError:
        raise
    except BundleError as error:
        raise UnpublishableError(error.message, field=error.field, next_step=error.next_step) from error


def require_successor(current: Mapping[str, bytes], documents: Mapping[str, bytes], org: str) -> SetContent:
    """Hold documents against those in force, which they shall follow.

    Args:
        current: documents in force.
        documents: those of the next set.
        org: org that each names.

    Raises:
        UnpublishableError: an outpost would refuse them.
        LooseningError: online documents loosen what is in force.
        ReleaseVersionError: a release changed under its version, or is not higher than those before.
        RepositoryCorruptError: those in force cannot be read.
    """
    try:
        before = read_documents(current, org)
    except BundleError as error:
        raise RepositoryCorruptError(
            f"The stored documents cannot be used: {error.message}", field=error.field
        ) from error
    content = require_publishable(documents, org)
    require_not_looser(before, content)
    require_floor(content, before.rollout.stable)
    highest = max(before.releases)
    for path, data in documents.items():
        version = names.release_version(path)
        if version and current.get(path) != data and version <= highest:
            raise ReleaseVersionError(
                f"Release {highest} is published; changed policy documents need a higher version.",
                field=f"{path}/version",
                next_step=f"Publish as version {highest + 1}.",
            )
    return content
