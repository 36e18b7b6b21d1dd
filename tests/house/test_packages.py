"""What must hold of the two distributions: what they need, what they offer."""

import ast
import importlib
import inspect
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOORS = json.loads((Path(__file__).parent / "doors.json").read_text())


def project(folder: str = ".") -> dict[str, Any]:
    """A pyproject.toml, parsed."""
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())


def plain(requirement: str) -> str:
    """The normalised name in a requirement.

    >>> plain("Coverage[toml]>=7.6")
    'coverage'
    """
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def test_the_sdk_needs_nothing() -> None:
    """Installing the SDK into an agent brings no other distribution with it."""
    assert project("sdk")["project"]["dependencies"] == []


def test_the_sdk_imports_only_the_standard_library() -> None:
    """Outside the adapters for one framework each, the SDK imports the standard library and itself."""
    allowed = sys.stdlib_module_names | {"andoncord_sdk"}
    source = ROOT / "sdk/src/andoncord_sdk"
    foreign = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted(source.rglob("*.py"))
        if "instrument" not in path.relative_to(source).parts
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported(node)
        if name.split(".")[0] not in allowed
    ]
    assert foreign == []


def imported(node: ast.AST) -> list[str]:
    """The modules an import statement names; none for other nodes."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("door", sorted(DOORS))
def test_public_doors_offer_what_is_pinned(door: str) -> None:
    """What a public door offers changes only on purpose: together with doors.json."""
    assert sorted(getattr(importlib.import_module(door), "__all__", [])) == DOORS[door]


@pytest.mark.parametrize("door", sorted(DOORS))
def test_what_is_public_is_documented(door: str) -> None:
    """Everything that a public door offers exists and says what it is."""
    module = importlib.import_module(door)
    offered = {name: getattr(module, name) for name in DOORS[door]}
    described = inspect.isclass, inspect.isroutine, inspect.ismodule
    silent = [
        name for name, thing in offered.items() if any(is_kind(thing) for is_kind in described) and not inspect.getdoc(thing)
    ]
    assert silent == []


def test_the_lock_covers_what_is_declared() -> None:
    """Every declared dependency is pinned; `just lock` brings a new one in."""
    pinned = set(re.findall(r"(?m)^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text()))
    declared = [*project()["project"]["dependencies"], *project()["dependency-groups"]["dev"]]
    for extra in project("sdk")["project"].get("optional-dependencies", {}).values():
        declared += extra
    assert sorted({plain(requirement) for requirement in declared} - pinned - {"andoncord-sdk"}) == []


def test_the_lock_trusts_digests_not_places() -> None:
    """Every pinned file has a digest, and no line names an address."""
    lock = (ROOT / "requirements.lock").read_text()
    entries = re.findall(r"(?m)^[a-z0-9-]+==.*(?:\n +.*)*", lock)
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in lock


def test_both_distributions_have_one_version() -> None:
    """The server and its SDK are released together."""
    version = project()["project"]["version"]
    assert project("sdk")["project"]["version"] == version
    assert f"andoncord-sdk=={version}" in project()["project"]["dependencies"]
