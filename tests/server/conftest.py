"""Fixtures of the server's tests."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch

SETTINGS = """
agents:
  refund-bot:
    tools: {orders.lookup: read, payments.refund: write}
    budget_usd: 0.5
    environment: test
"""


class Person:
    """A client with a token against a running server."""

    def __init__(self, server: ServerProcess, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token or server.admin_token}"}
        self.http = httpx2.Client(base_url=server.api_url, headers=headers, timeout=10, trust_env=False)

    def __enter__(self) -> "Person":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.http.post(path, json=body).raise_for_status().json()

    def agent_token(self, agent: str = "refund-*") -> str:
        return str(self.post("/api/v1/tokens", {"name": "fleet", "scope": "agent", "agent": agent})["token"])

    def eventually(self, path: str, holds: Callable[[Any], Any], *, deadline_s: float = 10.0) -> Any:
        """The answer at `path`, as soon as `holds` is true of it."""
        pause = threading.Event()
        for _ in range(int(deadline_s / 0.05)):
            found = self.get(path)
            if holds(found):
                return found
            pause.wait(0.05)
        raise AssertionError(f"{path} did not come to what was expected within {deadline_s} s: {found}")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A settings file that declares one agent."""
    path = tmp_path / "andon.yaml"
    path.write_text(SETTINGS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One real server for the tests of a module."""
    folder = tmp_path_factory.mktemp("server")
    config = folder / "andon.yaml"
    config.write_text(SETTINGS, encoding="utf-8")
    with launch(folder / "home", config=config) as running:
        yield running


@pytest.fixture
def person(server: ServerProcess) -> Iterator[Person]:
    """The server's own user."""
    with Person(server) as local:
        yield local


@pytest.fixture
def person_at() -> Iterator[Callable[[ServerProcess], Person]]:
    """Makes the own user of any server."""
    made: list[Person] = []

    def make(server: ServerProcess) -> Person:
        made.append(Person(server))
        return made[-1]

    yield make
    for each in made:
        each.http.close()
