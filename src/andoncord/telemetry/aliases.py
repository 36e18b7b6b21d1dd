"""The alias table: which attribute names, of which telemetry family, carry which field of an event (SIG-2)."""

from functools import cache
from importlib import resources
from typing import Literal

import msgspec
import yaml

from andoncord.kernel.errors import CallerError
from andoncord.telemetry.event import EventKind

SpanKind = Literal["model", "tool", "agent", "other"]
FieldName = Literal[
    "agent",
    "instance",
    "run_id",
    "session_id",
    "task",
    "system",
    "environment",
    "tool",
    "entity",
    "model",
    "arguments",
    "parameters",
    "result",
    "input",
    "output",
    "instructions",
    "error_type",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "event_name",
    "evaluator",
    "score",
    "label",
    "change_kind",
]


class KindByValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An attribute whose value says what a span is."""

    attribute: str
    values: dict[str, SpanKind]


class KindByPresence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An attribute whose mere presence says what a span is."""

    attribute: str
    kind: SpanKind


class NumberedMessages(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A family that spreads messages over numbered attributes: `<prefix><number>.<role or content>`.

    Its rank among the names of a field is that of `<prefix>*` there. Tool calls are `<calls><number>.<call_name>`, parts of a
    message `<parts><number>.<part_text>`.
    """

    field: Literal["input", "output"]
    prefix: str
    role: str
    content: str
    calls: str = ""
    call_name: str = ""
    call_arguments: str = ""
    parts: str = ""
    part_text: str = ""


class Inside(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member of an attribute that is a JSON object: it fills a field that no attribute of its own does."""

    attribute: str
    key: str
    field: FieldName


class NumberedScores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A family that writes what evaluators said of a span into its attributes: `<prefix><number>.<name, score or label>`."""

    prefix: str
    name: str
    score: str
    label: str


class AliasTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table as it is written in `aliases/table.yaml`."""

    version: int
    kinds: tuple[KindByValue, ...]
    kind_by_presence: tuple[KindByPresence, ...]
    fields: dict[FieldName, tuple[str, ...]]
    numbered_messages: tuple[NumberedMessages, ...]
    numbered_scores: tuple[NumberedScores, ...]
    inside: tuple[Inside, ...]
    short: dict[str, str]
    events: dict[str, EventKind]
    passed_labels: frozenset[str]
    failed_labels: frozenset[str]

    def field_index(self) -> dict[str, tuple[FieldName, int]]:
        """Attribute name → the field it carries and its rank, 0 first."""
        index: dict[str, tuple[FieldName, int]] = {}
        for name, attributes in self.fields.items():
            for rank, attribute in enumerate(attributes):
                index[attribute] = (name, rank)
        return index


def parse_table(text: str, *, place: str) -> AliasTable:
    """Read an alias table.

    Raises:
        CallerError: the text is not a table; names the place.
    """
    try:
        return msgspec.convert(yaml.safe_load(text), AliasTable)
    except (msgspec.ValidationError, yaml.YAMLError) as wrong:
        raise CallerError(f"not an alias table: {wrong}", place=place, remedy="compare with the packaged table.yaml") from wrong


@cache
def default_table() -> AliasTable:
    """The packaged table. Package data, read once.

    >>> default_table().field_index()["llm.token_count.prompt"]
    ('input_tokens', 2)
    """
    text = resources.files("andoncord").joinpath("aliases/table.yaml").read_text(encoding="utf-8")
    return parse_table(text, place="aliases/table.yaml")
