"""What was touched: files, commands and systems, read off the calls of shells, editors and others."""

import json
from typing import Any

from andoncord.investigate import touched as touching
from andoncord.investigate.touched import Touched, touched
from andoncord.telemetry.event import Event, EventKind

PLACE = iter(range(1, 10_000))


def call(name: str, arguments: dict[str, Any] | str, *, ok: bool = True, **more: Any) -> Event:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    kind = EventKind.TOOL_COMPLETED if ok else EventKind.TOOL_FAILED
    at_ns = next(PLACE)
    return Event(kind=kind, name=name, arguments=text, agent="dev", span_id=f"s{at_ns}", start_ns=at_ns, ok=ok, **more)


def files(found: Touched) -> dict[str, tuple[tuple[str, ...], bool]]:
    return {file.path: (file.how, file.is_undone) for file in found.files}


def test_files_of_shells_and_editors() -> None:
    """Redirects, in-place edits, editors with a path, and what version control put back."""
    found = touched(
        [
            call("bash", {"command": "cd src && echo x > new.py && sed -i 's/a/b/' old.py"}),
            call("str_replace_editor", {"command": "str_replace", "path": "lib/a.py", "old_str": "a", "new_str": "b"}),
            call("str_replace_editor", {"command": "view", "path": "lib/b.py"}),
            call("bash", {"command": "rm gone.txt; git checkout src/old.py"}),
        ]
    )

    assert files(found) == {
        "src/new.py": (("written",), False),
        "src/old.py": (("edited", "undone"), True),
        "lib/a.py": (("edited",), False),
        "gone.txt": (("deleted",), False),
    }


def test_commands_are_what_runs_and_nothing_else() -> None:
    """A shell's command, a list of words, a program in a tool that runs programs; not an editor's verb, not a note's text."""
    found = touched(
        [
            call("bash", {"command": "ls -l"}),
            call("process", {"cmd": ["git", "commit", "-m", "two words"]}, ok=False),
            call("python", {"code": "print(1)"}),
            call("str_replace_editor", {"command": "view", "path": "a.py"}),
            call("notes.add", {"input": "rm everything"}),
        ]
    )

    assert [(command.text, command.ok) for command in found.commands] == [
        ("ls -l", True),
        ("git commit -m 'two words'", False),
        ("print(1)", True),
    ]


def test_systems_and_how_they_are_known() -> None:
    """Addresses without their passwords, remote shells, attributes of spans, providers of models, families of tools."""
    model = Event(kind=EventKind.MODEL_COMPLETED, name="m", agent="dev", attributes={"provider": "anthropic"})
    found = touched(
        [
            call("http.get", {"url": "https://me:secret@API.example.com:8443/v1?key=1"}),
            call("bash", {"command": "ssh -i key ops@db.internal.example 'uptime'; curl http://localhost:9/x"}),
            call("payments.refund", {"order": 1}, ok=False, attributes={"server.address": "pay.example.com"}),
            model,
        ]
    )

    known = {(system.name, system.basis): (system.count, system.failed, system.is_local) for system in found.systems}
    assert known == {
        ("api.example.com:8443", "address"): (1, 0, False),
        ("db.internal.example", "address"): (1, 0, False),
        ("localhost:9", "address"): (1, 0, True),
        ("payments", "name"): (1, 1, False),
        ("pay.example.com", "attribute"): (1, 1, False),
        ("anthropic", "provider"): (1, 0, False),
    }
    assert "secret" not in str(found.systems)


def test_what_is_beyond_the_list_is_counted(monkeypatch: Any) -> None:
    """Long lists end, and say how much is missing."""
    monkeypatch.setattr(touching, "MAX_LISTED", 3)
    found = touched([call("bash", {"command": f"echo > f{number}"}) for number in range(5)])

    assert (len(found.files), len(found.commands), found.left_out) == (3, 3, 4)


def test_arguments_that_are_no_json_are_read_as_far_as_they_go() -> None:
    """Cut JSON, deep nesting and halves of characters break nothing."""
    broken = ['{"command": "ls', "[" * 5_000, '{"command": "\\ud800"}', ""]

    assert touched([call("bash", text) for text in broken]).left_out == 0
