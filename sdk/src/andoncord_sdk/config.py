"""Registry values that the control plane pushes and the agent reads at run time: prompts, model, settings."""

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

ChangeListener = Callable[[str, Mapping[str, Any]], None]
"""Called with the new version and its values."""


class Config:
    """The version in force. Replaced as a whole, so that a reader never sees half of two versions.

    >>> config = Config()
    >>> config.put("v1", {"prompt": "Be kind."}), config.put("v2", {"prompt": "Be brief."})
    ((), ('prompt',))
    >>> config.version, config.values["prompt"]
    ('v2', 'Be brief.')
    """

    def __init__(self) -> None:
        self._current: tuple[str | None, Mapping[str, Any]] = (None, MappingProxyType({}))
        self._listeners: list[ChangeListener] = []
        self._lock = threading.Lock()

    @property
    def version(self) -> str | None:
        return self._current[0]

    @property
    def values(self) -> Mapping[str, Any]:
        return self._current[1]

    def listen(self, listener: ChangeListener) -> None:
        """Call `listener` at every change, and now if a version is in force already."""
        with self._lock:
            self._listeners.append(listener)
            version, values = self._current
        if version is not None:
            listener(version, values)

    def put(self, version: str, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Put a version in force and tell the listeners. Returns the kinds of thing that changed; none for the first version.

        Raises:
            Exception: what a listener raised; the version is in force all the same.
        """
        with self._lock:
            old_version, old = self._current
            if version == old_version and dict(values) == dict(old):
                return ()
            self._current = (version, MappingProxyType(dict(values)))
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(version, self._current[1])
        return () if old_version is None else changed_kinds(old, values)

    def forget_other_threads(self) -> None:
        """In a forked child: the lock is renewed, whoever held it."""
        self._lock = threading.Lock()


def changed_kinds(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Which kinds of thing differ: prompt, model, tool, or config for everything else.

    >>> changed_kinds({"prompt": "a", "temperature": 0}, {"prompt": "b", "temperature": 1})
    ('config', 'prompt')
    """
    missing = object()
    keys = {key for key in {*old, *new} if old.get(key, missing) != new.get(key, missing)}
    return tuple(sorted({_kind(key) for key in keys})) or ("config",)


def _kind(key: str) -> str:
    for word, kind in (("prompt", "prompt"), ("instruction", "prompt"), ("model", "model"), ("tool", "tool")):
        if word in key.lower():
            return kind
    return "config"
