"""What a run left behind in the world: files changed, commands run, systems outside that were reached (INV-7).

Read off tool calls as they were written down. What a program does inside of itself is not seen, and a failed call may have done
part of its work: both are shown as what they are, a call.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from andoncord.detect.edits import tool_changes, tool_command
from andoncord.detect.shell import ChangeKind
from andoncord.telemetry.event import Event, EventKind

MAX_LISTED = 1_000
"""Files, commands and systems listed of each; what is beyond is counted."""
MAX_COMMAND = 2_000
"""Characters shown of a command."""
MAX_SCANNED = 65_536
MAX_SCRIPTS = 64
MAX_STEPS = 5
"""Steps named for each file or system."""

_TOOLS = frozenset((EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED))
_MODELS = frozenset((EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED))
_ADDRESS = re.compile(
    r"\b(?:https?|wss?|ftp|sftp|postgres(?:ql)?|mysql|mongodb(?:\+srv)?|redis|amqp|s3|gs)://[^\s\"'\\<>)\]}]+"
)
_REMOTE = re.compile(r"(?:^|[\s;&|])(?:ssh|scp|rsync|sftp)\s[^;&|\n]*?(?:[\w.-]+@)?([\w-]+(?:\.[\w-]+)+):?")
_PLACES = (
    "server.address",
    "url.full",
    "http.url",
    "net.peer.name",
    "peer.service",
    "db.namespace",
    "messaging.destination.name",
)
"""Attributes by which OpenTelemetry names the other side."""
_HOST = re.compile(r"\w[\w+.-]*://(?:[^/@\s]*@)?(\[[0-9A-Fa-f:.]+\]|[^/:?#\s]+)(:\d+)?")
_LOCAL = re.compile(r"^(?:localhost|127\.|0\.0\.0\.0|\[?::1)")


class ChangedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file that one agent changed."""

    path: str
    """As written, joined to the directory the command had changed to; `(all)` where a command put everything back."""
    agent: str
    how: tuple[str, ...]
    """written, edited, deleted, undone; in the order in which it first happened."""
    is_undone: bool
    """The last that happened to it put it back."""
    count: int
    first_ns: int
    last_ns: int
    steps: tuple[str, ...]
    """Spans, the first few."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command that a tool ran."""

    text: str
    agent: str
    tool: str
    ok: bool
    at_ns: int
    trace_id: str
    step: str


class System(msgspec.Struct, frozen=True, kw_only=True):
    """One system outside that one agent reached."""

    name: str
    agent: str
    basis: str
    """How it is known: an `address` in a call's arguments, an `attribute` of a span, the `provider` of a model, or the family
    in the `name` of a tool."""
    tools: tuple[str, ...]
    count: int
    failed: int
    first_ns: int
    last_ns: int
    is_local: bool


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of it, each part by time."""

    files: tuple[ChangedFile, ...] = ()
    commands: tuple[Command, ...] = ()
    systems: tuple[System, ...] = ()
    left_out: int = 0
    """Files, commands and systems beyond what is listed."""


def touched(events: Iterable[Event]) -> Touched:
    """What the tool and model calls among `events` touched.

    >>> call = Event(
    ...     kind=EventKind.TOOL_COMPLETED,
    ...     name="bash",
    ...     agent="dev",
    ...     arguments='{"command": "curl https://api.example.com > out.json"}',
    ... )
    >>> found = touched([call])
    >>> [file.path for file in found.files], [system.name for system in found.systems], len(found.commands)
    (['out.json'], ['api.example.com'], 1)
    """
    files: dict[tuple[str, str], ChangedFile] = {}
    systems: dict[tuple[str, str, str], System] = {}
    commands: list[Command] = []
    scripts: dict[str, dict[str, str]] = {}
    left_out = 0
    for event in sorted(events, key=lambda event: event.start_ns):
        if event.kind in _TOOLS:
            command = tool_command(event)
            if command and len(commands) < MAX_LISTED:
                commands.append(_command(event, command))
            elif command:
                left_out += 1
            known = scripts.setdefault(event.run_id, {}) if len(scripts) < MAX_SCRIPTS else {}
            for change in tool_changes(event, known):
                left_out += _file(files, event, change.path or "(all)", change.kind)
        if event.kind in _TOOLS or event.kind in _MODELS:
            for name, basis in dict.fromkeys(_systems(event)):
                left_out += _system(systems, event, name, basis)
    return Touched(files=tuple(files.values()), commands=tuple(commands), systems=tuple(systems.values()), left_out=left_out)


def _command(event: Event, text: str) -> Command:
    if len(text) > MAX_COMMAND:
        text = text[: MAX_COMMAND - 1] + "…"
    return Command(
        text=text,
        agent=event.agent,
        tool=event.name,
        ok=event.ok,
        at_ns=event.start_ns,
        trace_id=event.trace_id,
        step=event.span_id,
    )


def _file(files: dict[tuple[str, str], ChangedFile], event: Event, path: str, kind: ChangeKind) -> int:
    """Note a change; 1 where it is left out."""
    known = files.get((event.agent, path))
    how = "undone" if kind is ChangeKind.ALL_UNDONE else kind.value
    if known is None:
        if len(files) >= MAX_LISTED:
            return 1
        files[event.agent, path] = ChangedFile(
            path=path,
            agent=event.agent,
            how=(how,),
            is_undone=how == "undone",
            count=1,
            first_ns=event.start_ns,
            last_ns=event.start_ns,
            steps=(event.span_id,),
        )
        return 0
    files[event.agent, path] = msgspec.structs.replace(
        known,
        how=known.how if how in known.how else (*known.how, how),
        is_undone=how == "undone",
        count=known.count + 1,
        last_ns=event.start_ns,
        steps=known.steps if len(known.steps) >= MAX_STEPS or event.span_id in known.steps else (*known.steps, event.span_id),
    )
    return 0


def _system(systems: dict[tuple[str, str, str], System], event: Event, name: str, basis: str) -> int:
    """Note that a system was reached; 1 where it is left out."""
    known = systems.get((event.agent, name, basis))
    tool = event.name if event.kind in _TOOLS else "model"
    if known is None:
        if len(systems) >= MAX_LISTED:
            return 1
        known = System(
            name=name,
            agent=event.agent,
            basis=basis,
            tools=(),
            count=0,
            failed=0,
            first_ns=event.start_ns,
            last_ns=event.start_ns,
            is_local=bool(_LOCAL.match(name)),
        )
    systems[event.agent, name, basis] = msgspec.structs.replace(
        known,
        tools=known.tools if tool in known.tools or len(known.tools) >= MAX_STEPS else (*known.tools, tool),
        count=known.count + 1,
        failed=known.failed + (not event.ok),
        last_ns=event.start_ns,
    )
    return 0


def _systems(event: Event) -> Iterator[tuple[str, str]]:
    """The systems that one call reached, each with how that is known."""
    attributes = event.attributes
    if event.kind in _MODELS:
        if provider := attributes.get("provider"):
            yield str(provider), "provider"
    else:
        text = event.arguments[:MAX_SCANNED]
        named = False
        for match in _ADDRESS.finditer(text):
            if host := _host(match[0]):
                named = True
                yield host, "address"
        for match in _REMOTE.finditer(tool_command(event)[:MAX_SCANNED]):
            named = True
            yield match[1], "address"
        family, dot, _ = event.name.partition(".")
        if dot and family and not named:
            yield family, "name"
    for name in _PLACES:
        if (value := attributes.get(name)) and (host := _host(str(value))):
            yield host, "attribute"


def _host(address: str) -> str:
    """The host of an address, or the address where it is none; without user names and passwords.

    >>> _host("https://me:secret@api.example.com:8443/v1?x=1"), _host("db.internal"), _host("https://")
    ('api.example.com:8443', 'db.internal', '')
    """
    if "://" not in address:
        return address.strip()
    match = _HOST.match(address)
    return f"{match[1].lower()}{match[2] or ''}" if match else ""
