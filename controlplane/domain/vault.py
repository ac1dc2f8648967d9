"""What the vault holds: keys and certificates of the control plane itself, each under a name."""

from dataclasses import dataclass, field
from enum import StrEnum

from cryptography import x509

from certs.keys import PrivateKey


class KeyKind(StrEnum):
    """Where the private half of a key is."""

    NONE = ""  # kept by somebody else, as an offline root's
    FILE = "file"  # in the row itself, sealed by the key-encryption key, which is a file
    PKCS11 = "pkcs11"  # in a key module; the row has its label only


@dataclass(frozen=True, slots=True)
class KeyLabel:
    """A key that never leaves its module.

    Attributes:
        label: of the key in the PKCS#11 token.
    """

    label: str


@dataclass(frozen=True, slots=True)
class VaultEntry:
    """A name with its key, its certificate, or both.

    Attributes:
        key: private, or where it is; None when it is kept elsewhere.
        certificates: the certificate first, then its issuers; empty for a bare key.
    """

    name: str
    key: PrivateKey | KeyLabel | None = field(repr=False)
    certificates: tuple[x509.Certificate, ...] = ()
