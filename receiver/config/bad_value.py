"""The error of a value that is refused for a particular reason."""


class BadValue(ValueError):
    """A value refused for a particular reason. As a string it is `problem; remedy`, and never shows the value."""

    def __init__(self, problem: str, *, remedy: str | None = None) -> None:
        super().__init__(problem if remedy is None else f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
