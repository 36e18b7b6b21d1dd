"""Which events are stored already: exact, whatever their age, without holding all keys in memory."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from andoncord.adapters.parquet.manifest import key_file

if TYPE_CHECKING:
    from andoncord.adapters.parquet.keys import KeyRun


class KeyIndex:
    """The digests of the tail in a set, those of all segments in runs on disk.

    Args:
        folder: where the runs are.
        runs: numbers of the runs, oldest first.
        tail: the digests of the events that are in no segment yet.
    """

    def __init__(self, folder: Path, *, runs: Iterable[int], tail: Iterable[bytes]) -> None:
        self._folder = folder
        self._tail = set(tail)
        self._runs: dict[int, KeyRun] = {}
        for number in runs:
            self._open(number)

    def known(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those that are stored."""
        # The tail first: what is moved meanwhile is in its run before it leaves the tail.
        found = self._tail.intersection(digests)
        runs = tuple(self._runs.values())
        rest = [digest for digest in digests if digest not in found]
        if runs and rest:
            from andoncord.adapters.parquet.keys import among_runs

            found |= among_runs(runs, rest)
        return found

    def add(self, digests: Iterable[bytes]) -> None:
        """Events came into the tail."""
        self._tail.update(digests)

    def moved(self, digests: Iterable[bytes], *, run: int) -> None:
        """Events left the tail, and their keys are in a run now."""
        self._open(run)
        self._tail.difference_update(digests)

    def merged(self, old: Iterable[int], new: int | None) -> None:
        """A run replaces others, or they go without one."""
        if new is not None:
            self._open(new)
        gone = set(old)
        self._runs = {number: run for number, run in self._runs.items() if number not in gone}

    def _open(self, number: int) -> None:
        from andoncord.adapters.parquet.keys import KeyRun

        self._runs = {**self._runs, number: KeyRun(self._folder / key_file(number))}
