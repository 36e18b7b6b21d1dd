"""What people declare about an agent: what detectors judge it by."""

from fnmatch import fnmatchcase

import msgspec

from andoncord.detect.scope import Scope

MAX_AGENTS = 10_000
"""Names of agents for which the declaration found is remembered."""


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """What share of an agent's runs has to pass."""

    quality: float
    """Share of scored runs that must pass: greater than 0, less than 1."""
    false_alarms_per_week: float | None = None
    """How often a false alarm about it may come, where it has a budget of its own beside that of the fleet."""
    runs_per_week: float = 1_000.0
    """Scored runs expected in a week; with a budget of its own it sets how much evidence an alarm needs."""

    def __post_init__(self) -> None:
        if not 0 < self.quality < 1:
            raise ValueError(f"quality must be between 0 and 1, got {self.quality}")
        if self.false_alarms_per_week is not None and not 0 < self.false_alarms_per_week <= self.runs_per_week:
            raise ValueError("false_alarms_per_week must be greater than 0 and no more than runs_per_week")


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """One agent, or all agents that match a glob, as declared in `andon.yaml`."""

    agent: str
    tools: dict[str, str] = {}
    """Tool → `read` or `write`. Empty: nothing is declared, so nothing is out of scope."""
    objective: Objective | None = None
    budget_micro_usd: int | None = None
    """Of one run."""
    environment: str = ""
    silent_after_s: float = 3.0
    """Seconds without a heartbeat, while a run is open, after which the agent counts as silent."""
    step_timeout_s: float = 60.0
    """Seconds after which a step that has not ended counts as hung. Chosen: longer than model calls commonly take."""
    scope: Scope | None = None
    """Which files its task may change."""
    polls: tuple[str, ...] = ()
    """Tools that wait or poll by design; asking them again is no loop."""
    outside: tuple[str, ...] = ()
    """Tools whose arguments leave the house: mail, web requests, tickets of customers."""
    invariants: dict[str, str] = {}
    """Name → a condition over the `state` that the agent reports; where it is false, the state is invalid."""


UNDECLARED = Declared(agent="*")
"""What holds for an agent about which nothing is declared."""


class Declarations:
    """Finds the declaration of an agent: by its exact name, else by the longest glob that matches.

    >>> found = Declarations({"refund-*": Declared(agent="refund-*", budget_micro_usd=5)}).of("refund-eu")
    >>> found.budget_micro_usd, Declarations({}).of("any").tools
    (5, {})
    """

    def __init__(self, declared: dict[str, Declared]) -> None:
        self._declared = declared
        self._globs = sorted(declared, key=lambda glob: (-len(glob), glob))
        self._found: dict[str, Declared] = {}

    def of(self, agent: str) -> Declared:
        found = self._found.get(agent)
        if found is None:
            if len(self._found) >= MAX_AGENTS:
                self._found.clear()
            found = self._declared.get(agent)
            if found is None:
                glob = next((glob for glob in self._globs if fnmatchcase(agent, glob)), None)
                found = UNDECLARED if glob is None else self._declared[glob]
            self._found[agent] = found
        return found
