"""What a database does to us, by what helps: try again, correct the input, migrate, or look at the program.

StateError
├── DatabaseError         transient: gone, full, locked, too slow; nothing of the transaction happened
│   └── CommitUnknownError    the connection broke while committing
├── DatabaseRefusedError  a statement that can never work: a fault of ours, or rights that are missing
└── SchemaError           another revision of the schema than this program works on

No message holds an address, a password, a value of a row or the text of a statement.
"""

from controlplane.domain.errors import ConfigurationError, ConflictError, InputError, StateError


class DatabaseError(StateError):
    """The database did not do it: gone, full, damaged, locked for too long or too slow; nothing happened."""

    code = "store.database"


class CommitUnknownError(DatabaseError):
    """The connection to the database broke while a change was being stored: it is stored, or it is not."""

    code = "store.commit_unknown"


class DatabaseRefusedError(StateError):
    """The database refused a statement for good: a contradiction between rows, or a right that is missing."""

    code = "store.refused"
    fatal = True


class SchemaError(StateError):
    """The database has another schema than this version of the program works on."""

    code = "store.schema"
    fatal = True


class ValueUnstorableError(InputError):
    """A text with a NUL character or half a surrogate pair, or a number beyond 64 bits."""

    code = "store.value"


class DatabaseRoleError(ConfigurationError):
    """The database role of the settings could read every org at once, so row level security would protect nothing."""

    code = "store.role"


class DatabaseAddressError(ConfigurationError):
    """The file with the address of the database is not there, not private, or holds no such address."""

    code = "store.address"


class NotInitialisedError(ConfigurationError):
    """The state directory is not one of a control plane, or only half of one."""

    code = "state.not_initialised"


class VaultTakenError(ConflictError):
    """The vault has a key or certificate of that name already; it is never replaced by accident."""

    code = "vault.exists"


class VaultLaidError(ConflictError):
    """The database holds the keys of a control plane already."""

    code = "vault.laid"


class KeyKindError(ConfigurationError):
    """A key of the vault lies where this control plane cannot reach it."""

    code = "vault.kind"


def unreachable(cause: str, *, field: str = "database") -> DatabaseError:
    """The database cannot be asked."""
    return DatabaseError(
        f"the database cannot be asked ({cause})",
        field=field,
        next_step="check that the database server runs and is reached; it is tried again by itself",
    )


def refused(cause: str, *, field: str = "database") -> DatabaseRefusedError:
    """The database refused a statement for good."""
    return DatabaseRefusedError(
        f"the database refused a statement ({cause})",
        field=field,
        next_step="run controlplane migrate; if that changes nothing, report it with the log",
    )
