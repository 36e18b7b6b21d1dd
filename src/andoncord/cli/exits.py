"""Exit codes, the same for every command."""

from enum import IntEnum


class Exit(IntEnum):
    """What a script can tell from how a command ended."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    NOT_NOW = 5
    UNCONFIRMED = 6
    """Done, but not confirmed by every enforcement point."""
    INCIDENT = 7
    TOO_LONG = 8
    INTERRUPTED = 130


OF_STATUS = {401: Exit.NOT_ALLOWED, 403: Exit.NOT_ALLOWED, 404: Exit.NOT_FOUND, 409: Exit.NOT_NOW, 422: Exit.USAGE}
