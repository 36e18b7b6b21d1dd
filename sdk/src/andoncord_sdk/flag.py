"""The shared-memory flag: how an order reaches a guard on the server's own machine, without a connection or a thread.

The server keeps a file of slots, one for each guard, and writes an order that holds something into the guard's slot before it
pushes it on the stream. The guard compares one number in its slot at every call. The flag can only raise: what it says is an
order like any other, with an epoch, and is left alone where it is milder than what is in force.

A guard that can open the file and finds in it the nonce that the server told it shares the server's machine; another
machine may have a file of that name, but not that nonce. A guard that cannot goes on with the stream.

    page 0       magic, nonce
    page 1 …     one slot each: sequence (even: complete, odd: being written), length, CRC-32, JSON {"guard": …, "order": {…}}
"""

import json
import mmap
import os
import stat
import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

from andoncord_sdk import _platform

MAGIC = b"andoncord-flag-1"
PAGE = 4096
HEAD = struct.Struct("<16s32s")
SLOT = struct.Struct("<QII")
"""Sequence, length and checksum; the text follows."""
TEXT_MAX = PAGE - SLOT.size
READ_TRIES = 50
"""Looks at a slot that is being written, which takes microseconds, before it counts as torn."""
READ_AGAIN_S = 0.0002


class FlagUnreadableError(Exception):
    """The slot is torn: an order may be in it, so no call may be made until the slot is replaced."""


def sealed(sequence: int, text: bytes) -> bytes:
    """What stands in a slot: the checksum binds the text to its sequence."""
    return SLOT.pack(sequence, len(text), _checksum(sequence, text)) + text


def _checksum(sequence: int, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(sequence.to_bytes(8, "little")))


class Flag:
    """A guard's view of its slot, read only. Thread-safe.

    The check at each call, for which no method is called: `flag.words[0] != flag.seen` means `flag.look()` is due.

    Args:
        view: the slot's page.
        guard: the registration the slot was given to.
        seen: the sequence that was current at the registration.
        ordered: takes an order, as the stream brings it.
    """

    def __init__(self, view: mmap.mmap, *, guard: str, seen: int, ordered: Callable[[dict[str, Any]], None]) -> None:
        self._view = view
        self.words = memoryview(view).cast("Q")
        self.seen = seen
        self.is_ours = True
        """False once the server has given the slot to another guard: it counts this one as gone."""
        self._guard = guard
        self._ordered = ordered
        self._lock = threading.Lock()

    def look(self) -> None:
        """Follow what the slot says now. Returns with the order in force.

        Raises:
            FlagUnreadableError: it is torn.
        """
        with self._lock:
            if not self.is_ours or self.words[0] == self.seen:
                return  # Another thread has just looked.
            sequence, said = self._read()
            if said.get("guard") != self._guard:
                self.is_ours = False
            elif isinstance(order := said.get("order"), dict):
                self._ordered(order)
            self.seen = sequence

    def _read(self) -> tuple[int, dict[str, Any]]:
        for attempt in range(READ_TRIES):
            if attempt:
                threading.Event().wait(READ_AGAIN_S)
            sequence, length, checksum = SLOT.unpack_from(self._view)
            if sequence % 2 or length > TEXT_MAX:
                continue
            text = bytes(self._view[SLOT.size : SLOT.size + length])
            if checksum == _checksum(sequence, text) and self.words[0] == sequence:
                try:
                    said = json.loads(text)
                except ValueError:
                    continue
                if isinstance(said, dict):
                    return sequence, said
        raise FlagUnreadableError("the shared-memory flag is half written, so it may hold an order that cannot be read")

    def forget_other_threads(self) -> None:
        """In a forked child: renew what another thread may have held. The slot stays the parent's until the registration."""
        self._lock = threading.Lock()


def open_flag(offer: object, *, guard: str, ordered: Callable[[dict[str, Any]], None]) -> Flag | None:
    """The slot that the server offers, or None where it is on another machine, not ours to read, or not what it should be."""
    if not isinstance(offer, dict):
        return None
    path, slot, nonce, seen = (offer.get(key) for key in ("path", "slot", "nonce", "seen"))
    if not (isinstance(path, str) and isinstance(slot, int) and isinstance(nonce, str) and isinstance(seen, int)):
        return None
    if not _platform.LINUX or slot < 1 or PAGE % mmap.ALLOCATIONGRANULARITY:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        about = os.fstat(descriptor)
        # Another machine's file of that name, or one that is cut off: reading behind its end would end this process.
        if not stat.S_ISREG(about.st_mode) or about.st_size < (slot + 1) * PAGE:
            return None
        if os.pread(descriptor, HEAD.size, 0) != HEAD.pack(MAGIC, nonce.encode()[:32]):
            return None
        view = mmap.mmap(descriptor, PAGE, prot=mmap.PROT_READ, offset=slot * PAGE)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return Flag(view, guard=guard, seen=seen, ordered=ordered)
