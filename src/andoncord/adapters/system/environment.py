"""What the process's surroundings say: where state lives, which token to use."""

import os
from pathlib import Path


def home_directory() -> Path:
    """`$ANDON_HOME`, else `$XDG_STATE_HOME/andoncord`, else `~/.local/state/andoncord`."""
    if explicit := os.environ.get("ANDON_HOME"):
        return Path(explicit)
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state) / "andoncord"
    return Path.home() / ".local" / "state" / "andoncord"


def token_from_environment() -> str:
    """The token a person put into `$ANDON_TOKEN`, or an empty string."""
    return os.environ.get("ANDON_TOKEN", "").strip()


def server_from_environment() -> str:
    """The server's address in `$ANDON_SERVER`, or an empty string."""
    return os.environ.get("ANDON_SERVER", "").strip()


def database_from_environment() -> str:
    """The control database's address in `$ANDON_DATABASE_URL`, or an empty string."""
    return os.environ.get("ANDON_DATABASE_URL", "").strip()


def variable(name: str) -> str:
    """The value of one variable that the settings name, or an empty string."""
    return os.environ.get(name, "").strip()


def environment_with(**more: str) -> dict[str, str]:
    """This process's environment with `more`, for a child process; secrets go there and never into arguments."""
    return {**os.environ, **more}
