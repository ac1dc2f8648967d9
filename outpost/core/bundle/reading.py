"""The documents of a set, read and judged together: what no single signature says.

Used before activation by the outpost and before signing by the control plane. A document that did not change is not
read again: its memory holds it by its exact bytes.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import TypeVar

from outpost.core.bundle import limits, names
from outpost.core.bundle.access import parse_access
from outpost.core.bundle.canonical import decode
from outpost.core.bundle.caps import parse_caps
from outpost.core.bundle.content import ReleaseContent, SetContent
from outpost.core.bundle.documents import parse_detectors, parse_routes, require_org
from outpost.core.bundle.errors import IncompleteError, OversizedError, ResourceError
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.kill import parse_kill
from outpost.core.bundle.loosening import DetectorsError, require_rollout, require_within_caps
from outpost.core.bundle.release_document import Release, parse_release
from outpost.core.bundle.revocations import parse_revocations
from outpost.core.bundle.rollout import parse_rollout

Value = TypeVar("Value")


class DocumentMemory:
    """Documents of one org as they stood in the last good set, by their exact bytes."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], object] = {}
        self._asked: dict[tuple[str, bytes], object] = {}

    def read(self, path: str, data: bytes, parse: Callable[[], Value]) -> Value:
        """The value of these bytes: remembered, or read now."""
        key = (path, data)
        found = self._known.get(key)
        value = found if found is not None else parse()
        self._asked[key] = value
        return value  # type: ignore[return-value]

    def end(self, *, good: bool) -> None:
        """A set was read: a good one takes the place of the last, of a bad one nothing stays."""
        if good:
            self._known = self._asked
        self._asked = {}


def read_documents(documents: Mapping[str, bytes], org: str, memory: DocumentMemory | None = None) -> SetContent:
    """Read every document of a set and check that they agree.

    Args:
        documents: target path to bytes. Packs are only checked for their org here; the policy compiler reads them.
        org: audience that each must name.
        memory: what was read before.

    Raises:
        IncompleteError: a required document is not there.
        OversizedError: more releases than a set may have.
        ResourceError: a release names a file by other content, or one that is not there.
        LooseningError: the online documents go beyond what the policy role signed.
        BundleError: another leaf: a document cannot be read, or is for another org.
    """
    memory = memory or DocumentMemory()
    good = False
    try:
        content = _Reader(documents, org, memory).content()
        require_rollout(content)
        require_within_caps(content)
        good = True
    finally:
        memory.end(good=good)
    return content


class _Reader:
    def __init__(self, documents: Mapping[str, bytes], org: str, memory: DocumentMemory) -> None:
        self._documents = documents
        self._org = org
        self._memory = memory

    def content(self) -> SetContent:
        for path in names.REQUIRED_PATHS:
            if path not in self._documents:
                raise _incomplete(path)
        paths = sorted(path for path in self._documents if names.release_version(path))
        if not paths:
            raise _incomplete("release")
        if len(paths) > limits.MAX_RELEASES:
            raise OversizedError(f"The set has more than {limits.MAX_RELEASES} releases.", field=paths[-1])
        releases = [self._release(path) for path in paths]
        return SetContent(
            org=self._org,
            rollout=self._read(names.ROLLOUT_PATH, parse_rollout),
            releases={each.version: each for each in releases},
            access=self._read(names.KEYS_PATH, parse_access),
            revocations=self._read(names.REVOCATIONS_PATH, parse_revocations),
            kill=self._read(names.KILL_PATH, parse_kill),
        )

    def _read(self, path: str, parse: Callable[[bytes, str], Value]) -> Value:
        data = self._documents[path]
        return self._memory.read(path, data, lambda: parse(data, self._org))

    def _release(self, path: str) -> ReleaseContent:
        data = self._documents[path]
        release = self._memory.read(path, data, lambda: parse_release(data, self._org, path))
        self._require_resources(release)
        return ReleaseContent(
            release=release,
            routes=self._resource(release, names.ROUTES, parse_routes),
            caps=self._resource(release, names.CAPS, parse_caps),
            detectors=self._resource(release, names.DETECTORS, parse_detectors),
            packs=self._resource(release, names.PACKS, _packs),
        )

    def _resource(self, release: Release, name: str, parse: Callable[[bytes, str, str], Value]) -> Value:
        path = release.resources[name].path
        data = self._documents[path]
        return self._memory.read(path, data, lambda: parse(data, self._org, path))

    def _require_resources(self, release: Release) -> None:
        for name, resource in release.resources.items():
            data = self._documents.get(resource.path)
            if data is not None and len(data) == resource.size and _sha256(data) == resource.sha256:
                continue
            error = DetectorsError if names.RESOURCE_ROLES[name] == names.VENDOR else ResourceError
            raise error(
                f"{resource.path} is not the file that release {release.version} names.",
                field=resource.path,
                next_step="Publish the release and its resources together.",
            )


def _packs(data: bytes, org: str, path: str) -> bytes:
    fields = Fields(decode(data, path), path)
    require_org(fields.text("org"), org, path)
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _incomplete(path: str) -> IncompleteError:
    return IncompleteError(f"The set has no {path}.", field=path, next_step="Publish all required documents together.")
