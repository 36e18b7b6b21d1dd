"""Two servers on one PostgreSQL: one is killed in the middle of a response, the other finishes it."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tests.server.test_crash import journal, kinds_issued, loop

from andoncord.adapters.system.postgres_process import PostgresProcess
from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.cli.verify import check_record
from andoncord_sdk import Guard

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any

DEADLINE_S = 60.0


class Standby(threading.Thread):
    """A second server, which comes up when it is its turn."""

    def __init__(self, **launched: Any) -> None:
        super().__init__(daemon=True)
        self._launched = launched
        self.server: ServerProcess | None = None

    def run(self) -> None:
        self.server = launch(**self._launched, deadline_s=DEADLINE_S)


@pytest.mark.parametrize("moment", ["order", "investigate"])
def test_the_other_server_finishes(
    tmp_path: Path, settings: Path, postgres: PostgresProcess, person_at: Callable[[ServerProcess], Person], moment: str
) -> None:
    """The standby opens no port until the first is gone; then it knows the tokens, holds the agent, and comes to the end."""
    url = postgres.new_database()
    environment = {"ANDON_DATABASE_URL": url}
    first = launch(tmp_path / "a", config=settings, environment=environment)
    ports = {"api_port": urlsplit(first.api_url).port, "otlp_port": urlsplit(first.otlp_url).port}
    standby = Standby(home=tmp_path / "b", config=settings, environment=environment, **ports)
    person = person_at(first)
    guard = Guard(
        "refund-bot",
        server=first.api_url,
        telemetry=first.otlp_url,
        token=person.agent_token(),
        tools={"orders.lookup": "read", "payments.refund": "write"},
        environment="test",
    )
    try:
        standby.start()
        loop(guard)
        person.eventually("/api/v1/journal?limit=500", lambda found: moment in kinds_issued(found["items"]))
        assert standby.server is None
        first.kill()
        standby.join(DEADLINE_S)
        assert standby.server is not None
        person = person_at(standby.server)
        view = person.eventually(
            "/api/v1/incidents/inc_000001", lambda found: found["verdicts"] and found["root_causes"], deadline_s=30
        )
        entries = journal(person)
        assert guard.state.rung in ("pause", "kill")
    finally:
        guard.close()
        first.stop()
        standby.join(DEADLINE_S)
        if standby.server is not None:
            standby.server.stop()

    assert view["verdicts"]
    steps = Counter(entry["body"]["step"] for entry in entries if entry["kind"] == "intent.issued")
    receipts = Counter(entry["body"]["receipt"]["intent"] for entry in entries if entry["kind"] == "receipt.recorded")
    assert set(steps.values()) == set(receipts.values()) == {1}
    assert check_record(tmp_path / "b", url=url).ok
