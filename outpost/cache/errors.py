"""What a cache can fail with.

StoreError
├── cache.missing        nothing was ever activated here, or a file of the store is gone
├── cache.tampered       the active slot, the pointer, the high water or a stored file is not what was written
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


class CacheWriteError(StoreError):
    """The disk refused; the last good state stands."""

    code = "cache.write_failed"
    fatal = False


class WrappingKeyError(StoreError):
    """The wrapping key cannot be used."""

    code = "cache.wrapping_key"
