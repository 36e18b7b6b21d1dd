"""What a guarded call costs the agent: the check before it, and the whole step around it."""

import json
import sys
import time
from collections.abc import Callable

from andoncord_sdk import Guard
from andoncord_sdk.step import Step
from benchmarks.result import Result, quantile

CALLS = 20_000
WARM_UP = 2_000
ARGUMENT_BYTES = 1_000


def run() -> Result:
    """Measure the full check (order, policies, scope, budget, loop) on 1 kB of JSON arguments, beside a dict lookup."""
    guard = Guard("bench-agent", tools={"refund": "write"}, budget_usd=1_000.0, policies=[_cap(number) for number in range(10)])
    check = Checks(guard)
    stepped = Checks(guard)
    scope = {f"tool-{number}": "read" for number in range(50)}
    timer_ns = _median_ns(lambda number: None)

    def look_up(number: int) -> None:
        _ = scope["tool-7"]

    check_wall, check_cpu = check.measure_check()
    step_wall, _ = stepped.measure_step()
    guard.close()
    return Result(
        figures={
            "check_us_p50": _us(quantile(check_wall, 0.5) - timer_ns),
            "check_us_p99_cpu": _us(quantile(check_cpu, 0.99)),
            "step_us_p50": _us(quantile(step_wall, 0.5) - timer_ns),
        },
        baselines={"dict_lookup_us_p50": max(_us(_median_ns(look_up) - timer_ns), 0.001)},
        notes=(
            f"Python {sys.version.split()[0]}; {CALLS} calls of one tool, each with {ARGUMENT_BYTES} B of other arguments",
            "check: arguments as text, order, 10 policies (1 with a condition on them), scope, budget, loop, in-flight count",
            "step: the check, result as text, loop bookkeeping, start and end records; nothing is sent",
            "p99 in thread CPU time, so that other processes are not counted; wall-clock figures less an empty timing",
        ),
    )


class Checks:
    """Calls of one run, timed one by one."""

    def __init__(self, guard: Guard) -> None:
        self._run = guard.run("bench").begin()
        self._admission = self._run.admission

    def measure_check(self) -> tuple[list[int], list[int]]:
        """Wall and CPU nanoseconds of each check alone."""
        wall, cpu = list[int](), list[int]()
        for number in range(WARM_UP + CALLS):
            arguments = _arguments(number)
            began_cpu, began = time.thread_time_ns(), time.perf_counter_ns()
            step = Step(self._run, "refund", arguments)
            held = self._admission.admit(self._run, step)
            ended, ended_cpu = time.perf_counter_ns(), time.thread_time_ns()
            assert held is None
            self._admission.gate.leave(step.span_id)
            self._run.loop.observe("refund", step.arguments_text, f"done {number}", False)
            if number >= WARM_UP:
                wall.append(ended - began)
                cpu.append(ended_cpu - began_cpu)
        return wall, cpu

    def measure_step(self) -> tuple[list[int], list[int]]:
        """Wall and CPU nanoseconds of each whole step."""
        wall, cpu = list[int](), list[int]()
        for number in range(WARM_UP + CALLS):
            arguments = _arguments(number)
            began_cpu, began = time.thread_time_ns(), time.perf_counter_ns()
            with self._run.step("refund", arguments) as step:
                step.result = number
            ended, ended_cpu = time.perf_counter_ns(), time.thread_time_ns()
            if number >= WARM_UP:
                wall.append(ended - began)
                cpu.append(ended_cpu - began_cpu)
        return wall, cpu


def _arguments(number: int) -> dict[str, object]:
    """Arguments of about `ARGUMENT_BYTES` as JSON, different each time."""
    arguments: dict[str, object] = {"order": f"o-{number}", "amount_usd": number % 200, "lines": ["item", 1, True], "note": ""}
    arguments["note"] = "n" * (ARGUMENT_BYTES - len(json.dumps(arguments)))
    return arguments


def _cap(number: int) -> dict[str, object]:
    """A compiled policy; the first one asks about the arguments of the tool that is measured."""
    amount = {"op": "field", "of": {"op": "name", "name": "args"}, "name": "amount_usd"}
    return {
        "id": f"cap-{number}",
        "effect": "forbid",
        "tool": "refund" if number == 0 else f"other-{number}",
        "when": {"op": ">", "args": [amount, {"op": "const", "value": 200}]},
        "message": "ask a person",
    }


def _median_ns(timed: Callable[[int], None]) -> float:
    durations = []
    for number in range(CALLS):
        began = time.perf_counter_ns()
        timed(number)
        durations.append(time.perf_counter_ns() - began)
    return quantile(durations, 0.5)


def _us(nanoseconds: float) -> float:
    return round(nanoseconds / 1_000, 3)
