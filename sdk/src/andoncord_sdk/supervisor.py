"""Supervisors: they start an agent's command, and are able to stop it: the whole process tree, with proof.

A guard lives inside the agent and can be ignored by it; a supervisor is outside and cannot. It freezes and ends only what it
started and what descends from that. When the command ends by itself, it ends with the command's exit code, and ends what was
left behind.
"""

import logging
import os
import queue
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from andoncord_sdk import _platform
from andoncord_sdk.bell import Bell
from andoncord_sdk.capture import take_capture
from andoncord_sdk.exporter import Exporter
from andoncord_sdk.frozen_watch import IDLE_S, LOOK_AGAIN_S, LOOKS_WANTED, FrozenWatch
from andoncord_sdk.introduction import SDK_VERSION
from andoncord_sdk.ladder import Rung
from andoncord_sdk.link import Ack, ControlLink, Outcome
from andoncord_sdk.orders import Epoch, Gate, Order, parse_epoch
from andoncord_sdk.proctree import become_subreaper, living_descendants
from andoncord_sdk.run_tokens import RunTokens
from andoncord_sdk.tree import PIDS_MAX, ProcessTree
from andoncord_sdk.unheard import report_unheard
from andoncord_sdk.wire import Endpoint

FIRST_CONTACT_S = 1.0
"""How long the command waits for the control plane to say that it may start. It starts without an answer, which is reported."""
LAST_REPORT_S = 1.0
"""When the command has ended, what was to be reported and is not yet may take this long."""
ANSWERED_MAX = 64
"""Orders remembered, so that one that comes again is answered again and not done again."""

DEFAULT_TOKEN_VARIABLE = "ANDON_RUN_TOKEN"

ORDERS = frozenset({"order", "terminate", "restart", "capture"})

OnPause = Literal["freeze", "leave"]

_log = logging.getLogger("andoncord_sdk")


class Supervisor:
    """Runs one command. Everything that touches processes happens in the thread that calls `supervise`.

    Args:
        agent: the agent the command runs.
        command: program and arguments.
        endpoint: the control plane, or None to follow no orders.
        telemetry: where a start without an answer is reported, or None to write it to the log alone.
        instance: names this supervisor; made up if None.
        on_pause: "freeze" makes it an enforcement point: pause freezes the tree and kill ends it. "leave" leaves both to a
            guard in the agent; the supervisor ends and restarts the tree when told to.
        environment: the command's; ours if None.
        tokens: where a token is made for each start of the command, and ended with it; None to make none.
        token_variable: the variable of the command that has it.
        may_use_cgroup: False to use signals even where a cgroup could be made.
    """

    def __init__(
        self,
        agent: str,
        command: Sequence[str],
        endpoint: Endpoint | None,
        *,
        telemetry: Endpoint | None = None,
        instance: str | None = None,
        on_pause: OnPause = "freeze",
        environment: Mapping[str, str] | None = None,
        tokens: RunTokens | None = None,
        token_variable: str = DEFAULT_TOKEN_VARIABLE,
        may_use_cgroup: bool = True,
    ) -> None:
        self._agent = agent
        self._endpoint = endpoint
        self._telemetry = telemetry
        self._exporter: Exporter | None = None
        self._has_heard = False
        self._tokens = tokens
        self._token_variable = token_variable
        self._run_token = ""
        self._instance = instance or f"supervisor-{_platform.instance_name()}"
        self._holds = on_pause == "freeze"
        self._gate = Gate()
        group = re.sub(r"[^\w.-]", "_", f"andon-{agent[:64]}-{self._instance[-64:]}")
        self._tree = ProcessTree(command, name=group, environment=environment, may_use_cgroup=may_use_cgroup)
        self._is_ordered_down = False
        self._starts_on_release = False
        self._watch: FrozenWatch | None = None
        self._orders: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._signals: list[int] = []
        self._answered: dict[str, Ack] = {}
        self._link: ControlLink | None = None
        self._bell = Bell()

    @property
    def enforces(self) -> list[str]:
        """What it can be relied on for."""
        return [*(("pause", "kill") if self._holds else ()), "terminate", "restart"]

    def supervise(self) -> int:
        """Start the command and stay until it ends by itself or a signal ends us; the exit code."""
        become_subreaper()
        self._bell.rung_by_signals()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        if self._tree.why_no_cgroup and self._holds:
            _log.info("no cgroup, stopping by signals: %s", self._tree.why_no_cgroup)
        if self._endpoint is not None:
            self._link = ControlLink(self._endpoint, hello=self._hello, welcomed=self._welcomed, received=self._hand_over)
            self._link.start()
        try:
            self._begin()
            return self._stay()
        finally:
            self._tree.end()
            self._tree.close()
            self._end_token()
            if self._link is not None:
                self._link.close()
            if self._exporter is not None:
                self._exporter.close(LAST_REPORT_S)

    def _begin(self) -> None:
        """Start the command, unless a pause or kill that we have to hold is in force."""
        if self._holds and self._link is not None:
            self._link.wait_first_try(FIRST_CONTACT_S)
            if self._gate.order.rung >= Rung.PAUSE:
                self._is_ordered_down = self._starts_on_release = True
                return
            if not self._has_heard:
                self._report_unheard()
        self._start()

    def _report_unheard(self) -> None:
        """Say that the command is started although nobody has said that it may be."""
        _log.warning("%s is started without an answer from the control plane", self._agent)
        if self._telemetry is not None:
            self._exporter = report_unheard(self._telemetry, agent=self._agent, instance=self._instance)

    def _stay(self) -> int:
        has_forwarded = False
        while True:
            self._bell.wait(LOOK_AGAIN_S if self._watch is not None and self._watch.looks < LOOKS_WANTED else IDLE_S)
            code = self._tree.reap()
            while not self._orders.empty():
                self._follow(*self._orders.get())
            self._look_again()
            # An order of this very turn may have ended it for good, or started it anew.
            if code is not None and not self._is_ordered_down and self._tree.pid is None:
                return code
            while self._signals:
                number = self._signals.pop(0)
                if self._tree.pid is None or has_forwarded:
                    return 128 + number
                has_forwarded = True
                self._forward(number)

    def _start(self) -> int:
        self._end_token()
        added: dict[str, str] = {}
        if self._tokens is not None:
            self._run_token = self._tokens.make(self._agent)
            added = {self._token_variable: self._run_token}
        pid = self._tree.start(added)
        self._is_ordered_down = self._starts_on_release = False  # Not before: what could not be started is tried again.
        return pid

    def _end_token(self) -> None:
        """The run that had it is over."""
        if self._tokens is not None and self._run_token:
            self._tokens.revoke(self._run_token)
            self._run_token = ""

    def _forward(self, number: int) -> None:
        assert self._tree.pid is not None
        try:
            os.killpg(self._tree.pid, number)
        except ProcessLookupError:
            pass  # It has just ended; the next turn reaps it.

    # ------------------------------------------------------------------------------------------------- orders

    def _hello(self) -> dict[str, Any]:
        epoch = self._gate.order.epoch
        return {
            "agent": self._agent,
            "instance": self._instance,
            "kind": "supervisor",
            "pid": _platform.pid(),
            "host": _platform.hostname(),
            "sdk_version": SDK_VERSION,
            "capabilities": [*self.enforces, "capture", self._tree.mode],
            "epoch": None if epoch is None else list(epoch),
            "rung": self._gate.order.rung.word,
            "tools": {},
            "environment": "",
        }

    def _welcomed(self, welcome: dict[str, Any]) -> None:
        if welcome.get("epoch") is not None:
            self._gate.apply(Order(rung=Rung.parse(welcome["rung"]), epoch=parse_epoch(welcome["epoch"])))
        self._has_heard = True

    def _hand_over(self, name: str, event: dict[str, Any]) -> None:
        """From the link's thread to ours."""
        if name in ORDERS:
            self._orders.put((name, event))
            self._bell.ring()

    def _follow(self, name: str, event: dict[str, Any]) -> None:
        order_id = str(event.get("order_id", ""))
        if name != "order" and order_id in self._answered:
            self._answer(self._answered[order_id])
            return
        acts: dict[str, Callable[[dict[str, Any]], tuple[Outcome, dict[str, Any]]]] = {
            "order": self._take_order,
            "terminate": self._terminate,
            "restart": self._restart,
            "capture": self._capture,
        }
        try:
            outcome, detail = acts[name](event)
        except Exception as fault:
            _log.exception("could not follow %r", name)
            outcome, detail = "failed", {"error": f"{type(fault).__name__}: {fault}"}
        epoch = parse_epoch(event["epoch"]) if name == "order" and outcome != "failed" else None
        ack = self._ack(order_id, outcome, detail, epoch=epoch)
        if name != "capture":  # It is large, and to look once more does no harm.
            while len(self._answered) >= ANSWERED_MAX:
                self._answered.pop(next(iter(self._answered)))
            self._answered[order_id] = ack
        self._answer(ack)

    def _take_order(self, event: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        """Enforce a rung, or keep it in mind where a guard enforces it: either way a stale order is recognised."""
        detail: dict[str, Any] = {"enforces": self.enforces, "mode": self._tree.mode}
        order = Order(rung=Rung.parse(event["rung"]), epoch=parse_epoch(event["epoch"]))
        in_force, _ = self._gate.apply(order)
        if not in_force:
            return "refused", detail
        if not self._holds:
            return "enforced", detail
        if order.rung is Rung.KILL:
            return self._hold_ended(detail)
        if order.rung is Rung.PAUSE:
            return self._hold_frozen(str(event.get("order_id", "")), detail)
        return self._let_go(detail)

    def _hold_frozen(self, order_id: str, detail: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        if self._watch is not None and self._watch.order_id == order_id:
            return "enforced", detail  # The connection was opened anew: it is frozen already, and being watched.
        began_s = _platform.monotonic_s()
        capture = self._tree.freeze()
        look = self._tree.look()
        took_ms = round((_platform.monotonic_s() - began_s) * 1000, 1)
        self._watch = FrozenWatch(order_id, look)
        detail |= {"frozen": look.is_frozen, "took_ms": took_ms, "capture": capture}
        if look.is_frozen:
            return "enforced", detail
        return "failed", {**detail, "error": "something in the tree does not stand; it is stopped again and again"}

    def _hold_ended(self, detail: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        self._watch = None
        was_running = self._tree.pid is not None
        self._is_ordered_down = True
        ended = self._tree.end()
        self._starts_on_release = self._starts_on_release or was_running
        self._end_token()
        detail |= {**ended, "capture": {"processes": ended["state_before"], "left_out": ended["left_out"]}}
        if ended["process_tree_empty"]:
            return "enforced", detail
        return "failed", {**detail, "error": f"still there: {ended['remaining']}"}

    def _let_go(self, detail: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        """Thaw what was frozen; start anew what a kill had ended."""
        self._watch = None
        self._tree.thaw()
        if self._starts_on_release:
            detail["pid"] = self._start()
        return "enforced", detail

    def _look_again(self) -> None:
        """Look whether what we froze still stands. What was set going from outside is stopped again, and reported."""
        watch = self._watch
        if watch is None or not watch.is_due():
            return
        order_id = watch.order_id
        look = self._tree.look()
        if look.is_frozen and look.worked <= watch.first.worked and look.buried == watch.first.buried:
            if watch.add() == LOOKS_WANTED:
                first = self._answered.get(order_id)
                detail = {**first.detail, "frozen": True} if first is not None else {"frozen": True}
                detail.pop("error", None)
                self._answer(self._ack(order_id, "enforced", detail))
            return
        self._tree.freeze()
        self._watch = FrozenWatch(order_id, self._tree.look())
        error = "something in the frozen tree was set going or ended from outside; what is left is stopped again"
        _log.warning("%s: %s", self._agent, error)
        self._answer(self._ack(order_id, "failed", {"error": error}))

    def _terminate(self, event: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        self._is_ordered_down = True
        self._starts_on_release = False
        detail = self._tree.end()
        self._end_token()
        return ("enforced" if detail["process_tree_empty"] else "failed"), detail

    def _capture(self, event: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        """Look at the tree as it is, for the record. An order that comes meanwhile goes first."""
        frozen = self._tree.look().is_frozen
        seen = take_capture(living_descendants(_platform.pid()), is_called_away=lambda: not self._orders.empty())
        return "enforced", {"frozen": frozen, "mode": self._tree.mode, **seen}

    def _restart(self, event: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        rung = self._gate.order.rung
        if self._holds and rung >= Rung.PAUSE:
            return "failed", {"error": f"{rung.word} is in force and nothing but this supervisor holds it: release it first"}
        self._is_ordered_down = True
        ended = self._tree.end()
        if not ended["process_tree_empty"]:
            return "failed", {"error": "what runs now could not be ended", **ended}
        return "enforced", {"pid": self._start()}

    def _state(self) -> dict[str, Any]:
        order = self._gate.order
        state: dict[str, Any] = {
            "rung": order.rung.word,
            "epoch": None if order.epoch is None else list(order.epoch),
            "in_flight": [],
            "runs_active": 0 if self._tree.pid is None else 1,
            "steps_started": 0,
            "steps_ended": 0,
        }
        if self._holds:
            look = self._tree.look()
            state["tree"] = {
                "frozen": look.is_frozen,
                "empty": look.is_empty,
                "looks": 0 if self._watch is None else self._watch.looks,
                "pids": list(look.pids[:PIDS_MAX]),
                "mode": self._tree.mode,
            }
        return state

    def _ack(self, order_id: str, outcome: Outcome, detail: dict[str, Any], *, epoch: Epoch | None = None) -> Ack:
        return Ack(
            order_id=order_id,
            outcome=outcome,
            epoch=epoch or self._gate.order.epoch,
            at_ns=_platform.now_ns(),
            state=self._state(),
            detail=detail,
        )

    def _answer(self, ack: Ack) -> None:
        assert self._link is not None
        self._link.ack(ack)
