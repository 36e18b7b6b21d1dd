"""The list of incidents, kept ready: a line is made anew only when something about its incident was written down."""

from collections.abc import Callable
from typing import Any

from andoncord.engine.queries import summary
from andoncord.engine.state import State
from andoncord.incident.incident import Incident
from andoncord.kernel.time import seconds_between


class Listing:
    """Lines for one state after another; the engine may replace its state.

    Args:
        state: the engine's state, read anew each time.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state
        self._of: State | None = None
        self._sorted: dict[str, tuple[int, list[str]]] = {}
        self._lines: dict[str, tuple[int, dict[str, Any]]] = {}

    def ids(self, wanted: str = "all") -> list[str]:
        """Incidents, the worst and newest first. The list is not to be changed.

        Args:
            wanted: `open`, `all`, or one word of `IncidentState`.
        """
        state = self._known()
        seq, known = self._sorted.get(wanted, (-1, []))
        if seq == state.seq:
            return known
        places = state.index.places
        if wanted == "all":
            chosen = list(state.incidents)
        elif wanted == "open":
            chosen = [incident for incident, place in places.items() if place[0]]
        else:
            chosen = [incident.id for incident in state.incidents.values() if incident.state.value == wanted]
        chosen.sort(key=places.__getitem__, reverse=True)
        self._sorted[wanted] = (state.seq, chosen)
        return chosen

    def lines(self, ids: list[str], *, now: int) -> list[dict[str, Any]]:
        """The lines of these incidents. They are not to be changed."""
        state = self._known()
        found: list[dict[str, Any]] = []
        for incident_id in ids:
            incident = state.incidents[incident_id]
            changed = state.index.changed.get(incident_id, 0)
            made, line = self._lines.get(incident_id, (-1, {}))
            if made != changed or _depends_on_more(incident):
                line = summary(state, incident, now=now)
                self._lines[incident_id] = (changed, line)
            found.append({**line, "age_s": round(seconds_between(incident.opened_ns, now), 3)})
        return found

    def _known(self) -> State:
        """The state; what was kept of another one is dropped."""
        state = self._state()
        if state is not self._of:
            self._of, self._lines, self._sorted = state, {}, {}
        return state


def _depends_on_more(incident: Incident) -> bool:
    """Whether a person is awaited may depend on the time and on other incidents: the playbook limits how often it recovers."""
    return incident.is_open and incident.plan is not None and any(step["do"] == "recover" for step in incident.steps)
