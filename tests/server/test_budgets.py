"""Budgets that guards share, with real guards, a real server, and the server killed."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from andoncord.adapters.sql.budgets import SqlBudgets
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.kernel.errors import CallerError
from andoncord.server.budgets import BudgetSettings, CapSettings, TeamCapSettings
from andoncord_sdk import CallDenied, Guard, RunStopped

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any

SETTINGS = """
agents:
  refund-bot: {team: payments}
  claims-bot: {team: payments}
budgets:
  fleet: {per: day, usd: 400}
  teams:
    payments: {per: month, usd: 1.00, calls: 400}
"""


def spend(guard: Guard, usd: float) -> str:
    """Make one model call of this cost; what the guard said to it."""
    try:
        with guard.run() as run, run.model_step("m", max_cost_usd=usd) as call:
            call.cost_usd = usd
    except (RunStopped, CallDenied) as refusal:
        return refusal.message
    return ""


def test_two_guards_share_a_budget_that_outlives_the_server(
    tmp_path: Path, person_at: Callable[[ServerProcess], Person]
) -> None:
    """One guard cannot spend what another did, not after kill -9 either; without a server only what is held is left."""
    settings = tmp_path / "andon.yaml"
    settings.write_text(SETTINGS, encoding="utf-8")
    server = launch(tmp_path / "home", config=settings)
    person = person_at(server)
    token = person.agent_token("*")
    port = urlsplit(server.api_url).port or 0
    first = Guard("refund-bot", server=server.api_url, token=token, heartbeat_s=60)
    second = Guard("claims-bot", server=server.api_url, token=token, heartbeat_s=60)
    other = Guard("other-bot", server=server.api_url, token=token, heartbeat_s=60)
    try:
        assert spend(first, 0.70) == ""
        assert "the budget of team payments of $1.00 per month: $0.70 spent" in spend(second, 0.35)
        assert spend(second, 0.05) == ""
        assert spend(other, 50.0) == ""

        server.kill()
        held = second._admission.allowance.budget.limits.micro_usd - 50_000  # type: ignore[union-attr,operator]
        assert spend(second, held / 1e6) == ""
        assert "shared budget" in spend(second, 0.30) or "team payments" in spend(second, 0.30)

        server = launch(tmp_path / "home", config=settings, api_port=port)
        spent = 700_000 + 50_000 + held

        def is_reported(answer: Any) -> bool:
            return bool(answer["items"][1]["micro_usd"]["spent"] == spent)

        _, team = person_at(server).eventually("/api/v1/budgets", is_reported)["items"]
        assert (team["level"], team["name"], team["micro_usd"]["limit"]) == ("team", "payments", 1_000_000)
        assert "team payments" in spend(second, (1_000_001 - spent) / 1e6)
    finally:
        for guard in (first, second, other):
            guard.close()

    def is_returned(answer: Any) -> bool:
        return all(each["micro_usd"]["held"] == 0 for each in answer["items"])

    fleet, team = person_at(server).eventually("/api/v1/budgets", is_returned)["items"]
    assert (fleet["micro_usd"]["spent"], team["micro_usd"]["spent"]) == (50_000_000 + spent, spent)
    assert team["micro_usd"]["unreported"] == 0
    server.stop()


def test_what_is_saved_is_loaded(database_url: str) -> None:
    """Records are replaced and deleted by key, on both databases."""
    database = Database(database_url)
    migrate(database)
    store = SqlBudgets(database)

    store.save({"a\x1fb": b"1", "c": b"2"})
    store.save({"a\x1fb": b"3", "c": None})

    assert SqlBudgets(database).load() == {"a\x1fb": b"3"}
    database.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (BudgetSettings(teams={"ops": TeamCapSettings(per="day", usd=1)}), "covers no agent"),
        (BudgetSettings(fleet=CapSettings(per="day")), "limits nothing"),
    ],
)
def test_a_budget_without_effect_is_a_mistake(settings: BudgetSettings, said: str) -> None:
    """What limits nobody or nothing is refused at the start, with the remedy."""
    with pytest.raises(CallerError, match=said):
        settings.caps({"refund-bot": "payments"})
