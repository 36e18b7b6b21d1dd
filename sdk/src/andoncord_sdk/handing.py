"""What an agent may not do itself: work goes to a person's inbox, side effects are held for a person, each once.

Both are told to the control plane, which has written them down before the agent hears that they are there. Where it cannot be
told, nothing is handed over or held, and the agent hears that too. Side effects that a person lets go are carried out here,
by the function that was declared for them, with the very arguments that were held.
"""

import asyncio
import hashlib
import inspect
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from andoncord_sdk import _platform
from andoncord_sdk.approval import UnwritableError, canonical
from andoncord_sdk.errand import Errand
from andoncord_sdk.errors import CallDenied, CallHandedOver, CallHeld, GuardError, RunHandedOver, RunStopped
from andoncord_sdk.ladder import Measure, Rung
from andoncord_sdk.lease import Lease
from andoncord_sdk.link import Outcome
from andoncord_sdk.obligation import RequireApproval, Snapshot
from andoncord_sdk.orders import Order
from andoncord_sdk.otlp import SEVERITY_WARN, LogRecord, text_of
from andoncord_sdk.side_effect import effect_digest
from andoncord_sdk.wire import UNREACHABLE, Endpoint, WireError, post

if TYPE_CHECKING:
    from andoncord_sdk.run import Run
    from andoncord_sdk.step import GuardedCall

HAND_OVER, HOLD = "hand-over", "hold"
TIMEOUT_S = 2.0
PATIENCE_S = 30.0
"""How long a call waits for a control plane that is away, before it hears that it was neither made nor held."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0
TEXT_MAX = 4_000
STEPS_TOLD = 20
PERFORMED_MAX = 10_000
ERROR_MAX = 200

_log = logging.getLogger("andoncord_sdk")

Carry = Callable[[Mapping[str, Any]], Any]
"""Carries a side effect out, with its arguments by name."""
Answer = Callable[..., Any]
"""Acknowledges an event: the event, the outcome, and `detail`."""


class NotBegunError(Exception):
    """Raised by what carries a side effect out: nothing was done of it, so that it stays held."""


class UnknownOutcomeError(Exception):
    """Raised by what carries a side effect out: nobody knows whether it was done. It is not answered or repeated."""


class Diverted(NamedTuple):
    """What becomes of a call, and the order that says so."""

    to: str
    """`task`: the whole run is handed over; `call`: this call; `hold`: it is held as it is."""
    reason: str
    order: str


class Filed(NamedTuple):
    """What the control plane made of it."""

    id: str
    """Empty where it could not be told."""
    status: str
    why: str


class Handing:
    """One per guard that has a control plane. Thread-safe.

    Args:
        agent: the agent's name.
        instance: names this process.
        endpoint: the control plane.
        falls_back: hand work over whenever the agent is paused or stopped, without an order that says so.
        report: takes a record, and `urgent`.
        recheck: raises where a call with these arguments is forbidden now, whoever lets it go; else who has to approve it.
        order: the order in force.
        lease: what the control plane grants; nothing is carried out without it.
    """

    def __init__(
        self,
        *,
        agent: str,
        instance: Callable[[], str],
        endpoint: Endpoint,
        falls_back: bool,
        report: Callable[..., None],
        recheck: Callable[[str, Mapping[str, Any]], Sequence[RequireApproval]],
        order: Callable[[], Order],
        lease: Lease,
    ) -> None:
        self.effects: dict[str, Carry] = {}
        """What carries out each declared side effect, by tool."""
        self.falls_back = falls_back
        self._agent = agent
        self._instance = instance
        self._endpoint = endpoint
        self._report = report
        self._recheck = recheck
        self._order = order
        self._lease = lease
        self._lock = threading.Lock()
        self.filed: dict[str, tuple[Diverted, Filed]] = {}
        """What became of calls and runs that have not heard of it yet, by span of the call or id of the run."""
        self._performed: OrderedDict[str, Any] = OrderedDict()
        """Answers to what was carried out, by the id of the order; None while it is under way."""

    def wanted(self, run: "Run", call: "GuardedCall", order: Order) -> Diverted | None:
        """What becomes of a call in place of being made; None where it goes the usual way."""
        if order.measures is None or not order.measures.divert:
            return None
        held: Diverted | None = None
        for measure in order.measures.of(call.name, run.id):
            if measure.instead == HAND_OVER:
                return Diverted("task" if measure.tool == "*" else "call", measure.why, measure.id)
            if measure.instead == HOLD and call.is_tool and call.name in self.effects:
                held = Diverted("hold", measure.why, measure.id)
        return held

    def wanted_of_run(self, order: Order) -> Diverted | None:
        """Whether a run that begins goes to a person instead; None where it may begin, or must not begin at all."""
        parts = order.measures.all if order.measures is not None else ()
        for measure in parts:
            if measure.instead == HAND_OVER and measure.tool == "*" and not measure.run:
                return Diverted("task", measure.why, measure.id)
        if self.falls_back and order.rung >= Rung.PAUSE:
            return Diverted("task", order.reason or "no reason given", "")
        return None

    def wanted_of_stopped(self, run: "Run") -> Diverted | None:
        """Whether a run that was stopped by an order goes to a person."""
        if not self.falls_back or run.stopped is None or run.stopped.code != "order":
            return None
        return Diverted("task", run.stopped.message, "")

    def divert(self, run: "Run", call: "GuardedCall | None", diverted: Diverted) -> Errand:
        """What has to be done first; once it has been done, it raises what came of it.

        Raises:
            CallHeld: the side effect is held.
            CallHandedOver: a person does it.
            RunHandedOver: a person does the whole task, and the run is over.
            CallDenied: it could not be held or handed over, and was not made.
        """
        self.raise_filed(run, call)
        key = run.id if diverted.to == "task" or call is None else call.span_id
        path, body = self._told(run, call, diverted)
        return Filing(self, key, diverted, path, body)

    def raise_filed(self, run: "Run", call: "GuardedCall | None") -> None:
        """Tell a call, or a run, what became of it, if it was filed: whatever is in force by now, it is not made any more.

        Raises:
            GuardError: see `divert`.
        """
        with self._lock:
            found = (None if call is None else self.filed.pop(call.span_id, None)) or self.filed.pop(run.id, None)
        if found is not None:
            raise _refusal(self._agent, run, call, *found)

    def file(self, key: str, diverted: Diverted, path: str, body: Mapping[str, Any]) -> None:
        """Tell the control plane, for a while also where it is away, and keep what it made of it for whoever asked.

        Telling it twice is telling it once.
        """
        end_s, pause_s = _platform.monotonic_s() + PATIENCE_S, FIRST_PAUSE_S
        while True:
            try:
                said = post(self._endpoint, path, dict(body), timeout_s=TIMEOUT_S)
                filed = Filed(str(said["id"]), str(said["status"]), "")
            except UNREACHABLE as lost:
                filed = Filed("", "", f"{lost}")
                is_refused = isinstance(lost, WireError) and 400 <= lost.status < 500
                if not is_refused and _platform.monotonic_s() + pause_s < end_s:
                    threading.Event().wait(_platform.jittered(pause_s))
                    pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
                    continue
            except (TypeError, KeyError) as wrong:
                filed = Filed("", "", f"the answer is not one: {wrong!r}")
            break
        with self._lock:
            self.filed[key] = (diverted, filed)

    def look(self, item: str) -> dict[str, Any] | None:
        """What became of work that was handed over: its status, and a person's answer. None where nobody can be asked."""
        try:
            said = post(self._endpoint, "/api/v1/handover/look", {"id": item, "agent": self._agent}, timeout_s=TIMEOUT_S)
        except UNREACHABLE as lost:
            _log.debug("no word about %s: %s", item, lost)
            return None
        return said if isinstance(said, dict) else None

    def perform(self, event: dict[str, Any], answer: Answer) -> None:
        """Carry out a side effect that a person let go. The same order again is answered again, and not done again.

        Raises:
            LookupError, ValueError, GuardError: it was not begun; says why.
        """
        order_id = str(event["order_id"])
        with self._lock:
            if order_id in self._performed:
                done = self._performed[order_id]
                if done is not None:
                    answer(event, *done)
                return
        effect = event["effect"]
        tool, arguments = str(effect["tool"]), str(effect["arguments"])
        carry = self.effects.get(tool)
        if carry is None:
            raise LookupError(f"this process declares no side effect {tool!r}")
        known = effect_digest(agent=self._agent, run_id=str(effect["run_id"]), tool=tool, arguments=arguments)
        if known != effect["digest"]:
            raise ValueError("its digest is not that of what was held")
        if _platform.now_ns() > int(event["until_ns"]):
            raise ValueError("it came too late")
        if self._lease.left_s <= 0:
            raise ValueError("the control plane has granted no lease")
        order = self._order()
        if order.rung >= Rung.KILL or any(_kills(measure, tool) for measure in order.parts):
            raise ValueError(f"{self._agent} is stopped")
        given = json.loads(arguments)
        for wanted in self._recheck(tool, given):
            # A server that does not say whose approval it had is an older one, which looked at the roles all the same.
            if wanted.people > 1 or wanted.role not in effect.get("roles", (wanted.role,)):
                raise ValueError(f"by now it needs {wanted}, which nobody gave")
        with self._lock:
            self._performed[order_id] = None
            while len(self._performed) > PERFORMED_MAX:
                self._performed.popitem(last=False)
        thread = threading.Thread(target=self._carry_out, args=(event, tool, given, carry, answer), daemon=True)
        thread.name = "andoncord-release"
        thread.start()

    def forget_other_threads(self) -> None:
        """In a forked child: locks are renewed, and what the parent carried out is the parent's."""
        self._lock = threading.Lock()
        self.filed, self._performed = {}, OrderedDict()

    def _carry_out(self, event: dict[str, Any], tool: str, given: Mapping[str, Any], carry: Carry, answer: Answer) -> None:
        outcome: Outcome = "enforced"
        detail: dict[str, Any] = {"began": True, "ok": True}
        result: Any = ""
        try:
            result = carry(given)
            if inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
        except NotBegunError as why:
            with self._lock:
                self._performed.pop(str(event["order_id"]), None)
            answer(event, "failed", None, None, {"began": False, "error": str(why)[:ERROR_MAX]})
            return
        except UnknownOutcomeError as lost:
            _log.warning("whether %s was carried out is not known: %s", tool, lost)
            return
        except BaseException as error:
            outcome = "failed"
            detail = {"began": True, "ok": False, "error": f"{type(error).__name__}: {str(error)[:ERROR_MAX]}"}
        try:
            self._told_of(event["effect"], tool, result, detail)
        except Exception:  # It has been done; that it cannot be told must not hide that.
            _log.exception("a released side effect could not be reported")
        with self._lock:
            self._performed[str(event["order_id"])] = (outcome, None, None, detail)
        answer(event, outcome, None, None, detail)

    def _told_of(self, effect: Mapping[str, Any], tool: str, result: Any, detail: Mapping[str, Any]) -> None:
        self._report(
            LogRecord(
                event_name="andoncord.effect.performed",
                at_ns=_platform.now_ns(),
                severity=SEVERITY_WARN,
                attributes={
                    "gen_ai.agent.name": self._agent,
                    "gen_ai.tool.name": tool,
                    "gen_ai.tool.call.arguments": str(effect["arguments"]),
                    "gen_ai.tool.call.result": text_of(result),
                    "andoncord.effect.id": str(effect.get("id") or ""),
                    "andoncord.run.id": str(effect["run_id"]),
                    "error.type": None if detail["ok"] else str(detail["error"]).partition(":")[0],
                },
            ),
            urgent=True,
        )

    def _told(self, run: "Run", call: "GuardedCall | None", diverted: Diverted) -> tuple[str, dict[str, Any]]:
        """Where it is told, and what.

        Raises:
            CallDenied: it cannot be held.
        """
        common = {"agent": self._agent, "run_id": run.id, "trace_id": run.trace_id, "order": diverted.order}
        if diverted.to == "hold":
            assert call is not None
            return "/api/v1/held", {**common, **self._effect(call)}
        body = {**common, "task": run.task[:TEXT_MAX], "reason": diverted.reason[:TEXT_MAX]}
        if diverted.to == "task" or call is None:
            body["key"] = run.key or run.id
            body["context"] = _writable({"given": run.context, "steps": run.capture()["steps"][-STEPS_TOLD:]})
        else:
            arguments = call.arguments_text[:TEXT_MAX]
            name = hashlib.sha256(f"{call.name}\n{arguments}".encode()).hexdigest()[:24]
            body |= {"key": f"{run.key or run.id}/{name}", "tool": call.name, "arguments": arguments}
            body["context"] = _writable({"given": run.context})
        return "/api/v1/handover", body

    def _effect(self, call: "GuardedCall") -> dict[str, Any]:
        owed = [each.obligation for each in call.owed]
        if any(isinstance(each, Snapshot) for each in owed):
            message = f"{call.name} needs a snapshot first, which cannot be held with it: it was not made"
            raise CallDenied("snapshot", message, tool=call.name)
        try:
            arguments = canonical(call.arguments)
        except UnwritableError as wrong:
            message = f"{call.name} is to be held, and its arguments cannot be written down: {wrong}; it was not made"
            raise CallDenied("held", message, tool=call.name) from None
        approvals = [each for each in owed if isinstance(each, RequireApproval)]
        if many := next((each for each in approvals if each.people > 1), None):
            message = f"{call.name} needs {many}, and what is held is let go by one: it was not made"
            raise CallDenied("held", message, tool=call.name)
        roles = [each.role for each in approvals]
        return {"tool": call.name, "arguments": arguments, "roles": roles, "instance": self._instance()}


class Filing:
    """Telling the control plane of one call or run."""

    def __init__(self, handing: Handing, key: str, diverted: Diverted, path: str, body: Mapping[str, Any]) -> None:
        self._handing = handing
        self._key = key
        self._diverted = diverted
        self._path = path
        self._body = body

    def do(self) -> None:
        self._handing.file(self._key, self._diverted, self._path, self._body)


def _refusal(agent: str, run: "Run", call: "GuardedCall | None", diverted: Diverted, filed: Filed) -> GuardError:
    name = "" if call is None else call.name
    if diverted.to == "hold":
        return _held(name, diverted, filed)
    if not filed.id:
        message = f"{name or 'the task'} was to be handed over ({diverted.reason}) and could not be: {filed.why}"
        kind = CallDenied if diverted.to == "call" else RunStopped
        return kind("handed_over", message, tool=name)
    if diverted.to == "call":
        message = f"{name} was not called: a person does it ({diverted.reason}), as {filed.id}"
        return CallHandedOver(message, tool=name, item=filed.id)
    message = f"{agent} does not go on with this task: a person does it ({diverted.reason}), as {filed.id}"
    return RunHandedOver(message, tool=name, item=filed.id)


def _held(name: str, diverted: Diverted, filed: Filed) -> GuardError:
    words = {
        "held": f"it is held for a person ({diverted.reason}), as {filed.id}: do not repeat it",
        "released": f"a person let it go, and it is carried out, as {filed.id}: do not repeat it",
        "done": f"a person let it go, and it was carried out, as {filed.id}: do not repeat it",
        "discarded": f"a person dropped it, as {filed.id}",
    }
    if not filed.id:
        message = f"{name} was not made: it was to be held ({diverted.reason}) and could not be: {filed.why}"
        return CallDenied("held", message, tool=name)
    message = f"{name} was not made by this call: {words.get(filed.status, f'it is {filed.status}, as {filed.id}')}"
    return CallHeld(message, tool=name, item=filed.id)


def _kills(measure: Measure, tool: str) -> bool:
    return measure.rung >= Rung.KILL and measure.concerns(tool)


def _writable(context: Mapping[str, Any]) -> Any:
    """What can be written down as JSON; as text where it cannot."""
    try:
        return json.loads(json.dumps(context, default=str))
    except (TypeError, ValueError, RecursionError):
        return {"given": text_of(context)[:TEXT_MAX]}


async def _awaited(result: Any) -> Any:
    return await result
