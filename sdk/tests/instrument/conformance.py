"""Every adapter is an enforcement point as `andoncord.testing.conformance.pep` wants it: here through the real framework."""

import contextlib
from collections.abc import Callable
from typing import Any

from sdk.tests.instrument.contract import AdapterContract, Desk, Script, Wish

from andoncord.testing.conformance.pep import EnforcementPointContract
from andoncord_sdk import Guard, GuardError
from andoncord_sdk.admission import ToolKind


class AdapterPoint:
    """An agent of the framework, asked for single calls. Made is what reached the desk."""

    def __init__(self, contract: AdapterContract, guard: Guard) -> None:
        self._contract, self._guard = contract, guard
        self._adapter: Any = contract.adapter(guard)

    def read(self) -> bool:
        return self._is_made("lookup")

    def write(self) -> bool:
        return self._is_made("refund")

    def close(self) -> None:
        self._guard.close()

    def _is_made(self, tool: str) -> bool:
        desk = Desk()
        with contextlib.suppress(GuardError):
            self._contract.run(self._adapter, Script(Wish(tool), "Done."), desk)
        return f"{tool} 17" in desk.done


class AdapterConformance(EnforcementPointContract):
    """The cases of the suite, for the adapter of `contract`."""

    contract: type[AdapterContract]

    def make(self, *, url: str, telemetry: str, token: str, clock_ns: Callable[[], int]) -> AdapterPoint:
        tools: dict[str, ToolKind] = {"lookup": "read", "refund": "write"}
        guard = Guard("a", server=url, telemetry=telemetry, token=token, tools=tools, hold_max_s=0.0, clock_ns=clock_ns)
        return AdapterPoint(self.contract(), guard)
