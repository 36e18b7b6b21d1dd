"""What must hold of every file in the repository."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|Users|home/\w+)(?:/|\b)|\.\./shared\b|[A-Z]:\\\\")
REGISTRY_HOSTS = re.compile("|".join(("pypi" + r"\.org", "python" + "hosted")))
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
VAGUE_ALONE = VAGUE | {"process", "handle", "data", "info"}


def tracked() -> list[Path]:
    """Every file of the repository that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    return [ROOT / name for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file()]


def texts() -> list[tuple[str, str]]:
    """Name and text of every file that holds text, this one excepted."""
    binary = {".png", ".woff2", ".pb", ".gz"}
    files = (path for path in tracked() if path.suffix not in binary and path != Path(__file__).resolve())
    return [(str(path.relative_to(ROOT)), path.read_text()) for path in files]


def modules() -> list[tuple[str, str]]:
    """Name and text of every Python module of the two packages and the benchmarks."""
    return [(name, text) for name, text in texts() if name.endswith(".py") and "tests/" not in name]


def places(pattern: re.Pattern[str], files: list[tuple[str, str]]) -> list[str]:
    """Where `pattern` occurs, as file:line."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in files
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_nothing_depends_on_one_machine() -> None:
    """No file names a place that only exists on the machine it was written on."""
    assert places(MACHINE_PATHS, texts()) == []


def test_no_registry_is_named() -> None:
    """No file names the host of a package registry: which one serves is the reader's affair."""
    assert places(REGISTRY_HOSTS, texts()) == []


def test_nothing_is_left_unfinished() -> None:
    """What is not built is absent: no stubs, no notes to self."""
    assert places(UNFINISHED, texts()) == []


def test_every_module_says_what_it_is_for() -> None:
    """Every module with code in it begins with a docstring."""
    silent = [name for name, text in modules() if text.strip() and ast.get_docstring(ast.parse(text)) is None]
    assert silent == []


def test_names_say_what_is_inside() -> None:
    """No module bears a name that fits everything."""
    stems = {name: Path(name).stem for name, _ in modules()}
    vague = [name for name, stem in stems.items() if stem in VAGUE_ALONE or VAGUE & set(stem.split("_"))]
    assert vague == []


def test_modules_fit_in_a_head() -> None:
    """No module of the packages is longer than 600 lines; most have around 200."""
    long = {name: text.count("\n") for name, text in modules() if text.count("\n") > 600}
    assert long == {}


@pytest.mark.parametrize("folder", ["tests", "sdk/tests"])
def test_every_test_says_what_must_hold(folder: str) -> None:
    """The docstring of a test is the sentence that must hold."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / folder).rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and ast.get_docstring(node) is None
    ]
    assert silent == []


@pytest.mark.parametrize("folder", ["tests", "sdk/tests"])
def test_no_test_sleeps(folder: str) -> None:
    """A test waits for what it needs, with a deadline; it does not wait for time to pass."""
    slept = re.compile(r"\btime\.sleep\(|\basyncio\.sleep\((?!0\))")
    assert places(slept, [(name, text) for name, text in texts() if name.startswith(f"{folder}/")]) == []
