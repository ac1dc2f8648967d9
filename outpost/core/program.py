"""From a verified set to the program that serves an org: the last and strongest type of configuration."""

from collections.abc import Mapping
from dataclasses import dataclass

from outpost.core.bundle import names
from outpost.core.bundle.access import ClientKey
from outpost.core.bundle.content import ReleaseContent
from outpost.core.bundle.documents import Provider
from outpost.core.bundle.kill import KillList
from outpost.core.bundle.release import RoleKeys, VerifiedSet
from outpost.core.bundle.release_document import Release
from outpost.core.bundle.revocations import RevocationsDocument
from outpost.core.detect.pattern import Scanner
from outpost.core.errors import BundleError, DeniedError
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


class ModelKilledError(DeniedError):
    """The model was switched off for the org."""

    code = "model.killed"


class ProviderKilledError(DeniedError):
    """Every provider that serves the model was switched off for the org."""

    code = "provider.killed"


@dataclass(frozen=True, slots=True, eq=False)
class OrgProgram:
    """Everything that decides about the requests of one org. Immutable; a request keeps the one it began with.

    Attributes:
        org: whose it is.
        revision: "<release version>.<snapshot version>".
        release: bounds and self-tests.
        candidate: it is a release on trial; the stable one runs elsewhere.
        inspector: policy and detectors.
        keys: SHA-256 (hex) of the key text to the key.
        requests_per_minute: of each key, 0 = no limit.
        providers: in order of preference, those that are switched off too.
        killed: providers and models that are switched off.
        revocations: outposts that lost their identity.
        policy_keys: who may sign an extension.
        signed_at_ms: when the set's timestamp was signed.
        timestamp_expires_ms: when the set becomes stale.
    """

    org: str
    revision: str
    release: Release
    candidate: bool
    inspector: Inspector
    keys: Mapping[str, ClientKey]
    requests_per_minute: int
    providers: tuple[Provider, ...]
    killed: KillList
    revocations: RevocationsDocument
    policy_keys: RoleKeys
    signed_at_ms: int
    timestamp_expires_ms: int

    def route(self, model: str) -> Provider | None:
        """First provider that is not switched off and one of whose globs matches the model.

        Raises:
            ModelKilledError: the model is switched off.
            ProviderKilledError: it is served, but only by providers that are switched off.
        """
        return find_route(self.providers, self.killed, model)

    def serves(self, model: str) -> bool:
        """Whether a request for the model is routed at all."""
        try:
            return self.route(model) is not None
        except DeniedError:
            return False


def find_route(providers: tuple[Provider, ...], killed: KillList, model: str) -> Provider | None:
    """First provider that is not switched off and one of whose globs matches the model.

    Args:
        providers: in order of preference.
        killed: providers and models that are switched off.
        model: as the client asks for it.

    Raises:
        ModelKilledError: the model is switched off.
        ProviderKilledError: it is served, but only by providers that are switched off.
    """
    if _matches(killed.models, model):
        raise ModelKilledError(
            "this model was switched off by an administrator", field="model", next_step="ask for another model"
        )
    serving = [provider for provider in providers if _matches(provider.models, model)]
    for provider in serving:
        if provider.name not in killed.providers:
            return provider
    if serving:
        raise ProviderKilledError(
            "the provider of this model was switched off by an administrator",
            field="model",
            next_step="ask for a model of another provider",
        )
    return None


def _matches(globs: tuple[str, ...], model: str) -> bool:
    return any(glob_matches(glob.lower(), model.lower()) for glob in globs)


def build(verified: VerifiedSet, scanner: Scanner, chosen: ReleaseContent | None = None) -> OrgProgram:
    """Compile a release of a set and run its self-tests.

    Args:
        verified: what ``sync.tuf`` has verified.
        scanner: detectors of this process.
        chosen: the release; by default the one that runs on this outpost. The other one is for a judgement in the
            shadow.

    Raises:
        BundleError: a document does not compile, a tier is missing, a self-test fails.
    """
    content = verified.content
    chosen = chosen or verified.chosen
    where = names.release_path(chosen.version)
    missing = [tier for tier in chosen.release.required_tiers if tier not in TIERS]
    if missing:
        raise TierUnavailableError(
            f"the release requires inspection tier {missing[0]}, which this build does not have",
            field=where,
            next_step="publish a release that requires tier 1 only, or update the outpost",
        )
    policy = compile_document(parse_document(chosen.packs))
    if policy.document.org != verified.org:
        raise PolicyOrgError("the policy document names another org", field=chosen.release.resources[names.PACKS].path)
    for provider in chosen.routes.providers:
        translator_for(provider.kind)
    program = OrgProgram(
        org=verified.org,
        revision=f"{chosen.version}.{verified.versions[names.SNAPSHOT]}",
        release=chosen.release,
        candidate=chosen.version != content.rollout.stable,
        inspector=Inspector(policy, scanner, frozenset(chosen.detectors.disabled)),
        keys={key.sha256: key for key in content.access.keys},
        requests_per_minute=content.access.requests_per_minute,
        providers=chosen.routes.providers,
        killed=content.kill.under(chosen.routes_sha256),
        revocations=content.revocations,
        policy_keys=verified.role_keys[names.POLICY],
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
                field=f"{names.release_path(program.release.version)} self_tests[{number}]",
                next_step="check the detectors and the text of the self-test",
            )
