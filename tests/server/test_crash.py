"""The server is killed in the middle of an incident, and the incident goes on."""

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.cli.verify import check_record
from andoncord_sdk import Guard, RunStopped

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any

INCIDENT = "/api/v1/incidents/inc_000001"
NO_ORDER_YET = (1, 0)
"""What every guard hears first from a new server."""


def loop(guard: Guard) -> None:
    """Have the agent call the same tool until its guard stops the run."""
    with contextlib.suppress(RunStopped), guard.run("refund order 17") as run:
        for _ in range(5):
            run.call("orders.lookup", lambda order_id: {"state": "paid"}, order_id="17")


def kinds_issued(entries: list[dict[str, Any]]) -> set[str]:
    return {entry["body"]["effect"]["kind"] for entry in entries if entry["kind"] == "intent.issued"}


def journal(person: Person) -> list[dict[str, Any]]:
    return list(person.get("/api/v1/journal?limit=500")["items"])


@pytest.mark.parametrize("moment", ["order", "verify"])
def test_an_incident_goes_on_after_a_kill(
    tmp_path: Path, settings: Path, person_at: Callable[[ServerProcess], Person], moment: str
) -> None:
    """After kill -9 and a restart the incident comes to its verdict and its investigation, and no effect happened twice."""
    home = tmp_path / "home"
    first = launch(home, config=settings)
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
        loop(guard)
        person.eventually("/api/v1/journal?limit=500", lambda found: moment in kinds_issued(found["items"]))
        first.kill()
        applied = guard.state.epoch

        with launch(
            home,
            config=settings,
            api_port=urlsplit(first.api_url).port or 0,
            otlp_port=urlsplit(first.otlp_url).port or 0,
        ) as second:
            person = person_at(second)
            view = person.eventually(INCIDENT, lambda found: found["verdicts"] and found["root_causes"], deadline_s=20)
            entries = journal(person)
            assert view["verdicts"][0]["verdict"] == "VERIFIED"
            assert guard.state.rung in ("pause", "kill")
    finally:
        guard.close()
        first.stop()

    intents = [entry["body"] for entry in entries if entry["kind"] == "intent.issued"]
    receipts = Counter(entry["body"]["receipt"]["intent"] for entry in entries if entry["kind"] == "receipt.recorded")
    assert max(Counter(intent["step"] for intent in intents).values()) == 1
    assert set(receipts.values()) == {1}
    fences = [each["effect"]["parameters"] for each in intents if each["step"].startswith("1/fence")]
    assert [fence["rung"] for fence in fences] == ["pause"]
    ordered = [intent["effect"]["parameters"]["epoch"] for intent in intents if intent["effect"]["kind"] == "order"]
    assert applied in (None, NO_ORDER_YET) or list(applied) in ordered
    captures = [intent for intent in intents if intent["effect"]["kind"] == "capture"]
    assert len(list((home / "evidence" / "inc_000001").iterdir())) == len(captures)
    assert check_record(home).ok
