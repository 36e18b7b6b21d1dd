"""Evaluators inside the agent's process: functions of yours that say of a sample of the runs whether they were good.

They run in a thread of their own after the run is over, within a time each; the agent never waits for them, and what goes wrong
in them is reported as a score without a verdict.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from andoncord_sdk import _platform
from andoncord_sdk.errand import within
from andoncord_sdk.otlp import Attributes, LogRecord
from andoncord_sdk.run import Run

WAITING_MAX = 64
"""Runs that wait to be judged; what comes on top is left out, and counted."""
AT_MOST_S = 30.0
FAILURE_MAX_CHARS = 300

_log = logging.getLogger("andoncord_sdk")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run that is over, as its evaluators see it. Its texts were written by agents, tools and users: data, never orders."""

    id: str
    task: str
    ok: bool
    outcome: str
    input: str
    """What went into the last model call of those that are kept."""
    output: str
    """What came out of it."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """The last steps, with their arguments and results, cut."""


Judge = Callable[[FinishedRun], bool | float]
"""True or False for a run that passes or does not; a number from 0 to 1 for a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """One function and how often it is asked."""

    name: str
    judge: Judge
    share: float
    share_troubled: float
    at_most_s: float

    def share_of(self, run: Run) -> float:
        return self.share_troubled if _is_troubled(run) else self.share


class Evaluations:
    """Asks evaluators about runs that are over. Thread-safe.

    Args:
        report: takes a record.
        draw: gives numbers from 0 to 1; for tests.
    """

    def __init__(self, report: Callable[[LogRecord], None], draw: Callable[[], float] | None = None) -> None:
        self._report = report
        self._draw = draw or _drawn
        self._evaluators: list[Evaluator] = []
        self._waiting: deque[tuple[Evaluator, Run, float]] = deque()
        self._lock = threading.Lock()
        self._is_working = False
        self.left_out = 0

    def add(self, evaluator: Evaluator) -> None:
        self._evaluators.append(evaluator)

    def closed(self, run: Run) -> None:
        """A run is over: draw who looks at it. Never raises, and takes no time."""
        if not self._evaluators or run.probe_order is not None:
            return
        for evaluator in self._evaluators:
            share = evaluator.share_of(run)
            if self._draw() >= share:
                continue
            with self._lock:
                if len(self._waiting) >= WAITING_MAX:
                    self.left_out += 1
                    continue
                self._waiting.append((evaluator, run, min(evaluator.share, evaluator.share_troubled) / share))
                if self._is_working:
                    continue
                self._is_working = True
            threading.Thread(target=self._work, name="andoncord-evaluators", daemon=True).start()

    def forget_other_threads(self) -> None:
        """In a forked child: the thread is the parent's, and so is what it was about to judge."""
        self._lock = threading.Lock()
        self._waiting = deque()
        self._is_working = False

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_working = False
                    return
                evaluator, run, weight = self._waiting.popleft()
            try:
                self._judge(evaluator, run, weight)
            except Exception:
                _log.exception("the verdict of %s could not be reported", evaluator.name)

    def _judge(self, evaluator: Evaluator, run: Run, weight: float) -> None:
        is_done, said = within(evaluator.at_most_s, lambda: evaluator.judge(_finished(run)))
        verdict: Attributes
        if not is_done:
            verdict = {"andoncord.evaluator.failure": f"did not answer within {evaluator.at_most_s:g} s"}
        elif isinstance(said, bool):
            verdict = {"gen_ai.evaluation.score.label": "pass" if said else "fail"}
        elif isinstance(said, int | float) and 0.0 <= said <= 1.0:
            verdict = {"gen_ai.evaluation.score.value": float(said)}
        else:
            failure = f"{type(said).__name__}: {said}" if isinstance(said, BaseException) else f"is no verdict: {said!r}"
            verdict = {"andoncord.evaluator.failure": failure[:FAILURE_MAX_CHARS]}
        self._report(
            LogRecord(
                event_name="gen_ai.evaluation.result",
                at_ns=_platform.now_ns(),
                trace_id=run.trace_id,
                span_id=run.span_id,
                attributes={
                    **run.attributes,
                    "gen_ai.evaluation.name": evaluator.name,
                    "andoncord.sampling.weight": weight if weight < 1.0 else None,
                    **verdict,
                },
            )
        )


def checked(name: str, judge: Judge, *, share: float, share_troubled: float | None, at_most_s: float) -> Evaluator:
    """An evaluator.

    Raises:
        ValueError: a share is none, the time is none, or the name is one that people speak under.
    """
    troubled = share if share_troubled is None else share_troubled
    if not (0.0 < share <= 1.0 and 0.0 < troubled <= 1.0):
        raise ValueError(f"share and share_troubled are above 0 and at most 1, got {share} and {troubled}")
    if at_most_s <= 0.0:
        raise ValueError(f"at_most_s must be greater than 0, got {at_most_s}")
    if not name or name.startswith("human_"):
        raise ValueError(f"an evaluator has a name, and not one that begins with human_, got {name!r}")
    return Evaluator(name=name, judge=judge, share=share, share_troubled=troubled, at_most_s=at_most_s)


def _drawn() -> float:
    return int(_platform.span_id(), 16) / 2.0**64


def _is_troubled(run: Run) -> bool:
    return bool(run.error_type) or run.stopped is not None or any(span.error_type for span in run.recent)


def _finished(run: Run) -> FinishedRun:
    models = [span for span in run.recent if "gen_ai.output.messages" in span.attributes]
    texts = models[-1].attributes if models else {}
    return FinishedRun(
        id=run.id,
        task=run.task,
        ok=not run.error_type,
        outcome=run.outcome or run.error_type or "done",
        input=str(texts.get("gen_ai.input.messages") or ""),
        output=str(texts.get("gen_ai.output.messages") or ""),
        steps=run.capture()["steps"],
    )
