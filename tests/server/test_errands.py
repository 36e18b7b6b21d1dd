"""Hooks and waits as performers."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.ledger import SqlEffectLedger
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.system.hook import run_hook
from andoncord.kernel.effect import Effect, EffectKind, Outcome
from andoncord.kernel.time import SECOND_NS
from andoncord.server.errands import HookPerformer, WaitPerformer
from andoncord.server.hook_settings import HookSettings
from andoncord.testing.system import HandClock

COUNT = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def hook_effect(**parameters: Any) -> Effect:
    return Effect(
        kind=EffectKind.HOOK,
        target="refunds",
        incident="inc_000001",
        key="inc_000001.009",
        deadline_ms=10_000,
        reversal="nothing to undo",
        parameters={"hook": "tell", "with": {"queue": "$(id)"}, "agents": ["refunds"], **parameters},
    )


def performers(folder: Path, *, repeatable: bool) -> tuple[HookPerformer, SqlEffectLedger, Path]:
    database = Database.in_file(folder / "control.db")
    migrate(database)
    ledger = SqlEffectLedger(database)
    said = folder / "said"
    settings = HookSettings(run=(sys.executable, "-c", COUNT, str(said)), repeatable=repeatable)
    return HookPerformer({"tell": settings}, run=run_hook, ledger=ledger, clock=HandClock()), ledger, said


def test_a_hook_is_run_once_for_a_key(tmp_path: Path) -> None:
    """Asked again after a crash, it gives the receipt that it gave before."""
    hook, _, said = performers(tmp_path, repeatable=False)

    first = asyncio.run(hook.perform("inc_000001.009", hook_effect()))
    again = asyncio.run(hook.perform("inc_000001.009", hook_effect()))
    assert first == again
    assert first.outcome is Outcome.DONE
    assert said.read_text().count("\n") == 1
    assert '"queue":"$(id)"' in said.read_text()


def test_a_hook_that_was_begun_before_a_crash_is_run_again_only_if_it_may_be(tmp_path: Path) -> None:
    """Nobody knows whether it ended: a repeatable one is run, any other gives a receipt that says so."""
    for repeatable in (False, True):
        folder = tmp_path / str(repeatable)
        folder.mkdir()
        hook, ledger, said = performers(folder, repeatable=repeatable)
        ledger.begin("inc_000001.009", now_ns=1)
        receipt = asyncio.run(hook.perform("inc_000001.009", hook_effect()))
        assert said.exists() is repeatable
        assert receipt.outcome is (Outcome.DONE if repeatable else Outcome.FAILED)
        if not repeatable:
            assert "whether it ended is not known" in receipt.detail["missing"]


def test_a_hook_that_the_settings_do_not_name_is_not_run(tmp_path: Path) -> None:
    """A playbook that was frozen before the hook was taken away gets a receipt that says so."""
    hook, _, _ = performers(tmp_path, repeatable=False)
    receipt = asyncio.run(hook.perform("i", hook_effect(hook="gone")))
    assert (receipt.outcome, receipt.detail["missing"]) == (Outcome.FAILED, "the settings name no hook 'gone'")


def test_a_wait_whose_time_is_over_ends_at_once() -> None:
    """After a restart only what is left of it is waited."""
    clock = HandClock()
    effect = Effect(
        kind=EffectKind.WAIT,
        target="refunds",
        incident="inc_000001",
        key="k",
        deadline_ms=1,
        reversal="nothing to undo",
        parameters={"until_ns": clock.now() - SECOND_NS},
    )
    assert asyncio.run(WaitPerformer(clock).perform("i", effect)).outcome is Outcome.DONE
