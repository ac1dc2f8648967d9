"""The documents of a set, judged together: what no single signature says.

Used before activation by the outpost and before signing by the control plane.
"""

import hashlib
from collections.abc import Mapping

from outpost.core.bundle import names
from outpost.core.bundle.access import parse_access
from outpost.core.bundle.canonical import decode
from outpost.core.bundle.documents import (
    parse_detectors,
    parse_release,
    parse_rollout,
    parse_routes,
    require_org,
)
from outpost.core.bundle.errors import IncompleteError, ResourceError, RolloutReleaseError
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.release import Release


def read_documents(documents: Mapping[str, bytes], org: str) -> Release:
    """Read every document of a set and check that they agree.

    Args:
        documents: target path to bytes. Packs are only checked for their org here; the policy compiler reads them.
        org: audience that each must name.

    Returns:
        The release at their head.

    Raises:
        IncompleteError: a required document is not there.
        ResourceError: the release names a file by other content, or one that is not there.
        RolloutReleaseError: the rollout chose another release than this one.
        BundleError: another leaf: a document cannot be read, or is for another org.
    """
    for path in names.REQUIRED_PATHS:
        if path not in documents:
            raise IncompleteError(
                f"The set has no {path}.", field=path, next_step="Publish all required documents together."
            )
    release = parse_release(documents[names.RELEASE_PATH], org)
    parse_routes(documents[names.ROUTES_PATH], org)
    parse_detectors(documents[names.DETECTORS_PATH], org)
    parse_access(documents[names.KEYS_PATH], org)
    packs = Fields(decode(documents[names.PACKS_PATH], names.PACKS_PATH), names.PACKS_PATH)
    require_org(packs.text("org"), org, names.PACKS_PATH)
    _require_resources(release, documents)
    chosen = parse_rollout(documents[names.ROLLOUT_PATH], org).release
    if chosen != release.version:
        raise RolloutReleaseError(
            f"The roll-out chooses release {chosen}, but release {release.version} is signed.",
            field=f"{names.ROLLOUT_PATH}/release",
            next_step="Publish the roll-out together with its release.",
        )
    return release


def _require_resources(release: Release, documents: Mapping[str, bytes]) -> None:
    for path, resource in release.resources.items():
        data = documents.get(path)
        if data is None or len(data) != resource.size or hashlib.sha256(data).hexdigest() != resource.sha256:
            raise ResourceError(
                f"{path} is not the file that the release names.",
                field=path,
                next_step="Publish the release and its resources together.",
            )
