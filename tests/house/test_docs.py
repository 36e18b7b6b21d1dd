"""What must hold of the documentation: its links lead somewhere, its commands exist, its figures can be measured."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from andoncord.cli.exits import Exit
from andoncord.cli.main import COMMANDS
from andoncord.config import Config
from andoncord.kernel.vocabulary import Category, CauseType, Pattern, SevLevel, Verdict
from benchmarks.runner import names as benchmark_names

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(page for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")))
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    """A page without its code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^```.*?^```", "", text))


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> list[tuple[str, str]]:
    """Every command line in the shell blocks of the pages, with its page."""
    shown = [(page.name, block) for page in PAGES for block in blocks(page.read_text(), "sh")]
    return [(name, line.strip()) for name, block in shown for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link within the repository leads to a file, and to a heading in it."""
    lost = []
    for link in LINK.findall(without_code(page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        target, _, anchor = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(link)
    assert lost == []


def test_andon_commands_exist() -> None:
    """Every `andon` command that a page shows is one that the command line has."""
    shown = {(page, match[1]) for page, line in commands() if (match := re.match(r"(?:\.venv/bin/)?andon ([a-z]\S*)", line))}
    assert sorted((page, command) for page, command in shown if command not in COMMANDS) == []


def test_recipes_exist() -> None:
    """Every `just` recipe that a page shows is in the justfile."""
    known = set(re.findall(r"(?m)^([a-z]+)(?: [^:=]*)?:(?!=)", (ROOT / "justfile").read_text()))
    shown = {(page, match[1]) for page, line in commands() if (match := re.match(r"just ([a-z]+)", line))}
    assert sorted((page, recipe) for page, recipe in shown if recipe not in known) == []


def test_dev_commands_exist() -> None:
    """Every `dev.py` command that a page shows is one that dev.py has."""
    known = set(re.findall(r"(?m)^    python3 dev.py (\w+)", (ROOT / "dev.py").read_text()))
    shown = {(page, match[1]) for page, line in commands() if (match := re.match(r"python3 dev\.py (\w+)", line))}
    assert sorted((page, command) for page, command in shown if command not in known) == []


def test_benchmarks_exist() -> None:
    """Every benchmark that a page cites can be run."""
    cited = {(page.name, name) for page in PAGES for name in re.findall(r"just bench ([a-z][a-z-]*)", page.read_text())}
    assert sorted((page, name) for page, name in cited if name not in benchmark_names()) == []


def test_the_vocabulary_is_documented() -> None:
    """Every word of the closed vocabularies stands in docs/vocabulary.md, and no other word does."""
    page = (ROOT / "docs/vocabulary.md").read_text()
    for heading, words in (
        ("Category of an incident", Category),
        ("Severity", SevLevel),
        ("Pattern of a failure", Pattern),
        ("Type of a root cause", CauseType),
        ("Verdict of a containment", Verdict),
    ):
        section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
        assert re.findall(r"(?m)^\| `(.+?)` \|", section) == [word.value for word in words], heading


def test_every_decision_is_listed() -> None:
    """Every decision stands in the index of decisions."""
    index = (ROOT / "docs/decisions/README.md").read_text()
    assert [page.name for page in (ROOT / "docs/decisions").glob("0*.md") if f"({page.name})" not in index] == []


def test_every_setting_is_documented() -> None:
    """Every key of andon.yaml stands in docs/settings.md."""
    page = (ROOT / "docs/settings.md").read_text()
    assert sorted(key for key in setting_keys(Config) if f"`{key}`" not in page) == []


def setting_keys(kind: Any) -> Iterator[str]:
    """Every key of a settings section and of the sections in it."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield field.encode_name
            yield from setting_keys(field.type)
    else:
        for inner in get_args(kind):
            yield from setting_keys(inner)


@pytest.mark.parametrize("page", ["README.md", "docs/guard.md"])
def test_shown_programs_run(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first program on a page runs as it stands, server or no server."""
    program = next(block for block in blocks((ROOT / page).read_text(), "python") if "import" in block)
    # Nobody listens there: the page's own ports may belong to a server that really runs.
    exec(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:9", program), {})  # our own text
    assert "never printed" not in capsys.readouterr().out


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language in a page."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def test_exit_codes_are_documented() -> None:
    """The README names every exit code of the command line, and no other."""
    table = (ROOT / "README.md").read_text().split("## Exit codes\n", 1)[1].split("\n## ", 1)[0]
    assert [int(code) for code in re.findall(r"(?m)^\| (\d+) \|", table)] == [code.value for code in Exit]
