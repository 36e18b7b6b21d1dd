"""The SDK's guard is an enforcement point as `andoncord.testing.conformance.pep` wants it."""

import contextlib
from collections.abc import Callable

from andoncord.testing.conformance.pep import EnforcementPointContract
from andoncord_sdk import Guard, GuardError
from andoncord_sdk.admission import ToolKind


class GuardPoint:
    """A guard that is asked for single calls, each in a run of its own."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def read(self) -> bool:
        return self._is_made("look")

    def write(self) -> bool:
        return self._is_made("pay")

    def close(self) -> None:
        self._guard.close()

    def _is_made(self, tool: str) -> bool:
        with contextlib.suppress(GuardError), self._guard.run() as run, run.step(tool):
            return True
        return False


class TestGuard(EnforcementPointContract):
    """Every case of the contract, on the guard."""

    def make(self, *, url: str, telemetry: str, token: str, clock_ns: Callable[[], int]) -> GuardPoint:
        tools: dict[str, ToolKind] = {"look": "read", "pay": "write"}
        return GuardPoint(
            Guard("a", server=url, telemetry=telemetry, token=token, tools=tools, hold_max_s=0.0, clock_ns=clock_ns)
        )
