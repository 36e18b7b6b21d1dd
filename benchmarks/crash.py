"""Kill -9 in the middle of responses: nothing is lost, nothing is done twice."""

import os
import random
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from andoncord.adapters.system.postgres_process import PostgresProcess
from andoncord.sim.chaos import Came, PostgresStores, Scenario, Stores, scenarios, try_deaths, whole
from benchmarks.result import Result

SEED = 7
SECOND_DEATH = 3
"""Every so many cycles the process is killed twice."""
ENGINE_LOST = 5
"""Every so many cycles the durable engine's database is deleted after the death."""


def run(*, cycles: int = 60, postgres: int = 12) -> Result:
    """Kill a server at one of its persisted steps, `cycles` times, and compare what came of it with a run nobody killed.

    Args:
        cycles: deaths in all, over all playbooks; 1 000 for the long form.
        postgres: how many of them on PostgreSQL.
    """
    chance = random.Random(SEED)
    died = lost = doubled = asked_again = different = unguarded = 0
    whys: list[str] = []
    with tempfile.TemporaryDirectory(prefix="andon-crash-") as folder, PostgresProcess(durable=True) as server:
        stores: tuple[Stores, Stores] = (Stores(Path(folder)), PostgresStores(Path(folder) / "pg", server))
        for number, kind in _order(cycles, postgres):
            scenario = chance.choice(scenarios())
            wanted, points = _whole(stores[kind], scenario)
            place = stores[kind].place(durable=True)
            first = chance.randint(1, points)
            deaths = [first, chance.randint(1, max(1, points - first))] if number % SECOND_DEATH == 0 else [first]
            tried = try_deaths(place, scenario, wanted, deaths, loses_engine=number % ENGINE_LOST == 0)
            stores[kind].forget(place)
            died += tried.died
            unguarded += _lost_without_journal(wanted, min(1.0, first / points))
            lost += tried.lost
            doubled += tried.doubled
            asked_again += tried.asked_again
            if tried.why:
                different += 1
                whys.append(f"{scenario.playbook} killed at {deaths}: {tried.why}")
    figures = {
        "cycles": float(died),
        "lost": float(lost),
        "doubled": float(doubled),
        "different": float(different),
        "asked_again": float(asked_again),
        "postgres_cycles": float(min(postgres, cycles)),
    }
    baselines = {"lost_without_journal": float(unguarded)}
    return Result(
        figures=figures,
        baselines=baselines,
        notes=(f"seed {SEED}; asked again: with the same key, which the world answers", *whys[:5]),
    )


def _lost_without_journal(wanted: Came, share: float) -> int:
    """The same effects done by a plain loop in a process that is killed as far on: those that nobody ever does."""
    effects = list(wanted.done.elements())
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        for number, _ in enumerate(effects, start=1):
            os.write(writing, b".")
            if number >= share * len(effects):
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        done = len(pipe.read())
    os.waitpid(pid, 0)
    return len(effects) - done


_WHOLE: dict[tuple[str, str], tuple[Came, int]] = {}


def _whole(stores: Stores, scenario: Scenario) -> tuple[Came, int]:
    """What the scenario comes to when nobody kills it; found out once for each kind of database."""
    key = (type(stores).__name__, f"{scenario.playbook} {scenario.undoes}")
    if key not in _WHOLE:
        place = stores.place(durable=True)
        _WHOLE[key] = whole(place, scenario)
        stores.forget(place)
    return _WHOLE[key]


def _order(cycles: int, postgres: int) -> Iterator[tuple[int, int]]:
    """Which number, and on which of the two databases: PostgreSQL evenly spread among the others."""
    every = max(1, cycles // max(1, postgres))
    for number in range(1, cycles + 1):
        yield number, int(postgres > 0 and number % every == 0)
