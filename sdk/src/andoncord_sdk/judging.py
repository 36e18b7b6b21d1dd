"""How a guard learns whether its agent's answers are right: probes, tasks with known answers, evaluators."""

from collections.abc import Callable

from andoncord_sdk.evaluate import AT_MOST_S, Evaluations, Judge, checked
from andoncord_sdk.follow import Follower, Probe, Task


class Judging:
    """The part of a guard that is about how good its agent's answers are."""

    _follower: Follower
    _evaluations: Evaluations

    def probe(self, fn: Probe) -> Probe:
        """Register the check that decides whether the agent may come back. Also a decorator.

        `fn(index)` does a task with a known answer and says whether the agent got it right. It runs on the server's order, in a
        thread, while the agent is otherwise held; only tools declared "read" work in it.
        """
        self._follower.probe = fn
        self._tell()
        return fn

    def canary(self, fn: Task) -> Task:
        """Register how the agent is asked a task whose answer the server knows. Also a decorator.

        `fn(text)` gives the text to the agent and returns its answer, as text. It runs when the server's schedule says so, in a
        thread and a run of its own; only tools declared "read" work in it, and none while the agent is held.
        """
        self._follower.task = fn
        self._tell()
        return fn

    def evaluator(
        self, name: str, *, share: float = 0.1, share_troubled: float | None = None, at_most_s: float = AT_MOST_S
    ) -> Callable[[Judge], Judge]:
        """Have a function judge a sample of the runs once they are over. A decorator.

        The function gets a `FinishedRun` and returns whether it passes, or a score from 0 to 1. It runs in a thread; the agent
        does not wait for it.

        Args:
            name: the evaluator's name in every score.
            share: of the runs that are looked at.
            share_troubled: of those that failed, or in which a call failed or was refused; like the others if None.
            at_most_s: how long it is waited for.

        Raises:
            ValueError: a share or the time is none.
        """

        def register(fn: Judge) -> Judge:
            self._evaluations.add(checked(name, fn, share=share, share_troubled=share_troubled, at_most_s=at_most_s))
            return fn

        return register

    def _tell(self) -> None:
        """Say what has changed since the registration."""
        raise NotImplementedError
