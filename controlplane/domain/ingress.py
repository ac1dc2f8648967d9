"""Certificates of ingresses: who may pass on what TLS proved to it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IngressCertificate:
    """A certificate that was issued to an ingress.

    Attributes:
        serial: hex.
        name: of the ingress.
        issuer: key id of the CA that signed it.
        revoked_ms: Unix milliseconds, as the other times; 0 = never.
    """

    serial: str
    name: str
    issuer: str
    issued_ms: int
    not_after_ms: int
    revoked_ms: int = 0


def in_use(certificates: Iterable[IngressCertificate], now_ms: int) -> tuple[IngressCertificate, ...]:
    """The newest certificate of each ingress that still counts: what it has to be given anew before its CA goes.

    An ingress whose newest certificate was revoked or is over depends on nothing.
    """
    newest: dict[str, IngressCertificate] = {}
    for each in sorted(certificates, key=lambda each: each.issued_ms):
        if not each.revoked_ms and each.not_after_ms > now_ms:
            newest[each.name] = each
    return tuple(newest[name] for name in sorted(newest))
