"""Edits of files outside the scope of the task, read off tool calls: shells, and tools with a path among their arguments."""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import MAX_ARGUMENTS, Facts, Key
from andoncord.detect.scope import Scope
from andoncord.detect.shell import Change, ChangeKind, diff_changes, script_changes, shell_changes
from andoncord.telemetry.event import Event, EventKind

MAX_RUNS = 200
MAX_PATHS = 2_000
"""Paths remembered per run."""
MAX_SCRIPTS = 32
MAX_SCANNED = 65_536
EDIT_SCORE = 0.9
UNDONE_SCORE = 0.1

_COMMANDS = ("command", "cmd", "script", "bash", "shell", "code", "input")
_ALWAYS_RUN = 5
"""So many of the names above hold a command whatever the tool is called; the others only where it is called after running."""
_RUNNING = re.compile(r"bash|shell|terminal|exec|command|python|script|\brun\b|run_", re.IGNORECASE)
_PATHS = (
    "path",
    "file_path",
    "filepath",
    "filename",
    "file",
    "target_file",
    "target",
    "relative_path",
    "file_name",
    "notebook_path",
)
_OLD = ("old_str", "old_string", "old", "old_text", "search", "find")
_NEW = ("new_str", "new_string", "new", "new_text", "replace", "replacement")
_CONTENT = ("content", "contents", "file_text", "text", "new_content", "data", "insert_line", "edits")
_DIFFS = ("patch", "diff", "input")
_CHANGING = re.compile(r"edit|write|replace|creat|insert|patch|delet|remov|updat|append|save|renam", re.IGNORECASE)
_VIEWING = frozenset({"view", "open", "read", "list", "cat", "search"})
_PATH = re.compile(r"[\w./+@-]*[\w+@-]\.\w{1,8}\b")

_decode = msgspec.json.Decoder().decode


class _Run:
    __slots__ = ("edits", "made", "scripts", "seen")

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}
        """Paths that were read about before anything was written there: they exist."""
        self.made: dict[str, None] = {}
        """Paths created in the run."""
        self.edits: dict[str, tuple[Event, list[tuple[str, str] | None]]] = {}
        """Open findings by path: the first edit, and what the edits swapped."""
        self.scripts: dict[str, str] = {}


class ForbiddenEdit:
    """Raise when an existing file that the scope protects is changed; again, with a low score, when all of it was undone.

    Without a declared scope nothing is looked at. Cost: O(length of the call and its result).
    """

    wanted = "forbidden"
    needs_scope = True

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self._trigger, self._key = trigger, key
        self._runs = Groups(_Run, limit=min(MAX_RUNS, max_groups))

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        scope = facts.declared.scope
        if scope is None or not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        run = self._runs.at(key)
        hits: list[Hit] = []
        changes = list(tool_changes(event, run.scripts))
        while len(run.scripts) > MAX_SCRIPTS:
            del run.scripts[next(iter(run.scripts))]
        for change in changes:
            hits += self._take(change, event, key, run, scope)
        touched = {scope.relative(change.path) for change in changes if change.path}
        for text in (event.arguments, event.result):
            for match in _PATH.finditer(text[:MAX_SCANNED]):
                path = scope.relative(match[0].removeprefix("\\n"))
                if len(run.seen) < MAX_PATHS and path not in run.made and path not in touched:
                    run.seen.setdefault(path)
        return hits

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _take(self, change: Change, event: Event, key: Key, run: _Run, scope: Scope) -> Iterator[Hit]:
        if change.kind is ChangeKind.ALL_UNDONE:
            for path in tuple(run.edits):
                yield self._undone(path, event, key, run)
            return
        path = scope.relative(change.path)
        if change.kind is ChangeKind.UNDONE:
            for edited in tuple(run.edits):
                if edited == path or edited.startswith(path.rstrip("/") + "/"):
                    yield self._undone(edited, event, key, run)
            return
        if path in run.made:
            return
        if change.kind is ChangeKind.WRITTEN and path not in run.seen and path not in run.edits:
            if len(run.made) < MAX_PATHS:
                run.made[path] = None
            return
        if path.startswith(("/", "..")) and path not in run.seen:
            return
        if scope.verdict(path) != self.wanted:
            return
        known = run.edits.get(path)
        if known is None:
            if len(run.edits) < MAX_PATHS:
                run.edits[path] = (event, [change.swap])
            yield self._hit(event, event, key, path, EDIT_SCORE)
            return
        swaps = known[1]
        if change.swap is not None and swaps and swaps[-1] == (change.swap[1], change.swap[0]):
            swaps.pop()
            if not swaps:
                yield self._undone(path, event, key, run)
        else:
            swaps.append(change.swap)

    def _undone(self, path: str, event: Event, key: Key, run: _Run) -> Hit:
        first, _ = run.edits.pop(path)
        run.seen.setdefault(path)
        return self._hit(first, event, key, path, UNDONE_SCORE, undone_in=event.span_id)

    @staticmethod
    def _hit(first: Event, event: Event, key: Key, path: str, score: float, **facts: Any) -> Hit:
        return Hit(
            event=first,
            key=(*key, path),
            at_ns=event.at_ns,
            onset_ns=first.start_ns,
            evidence=few([first.span_id]),
            score=score,
            words={"path": path},
            facts={"path": path, **facts},
        )


class ScopeCreep(ForbiddenEdit):
    """Raise when an existing file is changed that no glob of the scope allows."""

    wanted = "outside"


def tool_changes(event: Event, scripts: dict[str, str]) -> Iterator[Change]:
    """The changes of files that a tool call makes, by its arguments."""
    text = event.arguments
    arguments: Any = text
    if text.startswith("{") and len(text) <= max(MAX_ARGUMENTS, MAX_SCANNED):
        try:
            arguments = _decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            arguments = text
    if isinstance(arguments, str):
        yield from _of_command(arguments, event, scripts)
    elif isinstance(arguments, dict):
        yield from _of_arguments(arguments, event, scripts)


def tool_command(event: Event) -> str:
    """The command or program text that a tool call runs; '' where it runs none that its arguments show.

    >>> tool_command(Event(kind=EventKind.TOOL_COMPLETED, name="bash", arguments='{"command": "ls -l"}'))
    'ls -l'
    >>> tool_command(Event(kind=EventKind.TOOL_COMPLETED, name="edit", arguments='{"command": "view", "path": "a.py"}'))
    ''
    """
    text = event.arguments
    arguments: Any = text
    if text.startswith("{") and len(text) <= max(MAX_ARGUMENTS, MAX_SCANNED):
        try:
            arguments = _decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return ""
    runs = _RUNNING.search(event.name) is not None
    if isinstance(arguments, str):
        return arguments if runs else ""
    if not isinstance(arguments, dict) or (_first(arguments, _PATHS) and not runs):
        return ""
    for name in _COMMANDS if runs else _COMMANDS[:_ALWAYS_RUN]:
        value = arguments.get(name)
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return value[2] if len(value) == 3 and value[1] in ("-c", "-lc") else shlex.join(value)
        if isinstance(value, str) and value:
            return value
    return ""


def _of_arguments(arguments: dict[str, Any], event: Event, scripts: dict[str, str]) -> Iterator[Change]:
    path = _first(arguments, _PATHS)
    act = arguments.get("command")
    if path and not (isinstance(act, str) and " " in act.strip()):
        if event.kind is EventKind.TOOL_FAILED or (isinstance(act, str) and act in _VIEWING):
            return
        if isinstance(act, str) and act.startswith("undo"):
            yield Change(path, ChangeKind.UNDONE)
            return
        old, new = _first(arguments, _OLD), _first(arguments, _NEW)
        if old and any(name in arguments for name in _NEW):
            yield Change(path, ChangeKind.EDITED, (old, new))
        elif any(name in arguments for name in _CONTENT) or _CHANGING.search(event.name):
            is_insert = "insert_line" in arguments or "insert" in f"{act} {event.name}" or "append" in event.name
            gone = re.search(r"delet|remov", event.name, re.IGNORECASE)
            yield Change(path, ChangeKind.DELETED if gone else ChangeKind.EDITED if is_insert else ChangeKind.WRITTEN)
        return
    for name in _DIFFS:
        value = arguments.get(name)
        if isinstance(value, str) and ("\n+++ " in f"\n{value}" or "*** Update File" in value):
            yield from diff_changes(value)
            return
    for name in _COMMANDS:
        value = arguments.get(name)
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            value = value[2] if len(value) == 3 and value[1] in ("-c", "-lc") else " ".join(value)
        if isinstance(value, str):
            yield from _of_command(value, event, scripts)


def _of_command(command: str, event: Event, scripts: dict[str, str]) -> Iterator[Change]:
    changes = shell_changes(command, scripts)
    if event.kind is EventKind.TOOL_FAILED and len(changes) == 1 and not re.search(r"&&|;|\n.", command.strip()):
        return
    yield from changes
    if not changes:
        yield from script_changes(command)


def _first(arguments: dict[str, Any], names: Iterable[str]) -> str:
    for name in names:
        value = arguments.get(name)
        if isinstance(value, str) and value:
            return value
    return ""
