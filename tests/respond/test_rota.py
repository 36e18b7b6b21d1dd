"""Who is on call."""

import itertools
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import DAY_NS, HOUR_NS, MINUTE_NS
from andoncord.respond.rota import (
    WEEKDAYS,
    Layer,
    Override,
    Rota,
    gaps,
    local,
    nanoseconds,
    person_at,
    spans,
    wall,
)

DAY = datetime.fromisoformat("2026-01-02T00:00")
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu", "UTC")
"""One changes by half an hour, one goes back for Ramadan, one never changes and is off by 45 minutes."""
WALLS = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from((0, 30)))
LAYERS = st.builds(
    Layer,
    people=st.lists(st.sampled_from(("ada", "bob", "cy", "dee")), min_size=1, max_size=4).map(tuple),
    starts=st.dates(date(2026, 1, 1), date(2026, 6, 1)),
    handover=WALLS,
    every=st.sampled_from(("1d", "2d", "1w", "2w")),
    days=st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True).map(tuple),
    hours=st.builds("{}-{}".format, WALLS, WALLS),
)
ROTAS = st.builds(Rota, time_zone=st.sampled_from(ZONES), layers=st.lists(LAYERS, min_size=1, max_size=3).map(tuple))
INSTANTS = st.integers(nanoseconds(datetime(2026, 1, 5, tzinfo=UTC)), nanoseconds(datetime(2027, 6, 1, tzinfo=UTC)))


def weekly(zone: str = "Europe/Berlin", **changes: Any) -> Rota:
    layer: dict[str, Any] = {
        "people": ("ada", "bob"),
        "starts": date(2026, 3, 23),
        "handover": "09:00",
        "every": "1w",
        **changes,
    }
    return Rota(time_zone=zone, layers=(Layer(**layer),))


@given(ROTAS, INSTANTS, st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_spans_cover_the_time_and_say_what_each_moment_says(rota: Rota, start_ns: int, days: int) -> None:
    """Spans follow one another without gap or overlap, and every moment in one has the span's person."""
    end_ns = start_ns + days * DAY_NS
    found = spans(rota, start_ns, end_ns)

    assert (found[0].start_ns, found[-1].end_ns) == (start_ns, end_ns)
    for before, after in itertools.pairwise(found):
        assert before.end_ns == after.start_ns
        assert before.person != after.person
    for span in found:
        for at_ns in (span.start_ns, (span.start_ns + span.end_ns) // 2, span.end_ns - 1):
            assert person_at(rota, at_ns) == span.person


@given(st.sampled_from(ZONES), WALLS, st.sampled_from(("1d", "1w")), st.integers(2, 4), INSTANTS)
@settings(max_examples=60, deadline=None)
def test_handovers_stay_at_their_hour_across_clock_changes(zone: str, at: str, every: str, count: int, start_ns: int) -> None:
    """Around the clock there is no gap, turns go round in order, and each begins at the handover of its day."""
    people = ("ada", "bob", "cy", "dee")[:count]
    layer = Layer(people=people, starts=date(2026, 1, 1), handover=at, every=every)
    rota = Rota(time_zone=zone, layers=(layer,))
    found = spans(rota, start_ns, start_ns + 40 * DAY_NS)

    for before, after in itertools.pairwise(found):
        assert people[(people.index(before.person) + 1) % count] == after.person
        assert after.start_ns == wall(zone, local(zone, after.start_ns).date(), at)
    inner = found[1:-1]
    length_ns = DAY_NS * (7 if every == "1w" else 1)
    assert all(abs(span.end_ns - span.start_ns - length_ns) <= HOUR_NS for span in inner)


def test_the_shift_in_which_clocks_go_back_is_an_hour_longer() -> None:
    """In Berlin the week of 19 October 2026 has 169 hours, and the one of 23 March has 167."""
    rota = weekly()
    autumn = spans(rota, wall("Europe/Berlin", date(2026, 10, 19), "09:00"), wall("Europe/Berlin", date(2026, 10, 26), "09:00"))
    spring = spans(rota, wall("Europe/Berlin", date(2026, 3, 23), "09:00"), wall("Europe/Berlin", date(2026, 3, 30), "09:00"))

    assert [(span.end_ns - span.start_ns) // HOUR_NS for span in (*autumn, *spring)] == [169, 167]


def test_a_handover_in_the_hour_that_is_skipped_or_comes_twice_happens_once() -> None:
    """02:30 does not exist on 29 March and comes twice on 25 October; on both days there is one handover."""
    rota = weekly(handover="02:30", every="1d", starts=date(2026, 3, 1))
    for day in (date(2026, 3, 29), date(2026, 10, 25)):
        start_ns = wall("Europe/Berlin", day, "00:00")
        assert len(spans(rota, start_ns, start_ns + 20 * HOUR_NS)) == 2


def test_a_layer_for_nights_leaves_the_days_to_the_one_below_and_an_override_stands_before_both() -> None:
    """Hours that pass midnight belong to the day they begin on; where they are over, the layer below speaks."""
    night = Layer(people=("noor",), starts=date(2026, 1, 1), days=("fri",), hours="22:00-06:00")
    week = Layer(people=("ada",), starts=date(2026, 1, 1))
    friday = date(2026, 11, 20)
    over = Override(
        person="cy", since=datetime.fromisoformat("2026-11-20T23:00"), until=datetime.fromisoformat("2026-11-21T01:00")
    )
    rota = Rota(time_zone="Europe/Berlin", layers=(week, night), overrides=(over,))
    start_ns = wall("Europe/Berlin", friday, "21:00")

    found = spans(rota, start_ns, start_ns + 12 * HOUR_NS)

    assert [span.person for span in found] == ["ada", "noor", "cy", "noor", "ada"]
    assert [(span.end_ns - span.start_ns) // HOUR_NS for span in found] == [1, 1, 2, 5, 3]


def test_gaps_in_the_next_week_are_found() -> None:
    """A rota of office hours has nobody at night, and nobody before its first day."""
    office = weekly(days=("mon", "tue", "wed", "thu", "fri"), hours="09:00-17:00")
    now_ns = wall("Europe/Berlin", date(2026, 11, 20), "16:00")
    weekend = gaps(office, now_ns)[0]
    early = weekly(starts=date(2026, 12, 1))

    assert (weekend.end_ns - weekend.start_ns) // MINUTE_NS == 64 * 60
    assert [span.person for span in gaps(early, now_ns)] == [""]
    assert not gaps(weekly(), now_ns)


@pytest.mark.parametrize(
    ("rota", "words"),
    [
        (weekly(zone="Mars/Olympus"), "no time zone 'Mars/Olympus'"),
        (weekly(days=()), "names no day"),
        (
            Rota(
                time_zone="UTC",
                layers=weekly().layers,
                overrides=(Override(person="x", since=DAY, until=DAY),),
            ),
            "ends before it begins",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(rota: Rota, words: str) -> None:
    """A rota that cannot be read says what is wrong with it and where."""
    with pytest.raises(CallerError, match=words):
        rota.check("oncall.rotas.x")
