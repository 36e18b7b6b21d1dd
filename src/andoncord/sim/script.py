"""What a simulated agent is made of: tasks, steps, tools, and the script that turns a task into steps.

A script is a generator that yields what the agent wants to do next and receives what came of it. It knows neither the clock nor
the network, so that the same script runs inside a real process under the SDK's guard (`agent.py`) and in virtual time
(`world.py`).
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal, Protocol

import msgspec

from andoncord.sim.chance import Chance


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work with a known right answer."""

    name: str
    brief: str
    expected: str
    details: dict[str, Any] = {}


class Think(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the simulated model."""

    prompt: str
    reply: str
    input_tokens: int
    output_tokens: int

    @property
    def cost_micro_usd(self) -> int:
        """At $3 for a million tokens in and $15 for a million out."""
        return 3 * self.input_tokens + 15 * self.output_tokens


class Call(msgspec.Struct, frozen=True):
    """A call of a tool."""

    tool: str
    arguments: dict[str, Any]


Script = Generator[Think | Call, Any, str]
"""Yields steps, is sent the result of each, returns the answer. A failed call is thrown in as `ToolFault`."""


class ToolFault(Exception):
    """A tool did not do its work; `kind` becomes the error type of the span."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class Surroundings(Protocol):
    """What lies around the agents and changes under them: shared folders, uploads, queues."""

    def lines(self, shelf: str) -> tuple[str, ...]:
        """What lies on a shelf now, oldest first; nothing when there is no such shelf."""
        ...


class Desk:
    """What one run works with. Tools may remember things on it until the run ends.

    Args:
        onset: told the letter of an injected failure each time it takes effect: for the score alone, nothing that detects
            reads it.
    """

    __slots__ = ("chance", "counts", "onset", "rehearsal", "settings", "surroundings", "task")

    def __init__(
        self,
        *,
        task: Task,
        settings: Mapping[str, Any],
        chance: Chance,
        surroundings: Surroundings,
        onset: Callable[[str], None],
        rehearsal: bool = False,
    ) -> None:
        self.task = task
        self.settings = settings
        self.chance = chance
        self.surroundings = surroundings
        self.onset = onset
        self.rehearsal = rehearsal
        self.counts: dict[str, int] = {}

    def count(self, key: str) -> int:
        """How often this was counted in the run, this time included."""
        self.counts[key] = self.counts.get(key, 0) + 1
        return self.counts[key]


Tool = Callable[[Desk, Mapping[str, Any]], Any]


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of agent: what it may do, what it is asked, and how it goes about it."""

    name: str
    purpose: str
    access: dict[str, Literal["read", "write"]]
    """The declared tools: `read` or `write`."""
    tools: dict[str, Tool]
    """What the tools do, those outside the declared scope included."""
    task: Callable[[Chance], Task]
    script: Callable[[Desk], Script]
    settings: dict[str, Any]
    """The first version in the registry."""
    period_s: float
    """Mean pause between two runs."""
    thinking_s: float = 0.25
    """How long one call of the model takes."""
    tool_s: float = 0.01
    """How long one call of a tool takes."""
    quality: float = 0.9
    """The declared objective: the share of runs that must pass."""
    budget_usd: float = 0.5
    supervised: bool = False
    """Started under the supervisor, which can end and restart its process tree."""


def passes(task: Task, answer: str) -> bool:
    """The evaluator: exact match with the known answer."""
    return answer == task.expected


def follow(script: Script, perform: Callable[[Think | Call], Any]) -> str:
    """Let `perform` carry out each step of a script, and return the answer. A `ToolFault` is thrown into the script."""
    try:
        step = next(script)
        while True:
            try:
                result = perform(step)
            except ToolFault as fault:
                step = script.throw(fault)
            else:
                step = script.send(result)
    except StopIteration as end:
        return str(end.value)


MAX_REHEARSAL_STEPS = 40
"""A rehearsal that takes more steps than this has failed: nobody stops it but itself."""


def rehearse(role: Role, desk: Desk) -> bool:
    """Work on the desk's task with its tools directly, nothing leaving the desk, and say whether the answer is right."""
    steps = 0

    def perform(step: Think | Call) -> Any:
        nonlocal steps
        steps += 1
        if steps > MAX_REHEARSAL_STEPS:
            raise ToolFault("too_long", f"not done after {MAX_REHEARSAL_STEPS} steps")
        if isinstance(step, Think):
            return step.reply
        if step.tool not in role.access:
            raise ToolFault("scope", f"{step.tool} is outside the declared scope")
        return role.tools[step.tool](desk, step.arguments)

    try:
        return passes(desk.task, follow(role.script(desk), perform))
    except ToolFault:
        return False
