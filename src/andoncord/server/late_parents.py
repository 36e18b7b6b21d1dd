"""Looks into the store for steps whose parent came in a later request, so that they are found under the agent that did them."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from andoncord.detect.ports import TelemetryWriter
from andoncord.telemetry.ancestry import Ancestry, Correction, corrections
from andoncord.telemetry.event import Event

logger = logging.getLogger(__name__)

TRACES_AT_ONCE = 200
EVENTS_AT_ONCE = 20_000
"""Read of the store for one look. A trace that has more is corrected where its latest so many events say enough."""


class LateParents:
    """Used by the one thread that reads out the log."""

    def __init__(self, writer: TelemetryWriter) -> None:
        self._writer = writer
        self._ancestry = Ancestry()
        self._forgot_told = 0

    def remember(self, events: Iterable[Event], *, since_ns: int, limit: int) -> Iterator[Event]:
        """Pass on what the store kept, and know it afterwards: everything received since an instant, or the last `limit`.

        Where there was more, what came before counts as unknown: it is looked up when it matters.
        """
        count = last_ns = 0
        # What came in one request was received at one instant.
        for received_ns, request in groupby(events, key=lambda event: event.received_ns):
            group = list(request)
            last_ns = max(last_ns, received_ns)
            count += len(group)
            self._ancestry.observe(group, now=received_ns)
            yield from group
        self._ancestry.known_since_ns = last_ns if count >= limit else since_ns

    def observe(self, events: Iterable[Event], *, now: int) -> None:
        """The new events of one request."""
        self._ancestry.observe(events, now=now)

    def look(self, now: int) -> list[Correction]:
        """What to correct now. A fault is told and costs this look alone."""
        traces = self._ancestry.due(now, limit=TRACES_AT_ONCE)
        if self._ancestry.forgot > self._forgot_told:
            logger.warning(
                "%d traces were not looked at again, too many waited: steps of theirs may go by the name of their service",
                self._ancestry.forgot - self._forgot_told,
            )
            self._forgot_told = self._ancestry.forgot
        if not traces:
            return []
        try:
            return self._corrections(traces)
        except Exception:
            logger.exception("%d traces could not be looked at again", len(traces))
            return []

    def _corrections(self, traces: Sequence[str]) -> list[Correction]:
        stored = self._writer.of_traces(traces, limit=EVENTS_AT_ONCE)
        if len(stored) < EVENTS_AT_ONCE or len(traces) == 1:
            return corrections(stored)
        return [found for trace in traces for found in self._corrections([trace])]
