"""Which telemetry is evidence: what incidents that are not done with are about (RSP-4)."""

from collections.abc import Callable

from andoncord.engine.state import State
from andoncord.incident.incident import Incident
from andoncord.kernel.time import DAY_NS
from andoncord.kernel.vocabulary import Disposition, IncidentState
from andoncord.telemetry.holding import Hold

LATEST_NS = 2**63 - 1


def holds_of(state: State) -> tuple[Hold, ...]:
    """What incidents hold until they are reviewed, or until they are closed as no incident at all."""
    return tuple(_hold(incident) for incident in state.incidents.values() if not _is_done(incident))


class Holds:
    """What is held, looked through anew only when something was written down.

    Args:
        state: the engine's state, read anew each time.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state
        self._of: tuple[State, int] | None = None
        self._held: tuple[Hold, ...] = ()

    def __call__(self) -> tuple[Hold, ...]:
        state = self._state()
        if self._of is None or self._of[0] is not state or self._of[1] != state.seq:
            self._of, self._held = (state, state.seq), holds_of(state)
        return self._held


def _is_done(incident: Incident) -> bool:
    if incident.disposition is not Disposition.REAL:
        return not incident.is_open
    return incident.state is IncidentState.REVIEWED


def _hold(incident: Incident) -> Hold:
    """Its agents from a day before it began until it was resolved, and the traces of its findings whole."""
    begins = [each for each in (incident.onset_ns, incident.detected_ns, incident.opened_ns) if each]
    return Hold(
        incident=incident.id,
        agents=tuple(sorted(incident.agents)),
        from_ns=min(begins, default=0) - DAY_NS,
        until_ns=incident.resolved_ns or LATEST_NS,
        traces=tuple(sorted({finding.trace_id for finding in incident.findings if finding.trace_id})),
    )
