"""What a cache can fail with.

StoreError
├── cache.missing        nothing was ever activated here, or a file of the store is gone
├── cache.tampered       the active slot or a stored file is not what was written
│   ├── cache.foreign             a file of another outpost, org or role
│   ├── cache.other_wrapping_key  a file that was sealed under another wrapping key
│   ├── cache.pointer             the pointer names no slot
│   └── cache.high_water          the high water was altered, or is gone
├── cache.write_failed   the disk refused
└── cache.wrapping_key   the wrapping key is not 32 bytes
"""

from outpost.core.errors import StoreError


class CacheMissingError(StoreError):
    """Nothing was activated here yet, or a stored file is gone."""

    code = "cache.missing"


class CacheTamperedError(StoreError):
    """Bytes on disk are not those that were written with this wrapping key, for this outpost and org."""

    code = "cache.tampered"


class ForeignFileError(CacheTamperedError):
    """A file of another outpost, org or role stands in the place of ours."""

    code = "cache.foreign"


class OtherWrappingKeyError(CacheTamperedError):
    """The file says that it was sealed under another wrapping key than the one that is here."""

    code = "cache.other_wrapping_key"


class PointerError(CacheTamperedError):
    """The pointer names no slot."""

    code = "cache.pointer"


class HighWaterError(CacheTamperedError):
    """The high water was altered, or is gone although a set was activated."""

    code = "cache.high_water"


class CacheWriteError(StoreError):
    """The disk refused; the last good state stands."""

    code = "cache.write_failed"
    fatal = False


class WrappingKeyError(StoreError):
    """The wrapping key cannot be used."""

    code = "cache.wrapping_key"
