"""What can be wrong with a backup, and with the place where it shall be restored.

InputError
└── BackupError                 backup.malformed · newer · passphrase · damaged · truncated · trailing · content ·
                                schema
ConflictError
└── RestorePlaceError           restore.place
"""

from controlplane.domain.errors import ConflictError, InputError


class BackupError(InputError):
    """A file that is no backup, or not the one that was written."""

    code = "backup.malformed"


class BackupNewerError(BackupError):
    """A newer version of this program wrote the backup."""

    code = "backup.newer"


class BackupPassphraseError(BackupError):
    """The passphrase is another, or is none."""

    code = "backup.passphrase"


class BackupDamagedError(BackupError):
    """A chunk does not open: changed, moved, or of another backup."""

    code = "backup.damaged"


class BackupTruncatedError(BackupError):
    """The file ends before the backup does."""

    code = "backup.truncated"


class BackupTrailingError(BackupError):
    """Bytes stand behind the end of the backup."""

    code = "backup.trailing"


class BackupContentError(BackupError):
    """What was encrypted is not what a backup holds, or not all of it."""

    code = "backup.content"


class BackupSchemaError(BackupError):
    """The backup is of a schema that this program cannot restore."""

    code = "backup.schema"


class RestorePlaceError(ConflictError):
    """There is something already where the backup shall be restored."""

    code = "restore.place"
