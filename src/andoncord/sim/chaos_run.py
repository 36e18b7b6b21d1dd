"""Kill every playbook at its persisted steps: `python -m andoncord.sim.chaos_run [STORE…] [--sample N]`.

A program of its own, because it forks: whoever starts it may have threads, and what is forked must have none. Prints one JSON
object for each scenario and store, and ends with 1 when anything was lost, doubled or different.
"""

import argparse
import contextlib
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from andoncord.adapters.system.postgres_process import PostgresProcess
from andoncord.sim.chaos import PostgresStores, Scenario, Stores, scenarios, try_deaths, whole

STORES = ("sqlite", "postgresql")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one scenario on one store."""

    store: str
    number: int
    playbook: str
    spoke: bool
    """The playbook that the scenario is for was among those that spoke."""
    points: int
    """Points at which the process can be killed."""
    died: int
    lost: int = 0
    doubled: int = 0
    whys: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Nothing lost, nothing doubled, nothing different."""
        return self.spoke and not (self.lost or self.doubled or self.whys)


def run(store: str, stores: Stores, numbers: Sequence[int], *, sample: int, seed: int) -> bool:
    """Kill these scenarios; whether all is good.

    Args:
        sample: points of each; 0 for all.
    """
    all_good = True
    for number in numbers:
        line = _line(store, stores, number, scenarios()[number], sample, random.Random(f"{seed}/{number}"))
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
        all_good = all_good and line.is_good
    return all_good


def _line(store: str, stores: Stores, number: int, scenario: Scenario, sample: int, chance: random.Random) -> Line:
    place = stores.place(durable=True)
    wanted, points = whole(place, scenario)
    stores.forget(place)
    spoke = any(f"{scenario.playbook} v" in str(story[1]) for story in wanted.story["incidents"].values())
    every = range(1, points + 1)
    died = lost = doubled = 0
    whys: list[str] = []
    for point in sorted(chance.sample(every, min(sample, points))) if sample else every:
        place = stores.place(durable=True)
        # With what the durable engine has kept, and without.
        tried = try_deaths(place, scenario, wanted, [point], loses_engine=point % 2 == 0)
        stores.forget(place)
        died, lost, doubled = died + tried.died, lost + tried.lost, doubled + tried.doubled
        if tried.why:
            whys.append(f"killed at point {point}: {tried.why}")
    return Line(
        store=store,
        number=number,
        playbook=scenario.playbook,
        spoke=spoke,
        points=points,
        died=died,
        lost=lost,
        doubled=doubled,
        whys=tuple(whys),
    )


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for."""
    reader = argparse.ArgumentParser(prog="chaos_run", description="Kill every playbook at its persisted steps.")
    reader.add_argument("stores", nargs="*", metavar="STORE", help=f"of {', '.join(STORES)}; both without any")
    reader.add_argument("--sample", type=int, default=0, help="points of each scenario; all without it")
    reader.add_argument("--seed", type=int, default=11)
    reader.add_argument("--only", type=int, nargs="*", help="numbers of scenarios; all without it")
    asked = reader.parse_args(arguments)
    if unknown := set(asked.stores) - set(STORES):
        reader.error(f"unknown store {', '.join(unknown)}")
    numbers = range(len(scenarios())) if asked.only is None else asked.only
    all_good = True
    with tempfile.TemporaryDirectory(prefix="andon-chaos-") as folder, contextlib.ExitStack() as opened:
        for store in asked.stores or STORES:
            place = Path(folder) / store
            place.mkdir()
            stores = Stores(place) if store == "sqlite" else PostgresStores(place, opened.enter_context(PostgresProcess()))
            all_good = run(store, stores, numbers, sample=asked.sample, seed=asked.seed) and all_good
    return 0 if all_good else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
