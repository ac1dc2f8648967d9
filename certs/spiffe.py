"""SPIFFE IDs and trust domains, read strictly.

Three forms exist here and no other is accepted:

* ``spiffe://<trust domain>/org/<org>/outpost/<id>`` an outpost
* ``spiffe://<trust domain>/ingress/<name>`` an ingress that ends outposts' TLS in front of the control plane
* ``spiffe://<trust domain>/server`` a server of the control plane

A trust domain is a lower-case DNS name, a subset of what SPIFFE allows, because a URI name constraint must be
a DNS name.

Source: SPIFFE-ID standard, sections 2 and 4; RFC 5280 §4.2.1.10.
"""

import re
from dataclasses import dataclass

from certs.errors import IdentityError

MAX_SPIFFE_ID_BYTES = 2048  # SPIFFE-ID §2.3: implementations must not send more
MAX_TRUST_DOMAIN_BYTES = 253  # RFC 1035 §2.3.4: the longest DNS name in text (SPIFFE would allow 255)

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label starts with a letter, so that no IP address is a trust domain.
_TRUST_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*(?=[a-z]){_LABEL}")
_ORG = re.compile(r"[a-z][a-z0-9-]{1,30}")
_OUTPOST = re.compile(r"op-[0-9a-f]{16}")
_INGRESS = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def require_trust_domain(text: str) -> str:
    """Return the text if it is a trust domain.

    Raises:
        IdentityError: it is not.
    """
    if len(text) > MAX_TRUST_DOMAIN_BYTES or not _TRUST_DOMAIN.fullmatch(text):
        raise IdentityError(
            "A trust domain is a lower-case DNS name of at most 253 characters.",
            field="trust_domain",
            next_step="Use a name such as outpost.internal.",
        )
    return text


def require_org(text: str) -> str:
    """Return the text if it is an org id.

    Raises:
        IdentityError: it is not.
    """
    if not _ORG.fullmatch(text):
        raise IdentityError(
            "An org id is 2 to 31 characters: a lower-case letter, then lower-case letters, digits or hyphens.",
            field="org",
            next_step="Use an id such as acme.",
        )
    return text


def require_outpost(text: str) -> str:
    """Return the text if it is an outpost id.

    Raises:
        IdentityError: it is not.
    """
    if not _OUTPOST.fullmatch(text):
        raise IdentityError("An outpost id is op- and 16 lower-case hexadecimal digits.", field="outpost")
    return text


def require_ingress(text: str) -> str:
    """Return the text if it is the name of an ingress.

    Raises:
        IdentityError: it is not.
    """
    if not _INGRESS.fullmatch(text):
        raise IdentityError(
            "The name of an ingress is 1 to 63 lower-case letters, digits or hyphens, and starts with no hyphen.",
            field="ingress",
            next_step="Use a name such as edge-1.",
        )
    return text


@dataclass(frozen=True, slots=True)
class OutpostIdentity:
    """Who an outpost is: it belongs to one org of one trust domain."""

    trust_domain: str
    org: str
    outpost: str

    def __post_init__(self) -> None:
        """Refuse parts that would not read back as the same identity."""
        require_trust_domain(self.trust_domain)
        require_org(self.org)
        require_outpost(self.outpost)

    @property
    def path(self) -> str:
        """Path of the SPIFFE ID, with its leading slash."""
        return f"/org/{self.org}/outpost/{self.outpost}"

    @property
    def uri(self) -> str:
        """The SPIFFE ID."""
        return f"spiffe://{self.trust_domain}{self.path}"

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True)
class IngressIdentity:
    """An ingress: it may say which certificate an outpost showed to it, and nothing else."""

    trust_domain: str
    name: str

    def __post_init__(self) -> None:
        """Refuse parts that would not read back as the same identity."""
        require_trust_domain(self.trust_domain)
        require_ingress(self.name)

    @property
    def uri(self) -> str:
        """The SPIFFE ID."""
        return f"spiffe://{self.trust_domain}/ingress/{self.name}"

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """A server of the control plane."""

    trust_domain: str

    def __post_init__(self) -> None:
        """Refuse a trust domain that would not read back as the same identity."""
        require_trust_domain(self.trust_domain)

    @property
    def uri(self) -> str:
        """The SPIFFE ID."""
        return f"spiffe://{self.trust_domain}/server"

    def __str__(self) -> str:
        return self.uri


Identity = OutpostIdentity | IngressIdentity | ServerIdentity


def parse(uri: str) -> Identity:
    """Read a SPIFFE ID from untrusted text.

    Raises:
        IdentityError: it is not one of the three forms, exactly: no port, query, fragment, escape, dot segment
        or upper case.
    """
    if len(uri) > MAX_SPIFFE_ID_BYTES:
        raise IdentityError(f"A SPIFFE ID has at most {MAX_SPIFFE_ID_BYTES} characters.", field="spiffe_id")
    match uri.split("/"):
        case ["spiffe:", "", trust_domain, "org", org, "outpost", outpost]:
            return OutpostIdentity(trust_domain, org, outpost)
        case ["spiffe:", "", trust_domain, "ingress", name]:
            return IngressIdentity(trust_domain, name)
        case ["spiffe:", "", trust_domain, "server"]:
            return ServerIdentity(trust_domain)
    raise IdentityError(
        "A SPIFFE ID here is spiffe://<trust domain>/ and then org/<org>/outpost/<id>, ingress/<name> or server.",
        field="spiffe_id",
    )
