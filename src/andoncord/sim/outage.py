"""The last scene of the demo: the control plane dies, writers stop within their lease, and what was held is held afterwards."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.server_process import ServerFailedError, ServerProcess
from andoncord.kernel.time import SECOND_NS
from andoncord.server.leases import TTL_MS
from andoncord.sim.client import Api
from andoncord.sim.crew import Crew
from andoncord.sim.ledger import AGENTS, account_of
from andoncord.sim.story import Outage

WRITER, HELD = AGENTS
SLACK_S = 0.5
"""How long after the end of a lease the last write may come."""
ARRIVAL_S = 10.0
WATCH_S = TTL_MS / 1_000 + SLACK_S + 0.5
AGAIN_S = 15.0
RESTARTS = 5
"""Tries to come up again: the worker of the dead server lets go of its port a moment later."""
LOOK_EVERY_S = 0.05
STILL_HELD_S = 0.5
"""For so long the held agent is watched after the restart."""

Tell = Callable[[str, str, str], None]
"""Kind, agent and text of a scene."""


class OutageScene:
    """Plays it once.

    Args:
        restart: starts a server with the same data on the same ports.
        folder: where the writers keep their accounts.
    """

    def __init__(
        self, *, crew: Crew, folder: Path, restart: Callable[[], ServerProcess], clock: SystemClock, tell: Tell
    ) -> None:
        self._crew = crew
        self._folder = folder
        self._restart = restart
        self._clock = clock
        self._tell = tell
        self._pause = threading.Event()

    def play(self, server: ServerProcess, api: Api) -> tuple[Outage, ServerProcess]:
        """Kill the server and bring it up again; what came of it, and the new server."""
        minted = api.post("/api/v1/tokens", {"name": "books", "scope": "agent", "agent": "*"})
        arguments = ["--server", server.api_url, "--telemetry", server.otlp_url, "--folder", str(self._folder)]
        self._crew.start("books", "andoncord.sim.ledger", *arguments, environment={"ANDON_TOKEN": minted["token"]})
        self._until(lambda: all(self._written(agent) for agent in AGENTS), ARRIVAL_S)
        self._tell("setup", WRITER, f"two agents that only write have come: {', '.join(AGENTS)}")
        held = api.post(f"/api/v1/agents/{HELD}/orders", {"rung": "pause", "reason": "to be held through what comes"})
        self._until(lambda: api.get(held["receipt_url"]).get("outcome") == "done", ARRIVAL_S)
        self._tell("operator", HELD, "this demo paused it, as an order that has to outlive the server")

        killed_ns = self._clock.monotonic_ns()
        server.kill()
        self._tell("fault", "", f"kill -9 of the server, process {server.pid}: nobody can give orders now")
        self._pause.wait(WATCH_S)
        last_s = (self._written(WRITER)[-1] - killed_ns) / SECOND_NS
        refused = len(self._refused(WRITER))
        within = TTL_MS / 1_000 + SLACK_S
        text = f"last write {last_s:.2f} s after the server's death; {refused} refused since, for want of a lease"
        self._tell("proven" if last_s <= within and refused else "alarm", WRITER, text)

        began_ns = self._clock.monotonic_ns()
        server = self._up_again()
        wrote_before = len(self._written(HELD))
        went_on = self._until(lambda: self._written(WRITER)[-1] > began_ns, AGAIN_S)
        back_s = (self._clock.monotonic_ns() - began_ns) / SECOND_NS
        self._pause.wait(STILL_HELD_S)
        still_held = len(self._written(HELD)) == wrote_before and self._is_paused(api)
        said = f"the server is back and the agent writes again, {back_s:.1f} s after the start" if went_on else "no write since"
        self._tell("recovery" if went_on else "alarm", WRITER, said)
        said = "held since before the server died, and still: no write" if still_held else "it was let go by a crash"
        self._tell("proven" if still_held else "alarm", HELD, said)
        api.post(f"/api/v1/incidents/{held['incident']}/release", {"agent": HELD, "reason": "the scene is over"})
        released = self._until(lambda: len(self._written(HELD)) > wrote_before, ARRIVAL_S)
        self._tell("operator", HELD, "this demo released it" if released else "the release did not reach it")
        done = Outage(
            last_write_s=round(last_s, 3),
            allowed_s=within,
            refused=refused,
            back_s=round(back_s, 1) if went_on else None,
            held_through=still_held,
            released=released,
        )
        return done, server

    def _up_again(self) -> ServerProcess:
        for left in range(RESTARTS - 1, -1, -1):
            try:
                server = self._restart()
            except ServerFailedError:
                if not left:
                    raise
                self._pause.wait(LOOK_EVERY_S * 10)
                continue
            self._crew.watch_over(server.pid)
            return server
        raise AssertionError("unreachable")

    def _is_paused(self, api: Api) -> bool:
        agents: list[dict[str, Any]] = api.get("/api/v1/agents")["items"]
        return any(each["agent"] == HELD and each["rung"] == "pause" for each in agents)

    def _written(self, agent: str) -> list[int]:
        return self._account(agent, "write")

    def _refused(self, agent: str) -> list[int]:
        return self._account(agent, "refused")

    def _account(self, agent: str, word: str) -> list[int]:
        path = account_of(self._folder, agent)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(f"{word} ") and line.split()[1:]]

    def _until(self, holds: Callable[[], object], within_s: float) -> bool:
        deadline_ns = self._clock.monotonic_ns() + int(within_s * SECOND_NS)
        while not holds():
            if self._clock.monotonic_ns() > deadline_ns:
                return False
            self._pause.wait(LOOK_EVERY_S)
        return True
