"""One simulated agent as a process of its own, which knows the server only through the public SDK.

ANDON_TOKEN=… python -m andoncord.sim.agent --name refunds --seed 7 --server … --telemetry … --folder …
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from andoncord.sim.chance import Chance
from andoncord.sim.fleet import ENVIRONMENT, FLEET
from andoncord.sim.parent import end_with_parent
from andoncord.sim.script import Call, Desk, Role, Think, ToolFault, follow, passes, rehearse
from andoncord.sim.surroundings import SharedFolder, Shelves
from andoncord_sdk import CallDenied, Guard, GuardError, Run, RunStopped

ONSETS = "onsets"
"""The shelf on which agents note, for the score, when a failure took effect."""
REFUSALS = "refusals"
"""The shelf on which agents note calls that a policy refused, for the story."""
HOLD_POLL_S = 5.0


class Worker:
    """Works on one task after another under a guard, until told to stop."""

    def __init__(self, role: Role, guard: Guard, *, seed: int, folder: SharedFolder) -> None:
        self._role = role
        self._guard = guard
        self._chance = Chance(seed, role.name)
        self._folder = folder
        self._settings: Mapping[str, Any] = dict(guard.config) or role.settings
        self._version = guard.config_version or "v1"
        self._stop = threading.Event()
        self._runs = 0
        self._noted: set[tuple[str, str]] = set()
        guard.on_config(self._configured)
        guard.probe(self._rehearse)

    def stop(self) -> None:
        """Finish the run in hand and leave."""
        self._stop.set()

    def work(self) -> None:
        """Work until stopped, at the pace of the role."""
        while not self._stop.is_set():
            if not self._guard.wait_released(timeout=HOLD_POLL_S):
                continue
            self._runs += 1
            chance = self._chance.child(f"run-{self._runs}")
            self._run(chance)
            self._stop.wait(self._role.period_s * chance.between(0.7, 1.3))

    def _run(self, chance: Chance) -> None:
        desk = self._desk(chance)
        try:
            with self._guard.run(desk.task.brief) as run:
                answer = self._carry_out(desk, run)
                passed = passes(desk.task, answer)
                run.outcome = "right" if passed else "wrong"
                run.score("known_answer", 1.0 if passed else 0.0, passed=passed)
        except RunStopped as stopped:  # The guard has recorded why; there will be another run.
            self._note_refusal(stopped)
        except ToolFault:
            pass  # The run is recorded as failed.

    def _carry_out(self, desk: Desk, run: Run) -> str:
        def perform(step: Think | Call) -> Any:
            if isinstance(step, Think):
                self._stop.wait(self._role.thinking_s)
                run.model_call(
                    model=str(desk.settings["model"]),
                    input_tokens=step.input_tokens,
                    output_tokens=step.output_tokens,
                    cost_usd=step.cost_micro_usd / 1_000_000,
                    system=str(desk.settings["prompt"]),
                    input=step.prompt,
                    output=step.reply,
                )
                return step.reply
            try:
                with run.step(step.tool, step.arguments) as guarded:
                    self._stop.wait(self._role.tool_s)
                    guarded.result = self._role.tools[step.tool](desk, step.arguments)
                    return guarded.result
            except CallDenied as denied:
                self._note_refusal(denied)
                raise ToolFault("denied", str(denied)) from denied

        return follow(self._role.script(desk), perform)

    def _rehearse(self, index: int) -> bool:
        """One task with a known answer and inputs of its own, with the present settings; nothing leaves the desk."""
        desk = self._desk(self._chance.child(f"rehearsal-{index}-{self._version}"), rehearsal=True)
        return rehearse(self._role, desk)

    def _desk(self, chance: Chance, *, rehearsal: bool = False) -> Desk:
        return Desk(
            task=self._role.task(chance),
            settings=self._settings,
            chance=chance,
            surroundings=Shelves() if rehearsal else self._folder,
            onset=(lambda letter: None) if rehearsal else self._note_onset,
            rehearsal=rehearsal,
        )

    def _note_onset(self, letter: str) -> None:
        if (letter, self._version) in self._noted:
            return
        self._noted.add((letter, self._version))
        note = {"failure": letter, "agent": self._role.name, "at_ns": time.time_ns()}
        self._folder.put(ONSETS, msgspec.json.encode(note).decode())

    def _note_refusal(self, error: GuardError) -> None:
        if error.code != "policy":
            return
        note = {"agent": self._role.name, "tool": error.tool, "policy": error.policy, "message": str(error)}
        self._folder.put(REFUSALS, msgspec.json.encode(note).decode())

    def _configured(self, version: str, values: Mapping[str, Any]) -> None:
        self._settings, self._version = {**self._role.settings, **values}, version


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one agent until SIGTERM."""
    end_with_parent()
    parser = argparse.ArgumentParser(prog="andoncord.sim.agent", description="One simulated agent.")
    parser.add_argument("--name", choices=tuple(FLEET), required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--server", required=True)
    parser.add_argument("--telemetry", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args(arguments)

    role = FLEET[given.name]
    guard = Guard(
        role.name,
        server=given.server,
        telemetry=given.telemetry,
        token=os.environ.get("ANDON_TOKEN"),
        tools=role.access,
        budget_usd=role.budget_usd,
        environment=ENVIRONMENT,
        system="demo-shop",
    )
    worker = Worker(role, guard, seed=given.seed, folder=SharedFolder(given.folder))
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The one who started it decides.
    try:
        worker.work()
    finally:
        guard.close()


if __name__ == "__main__":
    main()
