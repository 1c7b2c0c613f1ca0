"""Every error that the rooms raise on purpose, so that each caller knows what it may meet.

ReceiverError
├── SettingsError        a setting is wrong; `serve` and the commands end with status 2
├── StoreError           the database did something we do not know how to live with
│   ├── Unavailable      busy, full, I/O or closing: nothing was stored; ask again later (503)
│   ├── Stale            a guarded update met fewer rows than it expected; decide again
│   ├── Locked           another process holds this database
│   ├── Newer            its schema is from a newer version of this program
│   └── Corrupt          it does not pass its own check
├── Unwritable           the archive's disk takes nothing
├── NotFetched           a picture that could not be fetched; says whether trying again is of any use
├── Refused              an API request that cannot be accepted; carries status, code and field
└── ApiError             what the client raises when our own API says no
"""


class ReceiverError(Exception):
    """The root. `problem` says in one line what is wrong, `remedy` what to do about it, if anything is known.

    As a string it is both: `problem; remedy`.
    """

    def __init__(self, problem: str, *, remedy: str | None = None) -> None:
        super().__init__(problem if remedy is None else f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class SettingsError(ReceiverError):
    """A setting is unknown, unreadable or out of range; the text names it and never shows a secret."""


class StoreError(ReceiverError):
    """The database failed."""


class StoreUnavailable(StoreError):
    """Nothing was stored, and trying again later may work. `retry_after_s` is a hint in seconds."""

    def __init__(self, problem: str, *, remedy: str | None = None, retry_after_s: int = 5) -> None:
        super().__init__(problem, remedy=remedy)
        self.retry_after_s = retry_after_s


class StaleUpdate(StoreError):
    """A row was no longer in the state that the update expected; the transaction was rolled back."""


class DatabaseLocked(StoreError):
    """Another process holds the lock beside this database."""


class NewerSchema(StoreError):
    """The database was written by a newer version; this one would damage it."""


class CorruptDatabase(StoreError):
    """The database does not pass its own integrity check."""


class Unwritable(ReceiverError):
    """The archive's disk takes nothing: full, read-only, or not ours. The text says which."""


class NotFetched(ReceiverError):
    """A picture could not be fetched; the text says why and names no more of its link than the host.

    `permanent`: trying again is of no use. `silent`: the host did not answer, and would not for its other pictures.
    `forbidden`: we did not ask, since its place is not trusted.
    """

    def __init__(self, problem: str, *, permanent: bool = False, silent: bool = False, forbidden: bool = False) -> None:
        super().__init__(problem)
        self.permanent = permanent
        self.silent = silent
        self.forbidden = forbidden


class RequestRefused(ReceiverError):
    """A request that cannot be accepted as it stands.

    `status` is the HTTP status (400, 404, 409, 422), `code` a word or the provider's own code, `field` the
    parameter or key at fault, if there is one.
    """

    def __init__(
        self, status: int, code: str, problem: str, field: str | None = None, *, remedy: str | None = None
    ) -> None:
        super().__init__(problem, remedy=remedy)
        self.status = status
        self.code = code
        self.field = field


class ApiError(ReceiverError):
    """Our API answered with an error, or not at all (`status` 0)."""

    def __init__(self, status: int, code: str, problem: str, field: str | None = None) -> None:
        super().__init__(problem)
        self.status = status
        self.code = code
        self.field = field
