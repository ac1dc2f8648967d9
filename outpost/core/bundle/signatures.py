"""Signatures by the keys of a role over bytes that are no TUF metadata: lock orders, extensions, ceremonies.

The rules are those of metadata: every signature present must be of a key of the role and verify, and enough of the keys
must have signed.
"""

from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from outpost.core.bundle import limits
from outpost.core.bundle.errors import (
    BadSignatureError,
    OversizedError,
    ThresholdError,
    UnknownKeyError,
    UnsignedError,
)
from outpost.core.bundle.release import RoleKeys


def require_signed(payload: bytes, signatures: Mapping[str, bytes], authorities: Sequence[RoleKeys], name: str) -> None:
    """Hold signatures against those who must sign.

    Args:
        payload: the signed bytes.
        signatures: TUF key id to signature, untrusted.
        authorities: each of them must reach its threshold; a new root has two, the old keys and its own.
        name: what was signed, for errors.

    Raises:
        OversizedError: more signatures than anything of ours has.
        UnsignedError: none.
        UnknownKeyError: one of a key that none of the authorities has.
        BadSignatureError: one that does not verify.
        ThresholdError: too few for one of the authorities.
    """
    if len(signatures) > limits.MAX_SIGNATURES:
        raise OversizedError(f"{name} has more than {limits.MAX_SIGNATURES} signatures.", field=name)
    if not signatures:
        raise UnsignedError(f"{name} is not signed.", field=name, next_step="Let its key holders sign it.")
    keys = {key_id: key for each in authorities for key_id, key in each.keys.items()}
    for key_id, signature in signatures.items():
        if key_id not in keys:
            raise UnknownKeyError(f"{name} is signed by a key that may not sign it.", field=name)
        require_signature(keys[key_id], signature, payload, name)
    for each in authorities:
        valid = len(each.keys.keys() & signatures.keys())
        if valid < each.threshold:
            raise ThresholdError(
                f"{name} has {valid} of {each.threshold} signatures.",
                field=name,
                next_step="Let another of its key holders sign it.",
            )


def require_signature(public_key: bytes, signature: bytes, payload: bytes, name: str) -> None:
    """Hold one signature against one Ed25519 key.

    Raises:
        BadSignatureError: it is not one of the key over these bytes.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, payload)
    except (InvalidSignature, ValueError):
        raise BadSignatureError(f"A signature of {name} does not verify.", field=name) from None
