"""The ports of the engine: what it needs from outside, as protocols. The server names its own in `server.ports`."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from andoncord.kernel.effect import Effect, Receipt
from andoncord.kernel.journal import Entry
from andoncord.kernel.time import Instant


class Clock(Protocol):
    """Where the shell gets the time from. The core takes `now` as an argument instead."""

    def now(self) -> Instant: ...


class JournalStore(Protocol):
    """Durable, append-only storage of journal entries.

    `append` returns only when the entries would survive a crash of the process, and refuses entries that do not continue the
    chain (`ConflictError`).
    """

    def append(self, entries: Sequence[Entry]) -> None: ...

    def read(self, after: int = 0) -> Iterable[Entry]:
        """Entries with `seq > after`, in order."""
        ...

    def head(self) -> Entry | None: ...


class Host(Protocol):
    """What a carrier asks the engine for."""

    def now(self) -> Instant: ...

    async def perform(self, intent: str) -> Receipt:
        """Perform the effect of an intent; what has a receipt is not performed again, its receipt is returned."""
        ...

    async def record(self, receipt: Receipt) -> None:
        """Write a receipt down, unless the intent has one."""
        ...

    async def note(self, what: str, detail: dict[str, Any]) -> None:
        """Write down something about the carrying itself."""
        ...


class Carrier(Protocol):
    """Carries effects to their receipts across crashes of the process."""

    def carry(self, intent: str, *, run: str, wait_s: float, again: bool) -> None:
        """Have an effect performed and its receipt recorded.

        Args:
            run: names this carrying of it; the same one twice is carried once.
            wait_s: let so much time pass first.
            again: it may have been carried before.
        """
        ...

    def drop(self, run: str) -> None:
        """Stop carrying an effect. What it has done by then it has done."""
        ...


class Performer(Protocol):
    """Carries out one kind of effect. Called again with the same `effect.key` after a crash, it must not do the thing twice."""

    async def perform(self, intent: str, effect: Effect) -> Receipt: ...
