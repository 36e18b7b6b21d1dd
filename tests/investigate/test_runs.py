"""The runs of an agent, by the page."""

import pytest

from andoncord.investigate.runs import Place, page, runs
from andoncord.kernel.errors import CallerError
from andoncord.telemetry.event import Event, EventKind


def began(run: str, at_ns: int) -> Event:
    """The start of a run."""
    return Event(kind=EventKind.RUN_STARTED, run_id=run, trace_id=run, start_ns=at_ns)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_pages_have_every_run_once_and_in_order(limit: int) -> None:
    """Also where several runs began at the same moment, and where newer ones are recorded between two pages."""
    events = [began(f"r{number:02}", 1_000 + number // 3) for number in range(23)]
    whole = [run.run_id for run in runs(events)]
    seen: list[str] = []
    after: Place | None = None
    while True:
        shown, after = page(runs(events), until_ns=5_000, limit=limit, after=after)
        seen += [run.run_id for run in shown]
        if after is None:
            break
        assert after.until_ns == 5_000
        after = Place.read(str(after))
        events.append(began(f"new{len(events)}", 2_000 + len(events)))
    assert seen == whole


@pytest.mark.parametrize("text", ["5", "1-2-x", "1-2--3", "9" * 20 + "-1-1", "1-2-3;rm"])
def test_what_is_no_place_is_refused(text: str) -> None:
    """It comes from a command line."""
    with pytest.raises(CallerError, match="no place"):
        Place.read(text)
