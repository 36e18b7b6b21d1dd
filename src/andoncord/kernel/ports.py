"""The ports of the engine: what it needs from outside, as protocols. The server names its own in `server.ports`."""

from collections.abc import Iterable, Sequence
from typing import Protocol

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


class Performer(Protocol):
    """Carries out one kind of effect. Called again with the same `effect.key` after a crash, it must not do the thing twice."""

    async def perform(self, intent: str, effect: Effect) -> Receipt: ...
