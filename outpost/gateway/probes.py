"""Health, told by function and not as one flag."""

from collections.abc import Mapping
from dataclasses import dataclass

from outpost.core.errors import OutpostError
from outpost.core.inspection import TIERS
from outpost.gateway.context import Gateway

OK = "ok"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this worker may get traffic, and why not.

    Attributes:
        ready: every function of at least one org is ok, and the audit log takes records.
        orgs: org to function (bundle, tiers, audit, certificate, canary, provider_keys) to "ok" or a code.
    """

    ready: bool
    orgs: Mapping[str, Mapping[str, str]]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"ready": self.ready, "orgs": {org: dict(functions) for org, functions in self.orgs.items()}}


def _functions(gateway: Gateway, org: str) -> dict[str, str]:
    state = gateway.functions.state_of(org)
    program = gateway.programs.get(org)
    expires = gateway.functions.certificate_expires_ms(org)
    bundle = OK if state.state.serves else state.code or state.state.value
    tiers = program is not None and all(tier in TIERS for tier in program.release.required_tiers)
    return {
        "bundle": bundle if program is not None or bundle != OK else "bundle.none",
        "tiers": OK if tiers else "tiers.unavailable",
        "audit": gateway.audit_error or OK,
        "certificate": OK if expires > gateway.ports.clock.now_ms() else "certificate.expired",
        "canary": gateway.canary_errors.get(org, "canary.not_run") or OK,
        "provider_keys": provider_keys(gateway, org),
    }


def provider_keys(gateway: Gateway, org: str) -> str:
    """Return `ok`, or the code of the first provider key that the routes name and that is not here."""
    program = gateway.programs.get(org)
    for provider in program.providers if program is not None else ():
        try:
            if provider.key_secret:
                gateway.ports.secrets.get(provider.key_secret)
        except OutpostError as error:
            return error.code
    return OK


async def readiness(gateway: Gateway) -> Readiness:
    """Judge now.

    An expired certificate and a missing provider key are told, but take nobody out of service: the data path needs no
    certificate, and other providers still answer. While the ledger is known
    to have failed, it is asked again by an empty append, or nothing would ever find out that it works again.
    """
    orgs = tuple(gateway.orgs())
    if gateway.audit_error and orgs:
        try:
            await gateway.ports.ledger.append(orgs[0], [])
            gateway.audit_error = ""
        except OutpostError as error:
            gateway.audit_error = error.code
    told = {org: _functions(gateway, org) for org in orgs}
    needed = ("bundle", "tiers", "audit", "canary")
    ready = any(all(functions[name] == OK for name in needed) for functions in told.values())
    return Readiness(ready and not gateway.stopping, told)


def health(gateway: Gateway) -> dict[str, object]:
    """Version, and per org state, revision and the dates that somebody should know."""
    orgs: dict[str, object] = {}
    for org in gateway.orgs():
        state = gateway.functions.state_of(org)
        program = gateway.programs.get(org)
        orgs[org] = {
            "state": state.state.value,
            "code": state.code,
            "reason": state.reason,
            "revision": program.revision if program else "",
            "configuration_expires_ms": program.timestamp_expires_ms if program else 0,
            "certificate_expires_ms": gateway.functions.certificate_expires_ms(org),
        }
    return {"status": "stopping" if gateway.stopping else "alive", "version": gateway.options.version, "orgs": orgs}
