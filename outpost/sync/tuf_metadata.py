"""Reading of one TUF metadata file: held against its exact form, then given to python-tuf. Nothing is verified yet."""

from dataclasses import dataclass
from typing import Any

from tuf.api.metadata import Metadata

from outpost.core.bundle import limits
from outpost.core.bundle.canonical import decode
from outpost.core.bundle.errors import DocumentError, MalformedError, OversizedError
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.metadata import check_envelope

_SIGNED = b'"signed":'


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """A metadata file that was read strictly.

    Attributes:
        name: file name, for errors.
        data: exact bytes.
        payload: those of them that are signed.
        signatures: key id to signature, as python-tuf has them.
        signed: the signed part, as python-tuf has it.
    """

    name: str
    data: bytes
    payload: bytes
    signatures: Any
    signed: Any


def read_metadata(role: str, name: str, data: bytes, org: str) -> MetadataFile:
    """Read a metadata file of a role; its signatures are still to be verified.

    The file is canonical, so the signed bytes stand in it as they are: "signed" comes after "signatures", whose
    values are hex.

    Args:
        role: role whose file it is.
        name: file name, for errors.
        data: untrusted bytes.
        org: org that the file must name.

    Raises:
        BundleError: OversizedError, OtherOrgError, DelegationError or a leaf of ContentError.

    Source: TUF 1.0.34 §4.
    """
    if len(data) > limits.MAX_METADATA_BYTES:
        raise OversizedError(f"{name} has more than {limits.MAX_METADATA_BYTES} bytes.", field=name)
    value = decode(data, name)
    try:
        check_envelope(Fields(value, name), role, org)
        metadata: Metadata[Any] = Metadata.from_dict(value)  # takes the value apart
    except DocumentError as error:
        raise MalformedError(error.message, field=error.field) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise MalformedError(f"{name} is not TUF metadata.", field=name) from None
    payload = data[data.index(_SIGNED) + len(_SIGNED) : -1]
    return MetadataFile(name, data, payload, metadata.signatures, metadata.signed)
