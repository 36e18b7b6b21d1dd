"""Tokens of single runs, for enforcement points of ours that an agent reaches over HTTP. They live in a folder of one machine.

Whoever starts a run makes a token and puts it into the run's environment; whoever guards a door looks here whether it holds;
whoever revokes takes it away here. The folder is readable by its owner alone, and holds the tokens themselves: a token that was
revoked must be there to be tried.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from andoncord_sdk import _platform

PREFIX = "andon_run_"
MODE, FOLDER_MODE = 0o600, 0o700
IN_FORCE, REVOKED = ".token", ".revoked"
REVOKED_KEPT = 256
"""Revoked tokens that are kept, so that they can be tried; then the oldest is forgotten, and is as unknown as any other."""
TOKEN_MAX = 200


class RunTokens:
    """The tokens in a folder, which is made when it is missing.

    Raises:
        ValueError: others than its owner may look into it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        if folder.stat().st_mode & 0o077:
            raise ValueError(f"{folder} is open to others; it needs mode 0700")
        self._folder = folder

    def make(self, agent: str) -> str:
        """A new token for one run of an agent."""
        token = PREFIX + _platform.nonce() + _platform.nonce()
        path = self._path(token, IN_FORCE)
        unfinished = path.with_suffix(".new")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w", encoding="utf-8") as file:
            json.dump({"agent": agent, "token": token}, file)
        unfinished.rename(path)
        return token

    def holds(self, token: str, agent: str) -> bool:
        """Whether this is the token of a run of `agent`, and was not revoked."""
        if not token.startswith(PREFIX) or len(token) > TOKEN_MAX:
            return False
        return _read(self._path(token, IN_FORCE)).get("agent") == agent

    def revoke(self, token: str) -> None:
        """End one token: its run is over."""
        try:
            self._path(token, IN_FORCE).rename(self._path(token, REVOKED))
        except FileNotFoundError:
            return  # Somebody else has ended it.
        self._forget_oldest()

    def revoke_agent(self, agent: str) -> int:
        """End every token of an agent; how many there were."""
        held = list(self._of(agent, IN_FORCE))
        for token in held:
            self.revoke(token)
        return len(held)

    def revoked(self, agent: str) -> list[str]:
        """The tokens of an agent that were revoked, and can still be tried."""
        return list(self._of(agent, REVOKED))

    def _of(self, agent: str, state: str) -> Iterator[str]:
        for path in sorted(self._folder.glob(f"*{state}")):
            found = _read(path)
            if found.get("agent") == agent and found.get("token"):
                yield found["token"]

    def _path(self, token: str, state: str) -> Path:
        return self._folder / f"{hashlib.sha256(token.encode()).hexdigest()}{state}"

    def _forget_oldest(self) -> None:
        found = sorted(self._folder.glob(f"*{REVOKED}"), key=lambda path: path.stat().st_mtime_ns)
        for path in found[:-REVOKED_KEPT]:
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
