"""What the control plane lets a guard spend of the budgets that it shares with others: of its agent, its team, the fleet.

The guard is given slices over the channel that renews its lease, spends only from them, and reports what it spent. Without the
control plane it may use up what it holds, for as long as that is good; then calls that cost anything are refused.
"""

import hmac
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from andoncord_sdk import _platform
from andoncord_sdk.budget import UNLIMITED, Amounts, Budget, Limits

WAIT_S = 4.0
"""A call waits this long for a slice: two renewals of another guard that has to give back."""
ASK_AGAIN_S = 0.3
MAX_AMOUNT = 2**53
LIFE_MAX_MS = 600_000


class AllowanceError(Exception):
    """An answer that must not be believed."""


def allowance_mac(key: bytes, *, guard: str, nonce: str, text: str) -> str:
    """The proof that an answer about budgets is the control plane's, and to this request."""
    return hmac.digest(
        key, b"\0".join((b"andoncord allowance 1", guard.encode(), nonce.encode(), text.encode())), "sha256"
    ).hex()


class Allowance:
    """The guard's part of shared budgets. Thread-safe.

    Attributes:
        budget: stands above the budget of every run; unlimited while no shared budget covers the agent.

    Args:
        wanted: set when the control plane should be asked at once.
        clock_ns: nanoseconds on a clock that runs on while the machine is suspended.
    """

    def __init__(self, *, wanted: Callable[[], threading.Event], clock_ns: Callable[[], int] = _platform.boot_ns) -> None:
        self.budget = Budget(name="the slice of a shared budget")
        self._why = ""
        """The shared budget that did not give what was needed, as the control plane put it."""
        self._wanted = wanted
        self._clock_ns = clock_ns
        self._answered = threading.Condition()
        self._answers = 0
        self._asked_ns = 0
        self._until_ns: int | None = None
        """When the slice ends; None while there is none."""
        self._needs: dict[int, Amounts] = {}
        """What waiting calls need, each held until it has been answered."""
        self._next = 0
        self._is_final = False
        self._is_leaving = False

    @property
    def is_covered(self) -> bool:
        """A shared budget covers the agent."""
        return self._until_ns is not None

    def covered(self) -> None:
        """A shared budget covers the agent: until a slice comes, nothing may be spent."""
        if self._until_ns is None:
            self._until_ns = self._clock_ns()
            self.budget.limit_to(Limits(0, 0, 0))

    def report(self) -> dict[str, Any]:
        """What is told and asked with the next renewal."""
        self._asked_ns = self._clock_ns()
        self.expire()
        budget = self.budget
        spent, limits, held = budget.spent, budget.limits, budget.held
        with self._answered:
            waiting = list(self._needs.values())
        need = [held[unit] + sum(each[unit] for each in waiting) for unit in range(3)] if waiting else [0, 0, 0]
        ceiling = [spent[unit] if limit is None else max(limit, spent[unit]) for unit, limit in enumerate(limits)]
        return {"spent": list(spent), "ceiling": ceiling, "need": need, "is_leaving": self._is_leaving}

    def take(self, text: str) -> None:
        """Put an answer in force. Its proof has been checked.

        Raises:
            AllowanceError: it is malformed.
        """
        try:
            answer = json.loads(text)
            ceiling = Limits(*answer["ceiling"])
            life_ms, why, is_final = answer["life_ms"], answer.get("why", ""), answer.get("is_final", False)
            amounts_fit = all(each is None or (type(each) is int and 0 <= each <= MAX_AMOUNT) for each in ceiling)
            if not (amounts_fit and type(life_ms) is int and 0 < life_ms <= LIFE_MAX_MS and isinstance(why, str)):
                raise ValueError("amounts or times are out of range")
        except (ValueError, TypeError, KeyError) as wrong:
            raise AllowanceError(f"malformed: {wrong!r}") from wrong
        self._until_ns = None if ceiling == UNLIMITED else self._asked_ns + life_ms * 1_000_000
        self._why = why
        self.budget.limit_to(ceiling)
        with self._answered:
            self._is_final = bool(is_final)
            self._answers += 1
            self._answered.notify_all()

    def expire(self) -> None:
        """Give up a slice whose time is over; the control plane has taken it for spent."""
        until_ns = self._until_ns
        if until_ns is not None and self._clock_ns() >= until_ns:
            limits = self.budget.limits
            self.budget.limit_to(Limits._make(None if limit is None else 0 for limit in limits))

    def give_back(self) -> bool:
        """Keep nothing beyond what is spent and held. False if no shared budget covers the agent."""
        if self._until_ns is None:
            return False
        self._is_leaving = True
        self.budget.limit_to(Limits._make(None if limit is None else 0 for limit in self.budget.limits))
        return True

    def forget_other_threads(self) -> None:
        """In a forked child: an instance of its own, which holds nothing yet."""
        self._answered = threading.Condition()
        self._needs = {}
        self.budget.begin_again()
        self.budget.limit_to(Limits._make(None if limit is None else 0 for limit in self.budget.limits))

    @property
    def told(self) -> str:
        """What is used up, for the message of a refusal."""
        return self._why or "the control plane gave no part of a shared budget"

    def errand(self, amount_micro_usd: int | None, tokens: int | None) -> "AllowanceErrand":
        """Getting what a call needs."""
        return AllowanceErrand(self, Amounts(amount_micro_usd or 1, tokens or 0, 1))

    def ask_until(self, need: Amounts, fits: Callable[[], bool]) -> None:
        """Ask, and again, until it fits, or cannot whatever others give back, or took too long."""
        deadline_s = _platform.monotonic_s() + WAIT_S
        with self._answered:
            self._next += 1
            number = self._next
            self._needs[number] = need
            self._is_final = False
        try:
            while (left_s := deadline_s - _platform.monotonic_s()) > 0:
                seen = self._answers
                self._wanted().set()
                with self._answered:
                    self._answered.wait_for(lambda seen=seen: self._answers > seen, min(ASK_AGAIN_S, left_s))  # type: ignore[misc]
                    is_final = self._is_final and len(self._needs) == 1
                if is_final or fits():
                    return
        finally:
            with self._answered:
                del self._needs[number]


class AllowanceErrand:
    """Asks the control plane for a slice that a call needs, for a bounded time."""

    def __init__(self, allowance: Allowance, need: Amounts) -> None:
        self._allowance = allowance
        self._need = need

    def do(self) -> None:
        budget, need = self._allowance.budget, self._need
        self._allowance.ask_until(need, lambda: budget.shortfall(need.micro_usd, need.tokens) is None)


def proven(answer: Mapping[str, Any], *, key: bytes, guard: str, nonce: str) -> str:
    """The text of an answer about budgets.

    Raises:
        AllowanceError: it is not the control plane's, or not to this request.
    """
    text, mac = answer.get("text"), answer.get("mac")
    if not isinstance(text, str) or not isinstance(mac, str):
        raise AllowanceError("malformed: text and mac are texts")
    if not key or not hmac.compare_digest(allowance_mac(key, guard=guard, nonce=nonce, text=text).encode(), mac.encode()):
        raise AllowanceError("forged: its proof does not hold")
    return text
