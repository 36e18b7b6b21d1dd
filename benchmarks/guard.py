"""What a guarded call costs the agent: the check before it, and the whole step around it, beside other policy engines."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import cedarpy
import celpy
from celpy.adapter import json_to_cel

from andoncord_sdk import Guard
from andoncord_sdk.loopwatch import RUN_CALLS
from andoncord_sdk.policy import PolicySet
from andoncord_sdk.step import Step
from benchmarks.result import Result, quantile

CALLS = 20_000
WARM_UP = 2_000
ARGUMENT_BYTES = 1_000
POLICIES = 1_000
FEW_POLICIES = 5
CONCERNING = 4
"""Policies that are about the measured tool, in the small set as in the big one."""
ENGINE_CALLS = 400
"""Calls of the other engines: they are slower, and the run has to end."""


def run() -> Result:
    """Measure the full check (order, policies, scope, budget, loop) on 1 kB of JSON arguments, beside other engines."""
    timer_ns = _median_ns(lambda number: None)
    many, few, suspect, stepped = (_guard(count) for count in (POLICIES, FEW_POLICIES, POLICIES, POLICIES))
    check_wall, check_cpu = Checks(many).measure_check()
    few_wall, _ = Checks(few).measure_check()
    suspect_wall, suspect_cpu = Checks(suspect).measure_check(is_suspect=True)
    step_wall, _ = Checks(stepped).measure_step()
    for guard in (many, few, suspect, stepped):
        guard.close()
    scope = {f"tool-{number}": "read" for number in range(50)}

    def us(timed: Callable[[int], Any], calls: int) -> float:
        return max(_us(_median_ns(timed, calls) - timer_ns), 0.001)

    return Result(
        figures={
            "check_us_p50": _us(quantile(check_wall, 0.5) - timer_ns),
            "check_us_p99_cpu": _us(quantile(check_cpu, 0.99)),
            "check_5_policies_us_p50": _us(quantile(few_wall, 0.5) - timer_ns),
            "check_suspect_us_p50": _us(quantile(suspect_wall, 0.5) - timer_ns),
            "check_suspect_us_p99_cpu": _us(quantile(suspect_cpu, 0.99)),
            "policies_us_p50": us(_policies_alone(POLICIES), CALLS),
            "policies_5_us_p50": us(_policies_alone(FEW_POLICIES), CALLS),
            "first_look_up_us": _us(_first_look_up_ns()),
            "step_us_p50": _us(quantile(step_wall, 0.5) - timer_ns),
        },
        baselines={
            "empty_us_p99_cpu": _us(quantile(_empty_cpu(), 0.99)),
            "dict_lookup_us_p50": us(lambda number: scope["tool-7"], CALLS),
            "cedarpy_5_policies_us_p50": us(_cedar(FEW_POLICIES), ENGINE_CALLS),
            "cedarpy_us_p50": us(_cedar(POLICIES), ENGINE_CALLS),
            "cel_python_one_condition_us_p50": us(_cel(), ENGINE_CALLS),
        },
        notes=(
            f"Python {sys.version.split()[0]}; {CALLS} calls of one tool, each with {ARGUMENT_BYTES} B of other arguments",
            f"check: the call made, order, {POLICIES} policies ({CONCERNING} of them about this tool), scope, budget, loop",
            "policies: that part of the check alone; first_look_up: the first decision about a tool, which looks at all",
            f"suspect: the check after {RUN_CALLS} equal calls, when the arguments must be made text, normalised and compared",
            "step: the check, arguments and result as text, loop bookkeeping, start and end records; nothing is sent",
            "cedarpy: the same policies, parsed once, same answer; cel-python: one of the conditions, compiled once",
            "p99 in thread CPU time, so that other processes are not counted, with the timing itself (empty) in it",
            "wall-clock figures less an empty timing",
        ),
    )


def _guard(policies: int) -> Guard:
    return Guard("bench-agent", tools={"refund": "write"}, budget_usd=1_000.0, policies=_caps(policies))


def _caps(count: int) -> list[dict[str, Any]]:
    return [_cap(number) for number in range(count)]


def _policies_alone(count: int) -> Callable[[int], Any]:
    policies = PolicySet(_caps(count))
    requests = [_request(number) for number in range(100)]

    def decide(number: int) -> None:
        assert policies.decide(requests[number % 100]).allow

    return decide


def _first_look_up_ns() -> float:
    policies = PolicySet(_caps(POLICIES))
    requests = [{**_request(number), "tool": f"new-{number}"} for number in range(ENGINE_CALLS)]
    return _median_ns(lambda number: policies.decide(requests[number]), ENGINE_CALLS)


def _request(number: int) -> dict[str, Any]:
    return {"agent": "bench-agent", "tool": "refund", "environment": "", "role": "", "args": _arguments(number), "run": {}}


def _cedar(count: int) -> Callable[[int], Any]:
    forbids = [
        f'forbid(principal, action == Action::"{_tool(number)}", resource) when {{ context.args.amount_usd > {200 + number} }};'
        for number in range(count)
    ]
    policies = cedarpy.PolicySet.from_str("\n".join(["permit(principal, action, resource);", *forbids]))
    entities = cedarpy.Entities.from_json_str("[]")
    who = {"principal": 'Agent::"bench-agent"', "action": 'Action::"refund"', "resource": 'Resource::"any"'}

    requests = [{**who, "context": {"args": _arguments(number)}} for number in range(100)]

    def authorize(number: int) -> None:
        assert cedarpy.is_authorized(requests[number % 100], policies, entities).allowed

    return authorize


def _cel() -> Callable[[int], Any]:
    environment = celpy.Environment()
    program = environment.program(environment.compile("args.amount_usd > 200"))

    arguments = [json_to_cel(_arguments(number)) for number in range(100)]

    def evaluate(number: int) -> None:
        assert not program.evaluate({"args": arguments[number % 100]})

    return evaluate


class Checks:
    """Calls of one run, timed one by one."""

    def __init__(self, guard: Guard) -> None:
        self._run = guard.run("bench").begin()
        self._admission = self._run.admission

    def measure_check(self, *, is_suspect: bool = False) -> tuple[list[int], list[int]]:
        """Wall and CPU nanoseconds of each check alone; of a suspect, after as many equal calls as may be made."""
        wall, cpu = list[int](), list[int]()
        if is_suspect:
            for _ in range(RUN_CALLS):
                self._run.loop.observe("refund", json.dumps(_arguments(-1)), "done", False)
        for number in range(WARM_UP + CALLS):
            arguments = _arguments(number)
            began_cpu, began = time.thread_time_ns(), time.perf_counter_ns()
            step = Step(self._run, "refund", arguments)
            held = self._admission.admit(self._run, step)
            ended, ended_cpu = time.perf_counter_ns(), time.thread_time_ns()
            assert held is None
            self._admission.gate.leave(step.span_id)
            if not is_suspect:
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


def _tool(number: int) -> str:
    return "refund" if number < CONCERNING else f"other-{number}"


def _cap(number: int) -> dict[str, Any]:
    """A compiled policy; the first ones ask about the arguments of the tool that is measured."""
    amount = {"op": "field", "of": {"op": "name", "name": "args"}, "name": "amount_usd"}
    return {
        "id": f"cap-{number}",
        "effect": "forbid",
        "tool": _tool(number),
        "when": {"op": ">", "args": [amount, {"op": "const", "value": 200 + number}]},
        "message": "ask a person",
    }


def _empty_cpu() -> list[int]:
    """CPU nanoseconds of measuring nothing: what every figure in CPU time contains."""
    cpu = list[int]()
    for _ in range(CALLS):
        began_cpu, _began = time.thread_time_ns(), time.perf_counter_ns()
        _ended, ended_cpu = time.perf_counter_ns(), time.thread_time_ns()
        cpu.append(ended_cpu - began_cpu)
    return cpu


def _median_ns(timed: Callable[[int], Any], calls: int = CALLS) -> float:
    durations = []
    for number in range(calls):
        began = time.perf_counter_ns()
        timed(number)
        durations.append(time.perf_counter_ns() - began)
    return quantile(durations, 0.5)


def _us(nanoseconds: float) -> float:
    return round(nanoseconds / 1_000, 3)
