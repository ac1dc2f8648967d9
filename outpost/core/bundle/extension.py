"""Extensions: the keys of the policy role let an outpost go on beyond the bound at which its configuration seals it.

A vendor's outage is not the customer's. The file says until when; it is signed by the threshold of the policy role that
the active set names, and it reaches one month at most: then somebody has to look again and sign another. It changes
nothing of what is enforced.

ExtensionError
├── extension.malformed   not an extension of our form
├── extension.bound       it reaches further than one extension may
└── extension.over        its time is over

Signatures fail with the codes of ``errors.SignatureError``, another org with ``bundle.other_org``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.documents import require_org
from outpost.core.bundle.errors import ContentError
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.metadata import HEX_KEY_ID, HEX_SIGNATURE
from outpost.core.bundle.release import RoleKeys
from outpost.core.bundle.signatures import require_signed
from outpost.core.errors import BundleError

EXTENSION_SCHEMA = "outpost.extension/1"
_NAME = "extension"


class ExtensionError(BundleError):
    """An extension that does not extend anything here."""

    code = "extension"


class ExtensionMalformedError(ExtensionError):
    """Not an extension of our form."""

    code = "extension.malformed"


class ExtensionBoundError(ExtensionError):
    """It reaches further than one extension may."""

    code = "extension.bound"


class ExtensionOverError(ExtensionError):
    """Its time is over."""

    code = "extension.over"


@dataclass(frozen=True, slots=True)
class Extension:
    """What an extension says.

    Attributes:
        org: org id.
        until_ms: until then age does not seal, Unix milliseconds.
        issued_ms: Unix milliseconds.
        signatures: TUF key id to signature over ``payload``.
    """

    org: str
    until_ms: int
    issued_ms: int
    signatures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def payload(self) -> bytes:
        """The bytes that are signed."""
        return encode(
            {
                "schema": EXTENSION_SCHEMA,
                "org": self.org,
                "until_ms": self.until_ms,
                "issued_ms": self.issued_ms,
            }
        )

    def to_bytes(self) -> bytes:
        """The file."""
        signed = decode(self.payload, _NAME)
        return encode(
            {
                "signed": signed,
                "signatures": {key_id: signature.hex() for key_id, signature in self.signatures.items()},
            }
        )


def read_extension(data: bytes) -> Extension:
    """Read an extension from untrusted bytes; nothing is verified.

    Raises:
        ExtensionMalformedError: not an extension of our form.
        ExtensionBoundError: it reaches further than one extension may.
    """
    if len(data) > limits.MAX_EXTENSION_BYTES:
        raise ExtensionMalformedError(f"An extension has at most {limits.MAX_EXTENSION_BYTES} bytes.", field=_NAME)
    try:
        fields = Fields(decode(data, _NAME), _NAME)
        extension = _signed(fields.nested("signed"), _signatures(fields.nested("signatures")))
        fields.done()
    except ContentError as error:
        raise ExtensionMalformedError(error.message, field=error.field) from None
    if not 0 < extension.until_ms - extension.issued_ms <= limits.MAX_EXTENSION_MS:
        raise _too_far()
    return extension


def _signed(fields: Fields, signatures: Mapping[str, bytes]) -> Extension:
    fields.choice("schema", (EXTENSION_SCHEMA,))
    extension = Extension(
        org=fields.match("org", names.ORG_PATTERN),
        until_ms=fields.integer("until_ms", 0, limits.MAX_INTEGER),
        issued_ms=fields.integer("issued_ms", 0, limits.MAX_INTEGER),
        signatures=signatures,
    )
    fields.done()
    return extension


def _signatures(fields: Fields) -> dict[str, bytes]:
    if len(fields.names()) > limits.MAX_SIGNATURES:
        raise fields.fail("", f"must hold at most {limits.MAX_SIGNATURES} signatures")
    found = {}
    for key_id in fields.names():
        if HEX_KEY_ID.fullmatch(key_id) is None:
            raise fields.fail("", "must name keys by their hashes")
        found[key_id] = bytes.fromhex(fields.match(key_id, HEX_SIGNATURE))
    return found


def verify_extension(data: bytes, policy: RoleKeys, org: str, reference_ms: int) -> Extension:
    """Verify an extension as an outpost.

    Args:
        data: the file, untrusted.
        policy: keys and threshold of the policy role, of the active set (``VerifiedSet.role_keys``).
        org: org that it must be for.
        reference_ms: moment at which expiry is judged (``trust.reference_time``).

    Raises:
        SignatureError: not signed by those who must.
        ExtensionError: one of its leaves.
        OtherOrgError: for another org.
    """
    extension = read_extension(data)
    require_signed(extension.payload, extension.signatures, (policy,), _NAME)
    require_org(extension.org, org, _NAME)
    if extension.until_ms > reference_ms + limits.MAX_EXTENSION_MS:  # signed for a time that has not come
        raise _too_far()
    if extension.until_ms <= reference_ms:
        raise ExtensionOverError(
            "The time of the extension is over.",
            field=f"{_NAME}/until_ms",
            next_step="Let the policy keys sign another.",
        )
    return extension


def _too_far() -> ExtensionBoundError:
    return ExtensionBoundError(
        f"An extension reaches {limits.MAX_EXTENSION_MS // 86_400_000} days at most.",
        field=f"{_NAME}/until_ms",
        next_step="Let the policy keys sign a shorter one.",
    )
