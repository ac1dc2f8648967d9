"""Certificates of ingresses: who may pass on what TLS proved to it."""

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
