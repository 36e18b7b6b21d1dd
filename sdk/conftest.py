"""What pytest must know before it collects the SDK."""

from importlib.util import find_spec

FRAMEWORKS = {"claude_agent_sdk": "claude_agent_sdk", "crewai": "crewai", "google_adk": "google.adk"}
"""Adapters whose framework has an environment of its own (`just adapters`), and what tells that it is there."""


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


SCRIPTS = ("tests/mcp_server.py", "tests/mcp_http_server.py", "tests/mcp_plain_server.py")
"""Programs that tests start: imported while looking for examples in docstrings, they would run, or serve for ever."""

collect_ignore = [  # The tests themselves say why they are skipped.
    *SCRIPTS,
    *(
        path
        for adapter, module in FRAMEWORKS.items()
        if not _is_there(module)
        for path in (f"src/andoncord_sdk/instrument/{adapter}.py", f"tests/instrument/{adapter}/scripted_cli.py")
    ),
]
