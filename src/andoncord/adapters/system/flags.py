"""The file of shared-memory flags: the server's side of what `andoncord_sdk.flag` reads."""

import mmap
import os
from pathlib import Path
from typing import Any

import msgspec

from andoncord_sdk.flag import HEAD, MAGIC, PAGE, SLOT, TEXT_MAX, sealed

SLOTS = 1_024
"""Guards on this machine that get a slot; a further one hears of orders by its stream and its lease."""
FILE_MODE = 0o600


class FlagFile:
    """One slot for each guard, in a new file at every start. Who still has the old one is not connected any more.

    Args:
        path: where it is; the directory is the server's own.
        nonce: names this very file; 32 characters or fewer.
    """

    def __init__(self, path: Path, *, nonce: str) -> None:
        self._path = path.absolute()
        self._nonce = nonce[:32]
        fresh = path.with_name(f"{path.name}.new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            # On the disk from the beginning: a page that cannot be stored would end the process that writes it.
            os.posix_fallocate(descriptor, 0, (SLOTS + 1) * PAGE)
            self._view = mmap.mmap(descriptor, (SLOTS + 1) * PAGE)
        finally:
            os.close(descriptor)
        HEAD.pack_into(self._view, 0, MAGIC, self._nonce.encode())
        fresh.replace(self._path)
        self._slots: dict[str, int] = {}
        self._free = list(range(SLOTS, 0, -1))

    def allot(self, guard: str) -> dict[str, Any] | None:
        """A slot for a guard, as it is told of it; None when none is left."""
        if guard not in self._slots:
            if not self._free:
                return None
            self._slots[guard] = self._free.pop()
            self._write(guard, None)
        return {"path": str(self._path), "slot": self._slots[guard], "nonce": self._nonce, "seen": self._sequence(guard)}

    def show(self, guard: str, order: dict[str, Any]) -> bool:
        """Raise a guard's flag. False when it has no slot, or the order is too long for one: its stream brings it."""
        return guard in self._slots and self._write(guard, order)

    def free(self, guard: str) -> None:
        """The guard is gone; its slot can be given to another, and a reader sees by the name that it was."""
        if (slot := self._slots.pop(guard, None)) is not None:
            self._free.append(slot)

    def close(self) -> None:
        """Let go of the file; nobody can be told of it any more."""
        self._path.unlink(missing_ok=True)
        self._view.close()

    def _write(self, guard: str, order: dict[str, Any] | None) -> bool:
        text = msgspec.json.encode({"guard": guard, "order": order})
        if len(text) > TEXT_MAX:
            return False
        at, sequence = self._slots[guard] * PAGE, self._sequence(guard)
        words = memoryview(self._view).cast("Q")
        try:
            words[at // 8] = sequence + 1  # Odd: whoever reads now waits.
            complete = sealed(sequence + 2, text)
            self._view[at + 8 : at + len(complete)] = complete[8:]
            words[at // 8] = sequence + 2
        finally:
            words.release()
        return True

    def _sequence(self, guard: str) -> int:
        sequence: int = SLOT.unpack_from(self._view, self._slots[guard] * PAGE)[0]
        return sequence + sequence % 2
