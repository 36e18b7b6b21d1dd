"""YAML as people write it here: plain values, and the line of every one of them for messages.

Stricter than YAML 1.1 where that surprises: a field may stand only once; `on`, `yes`, `no` and `12:30` are text, not values
of another kind; anchors, aliases and tags are refused.
"""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

import msgspec
import yaml

from andoncord.kernel.errors import CallerError

MAX_CHARACTERS = 256 * 1024
"""Of one file."""

MAX_DIGITS = 40
"""Of one number."""

Path = tuple[str | int, ...]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One YAML document: its value, and where everything in it stands."""

    value: Any
    place: str
    """The file."""
    lines: dict[Path, int]

    def at(self, *path: str | int) -> str:
        """`file:line` of the thing at `path`, or of what would hold it."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.place}:{self.lines.get(path, 1)}"

    def get(self, *path: str | int) -> Any:
        """The value at `path`; None when there is none."""
        value = self.value
        for step in path:
            if isinstance(value, dict):
                value = value.get(str(step))
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def check_fields(self, path: Path, known: Collection[str], *, what: str) -> dict[str, Any]:
        """The mapping at `path`, when it is one and has no field but the `known` ones.

        Raises:
            CallerError: with the line and the field that was probably meant.
        """
        value = self.get(*path)
        if not isinstance(value, dict):
            raise CallerError(f"{what} has to be a mapping of fields", place=self.at(*path))
        for field in value:
            if field not in known:
                near = get_close_matches(field, known, 1)
                remedy = f"did you mean {near[0]!r}?" if near else f"known fields: {', '.join(sorted(known))}"
                raise CallerError(f"unknown field {field!r}", place=self.at(*path, field), remedy=remedy)
        return value


def read_documents(text: str, *, place: str) -> tuple[Document, ...]:
    r"""The documents of one YAML file, empty ones left out.

    Raises:
        CallerError: with file and line, when it is not the YAML described above.

    >>> (document,) = read_documents("id: cap\nwhen: 1_000", place="cap.yaml")
    >>> document.value, document.at("when")
    ({'id': 'cap', 'when': 1000}, 'cap.yaml:2')
    """
    if len(text) > MAX_CHARACTERS:
        raise CallerError(f"{len(text)} characters", place=place, remedy=f"a file may have {MAX_CHARACTERS}")
    try:
        return tuple(_document(node, place) for node in yaml.compose_all(text, Loader=_Loader) if not _is_empty(node))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise CallerError(f"not valid YAML: {error.problem}", place=f"{place}:{mark.line + 1 if mark else 1}") from None
    except yaml.YAMLError as error:
        raise CallerError(f"not valid YAML: {str(error).splitlines()[0]}", place=place) from None
    except RecursionError:
        raise CallerError("nested too deep", place=place) from None


class _Loader(yaml.SafeLoader):
    """Composes nodes; resolves the plain scalars of YAML 1.2 instead of those of 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - so declared by PyYAML

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not supported: write it out", mark)
        return super().compose_node(parent, index)


_TAG = "tag:yaml.org,2002:"
for _kind, _pattern, _first in (
    ("null", r"^(?:null|Null|NULL|~|)$", ["n", "N", "~", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9][0-9_]*$", list("-+0123456789")),
    ("float", r"^[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(_pattern), _first)


def _is_empty(node: yaml.Node | None) -> bool:
    return node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null")


def _document(node: yaml.Node, place: str) -> Document:
    lines: dict[Path, int] = {(): node.start_mark.line + 1}
    return Document(value=_value(node, (), lines, place), place=place, lines=lines)


def _value(node: yaml.Node, path: Path, lines: dict[Path, int], place: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if not isinstance(node, yaml.ScalarNode) and node.tag not in (_TAG + "map", _TAG + "seq"):
        raise CallerError(f"the tag {node.tag[:40]!r} is not supported", place=f"{place}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        fields: dict[str, Any] = {}
        for key, value in node.value:
            here = f"{place}:{key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise CallerError("a field's name has to be plain text", place=here)
            if key.value in fields:
                raise CallerError(f"field {key.value!r} stands here twice", place=here)
            lines[(*path, key.value)] = key.start_mark.line + 1
            fields[key.value] = _value(value, (*path, key.value), lines, place)
        return fields
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, number), lines, place) for number, item in enumerate(node.value)]
    return _scalar(node, place)


def _scalar(node: yaml.Node, place: str) -> Any:
    text = str(node.value)
    kind = node.tag.removeprefix(_TAG)
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if kind in ("int", "float") and len(text) <= MAX_DIGITS:
            return (int if kind == "int" else float)(text.replace("_", ""))
    except ValueError:
        pass
    raise CallerError(f"{text[:40]!r} is not a value that can stand here", place=f"{place}:{node.start_mark.line + 1}")
