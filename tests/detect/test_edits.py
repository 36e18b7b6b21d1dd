"""Which files a call changes, and what a scope says about it."""

import json

import pytest

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared
from andoncord.detect.finding import Finding
from andoncord.detect.pack import recorded_rules
from andoncord.detect.scope import load_scope
from andoncord.detect.shell import shell_changes
from andoncord.kernel.errors import CallerError
from andoncord.kernel.vocabulary import Pattern
from andoncord.telemetry.event import Event, EventKind

SCOPE = load_scope('{"root": "/repo", "forbidden": {"modify": ["**/tests/**", "setup.cfg"]}}', place="scope.json")


def findings(*commands: str | dict[str, str], results: tuple[str, ...] = ()) -> list[Finding]:
    """What a run with these calls, one per second, leaves as open findings."""
    rules = [rule for rule in recorded_rules() if rule.pattern in (Pattern.FORBIDDEN_EDIT, Pattern.SCOPE_CREEP)]
    bank = Bank(rules, {"*": Declared(agent="*", scope=SCOPE)})
    found: dict[str, Finding] = {}
    for number, command in enumerate(commands):
        event = Event(
            kind=EventKind.TOOL_COMPLETED,
            agent="coder",
            run_id="run",
            span_id=f"span-{number}",
            name="bash" if isinstance(command, str) else "edit_file",
            arguments=json.dumps({"command": command} if isinstance(command, str) else command),
            result=results[number] if number < len(results) else "",
            start_ns=number,
            end_ns=number,
        )
        found |= {finding.id: finding for finding in bank.observe(event)}
    return [finding for finding in found.values() if "undone_in" not in finding.facts]


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        ("sed -i.bak 's/a/b/' a.py b.py", {"a.py", "b.py"}),
        ("sed -n 's/a/b/p' a.py", set()),
        ("perl -pi -e 's/a/b/' a.py", {"a.py"}),
        ("cat <<'EOF' >> a.py\nif x > 3:\n    sed -i y\nEOF", {"a.py"}),
        ("cd /repo/src && echo x | tee -a a.py > /dev/null", {"/repo/src/a.py"}),
        ("python3 -c \"open('a.py', 'w').write('')\"", {"a.py"}),
        ("python - <<'EOF'\nfrom pathlib import Path\np = Path('a.py')\np.write_text(p.read_text())\nEOF", {"a.py"}),
        ("git apply <<'EOF'\n--- a/x.py\n+++ b/x.py\nEOF", {"x.py"}),
        ("mv a.py b.py; rm -f c.py", {"a.py", "b.py", "c.py"}),
        ("pytest tests 2>&1 | grep -v 'a > b' 2>/dev/null", set()),
        ("echo 'unclosed", set()),
    ],
)
def test_a_shell_command_is_read(command: str, changed: set[str]) -> None:
    """Files that a command writes are found; what it only reads is not."""
    assert {change.path for change in shell_changes(command, {})} == changed


def test_a_protected_file_is_found_by_any_way_of_naming_it() -> None:
    """Absolute, through cd, or by an editing tool: one finding per file."""
    found = findings(
        "sed -i s/a/b/ /repo/pkg/tests/a.py",
        "cd pkg/tests && sed -i s/c/d/ a.py",
        {"file_path": "/repo/setup.cfg", "old_string": "1", "new_string": "2"},
    )
    assert [finding.facts["path"] for finding in found] == ["pkg/tests/a.py", "setup.cfg"]


@pytest.mark.parametrize(
    "undo", ["git checkout pkg/tests/a.py", "git restore pkg/tests", "git stash", "sed -i 's/b/a/' pkg/tests/a.py"]
)
def test_an_edit_that_was_undone_is_none(undo: str) -> None:
    """Version control and the reverse edit take a finding back."""
    edit = "sed -i 's/a/b/' pkg/tests/a.py"
    assert findings(edit)
    assert not findings(edit, undo)
    assert findings(edit, undo, edit)


def test_a_script_is_charged_when_it_runs() -> None:
    """A script file that is written and then run changes what its text opens."""
    script = "cat <<'EOF' > fix.py\np = 'pkg/tests/a.py'\ns = open(p).read()\nopen(p, 'w').write(s)\nEOF"
    assert not findings(script)
    assert findings(script, "python fix.py")


def test_what_the_run_made_is_its_own() -> None:
    """New files may be changed and removed, twice even."""
    assert not findings(
        "echo x > pkg/tests/new.py", "sed -i s/x/y/ pkg/tests/new.py", "rm pkg/tests/new.py", "rm pkg/tests/new.py"
    )


def test_a_broken_scope_is_told_with_its_place() -> None:
    """An unknown field names file and remedy."""
    with pytest.raises(CallerError, match=r"scope\.json"):
        load_scope('{"forbiden": {}}', place="scope.json")
