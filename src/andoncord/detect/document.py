"""YAML that remembers its lines, so that an error can say where."""

import re
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec
import yaml

from andoncord.kernel.errors import CallerError

T = TypeVar("T")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: `on`, `off`, `yes` and `no` are words."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


class Document:
    r"""One YAML document and the line of each of its fields.

    >>> document = read_documents("id: x\nwhere: y\n", place="rules/x.yaml")[0]
    >>> document.value, document.place("$.where")
    ({'id': 'x', 'where': 'y'}, 'rules/x.yaml:2')
    """

    def __init__(self, value: Any, lines: dict[str, int], name: str) -> None:
        self.value = value
        self._lines = lines
        self._name = name

    def place(self, path: str = "$") -> str:
        """`file:line` of the field at a path like `$.correlate.steps[0].on`, or of the nearest thing around it."""
        while path not in self._lines and path != "$":
            path = path[: max(path.rfind("."), path.rfind("["))]
        return f"{self._name}:{self._lines.get(path, 1)}"

    def as_type(self, wanted: type[T]) -> T:
        """The document as a record.

        Raises:
            CallerError: with the line of what does not fit.
        """
        try:
            return msgspec.convert(self.value, wanted)
        except msgspec.ValidationError as wrong:
            what, _, where = str(wrong).partition(" - at `")
            path = where.rstrip("`") or "$"
            unknown = _UNKNOWN.search(what)
            if unknown is None:
                raise CallerError(f"{path.removeprefix('$.')}: {what[:1].lower()}{what[1:]}", place=self.place(path)) from None
            field = unknown.group(1)
            close = get_close_matches(field, _field_names(wanted), n=1)
            remedy = f"did you mean {close[0]!r}?" if close else "remove it"
            raise CallerError(f"unknown field {field!r}", place=self.place(f"{path}.{field}"), remedy=remedy) from None


def read_documents(text: str, *, place: str) -> tuple[Document, ...]:
    """Every document of a YAML text.

    Raises:
        CallerError: the text is not YAML, or names a field twice.
    """
    try:
        nodes = list(yaml.compose_all(text, Loader=_Loader))
        values = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as wrong:
        mark = getattr(wrong, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise CallerError(f"not YAML: {getattr(wrong, 'problem', wrong)}", place=f"{place}:{line}") from None
    documents = []
    for node, value in zip(nodes, values, strict=True):
        if value is None:
            continue
        lines: dict[str, int] = {}
        _note_lines(node, "$", lines, place)
        documents.append(Document(value, lines, place))
    return tuple(documents)


def _note_lines(node: yaml.Node, path: str, lines: dict[str, int], place: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            child = f"{path}.{key.value}"
            if child in lines:
                raise CallerError(f"field {key.value!r} twice", place=f"{place}:{key.start_mark.line + 1}", remedy="keep one")
            lines[child] = key.start_mark.line + 1
            _note_lines(value, child, lines, place)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, f"{path}[{index}]", lines, place)


def _field_names(wanted: Any) -> set[str]:
    """All field names anywhere in a record type."""
    schema = msgspec.json.schema(wanted)
    names: set[str] = set()
    for definition in schema.get("$defs", {}).values():
        names.update(definition.get("properties", {}))
    return names
