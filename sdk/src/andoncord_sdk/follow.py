"""Follows what the control plane sends to a guard, and answers with what was really done."""

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from andoncord_sdk import _platform
from andoncord_sdk.admission import Admission
from andoncord_sdk.config import Config
from andoncord_sdk.errors import AgentStopped, GuardError, RunStopped
from andoncord_sdk.ladder import ORDERS_MAX, Measure, Rung
from andoncord_sdk.link import Ack, Outcome
from andoncord_sdk.orders import Epoch, Order, Snapshot, parse_epoch
from andoncord_sdk.policy import PolicySet
from andoncord_sdk.run import Run

PROBE_SAMPLES_MAX = 1_000
"""Most samples one probe order may ask for."""
ANSWER_MAX_CHARS = 32_000
"""Characters of an answer to a task that are sent."""
CAPTURED_RUNS_MAX = 50
"""Open runs described in one acknowledgement."""

Probe = Callable[[int], bool] | Callable[[int], Awaitable[bool]]
"""A task with a known answer: takes the sample's index, says whether the agent's answer was right."""

T = TypeVar("T")

Task = Callable[[str], str] | Callable[[str], Awaitable[str]]
"""Gives the agent a task, and returns its answer."""

_log = logging.getLogger("andoncord_sdk")


class Follower:
    """Turns events from the order stream into acts on one guard.

    Args:
        admission: whose gate and policies are set.
        config: where registry values go.
        own_policies: compiled policies given in the code; they stay in force whatever is pushed.
        open_runs: the runs that are open now.
        open_probe: makes a run for one sample of a probe, or for a task with a known answer, by the name of its task.
        changed: reports that something changed: kind, old version, new version.
        acknowledge: sends an acknowledgement.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        config: Config,
        own_policies: Sequence[dict[str, Any]],
        open_runs: Callable[[], Sequence[Run]],
        open_probe: Callable[[str, Order], Run],
        changed: Callable[[str, str, str], None],
        acknowledge: Callable[[Ack], None],
    ) -> None:
        self.probe: Probe | None = None
        self.task: Task | None = None
        self._admission = admission
        self._config = config
        self._own_policies = tuple(own_policies)
        self._open_runs = open_runs
        self._open_probe = open_probe
        self._changed = changed
        self._acknowledge = acknowledge
        self._has_pushed_policies = False
        self._probed: dict[str, Ack | None] = {}

    def state(self, snapshot: Snapshot | None = None) -> dict[str, Any]:
        """The guard's state as it is told to the control plane."""
        now = snapshot or self._admission.gate.snapshot()
        return {
            "rung": now.order.rung.word,
            "epoch": None if now.order.epoch is None else list(now.order.epoch),
            "in_flight": [
                {"tool": call.tool, "run_id": call.run_id, "span_id": call.span_id, "started_ns": call.started_ns}
                for call in now.in_flight
            ],
            "runs_active": len(self._open_runs()),
            "steps_started": now.steps_started,
            "steps_ended": now.steps_ended,
            **self._admission.condition(),
        }

    def welcomed(self, welcome: dict[str, Any]) -> None:
        """Take over what is in force at registration. The order first: nothing in the rest may delay it."""
        if welcome.get("epoch") is not None:
            self._apply(order_in(welcome))
        try:
            self._load_policies(welcome.get("policies") or [])
        except Exception as fault:
            if not self._has_pushed_policies:
                # No set has ever been in force: going on without the rules would release what they forbid.
                self._admission.policies = _Unloadable(fault)
            _log.exception("the policies sent at registration could not be loaded")
        if welcome.get("config"):
            self._put_config(welcome["config"])

    def received(self, name: str, event: dict[str, Any]) -> None:
        """Follow one event and acknowledge it. What cannot be followed is acknowledged as failed."""
        acts: dict[str, Callable[[dict[str, Any]], None]] = {
            "order": self._follow_order,
            "config": self._follow_config,
            "policies": self._follow_policies,
            "probe": self._follow_probe,
            "release": self._follow_release,
            "canary": self._follow_canary,
        }
        act = acts.get(name)
        if act is None:
            _log.debug("a guard does not follow %r", name)
            return
        try:
            act(event)
        except Exception as fault:
            _log.exception("could not follow %r", name)
            self._answer(event, "failed", detail={"error": f"{type(fault).__name__}: {fault}"})

    def _follow_order(self, event: dict[str, Any]) -> None:
        order = order_in(event)
        in_force, snapshot = self._apply(order)
        if not in_force:
            current = snapshot.order.epoch
            self._answer(event, "refused", order.epoch, snapshot, {"error": f"epoch {order.epoch} is not newer than {current}"})
            return
        detail: dict[str, Any] = {"orders": [part.id for part in order.parts if part.id]}
        if absent := self._absent_runs(order):
            detail["absent_runs"] = absent
        if order.rung >= Rung.PAUSE:
            detail["capture"] = {"runs": [run.capture() for run in self._open_runs()[:CAPTURED_RUNS_MAX]]}
        self._answer(event, "enforced", order.epoch, snapshot, detail)

    def _apply(self, order: Order) -> tuple[bool, Snapshot]:
        in_force, snapshot = self._admission.gate.apply(order)
        if in_force:
            for part in order.parts:
                if part.rung is Rung.KILL and part.tool == "*":
                    self._stop_runs(part)
        return in_force, snapshot

    def _stop_runs(self, part: Measure) -> None:
        """End the open runs that an order to kill is about."""
        for run in self._open_runs():
            if run.probe_order is not None or part.run not in ("", run.id):
                continue
            if part.run:
                run.stop(RunStopped("order", f"this run of {self._admission.agent} is stopped: {part.why}"))
            else:
                run.stop(AgentStopped("order", f"{self._admission.agent} is stopped: {part.why}"))

    def _absent_runs(self, order: Order) -> list[str]:
        """The orders about one run that is not open here: nobody may count this guard as having enforced them."""
        here = {run.id for run in self._open_runs()}
        return [part.id for part in order.parts if part.run and part.run not in here]

    def _follow_config(self, event: dict[str, Any]) -> None:
        self._put_config(event)
        self._answer(event, "enforced", detail={"version": self._config.version})

    def _put_config(self, pushed: dict[str, Any]) -> None:
        version, values = str(pushed["version"]), pushed["values"]
        if not isinstance(values, dict):
            raise ValueError(f"config values must be an object, got {type(values).__name__}")
        old = self._config.version
        self._admission.config_version = version
        for kind in self._config.put(version, values):
            self._changed(kind, old or "", version)

    def _follow_policies(self, event: dict[str, Any]) -> None:
        self._load_policies(event["policies"])
        self._answer(event, "enforced", detail={"policies": len(event["policies"])})

    def _load_policies(self, compiled: list[dict[str, Any]]) -> None:
        """Put a set in force. If it cannot be loaded, the one before stays."""
        own_ids = {policy.get("id") for policy in self._own_policies}
        everything = [*self._own_policies, *(policy for policy in compiled if policy.get("id") not in own_ids)]
        self._admission.policies = PolicySet(everything) if everything else None
        self._has_pushed_policies = True

    def _follow_probe(self, event: dict[str, Any]) -> None:
        order_id = str(event["order_id"])
        if order_id in self._probed:
            # The order came again after a reconnect: it is answered again, not done again.
            if (done := self._probed[order_id]) is not None:
                self._acknowledge(done)
            return
        samples = event["samples"]
        if type(samples) is not int or not 0 < samples <= PROBE_SAMPLES_MAX:
            raise ValueError(f"samples must be 1 to {PROBE_SAMPLES_MAX}, got {samples!r}")
        if self.probe is None:
            raise LookupError("this agent has registered no probe: give one to guard.probe(fn)")
        self._probed = {order_id: None}
        threading.Thread(target=self._run_probe, args=(event, samples, self.probe), name="andoncord-probe", daemon=True).start()

    def _follow_release(self, event: dict[str, Any]) -> None:
        if self._admission.handing is None:
            raise LookupError("this guard holds no side effects")
        self._admission.handing.perform(event, self._answer)

    def _run_probe(self, event: dict[str, Any], samples: int, probe: Probe) -> None:
        passed: list[bool] = []
        errors: list[str] = []
        began_under = self._admission.gate.order
        for index in range(samples):
            right = False
            try:
                with self._open_probe(f"probe {index}", began_under) as run:
                    try:
                        right = _ask(probe, index)
                    except GuardError as refusal:
                        run.fail(refusal.message)
                        errors.append(f"sample {index}: {refusal.message}")
                    except Exception as error:
                        run.fail(type(error).__name__)
                        errors.append(f"sample {index}: {type(error).__name__}: {error}")
                    run.score("probe", 1.0 if right else 0.0, passed=right)
                    was_stopped = run.stopped is not None and run.stopped.code == "order"
            except Exception as fault:
                errors.append(f"sample {index}: {type(fault).__name__}: {fault}")
                break
            if was_stopped:
                break
            passed.append(right)
        outcome: Outcome = "enforced" if len(passed) == samples else "failed"
        self._probed[str(event["order_id"])] = self._answer(event, outcome, detail={"passed": passed, "errors": errors})

    def _follow_canary(self, event: dict[str, Any]) -> None:
        if self.task is None:
            raise LookupError("this agent has registered no way to be asked: give one to guard.canary(fn)")
        if self._admission.gate.order.rung >= Rung.PAUSE:
            self._answer(event, "refused", detail={"error": f"{self._admission.agent} is held"})
            return
        name, text = str(event["name"]), str(event["input"])
        arguments = (event, name, text, self.task)
        threading.Thread(target=self._run_canary, args=arguments, name="andoncord-canary", daemon=True).start()

    def _run_canary(self, event: dict[str, Any], name: str, text: str, task: Task) -> None:
        outcome: Outcome = "failed"
        detail: dict[str, Any] = {}
        try:
            with self._open_probe(f"canary {name}", self._admission.gate.order) as run:
                run.attributes["andoncord.canary"] = name
                detail["run_id"] = run.id
                try:
                    answer = task(text)
                    said = asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer
                    outcome, detail["answer"] = "enforced", str(said)[:ANSWER_MAX_CHARS]
                except GuardError as refusal:
                    run.fail(refusal.message)
                    detail["error"] = refusal.message
                except Exception as error:
                    run.fail(type(error).__name__)
                    detail["error"] = f"{type(error).__name__}: {error}"
        except Exception as fault:
            detail["error"] = f"{type(fault).__name__}: {fault}"
        self._answer(event, outcome, detail=detail)

    def _answer(
        self,
        event: dict[str, Any],
        outcome: Outcome,
        epoch: Epoch | None = None,
        snapshot: Snapshot | None = None,
        detail: dict[str, Any] | None = None,
    ) -> Ack:
        state = self.state(snapshot)
        ack = Ack(
            order_id=str(event.get("order_id", "")),
            outcome=outcome,
            epoch=epoch or self._admission.gate.order.epoch,
            at_ns=_platform.now_ns(),
            state=state,
            detail=detail or {},
        )
        self._acknowledge(ack)
        return ack


class _Unloadable(PolicySet):
    """Stands where a policy set should be: every check breaks, so every tool call is refused."""

    def __init__(self, fault: Exception) -> None:
        super().__init__([])
        self._fault = fault

    def _look_up(self, agent: str, tool: str, environment: str, role: str) -> Any:
        raise RuntimeError(f"the policies could not be loaded: {self._fault}")


def order_in(event: dict[str, Any]) -> Order:
    """The orders in force as they come over the wire: each of them, and the strictest in one word.

    Raises:
        ValueError: one of them cannot be followed, so none is.
    """
    parts = event.get("orders") or ()
    if not isinstance(parts, list | tuple) or len(parts) > ORDERS_MAX:
        raise ValueError(f"orders is a list of at most {ORDERS_MAX}")
    return Order(
        rung=Rung.parse(event["rung"]),
        epoch=parse_epoch(event["epoch"]),
        reason=str(event.get("reason") or ""),
        by=str(event.get("by") or ""),
        incident=str(event.get("incident") or ""),
        parts=tuple(Measure.parse(part) for part in parts),
        dropped=frozenset(map(str, event.get("dropped") or ())),
    )


def _ask(probe: Probe, index: int) -> bool:
    answer = probe(index)
    if inspect.isawaitable(answer):
        return bool(asyncio.run(_awaited(answer)))
    return bool(answer)


async def _awaited(answer: Awaitable[T]) -> T:
    return await answer
