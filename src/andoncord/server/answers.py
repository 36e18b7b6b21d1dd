"""What enforcement points answered to orders, for as long as somebody may ask."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from andoncord.server.points import Ack


@dataclass(slots=True)
class _Answers:
    """What came in for one order."""

    acks: dict[str, Ack] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    """Agents to whose enforcement points it was sent: nobody answers for another's."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class AnswerBook:
    """The answers to each of the latest orders, by instance. Everything happens in one event loop.

    Args:
        size: orders that are remembered.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[str, _Answers] = OrderedDict()

    def ask(self, order: str, agent: str) -> None:
        """An order goes out to the enforcement points of an agent."""
        self._of(order).asked.add(agent)

    def add(self, agent: str, instance: str, ack: Ack) -> None:
        """Keep what one answered: its last answer to an order counts, if its agent was asked."""
        answers = self._answers.get(ack.order_id)
        if answers is None or agent not in answers.asked:
            return  # What was heard before it was sent, by the flag or with a lease, is sent and answered again.
        answers.acks[instance] = ack
        answers.arrived.set()

    def acks(self, order: str) -> dict[str, Ack]:
        """What came in for an order so far."""
        answers = self._answers.get(order)
        return dict(answers.acks) if answers else {}

    def forget(self, order: str) -> None:
        """Ask as if for the first time: what was answered to this order does not count any more."""
        if (answers := self._answers.get(order)) is not None:
            answers.acks.clear()

    async def collect(self, order: str, instances: Iterable[str], *, timeout_s: float) -> dict[str, Ack]:
        """The answers to an order, as soon as all of `instances` answered or when the time is up."""
        answers = self._of(order)
        missing = set(instances)
        deadline = asyncio.get_running_loop().time() + timeout_s
        # Only those still missing are looked for at each arrival: a thousand answers come one by one.
        while missing := {instance for instance in missing if instance not in answers.acks}:
            answers.arrived.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await answers.arrived.wait()
            except TimeoutError:
                break
        return dict(answers.acks)

    def _of(self, order: str) -> _Answers:
        answers = self._answers.setdefault(order, _Answers())
        self._answers.move_to_end(order)
        while len(self._answers) > self._size:
            self._answers.popitem(last=False)
        return answers
