"""Versions that nobody has to declare: digests of tools as they are written, and of the system prompt where there is one.

They stand on what is reported, so that a change between two deployments shows even where nobody announced it.
"""

import hashlib
import inspect
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from andoncord_sdk import _platform

STEADY = 3
"""Uses in a row after which a prompt counts as the agent's; prompts with a date or a name in them never do."""
PROMPTS_MAX = 8
"""Different prompts after which an agent counts as one without a prompt of its own."""
TOOLS_MAX = 1_000


class Versions:
    """What a guard noticed about its agent. Thread-safe."""

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}
        self._prompt, self._digest = "", ""
        self._uses = 0
        self._before: set[str] = set()
        self._has_many = False
        self._lock = threading.Lock()

    def note_tool(self, tool: str, fn: Callable[..., Any]) -> None:
        """Note how a tool is written: its signature and its text, which is what a model is told of it."""
        try:
            signature = str(inspect.signature(fn))
        except (TypeError, ValueError):
            signature = ""
        if len(self._tools) < TOOLS_MAX:
            self._tools[tool] = digest(f"{tool}{signature}\n{inspect.getdoc(fn) or ''}")

    def of_tool(self, tool: str) -> str | None:
        return self._tools.get(tool)

    def of_prompt(self, text: str) -> str | None:
        """The version of the agent's system prompt; None for one that has not been used often enough, or is one of many.

        >>> versions = Versions()
        >>> [versions.of_prompt("Be kind.") is not None for _ in range(4)]
        [False, False, True, True]
        >>> [versions.of_prompt(f"Today is day {day}.") for day in range(3)]
        [None, None, None]
        """
        if not text or self._has_many:
            return None
        with self._lock:
            if text != self._prompt:
                self._before.add(self._digest)
                self._prompt, self._digest, self._uses = text, digest(text), 0
                # It goes back and forth: several prompts at work, none of them a version of the other.
                self._has_many = self._digest in self._before or len(self._before) > PROMPTS_MAX
            self._uses += 1
            return self._digest if self._uses >= STEADY and not self._has_many else None

    def forget_other_threads(self) -> None:
        """In a forked child: the lock is renewed, whoever held it."""
        self._lock = threading.Lock()


def deployed() -> str | None:
    """The version of the service, as OpenTelemetry's own variable says it; None where it does not.

    Source: OpenTelemetry specification, "Resource semantic conventions", OTEL_RESOURCE_ATTRIBUTES.
    """
    for part in (_platform.environment_variable("OTEL_RESOURCE_ATTRIBUTES") or "").split(","):
        name, _, value = part.partition("=")
        if name.strip() == "service.version":
            return unquote(value.strip())[:100] or None
    return None


def digest(text: str) -> str:
    """A short digest of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
