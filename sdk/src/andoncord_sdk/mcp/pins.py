"""Tool descriptions as they were first seen. A server that changes one may change what a model does."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

PinMode = Literal["report", "strict"]
"""What follows from a change: it is reported, or the tool is refused as well."""

PINS_MAX = 4096
"""Tools remembered; a server that lists more has the rest refused in strict mode and unpinned otherwise."""


class Pins:
    """A digest for each tool.

    Args:
        mode: "report" takes a change as the new state once it is reported; "strict" keeps the first.
        path: a file that keeps the digests between sessions; None for this session alone.

    >>> pins = Pins("strict")
    >>> pins.look({"name": "pay", "description": "Pay."}), pins.look({"name": "pay", "description": "Pay twice."}) is None
    (None, False)
    >>> pins.refusal("pay")
    'pay is not what it was when it was first seen'
    """

    def __init__(self, mode: PinMode, path: Path | None = None) -> None:
        self._mode = mode
        self._path = path
        self._pinned: dict[str, str] = {}
        self._now: dict[str, str] = {}
        self._is_saved = True
        if path is not None and path.exists():
            self._pinned = _load(path)

    def look(self, tool: dict[str, Any]) -> tuple[str, str] | None:
        """Take note of a tool as it is listed now. The digest it had and the one it has, where that is news."""
        name, digest = tool["name"], digest_of(tool)
        before = self._pinned.get(name)
        is_news = before is not None and digest not in (before, self._now.get(name))
        if before is None and len(self._pinned) >= PINS_MAX:
            return None
        self._now[name] = digest
        if before is None or (is_news and self._mode == "report"):
            self._pinned[name] = digest
            self._is_saved = False
        return (before, digest) if is_news and before is not None else None

    def refusal(self, name: str) -> str | None:
        """Why this tool may not be used, or None."""
        if self._mode == "report":
            return None
        if name not in self._now:
            return f"{name} has not been listed in this session, so nobody knows whether it is what it was"
        return f"{name} is not what it was when it was first seen" if self._now[name] != self._pinned[name] else None

    def save(self) -> None:
        """Write down what is new.

        Raises:
            OSError: it could not be written.
        """
        if self._path is None or self._is_saved:
            return
        beside = self._path.with_name(self._path.name + ".new")
        beside.write_text(json.dumps(self._pinned, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(beside, self._path)  # noqa: PTH105  # atomic, and says so
        self._is_saved = True


def digest_of(tool: dict[str, Any]) -> str:
    """What a model and a client go by: everything but `_meta`, whatever the order of its keys.

    >>> digest_of({"name": "a", "title": "A"}) == digest_of({"title": "A", "name": "a", "_meta": {}})
    True
    """
    seen = {key: value for key, value in tool.items() if key != "_meta"}
    return hashlib.sha256(json.dumps(seen, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _load(path: Path) -> dict[str, str]:
    """The pins in a file.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        pinned = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as broken:
        raise ValueError(f"{path}: not JSON: {broken}") from broken
    if not isinstance(pinned, dict) or not all(isinstance(digest, str) for digest in pinned.values()):
        raise ValueError(f"{path}: expected an object of tool names and digests")
    return pinned
