"""An enforcement point of one's own, and its conformance test: `pytest examples/conformance`.

The gateway stands between an agent and a bank. It uses the guard of the SDK; a point in another language speaks the same wire,
and its `make` would start it as a process.
"""

import contextlib
from collections.abc import Callable

from andoncord.testing.conformance.pep import EnforcementPointContract
from andoncord_sdk import Guard, GuardError


class Bank:
    """What is protected."""

    def __init__(self) -> None:
        self.transfers = 0

    def balance(self) -> int:
        return 100 - self.transfers

    def transfer(self) -> None:
        self.transfers += 1


class Gateway:
    """Lets calls through to the bank while Andoncord does."""

    def __init__(self, bank: Bank, guard: Guard) -> None:
        self._guard = guard
        self._balance = guard.tool("bank.balance")(bank.balance)
        self._transfer = guard.tool("bank.transfer")(bank.transfer)

    def ask(self, word: str) -> int | None:
        """One request of the agent's."""
        with self._guard.run(word):
            return self._balance() if word == "balance" else self._transfer()


class GatewayPoint:
    """The gateway as the suite asks it; what counts as made is what reached the bank."""

    def __init__(self, guard: Guard) -> None:
        self._bank, self._guard = Bank(), guard
        self._gateway = Gateway(self._bank, guard)

    def read(self) -> bool:
        with contextlib.suppress(GuardError):
            return self._gateway.ask("balance") is not None
        return False

    def write(self) -> bool:
        before = self._bank.transfers
        with contextlib.suppress(GuardError):
            self._gateway.ask("transfer")
        return self._bank.transfers > before

    def close(self) -> None:
        self._guard.close()


class TestGateway(EnforcementPointContract):
    """Every case of the suite."""

    def make(self, *, url: str, telemetry: str, token: str, clock_ns: Callable[[], int]) -> GatewayPoint:
        guard = Guard(
            "gateway",
            server=url,
            telemetry=telemetry,
            token=token,
            tools={"bank.balance": "read", "bank.transfer": "write"},
            hold_max_s=0.0,  # A paused call is refused at once instead of being held: the suite asks again.
            clock_ns=clock_ns,
        )
        return GatewayPoint(guard)
