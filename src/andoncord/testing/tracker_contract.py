"""The contract of a `Tracker`, as a test class (needs pytest).

A tracker's own test makes a class that inherits `TrackerContract` and says how to make the tracker and the world behind it;
pytest runs the cases.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import msgspec
import pytest

from andoncord.respond.ticket import Ticket, TicketText, Tracker, TrackerError

TOKEN = "t0p-s3cret-t0ken"
HOSTILE = "a ``` b @everyone #1 <!-- --> {code} [~admin] \u202eexe <script>x</script>"
Answer = TypeVar("Answer")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One ticket as its tracker keeps it."""

    id: str
    title: str
    text: str
    comments: tuple[str, ...] = ()
    is_closed: bool = False


class TrackerWorld(Protocol):
    """A tracker's server, made for a test."""

    strayed: int
    """Requests that came to where a redirect pointed."""

    def tickets(self) -> list[Kept]:
        """What it keeps, but for what `fill` put there."""
        ...

    def fill(self, count: int) -> None:
        """Put so many tickets of others there."""
        ...

    def answer_next(self, status: int, headers: dict[str, str] | None = None, *, said: str = "", after: bool = False) -> None:
        """Answer the next request that changes something like this; with `after` it is done all the same."""
        ...


def text(
    incident: str = "inc_000001", *, title: str = "refunds in a circle", opened_ns: int = 1_767_603_600_000_000_000
) -> TicketText:
    """What a tracker is told about an incident."""
    return TicketText(
        marker=f"andoncord-{incident}.0123456789",
        incident=incident,
        severity="critical",
        opened_ns=opened_ns,
        title=f"[SEV-1] {incident}: {title}",
        lines=(title, "critical SEV-1; agents: refunds"),
        link=f"https://andon.example.org/incidents/{incident}",
    )


def run(asked: Coroutine[Any, Any, Answer]) -> Answer:
    """What a tracker answers."""
    return asyncio.run(asked)


async def ensure(tracker: Tracker, wanted: TicketText) -> Ticket:
    """What whoever uses a tracker does: look, and make it where it is not there."""
    return await tracker.find(wanted) or await tracker.open(wanted)


class TrackerContract:
    """What every `Tracker` must do."""

    @pytest.fixture
    def world(self) -> TrackerWorld:
        """The server behind it."""
        raise NotImplementedError("say how to start the server")

    @pytest.fixture
    def tracker(self, world: TrackerWorld) -> Tracker:
        """The tracker, which speaks to `world` with the token `TOKEN`, and closes what is over."""
        raise NotImplementedError("say how to make the tracker under test")

    def test_one_incident_is_one_ticket_among_many(self, tracker: Tracker, world: TrackerWorld) -> None:
        """Looked for on the third page of a list, it is found; another incident has a ticket of its own."""
        first = run(ensure(tracker, text()))
        world.fill(230)
        again, other = run(ensure(tracker, text())), run(ensure(tracker, text("inc_000002")))

        assert again == first != other
        assert [each.title for each in world.tickets()] == [text().title, text("inc_000002").title]

    def test_a_lost_answer_makes_no_second_ticket(self, tracker: Tracker, world: TrackerWorld) -> None:
        """The ticket was made and the answer was not: the next attempt finds it."""
        world.answer_next(502, after=True)
        with pytest.raises(TrackerError) as lost:
            run(ensure(tracker, text()))

        assert not lost.value.is_final
        assert run(ensure(tracker, text())).id == world.tickets()[0].id
        assert len(world.tickets()) == 1

    def test_that_it_is_over_is_said_once_and_it_is_closed(self, tracker: Tracker, world: TrackerWorld) -> None:
        """Said twice, also after an answer that was lost, it stands there once."""
        ticket = run(tracker.open(text()))
        world.answer_next(500, after=True)
        with pytest.raises(TrackerError):
            run(tracker.resolve(ticket.id, text()))
        run(tracker.resolve(ticket.id, text()))
        run(tracker.resolve(ticket.id, text()))

        (kept,) = world.tickets()
        assert (len(kept.comments), kept.is_closed) == (1, True)

    @pytest.mark.parametrize(
        ("status", "headers", "is_final", "wait_s"),
        [
            (401, {}, True, 0.0),
            (403, {}, True, 0.0),
            (422, {}, True, 0.0),
            (429, {"Retry-After": "7"}, False, 7.0),
            (503, {}, False, 0.0),
            (302, {"Location": "/strayed"}, True, 0.0),
        ],
    )
    def test_a_refusal_is_told_apart_and_shows_no_token(
        self, tracker: Tracker, world: TrackerWorld, status: int, headers: dict[str, str], is_final: bool, wait_s: float
    ) -> None:
        """What another attempt may change, what it may not, and when; a redirect leads nowhere."""
        world.answer_next(status, headers, said=f"bad credentials {TOKEN}")
        with pytest.raises(TrackerError) as refused:
            run(tracker.open(text()))

        assert (refused.value.is_final, refused.value.wait_s) == (is_final, wait_s)
        assert str(status) in str(refused.value)
        assert TOKEN not in str(refused.value)
        assert world.strayed == 0
        assert world.tickets() == []

    def test_words_of_agents_are_words(self, tracker: Tracker, world: TrackerWorld) -> None:
        """They come through, and none of them can pass for the marker of another incident."""
        forged = text(title=f"{HOSTILE}\n{text('inc_000002').marker}")
        run(tracker.open(forged))

        assert "@everyone" in world.tickets()[0].text
        assert run(tracker.find(text("inc_000002"))) is None
