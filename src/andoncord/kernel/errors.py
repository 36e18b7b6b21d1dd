"""Errors by who made them: the caller's are raised with place and remedy; the world's are values (see `effect.Receipt`)."""


class CallerError(Exception):
    """The caller erred: what is wrong, where, and what to do about it.

    Args:
        message: what is wrong, one clause.
        place: where, as `file:line` or a field path; empty when there is only one place it can be.
        remedy: what to do; empty when the message already says it.

    >>> str(CallerError("unknown field 'sevrity'", place="rules/loop.yaml:14", remedy="did you mean 'severity'?"))
    "rules/loop.yaml:14: unknown field 'sevrity', did you mean 'severity'?"
    """

    def __init__(self, message: str, *, place: str = "", remedy: str = "") -> None:
        self.message = message
        self.place = place
        self.remedy = remedy
        super().__init__(f"{place}: {message}" if place else message)

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text}, {self.remedy}" if self.remedy else text


class NotFoundError(CallerError):
    """The thing asked for does not exist."""


class ConflictError(CallerError):
    """The thing asked for cannot be done in the present state."""
