"""`andon canary`: stop a synthetic agent through the real path, and say how long it took and whether it is proven."""

import subprocess
import sys
import threading
from typing import Annotated, Any

import msgspec
import typer

from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.entropy import SystemEntropy
from andoncord.adapters.system.environment import environment_with
from andoncord.cli.client import Client, telemetry_address
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import MILLISECOND_NS, SECOND_NS
from andoncord.respond.playbook import duration_ms

LOOK_EVERY_S = 0.05
START_S = 15.0
VERDICT_S = 15.0
RECEIPT_S = 5.0
MIN_STEPS = 3
"""Steps the canary must have taken before it is stopped: an agent that never ran proves nothing."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one stop showed."""

    agent: str
    incident: str
    fence_ms: float | None
    """From the order to its acknowledgement, as the server measured it; None when it was not confirmed."""
    last_step_ms: float | None
    """From sending the order to the last step the canary took, by its own account; None when it took none after."""
    verdict: str
    missing: list[str]
    ok: bool
    why: str


def canary(
    every: Annotated[str, typer.Option(help="Again after this long, for example 5m; empty for once.")] = "",
    count: Annotated[int, typer.Option(min=0, help="End after so many rounds; 0 for no end. Only with --every.")] = 0,
    limit_ms: Annotated[int, typer.Option(min=1, help="A stop that takes longer than this is a miss.")] = 1_000,
    output: OutputOption = Format.TABLE,
) -> None:
    """Stop a synthetic agent through the real path, and say how long it took and whether it is proven.

    A miss is declared as an incident. Exits with 6 when the last round was a miss.
    """
    try:
        pause_s = duration_ms(every, place="--every") / 1_000 if every else 0.0
    except CallerError as error:
        raise fail(str(error), Exit.USAGE) from None
    client = Client()
    waiting = threading.Event()
    number = 0
    while True:
        number += 1
        done = _sing_once(client, limit_ms=limit_ms)
        _tell(done, output)
        if not done.ok:
            missed = {
                "title": f"the canary was not stopped as promised: {done.why}",
                "agent": done.agent,
                "severity": "high",
                "reason": "the kill path is not proven",
            }
            declared = client.post("/api/v1/incidents", missed)
            say(f"declared {declared['incident']}")
        if not pause_s or number == count:
            break
        waiting.wait(pause_s)
    if not done.ok:
        raise typer.Exit(Exit.UNCONFIRMED)


def _sing_once(client: Client, *, limit_ms: int) -> Round:
    """Start a canary, stop it, judge the stop, and clean up behind it."""
    agent = f"canary-{SystemEntropy().identifier('c')[-8:]}"
    token = client.post("/api/v1/tokens", {"name": agent, "scope": "agent", "agent": agent})
    try:
        with _Singer(client, agent, token["token"]) as singer:
            return _stop(client, singer, agent, limit_ms=limit_ms)
    finally:
        client.delete(f"/api/v1/tokens/{token['id']}")


def _stop(client: Client, singer: "_Singer", agent: str, *, limit_ms: int) -> Round:
    singer.wait_for_steps(MIN_STEPS, timeout_s=START_S)
    ordered_ns = SystemClock().monotonic_ns()
    done = client.post(f"/api/v1/agents/{agent}/orders", {"rung": "kill", "reason": "canary"})
    receipt = client.receipt(done["receipt_url"], timeout_s=RECEIPT_S)
    verdict = _verdict(client, done["incident"])
    later = [at_ns for at_ns in singer.steps() if at_ns >= ordered_ns]
    fence_ms = (receipt or {}).get("detail", {}).get("fence_ms")
    last_step_ms = (later[-1] - ordered_ns) / MILLISECOND_NS if later else None
    client.post(f"/api/v1/incidents/{done['incident']}/release", {"agent": agent, "reason": "the canary is done"})
    client.post(f"/api/v1/incidents/{done['incident']}/disposition", {"disposition": "test", "reason": "canary"})
    why = _why_missed(fence_ms, last_step_ms, verdict, limit_ms=limit_ms)
    return Round(
        agent=agent,
        incident=done["incident"],
        fence_ms=fence_ms,
        last_step_ms=last_step_ms,
        verdict=verdict["verdict"],
        missing=verdict["missing"],
        ok=not why,
        why=why,
    )


def _why_missed(fence_ms: float | None, last_step_ms: float | None, verdict: dict[str, Any], *, limit_ms: int) -> str:
    """Why the stop does not count as proven; empty when it does."""
    if fence_ms is None:
        return "the order was not acknowledged"
    if fence_ms > limit_ms:
        return f"the acknowledgement took {fence_ms:.0f} ms, longer than {limit_ms} ms"
    if last_step_ms is not None and last_step_ms > limit_ms:
        return f"a step was taken {last_step_ms:.0f} ms after the order"
    if verdict["verdict"] != "VERIFIED":
        return f"the verdict is {verdict['verdict']}: {'; '.join(verdict['missing'])}"
    return ""


def _verdict(client: Client, incident: str) -> dict[str, Any]:
    """The incident's verdict, as soon as there is one."""
    clock = SystemClock()
    deadline_ns = clock.monotonic_ns() + int(VERDICT_S * SECOND_NS)
    pause = threading.Event()
    while clock.monotonic_ns() < deadline_ns:
        verdicts: list[dict[str, Any]] = client.get(f"/api/v1/incidents/{incident}")["verdicts"]
        if verdicts:
            return verdicts[-1]
        pause.wait(LOOK_EVERY_S)
    return {"verdict": "UNVERIFIED", "missing": [f"a verdict within {VERDICT_S:g} s"]}


class _Singer:
    """The canary's process, and the steps it told of."""

    def __init__(self, client: Client, agent: str, token: str) -> None:
        addresses = ["--server", client.url, "--telemetry", telemetry_address()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "andoncord.sim.canary", "--name", agent, *addresses],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment_with(ANDON_TOKEN=token),
            text=True,
        )
        self._told: list[int] = []
        self._heard = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "_Singer":
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_for_steps(self, number: int, *, timeout_s: float) -> None:
        """Wait until it has taken so many steps; ends the command when it does not."""
        with self._heard:
            if not self._heard.wait_for(lambda: len(self._told) >= number, timeout_s):
                raise fail(f"the canary took no {number} steps within {timeout_s:g} s", Exit.ERROR)

    def steps(self) -> list[int]:
        """When it took its steps, monotonic nanoseconds."""
        with self._heard:
            return list(self._told)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, at_ns = line.strip().partition(" ")
            if word == "step" and at_ns.isdigit():
                with self._heard:
                    self._told.append(int(at_ns))
                    self._heard.notify_all()


def _tell(done: Round, output: Format) -> None:
    if output is Format.JSON:
        show_json(msgspec.to_builtins(done))
        return
    fence = "not acknowledged" if done.fence_ms is None else f"acknowledged in {done.fence_ms:.1f} ms"
    last = "no step after the order" if done.last_step_ms is None else f"last step {done.last_step_ms:.1f} ms after the order"
    print(f"{done.agent}  {fence}, {last}, {done.verdict}{'' if done.ok else f'  MISS: {done.why}'}")
