"""What a release changes against the one in force, in sentences; what loosens begins with "LOOSENS: ".

Where it cannot be told whether a change loosens (conditions of a rule, the order of packs), it counts as one that may.
"""

from collections.abc import Iterator, Mapping

from outpost.core.bundle import names
from outpost.core.bundle.caps import CapsDocument, globs_within, parse_caps
from outpost.core.bundle.documents import Provider, RoutesDocument, parse_detectors, parse_routes
from outpost.core.bundle.release_document import SEAL, Release, parse_release
from outpost.core.decision import Action
from outpost.core.policy.document import PolicyDocument, Rule, parse_document

LOOSENS = "LOOSENS: "
Documents = Mapping[str, bytes]


def policy_changes(base: Documents, documents: Documents, org: str) -> list[str]:
    """Compare each release that is new in ``documents`` with the newest one of ``base``.

    Which release runs now only the online roll-out says; the newest is what the policy role signed last.

    Args:
        base: documents of the policy role in force.
        documents: those that shall be signed.
        org: org of both.

    Raises:
        BundleError: a document cannot be read.
    """
    fresh = [path for path in sorted(documents) if names.release_version(path) and base.get(path) != documents[path]]
    if not fresh:
        return ["the releases stay as they are"]
    before = max(map(names.release_version, base), default=0)
    where = names.release_path(before)
    if where not in base:
        return [f"{LOOSENS}there is nothing to compare with"]
    old = parse_release(base[where], org, where)
    lines = []
    for path in fresh:
        new = parse_release(documents[path], org, path)
        fallback = f", may fall back to release {new.fallback}" if new.fallback else ""
        lines.append(f"release {new.version} follows release {before}{fallback}")
        lines += _terms(old, new)
        lines += _resources((old, base), (new, {**base, **documents}), org)
    gone = sorted(set(map(names.release_version, base)) - set(map(names.release_version, documents)) - {0})
    return [*lines, *(f"release {version} is gone" for version in gone)]


def _mark(loosens: bool, text: str) -> str:
    return f"{LOOSENS if loosens else ''}{text}"


def _terms(old: Release, new: Release) -> Iterator[str]:
    if new.required_tiers != old.required_tiers:
        fewer = not set(old.required_tiers) <= set(new.required_tiers)
        yield _mark(
            fewer, f"inspection tiers {_list(new.required_tiers)}, where there were {_list(old.required_tiers)}"
        )
    if new.seal_after_seconds != old.seal_after_seconds:
        longer = new.seal_after_seconds is None or (
            old.seal_after_seconds is not None and new.seal_after_seconds > old.seal_after_seconds
        )
        yield _mark(longer, f"seals after {_duration(new.seal_after_seconds)}, was {_duration(old.seal_after_seconds)}")
    if new.on_revoked != old.on_revoked:
        yield _mark(old.on_revoked == SEAL, f"a revoked outpost will {new.on_revoked}, was {old.on_revoked}")
    if new.max_body_bytes != old.max_body_bytes:
        larger = new.max_body_bytes > old.max_body_bytes
        yield _mark(larger, f"bodies up to {new.max_body_bytes} bytes, was {old.max_body_bytes}")
    gone = [test for test in old.self_tests if test not in new.self_tests]
    if gone or len(new.self_tests) != len(old.self_tests):
        yield _mark(bool(gone), f"{len(new.self_tests)} self-tests, {len(gone)} of {len(old.self_tests)} are gone")


def _resources(old: tuple[Release, Documents], new: tuple[Release, Documents], org: str) -> Iterator[str]:
    """Each release with the documents that it is read from; what is in force is never read from the new ones."""
    for name in names.RESOURCE_ROLES:
        before, after = old[0].resources[name], new[0].resources[name]
        if before == after:
            continue
        if before.path not in old[1] or after.path not in new[1]:
            yield _mark(True, f"other {name} ({after.sha256[:12]}), which are not in this file")
            continue
        pair = (old[1][before.path], before.path), (new[1][after.path], after.path)
        (old_data, old_path), (new_data, new_path) = pair
        if name == names.PACKS:
            yield from _packs(parse_document(old_data), parse_document(new_data))
        elif name == names.CAPS:
            yield from _caps(parse_caps(old_data, org, old_path), parse_caps(new_data, org, new_path))
        elif name == names.ROUTES:
            yield from _routes(parse_routes(old_data, org, old_path), parse_routes(new_data, org, new_path))
        else:
            off = set(parse_detectors(new_data, org, new_path).disabled)
            was = set(parse_detectors(old_data, org, old_path).disabled)
            yield _mark(bool(off - was), f"detectors switched off: {_list(sorted(off))}; were {_list(sorted(was))}")


def _caps(old: CapsDocument, new: CapsDocument) -> Iterator[str]:
    for field in ("groups", "data_classes", "channels"):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            wider = after is None or (before is not None and not set(after) <= set(before))
            yield _mark(wider, f"caps of {field}: {_list(after)}, was {_list(before)}")
    if old.models != new.models:
        wider = new.models is None or (old.models is not None and not globs_within(new.models, old.models))
        yield _mark(wider, f"caps of models: {_list(new.models)}, was {_list(old.models)}")
    for field in ("max_keys", "max_key_life_seconds", "max_requests_per_minute"):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            wider = after is None or (before is not None and after > before)
            yield _mark(wider, f"{field}: {_any(after)}, was {_any(before)}")


def _routes(old: RoutesDocument, new: RoutesDocument) -> Iterator[str]:
    before = {each.name: each for each in old.providers}
    after = {each.name: each for each in new.providers}
    for name in [name for name in after if name not in before]:
        yield _mark(True, f"provider {name} is new: {_provider(after[name])}")
    for name, each in before.items():
        if name not in after:
            yield f"provider {name} is gone"
        elif after[name] != each:
            yield _mark(True, f"provider {name} changes: {_provider(after[name])}; was {_provider(each)}")
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield _mark(True, f"order of providers: {_list(tuple(after))}")
    yield _mark(True, "providers and models that were switched off under the old routes are on again, if there are any")


def _provider(each: Provider) -> str:
    return f"{each.base_url} with secret {each.key_secret or '-'} for {_list(each.models)}"


def _packs(old: PolicyDocument, new: PolicyDocument) -> Iterator[str]:
    for direction in ("input", "output"):
        before, after = getattr(old.default, direction), getattr(new.default, direction)
        if before != after:
            text = f"what no rule speaks of: {after} on {direction}, was {before}"
            yield _mark(after == Action.ALLOW, text)
    if old.combining != new.combining:
        yield _mark(True, f"rules combine by {new.combining}, was {old.combining}")
    if (old.org_chain, old.user_chains) != (new.org_chain, new.user_chains):
        yield _mark(True, "other packs are asked, or in another order")
    yield from _rules_between(old, new)


def _rules_between(old: PolicyDocument, new: PolicyDocument) -> Iterator[str]:
    required = {pack.id: pack.required for pack in new.packs}
    for pack in old.packs:
        if pack.required and not required.get(pack.id, False):
            yield _mark(True, f"pack {pack.id} is required no more")
    before_rules, after_rules = _rules(old), _rules(new)
    for where, rule in before_rules.items():
        if where not in after_rules:
            yield _mark(rule.action != Action.ALLOW, f"rule {where} is gone ({rule.action})")
        elif after_rules[where].model_copy(update={"message": rule.message}) == rule != after_rules[where]:
            yield f"rule {where} ({rule.action}) says another message"
        elif after_rules[where] != rule:
            yield _mark(True, _changed(where, rule, after_rules[where]))
    for where, rule in after_rules.items():
        if where not in before_rules:
            lets_pass = rule.action in {Action.ALLOW, Action.ROUTE_TO}
            yield _mark(lets_pass, f"rule {where} is new ({rule.action})")


def _changed(where: str, old: Rule, new: Rule) -> str:
    if old.action != new.action:
        return f"rule {where} becomes {new.action}, was {old.action}"
    return f"rule {where} ({new.action}) holds under other conditions"


def _rules(document: PolicyDocument) -> dict[str, Rule]:
    return {f"{pack.id}/{rule.id}": rule for pack in document.packs for rule in pack.rules}


def _list(values: object) -> str:
    if values is None:
        return "any"
    found = [str(each) for each in values] if isinstance(values, tuple | list) else []
    return ", ".join(found) or "none"


def _any(value: int | None) -> str:
    return "any" if value is None else str(value)


def _duration(seconds: int | None) -> str:
    return "never" if seconds is None else f"{seconds} s"
