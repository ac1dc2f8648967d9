"""Documents of an org from one set to the next: new releases, roll-outs, kill lists, revocations.

Plain functions from the documents in force to the changes that make the next ones. Nothing is signed here and nothing
decided: who may do it, and when, is the caller's to know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from outpost.core.bundle import limits, names
from outpost.core.bundle.content import SetContent
from outpost.core.bundle.kill import KillDocument, KillList, build_kill
from outpost.core.bundle.release_document import Release, Resource, build_release
from outpost.core.bundle.revocations import KINDS, RevocationsDocument, RevokedOutpost, build_revocations
from outpost.core.bundle.rollout import RolloutDocument, build_rollout

Documents = Mapping[str, bytes]
Changes = Mapping[str, bytes | None]
"""Target path to new bytes, or None to take the file away."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new release shall have; None = as the newest release in force.

    Attributes:
        resources: names of resources ("packs", "routes", "detectors", "caps") to exact bytes.
        terms: fields of ``Release`` to values, such as ``seal_after_seconds``.
    """

    resources: Mapping[str, bytes] = field(default_factory=dict)
    terms: Mapping[str, object] = field(default_factory=dict)


def resource(name: str, data: bytes) -> Resource:
    """A resource as a release names it."""
    digest = sha256(data).hexdigest()
    return Resource(names.resource_path(name, digest), digest, len(data))


def resource_bytes(documents: Documents, release: Release, name: str) -> bytes:
    """Bytes of a resource of a release."""
    return documents[release.resources[name].path]


def first_release(release: Release, resources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files of a first release; ``release`` has its terms, its resources are set here."""
    named = {name: resource(name, data) for name, data in resources.items()}
    whole = replace(release, resources=named)
    return {names.release_path(whole.version): build_release(whole)} | {
        named[name].path: data for name, data in resources.items()
    }


def is_in_force(documents: Documents, content: SetContent, draft: Draft) -> bool:
    """Whether the newest release that may run says all that a draft says."""
    release = content.releases[content.rollout.newest].release
    same = all(resource_bytes(documents, release, name) == data for name, data in draft.resources.items())
    return same and all(getattr(release, term) == value for term, value in draft.terms.items())


def with_release(documents: Documents, content: SetContent, draft: Draft, version: int = 0, *, beside: bool) -> Changes:
    """The policy files of a new release; the roll-out is left as it is.

    Args:
        documents: in force.
        content: what they say.
        draft: the new release.
        version: of it; 0 is the one after the highest of the set.
        beside: it stands beside the stable release, to which it may fall back; else it takes its place.

    Returns:
        Changes of the policy and vendor roles.
    """
    base = content.releases[content.rollout.newest].release
    version = version or max(content.releases) + 1
    data = {name: draft.resources.get(name) or resource_bytes(documents, base, name) for name in names.RESOURCE_ROLES}
    named = {name: resource(name, body) for name, body in data.items()}
    stable = content.stable.release
    made = replace(base, version=version, fallback=stable.version if beside else None, resources=named)
    made = replace(made, **draft.terms)  # type: ignore[arg-type]
    files = {names.release_path(version): build_release(made)} | {named[name].path: body for name, body in data.items()}
    kept = _files_of(documents, stable) if beside else {}
    return _changes(documents, kept | files)


def without_unnamed(documents: Documents, content: SetContent) -> Changes:
    """The policy files without releases that the roll-out does not name."""
    kept: dict[str, bytes] = {}
    for each in content.named:
        kept |= _files_of(documents, each.release)
    return _changes(documents, kept)


def at_once(content: SetContent, version: int) -> Changes:
    """A roll-out in which a release is the stable one everywhere."""
    return rolled_out(RolloutDocument(content.org, version))


def rolled_out(document: RolloutDocument) -> Changes:
    """The roll-out that a document says."""
    return {names.ROLLOUT_PATH: build_rollout(document)}


def halted(content: SetContent) -> Changes:
    """A roll-out in which the stable release runs everywhere: one online signature."""
    return at_once(content, content.rollout.stable)


def with_killed(content: SetContent, providers: Iterable[str], models: Iterable[str]) -> Changes:
    """Kill lists with more providers and models, under the routes of each release that may run.

    Kill lists of other routes stay as long as there is room.
    """
    lists = dict(content.kill.lists)
    current = [each.routes_sha256 for each in content.named]
    for routes in current:
        old = lists.get(routes, KillList())
        lists[routes] = KillList(_union(old.providers, providers), _union(old.models, models))
    if len(lists) > limits.MAX_KILLS:
        present = {each.routes_sha256 for each in content.releases.values()}
        lists = {routes: each for routes, each in lists.items() if routes in present}
    return {names.KILL_PATH: build_kill(KillDocument(content.org, lists))}


def with_revoked(content: SetContent, outposts: Iterable[RevokedOutpost]) -> Changes:
    """Revocations with more outposts; an entry never becomes weaker."""
    entries = {each.id: each for each in content.revocations.outposts}
    for new in outposts:
        old = entries.get(new.id, new)
        kind = max(old.kind, new.kind, key=KINDS.index)
        entries[new.id] = RevokedOutpost(new.id, kind, max(old.join_sequence, new.join_sequence))
    document = RevocationsDocument(content.org, tuple(entries.values()))
    if document == content.revocations:
        return {}
    return {names.REVOCATIONS_PATH: build_revocations(document)}


def _union(old: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *more)))


def _files_of(documents: Documents, release: Release) -> dict[str, bytes]:
    paths = [names.release_path(release.version), *(each.path for each in release.resources.values())]
    return {path: documents[path] for path in paths}


def _changes(documents: Documents, files: Documents) -> Changes:
    """From the policy and detector files in force to others; what else the vendor signs stays."""
    ours = {path for path in documents if _is_of_a_release(path)}
    changed: dict[str, bytes | None] = {path: data for path, data in files.items() if documents.get(path) != data}
    return changed | dict.fromkeys(ours - set(files))


def _is_of_a_release(path: str) -> bool:
    return names.role_of_target(path) == names.POLICY or path.startswith(f"{names.VENDOR}/{names.DETECTORS}-")
