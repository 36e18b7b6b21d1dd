"""What a crash leaves behind of a process's memory."""

import resource
from contextlib import suppress
from pathlib import Path

FILTER = Path("/proc/self/coredump_filter")
"""Which kinds of memory the kernel writes into a dump, a bit for each; for handlers that dumps are piped into as well."""


def leave_none() -> None:
    """A crash of this process, or of one it starts, leaves no copy of its memory, where requests stand before they are masked.

    What crashed where is still told: by the exit code, and by Python's own report of an exception, which has no values in it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        # Only Linux has it. A handler that the kernel pipes dumps into gets them whatever the limit is: then they are empty.
        FILTER.write_text("0", encoding="ascii")
