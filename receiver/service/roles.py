"""What a process does of the service. Over PostgreSQL there may be many of each; SQLite takes one that does all."""

from enum import StrEnum


class ServiceRole(StrEnum):
    """The part of the service that a process does."""

    ALL = "all"
    WEB = "web"  # callbacks, API, pages and the stream
    WORKER = "worker"  # the loops

    @property
    def answers(self) -> bool:
        """Whether it answers more than health checks and metrics."""
        return self is not ServiceRole.WORKER

    @property
    def works(self) -> bool:
        """Whether it runs the loops."""
        return self is not ServiceRole.WEB
