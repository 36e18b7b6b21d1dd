"""The circuit breakers that are set for a guard: by itself, and by its control plane. A change of one is reported."""

from collections.abc import Callable, Mapping

from andoncord_sdk import _platform
from andoncord_sdk.admission import Admission
from andoncord_sdk.breaker import Breakers, BreakerSettings, Changed
from andoncord_sdk.breaking import Breaking
from andoncord_sdk.otlp import SEVERITY_WARN, LogRecord


class BreakerBoard:
    """Puts breakers on the way of calls.

    Args:
        admission: the check that asks them.
        own: by glob, before those that the control plane declares.
        tell: says that what the guard can tell about itself has changed.
    """

    def __init__(self, admission: Admission, own: Mapping[str, BreakerSettings], *, tell: Callable[[], None]) -> None:
        self._admission = admission
        self._own = dict(own)
        self._tell = tell

    def set(self, declared: Mapping[str, BreakerSettings]) -> None:
        """Take over breakers that the control plane declares, beside one's own. What does not change keeps what it knows."""
        settings = {**declared, **self._own}
        current = self._admission.breaking
        if settings == ({} if current is None else current.breakers.settings):
            return
        breakers = Breakers(settings, changed=self._changed) if settings else None
        breaking = None if breakers is None else Breaking(breakers, clock_ns=self._admission.clock_ns)
        self._admission.breaking = breaking
        self._admission.ended = None if breaking is None else breaking.ended

    def _changed(self, change: Changed) -> None:
        """Report it at once: an open breaker is a finding."""
        self._admission.report(
            LogRecord(
                event_name="andoncord.guard.degraded",
                at_ns=_platform.now_ns(),
                severity=SEVERITY_WARN,
                attributes={
                    "gen_ai.agent.name": self._admission.agent,
                    "gen_ai.tool.name": change.name,
                    "andoncord.decision.code": f"breaker_{change.after}",
                    "andoncord.decision.message": f"the breaker of {change.name} is {change.after}: {change.why}",
                },
            ),
            urgent=True,
        )
        self._tell()
