"""From a verified set to the program that serves an org: the last and strongest type of configuration."""

from collections.abc import Mapping
from dataclasses import dataclass

from outpost.core.bundle import names
from outpost.core.bundle.access import ClientKey, parse_access
from outpost.core.bundle.documents import Provider, parse_detectors, parse_routes
from outpost.core.bundle.release import Release, VerifiedSet
from outpost.core.detect.pattern import Scanner
from outpost.core.errors import BundleError
from outpost.core.inspection import TIERS, Inspector
from outpost.core.policy.compile import compile_document
from outpost.core.policy.document import parse_document
from outpost.core.policy.globs import glob_matches
from outpost.core.providers.registry import translator_for


class SelfTestError(BundleError):
    """A self-test of the release does not give the finding that it promises."""

    code = "bundle.self_test"


class TierUnavailableError(BundleError):
    """The release requires an inspection tier that this build cannot run."""

    code = "bundle.tier_unavailable"


class PolicyOrgError(BundleError):
    """The policy document names another org."""

    code = "bundle.policy_org"


@dataclass(frozen=True, slots=True, eq=False)
class OrgProgram:
    """Everything that decides about the requests of one org. Immutable; a request keeps the one it began with.

    Attributes:
        org: whose it is.
        revision: "<release version>.<snapshot version>".
        release: bounds and self-tests.
        inspector: policy and detectors.
        keys: SHA-256 (hex) of the key text to the key.
        requests_per_minute: of each key, 0 = no limit.
        providers: in order of preference.
        signed_at_ms: when the set's timestamp was signed.
        timestamp_expires_ms: when the set becomes stale.
    """

    org: str
    revision: str
    release: Release
    inspector: Inspector
    keys: Mapping[str, ClientKey]
    requests_per_minute: int
    providers: tuple[Provider, ...]
    signed_at_ms: int
    timestamp_expires_ms: int

    def route(self, model: str) -> Provider | None:
        """First provider one of whose globs matches the model."""
        for provider in self.providers:
            if any(glob_matches(glob.lower(), model.lower()) for glob in provider.models):
                return provider
        return None


def build(verified: VerifiedSet, scanner: Scanner) -> OrgProgram:
    """Compile a set and run its self-tests.

    Args:
        verified: what ``sync.tuf`` has verified.
        scanner: detectors of this process.

    Raises:
        BundleError: a document does not compile, a tier is missing, a self-test fails.
    """
    documents = verified.documents
    missing = [tier for tier in verified.release.required_tiers if tier not in TIERS]
    if missing:
        raise TierUnavailableError(
            f"the release requires inspection tier {missing[0]}, which this build does not have",
            field="policy/release.json",
            next_step="publish a release that requires tier 1 only, or update the outpost",
        )
    policy = compile_document(parse_document(documents[names.PACKS_PATH]))
    if policy.document.org != verified.org:
        raise PolicyOrgError("the policy document names another org", field=names.PACKS_PATH)
    access = parse_access(documents[names.KEYS_PATH], verified.org)
    routes = parse_routes(documents[names.ROUTES_PATH], verified.org)
    detectors = parse_detectors(documents[names.DETECTORS_PATH], verified.org)
    for provider in routes.providers:
        translator_for(provider.kind)
    program = OrgProgram(
        org=verified.org,
        revision=verified.revision,
        release=verified.release,
        inspector=Inspector(policy, scanner, frozenset(detectors.disabled)),
        keys={key.sha256: key for key in access.keys},
        requests_per_minute=access.requests_per_minute,
        providers=routes.providers,
        signed_at_ms=verified.signed_at_ms,
        timestamp_expires_ms=verified.timestamp_expires_ms,
    )
    run_self_tests(program)
    return program


def run_self_tests(program: OrgProgram) -> None:
    """Prove that detection works in this process.

    Raises:
        SelfTestError: names the test by number and type, never its text.
    """
    for number, test in enumerate(program.release.self_tests):
        found = {finding.entity_type for finding in program.inspector.find(test.text)}
        if test.entity_type not in found:
            raise SelfTestError(
                f"self-test {number} of the release did not find a {test.entity_type}",
                field=f"policy/release.json self_tests[{number}]",
                next_step="check detectors.json and the text of the self-test",
            )
