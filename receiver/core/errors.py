"""Every error that is raised on purpose, so that a caller knows what to expect.

ReceiverError
├── SettingsError        a setting is wrong; `serve` and the commands end with status 2
├── StoreError           the database failed
│   ├── StoreUnavailable busy, full, I/O or closing: nothing was stored, if that is known; ask again later (503)
│   ├── StaleUpdate      a guarded update met fewer rows than it expected; decide again
│   ├── DatabaseLocked   another process holds this database
│   ├── NewerSchema      its schema is from a newer version of this program
│   └── CorruptDatabase  it fails its own integrity check
├── Unwritable           a file or folder cannot be written
├── UnsafeFile           root would follow a link that another user may have planted
├── ClockLeapt           what cannot be undone waits, because the clock leapt
├── NotFetched           a picture could not be fetched; says whether trying again can help
├── RequestRefused       an API request that cannot be accepted; carries status, code and field
└── ApiError             what the client raises when our own API refuses a request
"""


class ReceiverError(Exception):
    """The root. `problem` says in one line what is wrong; `remedy` says what to do about it, if that is known.

    As a string it is both: `problem; remedy`.
    """

    def __init__(self, problem: str, *, remedy: str | None = None) -> None:
        super().__init__(problem if remedy is None else f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class SettingsError(ReceiverError):
    """A setting is unknown, unreadable or out of range. The text names it and never shows a secret."""


class StoreError(ReceiverError):
    """The database failed."""


class StoreUnavailable(StoreError):
    """Nothing was stored; trying again later may work. `retry_after_s` is a hint.

    If `outcome_unknown`, all may be stored: nobody could say whether it was committed.
    """

    outcome_unknown = False

    def __init__(self, problem: str, *, remedy: str | None = None, retry_after_s: int = 5) -> None:
        super().__init__(problem, remedy=remedy)
        self.retry_after_s = retry_after_s


class StaleUpdate(StoreError):
    """A row was not in the state that the update expected. The transaction was rolled back."""


class DatabaseLocked(StoreError):
    """Another process holds the lock file of this database."""


class NewerSchema(StoreError):
    """The database was written by a newer version of this program; this version would damage it."""


class CorruptDatabase(StoreError):
    """The database fails its own integrity check."""


class Unwritable(ReceiverError):
    """A file or folder cannot be written: the disk is full or read-only, or it is not ours. The text says which."""


class UnsafeFile(ReceiverError):
    """What another user's folder holds may have been planted for root: a link, or a third user's file."""


class ClockLeapt(ReceiverError):
    """The clock leapt, so what cannot be undone has to wait."""


class NotFetched(ReceiverError):
    """A picture could not be fetched. The text says why; of the link it shows only the host.

    `permanent`: trying again cannot help. `early`: it can, but only soon, since the picture may not be there yet.
    `silent`: the host did not answer, so its other pictures need not be tried. `forbidden`: we did not ask, because the
    address is not allowed.
    """

    def __init__(
        self,
        problem: str,
        *,
        permanent: bool = False,
        early: bool = False,
        silent: bool = False,
        forbidden: bool = False,
    ) -> None:
        super().__init__(problem)
        self.permanent = permanent
        self.early = early
        self.silent = silent
        self.forbidden = forbidden


class RequestRefused(ReceiverError):
    """A request that cannot be accepted as it stands.

    `status` is the HTTP status (400, 404, 409, 422), `code` is a word or the provider's own code, and `field` is the
    parameter or key at fault, if there is one.
    """

    def __init__(
        self, status: int, code: str, problem: str, field: str | None = None, *, remedy: str | None = None
    ) -> None:
        super().__init__(problem, remedy=remedy)
        self.status = status
        self.code = code
        self.field = field


def outage_refusal(error: StoreError) -> RequestRefused:
    """The store's error as what the API answers. It says that nothing was stored only if that is known."""
    if isinstance(error, StoreUnavailable) and error.outcome_unknown:
        problem = f"it is not known whether this was stored: {error}"
        remedy = "repeat it with the same Idempotency-Key; if it had none, look first what is there"
    else:
        problem, remedy = f"nothing was stored: {error}", "try again later"
    return RequestRefused(503, "unavailable", problem, remedy=remedy)


class ApiError(ReceiverError):
    """Our API answered with an error, or did not answer (`status` 0)."""

    def __init__(
        self, status: int, code: str, problem: str, field: str | None = None, *, remedy: str | None = None
    ) -> None:
        super().__init__(problem, remedy=remedy)
        self.status = status
        self.code = code
        self.field = field
