"""What must hold of the content that ships as data: rules, policies, playbooks."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONTENT = ROOT / "src/andoncord"


def documents(folder: str) -> list[tuple[str, dict[str, Any]]]:
    """Every YAML document of a folder, with the name of its file."""
    found = []
    for path in sorted((CONTENT / folder).rglob("*.yaml")):
        found += [(str(path.relative_to(CONTENT)), document) for document in yaml.safe_load_all(path.read_text())]
    return found


@pytest.mark.parametrize("folder", ["rules", "policies"])
def test_content_carries_its_tests(folder: str) -> None:
    """Every rule and policy ships the cases that show what it does."""
    assert [name for name, document in documents(folder) if not document.get("tests")] == []


@pytest.mark.parametrize("folder", ["rules", "playbooks"])
def test_content_names_its_source(folder: str) -> None:
    """Every rule and playbook says where its thresholds and steps come from."""
    assert [name for name, document in documents(folder) if not document.get("source")] == []


def test_rules_have_runbooks() -> None:
    """Every rule leads the person it wakes to a page that says what to do."""
    lost = [name for name, rule in documents("rules") if not (ROOT / "docs" / str(rule.get("runbook", "-"))).is_file()]
    assert lost == []


def test_rules_show_when_they_stay_silent() -> None:
    """Every rule ships a case that must fire and one that must not."""
    one_sided = []
    for name, rule in documents("rules"):
        expected = {"none" if case.get("expect") in (None, "none") else "some" for case in rule.get("tests", [])}
        if expected != {"none", "some"}:
            one_sided.append(name)
    assert one_sided == []
