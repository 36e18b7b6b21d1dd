"""The people in the chaos: a rota, an escalation, channels and a tracker of the world that outlives the processes.

The performers are the real ones, with their tables in the control database. A channel knows a repetition by its key, as mail
programs, PagerDuty and signed webhooks do; the tracker does not, so that a ticket that is opened twice is there twice.
"""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import date

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.deliveries import SqlDeliveries
from andoncord.adapters.sql.ledger import SqlEffectLedger
from andoncord.adapters.system.clock import SystemClock
from andoncord.engine.facts import PersonAsked, TimePassed
from andoncord.engine.state import State
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.ports import Performer
from andoncord.respond.notice import Delivery, Notice, Said
from andoncord.respond.oncall import Escalation, Level, Oncall, Person
from andoncord.respond.rota import Layer, Rota
from andoncord.respond.ticket import Ticket, TicketText
from andoncord.server.notices import NotifyPerformer
from andoncord.server.tickets import TicketPerformer

TRACKER = "tracker"
TOLD = "tell "
"""How the words begin in which the world keeps a message."""
ONCALL = Oncall(
    people={"ada": Person(channels=("mail", "pager")), "bob": Person(channels=("mail",))},
    rotas={"primary": Rota(time_zone="UTC", layers=(Layer(people=("ada",), starts=date(2026, 1, 1)),))},
    escalation=Escalation(levels=(Level(who=("primary",)), Level(who=("bob", "hook")))),
)
CHANNELS = ("mail", "pager", "hook")
ENOUGH = 3
"""Pages of one step: both levels, and the first again when the acknowledgement has grown stale."""
Mark = Callable[[str, str], None]
"""Something was done in the world: under which key, and in words."""


class MinedDeliveries(SqlDeliveries):
    """Deliveries with a point before and after each write."""

    def __init__(self, database: Database, pass_by: Callable[[], None]) -> None:
        super().__init__(database)
        self._pass_by = pass_by

    def queue(self, deliveries: Sequence[Delivery]) -> None:
        self._pass_by()
        super().queue(deliveries)
        self._pass_by()

    def save(self, delivery: Delivery) -> None:
        self._pass_by()
        super().save(delivery)
        self._pass_by()


class WorldChannel:
    """A channel whose receiver knows what it was sent; a point between the sending and writing that down."""

    def __init__(self, name: str, mark: Mark) -> None:
        self._name = name
        self._mark = mark

    async def send(self, notice: Notice, *, replies_to: str) -> Said:
        said = f"{TOLD}{self._name}: {notice.kind} {notice.facts.get('number') or ''}".strip()
        self._mark(f"{self._name} {notice.thread} {notice.key}", said)
        return Said(state="delivered", provider_id=f"{self._name}/{notice.key}")


class WorldTracker:
    """A tracker that makes a ticket each time it is asked to; a point after each."""

    def __init__(self, world: sqlite3.Connection, pass_by: Callable[[], None]) -> None:
        self._world = world
        self._pass_by = pass_by
        world.execute(
            "CREATE TABLE IF NOT EXISTS tickets (number INTEGER PRIMARY KEY, marker TEXT NOT NULL, over INTEGER NOT NULL)"
        )

    async def find(self, text: TicketText) -> Ticket | None:
        row = self._world.execute("SELECT number FROM tickets WHERE marker = ?", (text.marker,)).fetchone()
        return Ticket(id=str(row[0])) if row else None

    async def open(self, text: TicketText) -> Ticket:
        number = self._world.execute("INSERT INTO tickets (marker, over) VALUES (?, 0)", (text.marker,)).lastrowid
        self._pass_by()
        return Ticket(id=str(number))

    async def resolve(self, ticket: str, text: TicketText) -> None:
        self._world.execute("UPDATE tickets SET over = 1 WHERE number = ?", (ticket,))
        self._pass_by()

    async def check(self) -> None:
        """It is always there."""


def performers(
    database: Database, world: sqlite3.Connection, *, mark: Mark, pass_by: Callable[[], None]
) -> dict[EffectKind, Performer]:
    """Who tells people and trackers."""
    clock = SystemClock()
    return {
        EffectKind.NOTIFY: NotifyPerformer(
            oncall=ONCALL,
            channels={name: WorldChannel(name, mark) for name in CHANNELS},
            deliveries=MinedDeliveries(database, pass_by),
            clock=clock,
            chance=lambda: 0.0,
            link="",
        ),
        EffectKind.TICKET: TicketPerformer(
            {TRACKER: WorldTracker(world, pass_by)},
            ledger=SqlEffectLedger(database),
            clock=clock,
            chance=lambda: 0.0,
            link="",
            look_again_s=0.001,
        ),
    }


def sent(database: Database, state: State) -> dict[str, str]:
    """What became of every message: step, channel and person → state."""
    deliveries = SqlDeliveries(database)
    return {
        f"{intent.step} {each.channel} {each.person}".strip(): each.state
        for intent in state.intents.values()
        if intent.effect.kind is EffectKind.NOTIFY
        for each in deliveries.of_intent(intent.id)
    }


def tickets(world: sqlite3.Connection) -> list[tuple[str, int]]:
    """The tickets of the world: what each is about, and whether it says that it is over."""
    is_there = world.execute("SELECT 1 FROM sqlite_master WHERE name = 'tickets'").fetchone()
    rows = world.execute("SELECT over FROM tickets ORDER BY number").fetchall() if is_there else []
    return [("ticket", int(over)) for (over,) in rows]


def next_of(state: State) -> TimePassed | PersonAsked | None:
    """What happens next to whoever is told; None when everybody was asked, somebody answered, and that grew stale once.

    It follows from the state alone, so that a process that goes on does what the one before would have done.
    """
    book = state.notices
    if book.waiting:
        return TimePassed(now_ns=min(each.due_ns for each in book.waiting.values()))
    for page in book.pages.values():
        if page.due_ns is None or page.number >= ENOUGH:
            continue
        if page.number == ENOUGH - 1 and not page.acknowledged_ns:
            key = f"ack {page.incident} {page.step}"
            return PersonAsked(command="acknowledge", by="person:bob", incident=page.incident, key=key)
        return TimePassed(now_ns=page.due_ns)
    return None
