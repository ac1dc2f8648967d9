"""The error tree of trust: who is who, and who signed.

TrustError
├── IdentityError          a SPIFFE ID or trust domain is not well formed
├── TokenError             a join token cannot be read
├── KeyMaterialError       a key, certificate or PEM text is unreadable or of a kind that is not allowed
├── CertificateRequestError  a PKCS#10 request cannot be served
├── IssuanceError          we were about to sign something that we must not sign
├── ChainError             a peer's certificate chain does not prove an identity
├── RecoveryError          a recovery is not proven by the bound key
├── RevocationListError    a CRL is unreadable or not the issuer's
└── KeyStoreError          a key file or key-encryption key cannot be used

Rooms define their own leaves below these families, each with a stable dotted ``code``. Messages name the
field, the cause and the next step; they never hold key material, a token secret or bytes that a peer chose.
"""

from typing import ClassVar


class TrustError(Exception):
    """Root of everything that this package raises on purpose.

    Args:
        message: what happened and why, one sentence, no secret.
        field: the field, file or option that is to blame, or empty.
        next_step: the command or act that helps, or empty.
    """

    code: ClassVar[str] = "trust.failed"
    fatal: ClassVar[bool] = True  # FATAL never retries; False is TRANSIENT

    def __init__(self, message: str, *, field: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.next_step = next_step

    def as_dict(self) -> dict[str, str | bool]:
        """Fields for a JSON answer or a log line."""
        return {
            "code": self.code,
            "message": self.message,
            "fatal": self.fatal,
            "field": self.field,
            "next": self.next_step,
        }


class IdentityError(TrustError):
    """A SPIFFE ID or trust domain is not well formed."""

    code = "spiffe.invalid"


class TokenError(TrustError):
    """A join token cannot be read."""

    code = "token.invalid"


class KeyMaterialError(TrustError):
    """A key, certificate or PEM text is unreadable or of a kind that is not allowed."""

    code = "key.invalid"


class CertificateRequestError(TrustError):
    """A PKCS#10 request cannot be served."""

    code = "csr.invalid"


class IssuanceError(TrustError):
    """We were about to sign something that we must not sign."""

    code = "issuance.refused"


class ChainError(TrustError):
    """A peer's certificate chain does not prove an identity."""

    code = "chain.invalid"


class RecoveryError(TrustError):
    """A recovery is not proven by the bound key."""

    code = "recover.invalid"


class RevocationListError(TrustError):
    """A CRL is unreadable or not the issuer's."""

    code = "crl.invalid"


class KeyStoreError(TrustError):
    """A key file or key-encryption key cannot be used."""

    code = "key_store.failed"
