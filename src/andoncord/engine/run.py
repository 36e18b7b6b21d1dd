"""The engine's shell: writes decisions down, performs what was decided, writes down what came of it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from andoncord.engine.advance import advance
from andoncord.engine.decide import decide
from andoncord.engine.expiry import next_expiry_ns
from andoncord.engine.facts import Fact, OncallLoaded, PlaybooksLoaded, ReceiptArrived, SystemNoted, TimePassed
from andoncord.engine.paging import next_notice_ns
from andoncord.engine.replaying import apply, replay
from andoncord.engine.state import Intent, State
from andoncord.kernel.effect import EffectKind, Outcome, Receipt
from andoncord.kernel.errors import CallerError
from andoncord.kernel.journal import Draft, Entry, extend
from andoncord.kernel.ports import Carrier, Clock, JournalStore, Performer
from andoncord.kernel.time import SECOND_NS, Instant
from andoncord.respond.oncall import Escalation
from andoncord.respond.playbook import Playbook
from andoncord.respond.steps import KINDS

CONTAINMENT = frozenset(
    {
        EffectKind.ORDER,
        EffectKind.CAPTURE,
        EffectKind.TERMINATE,
        EffectKind.VERIFY,
        EffectKind.REVOKE,
        EffectKind.POLICIES,
        EffectKind.NOTIFY,
    }
)
"""Effects that no carrier stands before: the journal carries them alone, so that nothing delays them (decision 9).

Pages are no containment, and nothing may delay them either."""
TIMED = (EffectKind.WAIT, EffectKind.ASK)
"""Effects that are due when their time has come."""
MAX_ROUNDS = 100
"""Rounds of `advance` after one fact. A chain this long is a bug in the playbooks, not work."""
GRACE_S = 5.0
"""How long past its deadline an effect may take before the engine gives up on it."""
TIME_STEP_S = 0.5
"""How often the engine looks whether an order's time is over."""
SUBSCRIBER_BUFFER = 1_000
"""Entries waiting for a slow subscriber; then the subscriber is dropped and starts over from the journal."""


def take(state: State, fact: Fact, *, now: int, playbooks: Sequence[Playbook]) -> tuple[Entry, ...]:
    """Decide about `fact`, follow everything that follows from it, and advance `state`.

    The caller makes the entries durable before any effect is performed. Pure but for `state`.

    Raises:
        CallerError: from a person's wish; `state` is then unchanged.
    """
    return _follow(state, decide(state, fact, playbooks=playbooks), now=now, touched={})


def catch_up(state: State, *, now: int) -> tuple[Entry, ...]:
    """What follows from `state` without any fact: after a restart, the steps that a crash kept from being written down."""
    return _follow(state, advance(state), now=now, touched=None)


def _follow(state: State, drafts: tuple[Draft, ...], *, now: int, touched: dict[str, None] | None) -> tuple[Entry, ...]:
    """Apply `drafts` and what follows from them. `touched` collects the incidents to look at; None looks at all."""
    entries: list[Entry] = []
    for _ in range(MAX_ROUNDS):
        if not drafts:
            return tuple(entries)
        for draft in drafts:
            (entry,) = extend(state.head, [draft], now=now)
            apply(state, entry)
            entries.append(entry)
            if touched is not None:
                touched[entry.incident] = None
        drafts = advance(state, touched)
    raise AssertionError(f"the engine did not come to rest after {MAX_ROUNDS} rounds: {drafts[0].kind}")


class Engine:
    """One per installation. All methods run on one event loop.

    Args:
        journal: where decisions become durable.
        clock: where `now` comes from.
        performers: who carries out each kind of effect.
        playbooks: what is done for which incidents.
        carrier: carries what is no containment; without one everything is carried by the journal alone.
        escalation: who is told first and who next; None where nobody is.
        tracker: where tickets go that do not say where; empty for nowhere.

    Raises:
        CallerError: a playbook has a step that nobody performs.
    """

    def __init__(
        self,
        *,
        journal: JournalStore,
        clock: Clock,
        performers: Mapping[EffectKind, Performer],
        playbooks: Sequence[Playbook],
        carrier: Carrier | None = None,
        escalation: Escalation | None = None,
        tracker: str = "",
    ) -> None:
        self._carrier = carrier
        self._escalation = escalation
        self._tracker = tracker
        self._journal = journal
        self._clock = clock
        self._performers = performers
        refuse_unperformed(playbooks, performers)
        self._playbooks = tuple(playbooks)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._subscribers: set[asyncio.Queue[Entry | None]] = set()
        self._turn = asyncio.Lock()
        self.state: State = replay(journal.read())

    async def submit(self, fact: Fact) -> tuple[Entry, ...]:
        """Take a fact: when this returns, what was decided is durable and its effects are under way.

        Raises:
            CallerError: a person's wish cannot be granted.
        """
        async with self._turn:
            before = self.state.seq
            try:
                entries = take(self.state, fact, now=self._clock.now(), playbooks=self._playbooks)
            except BaseException as error:
                if not isinstance(error, CallerError) or self.state.seq != before:
                    self.state = replay(self._journal.read())
                raise
            self._keep(entries)
        return entries

    async def submit_all(self, facts: Sequence[Fact]) -> tuple[Entry, ...]:
        """Take several facts that came together, with one write: what the world says, never what a person asks for.

        When it raises, none of them was taken.
        """
        async with self._turn:
            entries: list[Entry] = []
            try:
                for fact in facts:
                    entries += take(self.state, fact, now=self._clock.now(), playbooks=self._playbooks)
            except BaseException:
                self.state = replay(self._journal.read())
                raise
            self._keep(tuple(entries))
        return tuple(entries)

    async def is_turning(self) -> bool:
        """Wait for a turn as a fact would; whether the journal then ends where the state does."""
        async with self._turn:
            head = self._journal.head()
            return (head.seq if head else 0) == self.state.seq

    async def resume(self) -> int:
        """After a start: write down what a crash kept from being written, and perform again every effect without a receipt.

        Performers are idempotent by the effect's key. The playbooks are written down when they are not those of the last start.
        Returns the number of effects performed again.
        """
        await self.submit(OncallLoaded(escalation=self._escalation, tracker=self._tracker))
        await self.submit(PlaybooksLoaded(playbooks=self._playbooks))
        async with self._turn:
            left_over = [self.state.intents[intent] for intent in self.state.outstanding]
            self._keep(catch_up(self.state, now=self._clock.now()))
            for intent in left_over:
                self._start(intent, again=True)
        return len(left_over)

    async def keep_time(self) -> None:
        """End orders whose time is over and page who is next, within a second of it. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(TIME_STEP_S)
            due_ns = next_due_ns(self.state)
            while due_ns is not None and due_ns <= self._clock.now():
                if not await self.submit(TimePassed(now_ns=self._clock.now())):
                    break
                due_ns = next_due_ns(self.state)

    async def settle(self) -> None:
        """Wait until no effect is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values())

    async def stop(self) -> None:
        """Drop what is under way; it is performed again at the next start."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for queue in self._subscribers:
            _end(queue)

    async def subscribe(self) -> AsyncIterator[Entry]:
        """Entries from now on. Ends when the engine stops or when the subscriber is too slow."""
        queue: asyncio.Queue[Entry | None] = asyncio.Queue(SUBSCRIBER_BUFFER)
        self._subscribers.add(queue)
        try:
            while (entry := await queue.get()) is not None:
                yield entry
        finally:
            self._subscribers.discard(queue)

    def _keep(self, entries: tuple[Entry, ...]) -> None:
        """Make entries durable, then perform and tell. If they cannot be made durable, the state goes back to the journal's."""
        if not entries:
            return
        try:
            self._journal.append(entries)
        except BaseException:
            self.state = replay(self._journal.read())
            raise
        for entry in entries:
            if entry.kind == "intent.issued":
                self._start(self.state.intents[entry.body["intent"]])
            elif entry.kind == "receipt.recorded" and entry.by.startswith("person:"):
                self._drop(self.state.intents[entry.body["receipt"]["intent"]])
            for queue in tuple(self._subscribers):
                if queue.full():
                    self._subscribers.discard(queue)
                    _end(queue)
                else:
                    queue.put_nowait(entry)

    def _start(self, intent: Intent, *, again: bool = False) -> None:
        if self._carrier is not None and intent.effect.kind not in CONTAINMENT:
            until_ns = intent.effect.parameters.get("until_ns", 0) if intent.effect.kind in TIMED else 0
            wait_s = max(0.0, (until_ns - self._clock.now()) / SECOND_NS)
            self._carrier.carry(intent.id, run=run_of(intent), wait_s=wait_s, again=again)
        elif intent.id not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._perform(intent), name=f"effect {intent.id}")
            self._tasks[intent.id] = task
            task.add_done_callback(lambda _: self._tasks.pop(intent.id, None))

    def _drop(self, intent: Intent) -> None:
        """Stop carrying what a person has cancelled. The receipt is written, so that whatever still comes of it is not."""
        if task := self._tasks.get(intent.id):
            task.cancel()
        elif self._carrier is not None:
            self._carrier.drop(run_of(intent))

    async def _perform(self, intent: Intent) -> None:
        """Perform one effect and submit its receipt."""
        await self.record(await self.perform(intent.id))

    def now(self) -> Instant:
        """The time, for whoever carries effects."""
        return self._clock.now()

    async def record(self, receipt: Receipt) -> None:
        """Write a receipt down, unless its intent has one."""
        await self.submit(ReceiptArrived(receipt=receipt))

    async def note(self, what: str, detail: dict[str, Any]) -> None:
        """Write down something about the carrying of effects."""
        await self.submit(SystemNoted(what=what, detail=detail))

    async def perform(self, intent_id: str) -> Receipt:
        """Perform one effect. A performer that breaks or overruns gives a FAILED receipt, never none.

        What has a receipt is not performed again: the receipt is returned.
        """
        intent = self.state.intents[intent_id]
        if intent.receipt is not None:
            return intent.receipt
        performer = self._performers.get(intent.effect.kind)
        limit_s = intent.effect.deadline_ms / 1_000 + GRACE_S
        try:
            if performer is None:
                raise LookupError(f"nobody performs {intent.effect.kind.value}")
            async with asyncio.timeout(limit_s):
                return await performer.perform(intent.id, intent.effect)
        except TimeoutError:
            return self._failed(intent, f"no answer within {limit_s:g} s")
        except Exception as error:
            return self._failed(intent, f"{type(error).__name__}: {error}")

    def _failed(self, intent: Intent, why: str) -> Receipt:
        return Receipt(intent=intent.id, outcome=Outcome.FAILED, at_ns=self._clock.now(), detail={"missing": why})


def next_due_ns(state: State) -> int | None:
    """When something is due that only the time brings; None when nothing is."""
    return min(filter(None, (next_expiry_ns(state), next_notice_ns(state), state.approvals.next_end_ns)), default=None)


def run_of(intent: Intent) -> str:
    """What the carrying of an intent is called: another journal may use the same id for something else."""
    return f"{intent.id}@{intent.issued_ns}"


def refuse_unperformed(playbooks: Sequence[Playbook], performers: Collection[EffectKind]) -> None:
    """See that every step of every playbook has somebody who performs it.

    Raises:
        CallerError: one has not.
    """
    for playbook in playbooks:
        for step in playbook.steps:
            effect = KINDS[step.do].effect
            if effect is not None and effect not in performers:
                raise CallerError(
                    f"nobody performs the step {step.do!r}", place=f"playbook {playbook.id}", remedy="leave it out"
                )


def _end(queue: asyncio.Queue[Entry | None]) -> None:
    """End a subscription. Where there is no room for the end, all that waits is left out: what was handed over has no gap."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
    queue.put_nowait(None)
