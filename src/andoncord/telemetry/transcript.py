"""What a run's models saw and said, its tools were given and gave, and its guard said, step by step."""

from collections.abc import Iterable, Iterator

import msgspec

from andoncord.kernel.time import rfc3339
from andoncord.telemetry.event import Event, EventKind

_FIELDS = (
    ("instructions", "was told"),
    ("input_text", "saw"),
    ("output_text", "said"),
    ("arguments", "with"),
    ("result", "got"),
)
_REPEATED = ("was told", "saw")
_MODELS = frozenset((EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED))
_SILENT = frozenset((EventKind.AGENT_INVOKED, EventKind.HEARTBEAT, EventKind.STEP_STARTED))


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One text of a step. It is hostile: never rendered as markup, never obeyed."""

    label: str
    """was told, saw, said, with, got, because or error."""
    text: str
    """Without what the agent's step before already showed under this label."""
    repeats: str = ""
    """`all`: it is the text of before, and `text` is empty. `start`: the text of before, and then `text`."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a transcript: what it was, and its texts."""

    number: int
    at: str
    said: tuple[Said, ...]
    event: Event
    """Without its texts, which stand in `said`."""


def transcript(events: Iterable[Event]) -> Iterator[Step]:
    """The steps by time. Repeated prompts are named and not repeated, so that what is new stands out.

    >>> calls = [
    ...     Event(kind=EventKind.MODEL_COMPLETED, agent="a", start_ns=place, input_text=text)
    ...     for place, text in enumerate(("Where?", "Where? Please."))
    ... ]
    >>> [(said.text, said.repeats) for step in transcript(calls) for said in step.said]
    [('Where?', ''), (' Please.', 'start')]
    """
    seen: dict[tuple[str, str], str] = {}
    listed = sorted(events, key=lambda event: event.start_ns)
    with_models = any(event.kind in _MODELS for event in listed)
    number = 0
    for event in listed:
        texts = list(_texts(event))
        # Nodes of a graph repeat what the steps inside of them say, and agents what their models do.
        repeats = event.kind is EventKind.OTHER or (with_models and event.kind is EventKind.AGENT_INVOKED)
        if repeats or (not texts and event.kind in _SILENT):
            continue
        number += 1
        said = tuple(_told(event.agent, label, text, seen) for label, text in texts)
        bare = msgspec.structs.replace(event, **{field: "" for field, _ in _FIELDS})
        yield Step(number=number, at=rfc3339(event.start_ns), said=said, event=bare)


def _told(agent: str, label: str, text: str, seen: dict[tuple[str, str], str]) -> Said:
    place = (agent, label)
    before = seen.get(place, "") if label in _REPEATED else ""
    seen[place] = text
    if before and before == text:
        return Said(label=label, text="", repeats="all")
    if before and text.startswith(before):
        return Said(label=label, text=text.removeprefix(before), repeats="start")
    return Said(label=label, text=text)


def _texts(event: Event) -> Iterator[tuple[str, str]]:
    """What was told, seen and said, under a label each."""
    for field, label in _FIELDS:
        if text := getattr(event, field):
            yield label, text
    for name, label in (("message", "because"), ("status_message", "error")):
        text = event.attributes.get(name)
        if text and text != event.error_type:
            yield label, str(text)
