"""Why a signed set is refused: one leaf, one code per cause.

BundleError
├── SetShapeError          what is offered is not the shape of a set
│   ├── bundle.oversized · bundle.missing_metadata · bundle.missing_target · bundle.unlisted_metadata
│   └── bundle.unlisted_target · bundle.incomplete
├── ContentError           a file cannot be read as what it says it is
│   ├── bundle.malformed · bundle.truncated · bundle.schema · bundle.unknown_field · bundle.document
│   └── bundle.wrong_type · bundle.key_id · bundle.key_algorithm · bundle.hash_algorithm
├── SignatureError         nobody who may has signed it
│   ├── bundle.unsigned · bundle.signature · bundle.threshold · bundle.unknown_key
│   ├── bundle.wrong_role_key
│   └── bundle.root_hop · bundle.root_mismatch · bundle.delegation
└── ConsistencyError       well signed, but not for here or now, or not together
    ├── bundle.rollback · bundle.expired · bundle.freeze · bundle.other_org · bundle.mix_and_match
    └── bundle.length · bundle.hash · bundle.resource

What online keys signed although only the policy role may: ``loosening``. What is wrong with a delta, a lock order or an
extension: ``delta``, ``lock``, ``extension``.
"""

from outpost.core.errors import BundleError


class SetShapeError(BundleError):
    """What is offered is not the shape of a set."""


class ContentError(BundleError):
    """A file cannot be read as what it says it is."""


class SignatureError(BundleError):
    """Nobody who may has signed it."""


class ConsistencyError(BundleError):
    """Well signed, but not for here or now, or the files do not belong together."""


class OversizedError(SetShapeError):
    """A file, or the number of files, is over its bound."""

    code = "bundle.oversized"


class MissingMetadataError(SetShapeError):
    """A metadata file that every set holds is not there."""

    code = "bundle.missing_metadata"


class MissingTargetError(SetShapeError):
    """A signed role names a target whose bytes are not there."""

    code = "bundle.missing_target"


class UnlistedMetadataError(SetShapeError):
    """A metadata file of a name that no role has."""

    code = "bundle.unlisted_metadata"


class UnlistedTargetError(SetShapeError):
    """A target that no signed role names."""

    code = "bundle.unlisted_target"


class IncompleteError(SetShapeError):
    """The signed roles do not name a document that every set needs."""

    code = "bundle.incomplete"


class MalformedError(ContentError):
    """Not canonical JSON of the expected form."""

    code = "bundle.malformed"


class TruncatedError(ContentError):
    """Shorter than its signed length."""

    code = "bundle.truncated"


class SchemaError(ContentError):
    """A document or metadata of a schema that this version does not know."""

    code = "bundle.schema"


class UnknownFieldError(ContentError):
    """A field that the schema does not have: what is not understood could loosen."""

    code = "bundle.unknown_field"


class DocumentError(ContentError):
    """A field of a signed document is missing, of the wrong type or out of its bounds."""

    code = "bundle.document"


class WrongTypeError(ContentError):
    """Metadata of one role under the name of another."""

    code = "bundle.wrong_type"


class KeyIdError(ContentError):
    """A key stands under an id that is not its hash; one key under two ids would count twice."""

    code = "bundle.key_id"


class KeyAlgorithmError(ContentError):
    """A key that is not Ed25519."""

    code = "bundle.key_algorithm"


class HashAlgorithmError(ContentError):
    """A hash that is not SHA-256."""

    code = "bundle.hash_algorithm"


class UnsignedError(SignatureError):
    """No signature at all."""

    code = "bundle.unsigned"


class BadSignatureError(SignatureError):
    """A signature of an authorised key does not verify over these bytes."""

    code = "bundle.signature"


class ThresholdError(SignatureError):
    """Fewer valid signatures than the role demands."""

    code = "bundle.threshold"


class UnknownKeyError(SignatureError):
    """Signed by a key that nobody above the role names at all."""

    code = "bundle.unknown_key"


class WrongRoleKeyError(SignatureError):
    """Signed by the key of another role."""

    code = "bundle.wrong_role_key"


class RootHopError(SignatureError):
    """The chain of roots has a gap or a version that is not the next."""

    code = "bundle.root_hop"


class RootMismatchError(SignatureError):
    """The offered root of the enrolled version is another than the enrolled one."""

    code = "bundle.root_mismatch"


class DelegationError(SignatureError):
    """A role names a path, or delegates, outside what it was given."""

    code = "bundle.delegation"


class RollbackError(ConsistencyError):
    """Older than what was accepted before."""

    code = "bundle.rollback"


class ExpiredError(ConsistencyError):
    """Past its expiry."""

    code = "bundle.expired"


class EquivocationError(ConsistencyError):
    """Another set under the version of the one in force: whoever signs tells different outposts different things."""

    code = "bundle.equivocation"


class FreezeError(ConsistencyError):
    """A timestamp that promises freshness for longer than allowed: whoever holds it could freeze the outpost."""

    code = "bundle.freeze"


class OtherOrgError(ConsistencyError):
    """For another org."""

    code = "bundle.other_org"


class MixAndMatchError(ConsistencyError):
    """Files of different versions of the repository, each validly signed."""

    code = "bundle.mix_and_match"


class LengthError(ConsistencyError):
    """Longer than its signed length."""

    code = "bundle.length"


class HashError(ConsistencyError):
    """Bytes other than those whose hash was signed."""

    code = "bundle.hash"


class ResourceError(ConsistencyError):
    """The release names a resource by another hash or size than the role that signs it."""

    code = "bundle.resource"
