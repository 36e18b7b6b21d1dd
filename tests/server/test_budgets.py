"""Budgets that guards share, with real guards, a real server, and the server killed."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from andoncord.adapters.sql.budgets import SqlBudgets
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.kernel.errors import CallerError
from andoncord.server.budgets import Asked, BudgetOffice, BudgetSettings, CapSettings, TeamCapSettings
from andoncord_sdk import CallDenied, Guard, RunStopped
from andoncord_sdk.wire import Endpoint, post

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


class SlowStore:
    """Keeps what was saved, and fails when it is told to."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.writes = 0
        self.is_broken = False

    def load(self) -> dict[str, bytes]:
        return dict(self.kept)

    def save(self, changes: Mapping[str, bytes | None]) -> None:
        self.writes += 1
        if self.is_broken:
            raise OSError("disk full")
        self.kept.update({key: body for key, body in changes.items() if body is not None})


class HeldStore:
    """Its writes end when they may; counts how many are under way at once."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.most = 0
        self._now = 0

    def load(self) -> dict[str, bytes]:
        return {}

    def save(self, changes: Mapping[str, bytes | None]) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        self.entered.release()
        assert self.go_on.wait(5)
        self.kept.update({key: body for key, body in changes.items() if body is not None})
        self._now -= 1


def test_answers_share_a_write_and_wait_for_it() -> None:
    """Fifty guards at once take few writes; an answer whose write fails is not given, and comes with the next one."""
    store = SlowStore()
    office = BudgetOffice(BudgetSettings(fleet=CapSettings(per="day", usd=400)).caps({}), store=store, clock=SystemClock())

    async def ask(number: int) -> Any:
        asked = Asked(spent=(0, 0, 0), ceiling=(0, 0, 0), need=(1_000, 0, 0))
        answer = await office.give(asked, agent="a", instance=f"i{number}", guard="g", key=b"k", nonce="n")
        assert f"slice\x1fa\x1fi{number}" in store.kept
        return answer

    async def ask_all() -> None:
        await asyncio.gather(*(ask(number) for number in range(50)))
        assert store.writes < 10

        store.is_broken = True
        with pytest.raises(OSError, match="disk full"):
            await ask(50)
        store.is_broken = False
        await ask(51)
        assert "slice\x1fa\x1fi50" in store.kept

    asyncio.run(ask_all())


def test_a_guard_that_hangs_up_does_not_let_two_writes_overlap() -> None:
    """The write that it asked for goes on; the next one waits for its end."""
    store = HeldStore()
    office = BudgetOffice(BudgetSettings(fleet=CapSettings(per="day", usd=400)).caps({}), store=store, clock=SystemClock())

    async def ask(number: int) -> None:
        asked = Asked(spent=(0, 0, 0), ceiling=(0, 0, 0), need=(1_000, 0, 0))
        await office.give(asked, agent="a", instance=f"i{number}", guard="g", key=b"k", nonce="n")

    async def story() -> None:
        first = asyncio.create_task(ask(1))
        assert await asyncio.to_thread(store.entered.acquire, timeout=5)
        first.cancel()
        await asyncio.wait({first})
        second = asyncio.create_task(ask(2))
        assert not await asyncio.to_thread(store.entered.acquire, timeout=0.1)
        store.go_on.set()
        await asyncio.wait_for(second, 5)

    asyncio.run(story())
    assert store.most == 1
    assert {"slice\x1fa\x1fi1", "slice\x1fa\x1fi2"} <= set(store.kept)


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


def test_a_process_that_was_started_anew_under_its_name_is_charged(
    tmp_path: Path, person_at: Callable[[ServerProcess], Person]
) -> None:
    """A crash loop under one instance name spends one budget, not one for each start; a mere reconnect counts once."""
    settings = tmp_path / "andon.yaml"
    settings.write_text("budgets: {fleet: {per: month, usd: 1.00}}", encoding="utf-8")
    server = launch(tmp_path / "home", config=settings)
    try:
        endpoint = Endpoint(server.api_url, person_at(server).agent_token("*"))

        def renew(started: int, spent: int, ceiling: int, need: int = 0) -> int:
            """Register as the process that started then, report once, and give what it may spend in the end."""
            process = {"pid": 1, "started": started, "boot": "b", "namespace": "n"}
            hello = {"agent": "a", "instance": "pod-0", "pid": 1, "process": process, "nonce": "n1"}
            guard = post(endpoint, "/api/v1/guards", hello, timeout_s=5)["guard_id"]
            told = {"spent": [spent, 0, 0], "ceiling": [ceiling, 0, 0], "need": [need, 0, 0]}
            said = post(endpoint, f"/api/v1/guards/{guard}/lease", {"nonce": "n2", "budget": told}, timeout_s=5)
            return int(json.loads(said["budget"]["text"])["ceiling"][0])

        given = [renew(1, 0, 0, need=400_000)]
        renew(1, 400_000, 400_000)
        renew(1, 400_000, 400_000)
        given.append(renew(2, 0, 0, need=400_000))
        renew(2, 400_000, 400_000)
        given.append(renew(3, 0, 0, need=400_000))
    finally:
        server.stop()

    assert min(given[:2]) >= 400_000
    assert given[2] <= 200_000
