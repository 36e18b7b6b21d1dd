"""A server restored from a backup, with guards that outlived the one that was lost."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from andoncord.adapters.system.backup import back_up, restore
from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.cli.verify import check_record
from andoncord_sdk import Guard

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any


def test_what_was_ordered_after_the_backup_is_held(
    tmp_path: Path, settings: Path, person_at: Callable[[ServerProcess], Person]
) -> None:
    """An agent that was killed after the backup stays stopped under the restored server, and an incident says why."""
    first = launch(tmp_path / "home", config=settings)
    person = person_at(first)
    token = person.agent_token()
    guard = Guard("refund-bot", server=first.api_url, telemetry=first.otlp_url, token=token, tools={"orders.lookup": "read"})
    try:
        with guard.run("refund order 17") as run:
            run.call("orders.lookup", lambda order_id: {"state": "paid"}, order_id="17")
        person.eventually("/api/v1/ledger", lambda found: found["storage"]["events"] >= 2)
        back_up(tmp_path / "home", tmp_path / "backup", now=SystemClock().now())
        person.post("/api/v1/agents/refund-bot/orders", {"rung": "kill", "reason": "drill"})
        # What the restored server cannot know, the guard must have heard before the first one dies.
        person.eventually("/api/v1/agents", lambda found: found["items"][0]["rung"] == guard.state.rung == "kill")
        first.kill()

        restore(tmp_path / "backup", tmp_path / "new")
        assert check_record(tmp_path / "new").ok
        api_port, otlp_port = (urlsplit(url).port or 0 for url in (first.api_url, first.otlp_url))
        with launch(tmp_path / "new", config=settings, api_port=api_port, otlp_port=otlp_port) as second:
            person = person_at(second)
            view = person.eventually("/api/v1/incidents", lambda found: found["items"], deadline_s=60)
            agents = person.eventually("/api/v1/agents", lambda found: found["items"][0]["rung"] == "kill")
            ledger = person.get("/api/v1/ledger?deep=true")
        assert "restored" in view["items"][0]["title"]
        assert agents["items"][0]["state"] == "contained"
        assert guard.state.rung == "kill"
        assert ledger["balanced"], ledger["problems"]
    finally:
        guard.close()
        first.stop()
