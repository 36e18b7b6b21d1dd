"""Which data an event read and wrote, as far as it says so: the edges along which a wrong datum spreads (DET-17)."""

import re
from typing import Any, NamedTuple

import msgspec

from andoncord.telemetry.event import Event, EventKind

MAX_DATA = 16
"""Data named by one event; what is beyond is left out."""
MAX_NAME = 200
MAX_ARGUMENTS = 65_536

READS, WRITES = "reads", "writes"
"""Attributes by which an emitter names data outright: names with commas between them."""
_KEYS = (
    *("key", "memory_key", "memory_id", "document", "document_id", "doc_id", "record_id", "dataset", "table", "collection"),
    *("url", "uri", "path", "file", "file_path", "filepath", "filename", "file_name", "target_file", "relative_path"),
)
"""Names of arguments that name a datum, in most tools."""
_NAMING = frozenset(_KEYS)
_READING = frozenset(
    {"browse", "check", "count", "describe", "fetch", "find", "get", "inspect", "list", "load", "look", "lookup", "open"}
    | {"query", "read", "recall", "retrieve", "search", "show", "view"}
)
"""First words of the names of tools that only read, by the custom of naming them."""
_WRITING = frozenset(
    {
        "add",
        "append",
        "create",
        "delete",
        "edit",
        "insert",
        "patch",
        "publish",
        "put",
        "remember",
        "remove",
        "rename",
        "replace",
    }
    | {"save", "set", "store", "update", "upload", "upsert", "write"}
)
_WORDS = re.compile(r"[a-z]+|[A-Z][a-z]*|[0-9]+")
_TOOLS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED})
_decode = msgspec.json.Decoder().decode


class Uses(NamedTuple):
    """The data of one event, by name."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    """Named by a call of which the name does not say whether it reads or writes, or by a write that failed."""


NOTHING = Uses()


def uses_of(event: Event) -> Uses:
    """What an event says about data: by its attributes `reads` and `writes`, else by the arguments of a tool call.

    >>> call = Event(kind=EventKind.TOOL_COMPLETED, name="read_file", arguments='{"path": "prices.csv"}')
    >>> uses_of(call).reads, uses_of(Event(kind=EventKind.OTHER, attributes={"writes": "memory:plan, prices.csv"})).writes
    (('prices.csv',), ('memory:plan', 'prices.csv'))
    """
    attributes = event.attributes
    if attributes and (READS in attributes or WRITES in attributes):
        return Uses(_listed(attributes.get(READS)), _listed(attributes.get(WRITES)))
    if event.kind not in _TOOLS or not event.arguments.startswith("{"):
        return NOTHING
    named = _named(event.arguments)
    if not named:
        return NOTHING
    if only_reads(event.name):
        return Uses(reads=named)
    if first_word(event.name) in _WRITING and event.ok:
        return Uses(writes=named)
    return Uses(unclear=named)


def only_reads(name: str) -> bool:
    """Whether a tool is named like one that only reads.

    >>> only_reads("getOrders"), only_reads("read_file"), only_reads("refund")
    (True, True, False)
    """
    return first_word(name) in _READING


def first_word(name: str) -> str:
    """The first word of a tool's name, without what stands before the last full stop.

    >>> first_word("files.readAll"), first_word("")
    ('read', '')
    """
    first = _WORDS.search(name.rsplit(".", 1)[-1])
    return first[0].lower() if first else ""


def _listed(value: object) -> tuple[str, ...]:
    if not isinstance(value, str):
        return ()
    return tuple(dict.fromkeys(name for each in value.split(",") if (name := each.strip())[:MAX_NAME]))[:MAX_DATA]


def _named(arguments: str) -> tuple[str, ...]:
    if len(arguments) > MAX_ARGUMENTS:
        return ()
    try:
        decoded: Any = _decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return ()
    if not isinstance(decoded, dict) or _NAMING.isdisjoint(decoded):
        return ()
    named = (decoded.get(key) for key in _KEYS)
    return tuple(dict.fromkeys(each for each in named if isinstance(each, str) and 0 < len(each) <= MAX_NAME))[:MAX_DATA]
