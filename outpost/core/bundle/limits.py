"""Bounds on signed configuration: every number that stands between hostile bytes and our memory or time."""

MAX_METADATA_BYTES = (
    512 * 1024
)  # bytes of one metadata file; python-tuf's client allows 512,000 for the largest top-level role
MAX_TARGET_BYTES = 64 * 1024 * 1024  # bytes of one target; sync.proto, OfferedFile.size
# bytes of all files of a set: two of them (active and offered) fit a worker's memory
MAX_SET_BYTES = 128 * 1024 * 1024
MAX_SET_FILES = 256  # files of a set, metadata and targets together; sync.proto, Offer.files
MAX_NAME_BYTES = 128  # bytes of a file name; sync.proto, OfferedFile.name
# root rotations from the enrolled root to the newest; python-tuf has 256, which would exceed the files of a set
MAX_ROOT_HOPS = 128

MAX_SIGNATURES = 16  # signatures of one metadata file; the largest threshold in use is 3
MAX_KEYS = 64  # public keys listed by one root or one set of delegations
MAX_VERSION = 2**31 - 1  # version of a role or release; fits an int32 of any reader
MAX_INTEGER = 2**53 - 1  # any integer in a document; RFC 8259 §6, the range that all JSON readers agree on
MAX_JSON_DEPTH = 32  # nesting of any document; the policy document, the deepest, has 8
MAX_TIMESTAMP_VALIDITY_MS = (
    31 * 24 * 3600 * 1000
)  # milliseconds from signing to expiry of a timestamp; ours live 24 h, an air gap a month

MAX_PROVIDERS = 64  # providers in routes.json
MAX_MODELS = 256  # model globs of one provider or one key
MAX_TIMEOUT_MS = 3_600_000  # milliseconds; no provider streams one answer for longer than an hour
MAX_URL_BYTES = 512  # bytes of a base URL
MAX_CLIENT_KEYS = 100_000  # keys in access/keys.json; at about 300 bytes each they fill half a target
MAX_GROUPS = 64  # groups of one client key
MAX_TEXT_CHARS = 128  # characters of a name, user, group, agent, glob
MAX_REQUESTS_PER_MINUTE = 1_000_000  # per key
MAX_RELEASES = 2  # releases in one set: the stable one and a candidate
MAX_SPARED = 4096  # cohort values that a roll-out spares: outposts that came during one stage; 11 bytes each, 45 KiB
COHORT_VALUES = 2**32  # cohort values that there are: four bytes of a hash
MAX_REVOCATIONS = 100_000  # outposts in access/revocations.json; they never leave it, and 90 bytes each fill 9 MB
MAX_KILLS = 16  # routes documents with a kill list; a set has two at most, the others are of releases to come
MAX_KILLED = 256  # providers, or models, that one kill list switches off
MAX_CAPPED = 1024  # groups, or model globs, that a caps document allows
MAX_KEY_LIFE_SECONDS = 3660 * 24 * 3600  # seconds a key may be valid at all; ten years, longer is spelt null
MAX_EXTENSION_MS = 31 * 24 * 3600 * 1000  # milliseconds by which one extension moves the seal; sign another for more
MAX_EXTENSION_BYTES = 16 * 1024  # bytes of an extension file; ours have about 600
MAX_LOCK_BYTES = 4096  # bytes of a lock order; sync.proto, Lock.order
MAX_DELTA_BYTES = 64 * 1024  # bytes of one delta; sync.proto, OfferedFile.delta
MAX_DELTA_FILE_BYTES = 16 * 1024 * 1024  # bytes of a file that is sent or rebuilt as a delta; above it is fetched whole
MAX_DELTA_WINDOW_BYTES = 32 * 1024 * 1024  # bytes a frame may ask us to keep: dictionary and file, both at their bound
MAX_CHUNK_BYTES = 64 * 1024  # bytes of one fetched chunk, unpacked; sync.proto, FetchChunk.plain_bytes
MAX_INLINE_BYTES = 64 * 1024  # bytes of files and deltas in one offer; sync.proto, OfferedFile.inline
MAX_SELF_TESTS = 64  # prompts of a release's self-test
MAX_SELF_TEST_CHARS = 4096  # characters of one such prompt
MAX_DISABLED_DETECTORS = 1024  # detectors switched off
MAX_TIERS = 3  # inspection tiers that exist
MAX_SEAL_SECONDS = 366 * 24 * 3600  # seconds; longer than a year is spelt null, "never"
MAX_BODY_BYTES = 64 * 1024 * 1024  # bytes of a chat body that a release may allow; the default is 1 MB
