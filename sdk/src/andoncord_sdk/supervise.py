"""Start an agent's command, and be able to end it: the whole process tree, with proof.

    python -m andoncord_sdk.supervise --agent NAME [--server URL] [--token-env VAR] -- COMMAND…

A guard lives inside the agent and can be ignored by it; a supervisor is outside and cannot. It signals only what it started and
what descends from that. When the command ends by itself, it ends with the command's exit code, and ends what was left behind.
"""

import argparse
import logging
import os
import queue
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from andoncord_sdk import _platform
from andoncord_sdk.guard import SDK_VERSION
from andoncord_sdk.link import Ack, ControlLink, Outcome
from andoncord_sdk.orders import Gate, Order, Rung, parse_epoch
from andoncord_sdk.proctree import Process, become_subreaper, living_descendants, send
from andoncord_sdk.wire import Endpoint

TERMINATE_MAX_S = 3.0
"""A tree that is not empty by then is reported as not empty."""
FREEZE_PASSES_MAX = 5
"""A tree may grow while it is being stopped; each pass stops what was added."""
POLL_S = 0.01
"""Between two looks at a tree that is being ended. Children's deaths wake us earlier."""
IDLE_S = 1.0
ANSWERED_MAX = 64
"""Orders remembered, so that one that comes again is answered again and not done again."""

ORDERS = frozenset({"order", "terminate", "restart"})

_log = logging.getLogger("andoncord_sdk")


class Supervisor:
    """Runs one command. Everything that touches processes happens in the thread that calls `supervise`.

    Args:
        agent: the agent the command runs.
        command: program and arguments.
        endpoint: the control plane, or None to follow no orders.
        instance: names this supervisor; made up if None.
    """

    def __init__(self, agent: str, command: Sequence[str], endpoint: Endpoint | None, *, instance: str | None = None) -> None:
        self._agent = agent
        self._command = list(command)
        self._endpoint = endpoint
        self._instance = instance or f"supervisor-{_platform.instance_name()}"
        self._gate = Gate()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_ordered_down = False
        self._orders: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._signals: list[int] = []
        self._answered: dict[str, Ack] = {}
        self._link: ControlLink | None = None
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)

    def supervise(self) -> int:
        """Start the command and stay until it ends by itself or a signal ends us; the exit code."""
        become_subreaper()
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._start()
        if self._endpoint is not None:
            self._link = ControlLink(self._endpoint, hello=self._hello, welcomed=self._welcomed, received=self._hand_over)
            self._link.start()
        try:
            return self._stay()
        finally:
            self._terminate_tree()
            if self._link is not None:
                self._link.close()

    def _stay(self) -> int:
        has_forwarded = False
        while True:
            self._wait(IDLE_S)
            code = self._reap()
            while not self._orders.empty():
                self._follow(*self._orders.get())
            if code is not None and not self._is_ordered_down:
                return code
            while self._signals:
                number = self._signals.pop(0)
                if self._child is None or has_forwarded:
                    return 128 + number
                has_forwarded = True
                self._forward(number)

    # ------------------------------------------------------------------------------------------------- processes

    def _start(self) -> int:
        # A session of its own: Ctrl-C in the terminal reaches us alone, and we pass it on.
        self._child = subprocess.Popen(self._command, start_new_session=True)
        self._is_ordered_down = False
        return self._child.pid

    def _reap(self) -> int | None:
        """Take in every child that has ended, ours or adopted. The command's exit code, if it was among them."""
        code = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if pid == 0:
                return code
            if self._child is not None and pid == self._child.pid:
                ended = os.waitstatus_to_exitcode(status)
                self._child.returncode = ended
                self._child = None
                code = ended if ended >= 0 else 128 - ended

    def _forward(self, number: int) -> None:
        assert self._child is not None
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            pass  # It has just ended; the next turn reaps it.

    def _terminate_tree(self) -> dict[str, Any]:
        """Stop everything, note what it was, end it, and look until nothing is left or the time is up."""
        began_s = _platform.monotonic_s()
        before = self._freeze()
        signalled: set[int] = set()
        while True:
            self._reap()
            remaining = living_descendants(_platform.pid())
            if not remaining or _platform.monotonic_s() - began_s > TERMINATE_MAX_S:
                break
            signalled |= {process.pid for process in remaining if send(process, signal.SIGKILL)}
            self._wait(POLL_S)
        self._reap()  # The last of them may have become a zombie between the reaping and the look.
        return {
            "process_tree_empty": not remaining,
            "signalled": sorted(signalled),
            "remaining": [process.pid for process in remaining],
            "took_ms": round((_platform.monotonic_s() - began_s) * 1000, 1),
            "state_before": before,
        }

    def _freeze(self) -> list[dict[str, Any]]:
        """Stop the tree, so that it does not change while it is described; what it was before."""
        seen: dict[int, Process] = {}
        for _ in range(FREEZE_PASSES_MAX):
            added = [process for process in living_descendants(_platform.pid()) if process.pid not in seen]
            if not added:
                break
            for process in added:
                seen[process.pid] = process
                send(process, signal.SIGSTOP)
        return [{"pid": process.pid, "state": process.state, "cmd": process.command} for process in seen.values()]

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
            "capabilities": ["terminate", "restart"],
            "epoch": None if epoch is None else list(epoch),
            "tools": {},
            "environment": "",
        }

    def _welcomed(self, welcome: dict[str, Any]) -> None:
        if welcome.get("epoch") is not None:
            self._gate.apply(Order(rung=Rung.parse(welcome["rung"]), epoch=parse_epoch(welcome["epoch"])))

    def _hand_over(self, name: str, event: dict[str, Any]) -> None:
        """From the link's thread to ours."""
        if name in ORDERS:
            self._orders.put((name, event))
            try:
                os.write(self._ring, b"\0")
            except BlockingIOError:
                pass  # The bell is ringing already.

    def _follow(self, name: str, event: dict[str, Any]) -> None:
        order_id = str(event.get("order_id", ""))
        if name != "order" and order_id in self._answered:
            self._answer(self._answered[order_id])
            return
        acts: dict[str, Callable[[dict[str, Any]], tuple[Outcome, dict[str, Any]]]] = {
            "order": self._take_note,
            "terminate": self._terminate,
            "restart": self._restart,
        }
        try:
            outcome, detail = acts[name](event)
        except Exception as fault:
            _log.exception("could not follow %r", name)
            outcome, detail = "failed", {"error": f"{type(fault).__name__}: {fault}"}
        epoch = parse_epoch(event["epoch"]) if name == "order" and outcome != "failed" else self._gate.order.epoch
        ack = Ack(order_id=order_id, outcome=outcome, epoch=epoch, at_ns=_platform.now_ns(), state=self._state(), detail=detail)
        while len(self._answered) >= ANSWERED_MAX:
            self._answered.pop(next(iter(self._answered)))
        self._answered[order_id] = ack
        self._answer(ack)

    def _take_note(self, event: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        """A rung is the guard's to enforce; a supervisor keeps it, so that a stale order is recognised."""
        in_force, _ = self._gate.apply(Order(rung=Rung.parse(event["rung"]), epoch=parse_epoch(event["epoch"])))
        return ("enforced" if in_force else "refused"), {"enforces": ["terminate", "restart"]}

    def _terminate(self, event: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        self._is_ordered_down = True
        detail = self._terminate_tree()
        return ("enforced" if detail["process_tree_empty"] else "failed"), detail

    def _restart(self, event: dict[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        self._is_ordered_down = True
        ended = self._terminate_tree()
        if not ended["process_tree_empty"]:
            return "failed", {"error": "what runs now could not be ended", **ended}
        return "enforced", {"pid": self._start()}

    def _state(self) -> dict[str, Any]:
        order = self._gate.order
        return {
            "rung": order.rung.word,
            "epoch": None if order.epoch is None else list(order.epoch),
            "in_flight": [],
            "runs_active": 0 if self._child is None else 1,
            "steps_started": 0,
            "steps_ended": 0,
        }

    def _answer(self, ack: Ack) -> None:
        assert self._link is not None
        self._link.ack(ack)

    def _wait(self, at_most_s: float) -> None:
        """Until a signal, a child's death or an order, or the time is up."""
        select.select([self._bell], [], [], at_most_s)
        try:
            os.read(self._bell, 4096)
        except BlockingIOError:
            pass  # Nobody rang.


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m andoncord_sdk.supervise", description="Start an agent and be able to end it."
    )
    parser.add_argument("--agent", required=True, help="the agent's name")
    parser.add_argument("--server", default="http://127.0.0.1:8420", help="the control plane (default: %(default)s)")
    parser.add_argument("--token-env", default="ANDON_TOKEN", help="variable that holds the token (default: %(default)s)")
    parser.add_argument("--instance", help="names this supervisor (default: made up)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="program and arguments")
    given = parser.parse_args(arguments)
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        parser.error("name the command after --")
    if not _platform.LINUX:
        parser.error("a supervisor needs Linux: only there can it prove that a process tree is empty")
    try:
        endpoint = Endpoint(given.server, _platform.environment_variable(given.token_env))
    except ValueError as mistake:
        parser.error(f"--server: {mistake}")
    try:
        return Supervisor(given.agent, command, endpoint, instance=given.instance).supervise()
    except FileNotFoundError as missing:
        print(f"supervise: {missing}", file=sys.stderr)  # noqa: T201  # a command line speaks to its terminal
        return 127


if __name__ == "__main__":
    raise SystemExit(main())
