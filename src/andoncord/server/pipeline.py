"""From the ingest log to events and findings: in order, each batch exactly once in effect."""

import logging
from collections.abc import Callable, Iterable, Sequence
from threading import Thread

import msgspec

from andoncord.detect.bank import Bank
from andoncord.detect.finding import Finding
from andoncord.detect.ports import TelemetryWriter
from andoncord.kernel.time import HOUR_NS, MINUTE_NS, SECOND_NS
from andoncord.server.figures import FigureTeller
from andoncord.server.inbox import Inbox
from andoncord.server.late_parents import LateParents
from andoncord.server.ports import Memory, ServerClock
from andoncord.server.prepare import Answer, decode
from andoncord.telemetry.ancestry import Correction
from andoncord.telemetry.batch import Batch, Beat, LedgerLine, Signal, beats_of, event_key, unpack_body
from andoncord.telemetry.block import Block, digests_in
from andoncord.telemetry.event import Event
from andoncord.telemetry.fleet import FleetMap, load
from andoncord.telemetry.otlp import Decoded
from andoncord.telemetry.prices import Pricing

logger = logging.getLogger(__name__)

TICK_S = 0.25
GRACE_NS = 5 * SECOND_NS
"""After a start the absence rules wait this long: whoever was sending while we were away gets time to be heard again."""
REBUILD_NS = HOUR_NS
REBUILD_EVENTS = 100_000
FLEET_EVERY_NS = SECOND_NS
FORGET_EVERY_NS = HOUR_NS
"""How often processes are forgotten that the store forgot, which does so after a day."""
KEEP_EVERY_NS = MINUTE_NS
"""How often what detectors have learned is kept; the hour of events that is replayed covers what came since."""
LOOK_REST = 3
"""While batches wait, after a look at traces whose parents came later, so many times as long until the next: a quarter of the
thread's time. What comes meanwhile is looked at together."""
LARGE_BLOCK = 256
"""Events of a block that is kept as it came. Smaller ones of a group are put together: few rows of the tail to look at."""
NO_PRICES = Pricing(())


class Pipeline:
    """Reads the log in order on a thread of its own, runs the detectors, and records what came of it.

    A group of batches is one transaction: its events, the findings they led to, and the place in the log. A crash in between
    repeats the group, and keys keep anything from counting twice.

    Args:
        on_findings: called from the thread after new findings were recorded.
        on_failure: called once, from the thread, when it cannot go on.
        pricing: puts a cost on model calls whose emitter sends none.
        memory: keeps what detectors have learned over a restart; without one they begin anew.
        on_figures: gets the worker's figures about itself every few seconds, from the thread.
    """

    def __init__(
        self,
        *,
        writer: TelemetryWriter,
        bank: Bank,
        clock: ServerClock,
        on_findings: Callable[[], None],
        on_failure: Callable[[], None],
        pricing: Pricing = NO_PRICES,
        memory: Memory | None = None,
        on_figures: Callable[[bytes], None] | None = None,
    ) -> None:
        self._memory = memory
        self._to_keep: list[str] = []
        self._kept_ns = 0
        self._writer = writer
        self._pricing = pricing
        self._bank = bank
        self._clock = clock
        self._on_findings = on_findings
        self._on_failure = on_failure
        self._inbox = Inbox(writer, lambda batch: decode(batch, unpack_body(batch.body_gz)))
        self._stopping = False
        self.has_failed = False
        """The thread ended because something broke."""
        self._beats: dict[tuple[str, str, bool], Beat] = {}
        self._beats_ns = 0
        """When they were last read from the store."""
        self._fleet = FleetMap()
        self._fleet_kept_ns = 0
        self._late = LateParents(writer)
        self._look_at_ns = 0
        self._figures = FigureTeller(on_figures)
        self._started_ns = clock.now()
        self._faults_told: set[str] = set()
        self._thread = Thread(target=self._run, name="pipeline", daemon=True)

    @property
    def backlog(self) -> int:
        """Batches appended but not yet read out."""
        return self._inbox.backlog

    @property
    def is_full(self) -> bool:
        """Whether senders had better wait a moment: what comes now would be decoded twice."""
        return self._inbox.is_full

    def start(self) -> None:
        """Bring the detectors to where they were, and begin to read."""
        self._thread.start()

    def offer(self, batch: Batch, said: Decoded | Answer) -> None:
        """Say that a batch is in the log, and hand over what was already read of it."""
        self._inbox.offer(batch, said)

    def stop(self, *, deadline_s: float) -> None:
        """Finish the batch at hand and end the thread."""
        self._stopping = True
        self._inbox.stop()
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def _run(self) -> None:
        try:
            self._rebuild()
            while not self._stopping:
                if not self._read_some():
                    self._tick()
                    self._inbox.wait(TICK_S)
                self._correct()
                self._keep()
                now = self._clock.now()
                if now - self._beats_ns >= FORGET_EVERY_NS:
                    self._know_processes()
                self._figures.look(now=now, alarms=self._bank.budget, rules_at_fault=len(self._bank.faults))
            self._keep(everything=True)
            self._fleet_kept_ns = 0
            if self._is_fleet_due(self._clock.now()):
                self._record(seq=None, events=(), findings=(), beats=(), ledger=())
        except Exception:
            logger.exception("reading out the ingest log failed")
            self.has_failed = True
            self._on_failure()

    def _rebuild(self) -> None:
        """Show the detectors the events of the last hour again. What they found then is recorded already."""
        self._know_processes()
        self._fleet = FleetMap(load(self._writer.fleet()))
        if self._memory is not None:
            for rule, why in self._bank.recall(self._memory.kept()).items():
                logger.warning("rule %s learns anew: what it had learned cannot be used, %s", rule, why)
        since_ns = self._started_ns - REBUILD_NS
        recent = self._writer.recent_events(after_ns=since_ns, limit=REBUILD_EVENTS)
        self._bank.replay(self._late.remember(recent, since_ns=since_ns, limit=REBUILD_EVENTS))

    def _know_processes(self) -> None:
        """Know of the processes that the store knows. It has every sign of life, and forgets those that others came after."""
        self._beats = {(beat.agent, beat.instance, beat.trusted): beat for beat in self._writer.beats()}
        self._beats_ns = self._clock.now()

    def _keep(self, *, everything: bool = False) -> None:
        """Keep what one detector has learned, each in its turn, so that none of them holds up the others for long."""
        if self._memory is None:
            return
        now = self._clock.now()
        if everything or (not self._to_keep and now - self._kept_ns >= KEEP_EVERY_NS):
            self._to_keep, self._kept_ns = list(self._bank.learning), now
        for rule in self._to_keep if everything else self._to_keep[:1]:
            try:
                self._memory.keep(rule, self._bank.remember(rule))
            except OSError as error:
                logger.warning("what rule %s has learned could not be kept: %s", rule, error)
        self._to_keep = [] if everything else self._to_keep[1:]

    def _read_some(self) -> bool:
        """Read out a group of batches; False when there was none."""
        group = self._inbox.take()
        if group:
            self._read([(batch, decoded if decoded.block else self._priced(decoded)) for batch, decoded in group])
        return bool(group)

    def _priced(self, decoded: Decoded) -> Decoded:
        return msgspec.structs.replace(decoded, events=self._pricing.priced(decoded.events))

    def _read(self, group: Sequence[tuple[Batch, Decoded]]) -> None:
        """Everything that a group of batches leads to, in one transaction."""
        keyed = [pair for _, decoded in group for pair in _keyed(decoded)]
        fresh = self._writer.unknown(keyed)
        has_known = len(fresh) < len(keyed)
        is_fresh = {id(event) for _, event in fresh} if has_known else ()
        ledger: list[LedgerLine] = []
        blocks: list[Block] = []
        loose: list[tuple[bytes, Event]] = []
        for batch, decoded in group:
            new = [event for event in decoded.events if id(event) in is_fresh] if has_known else decoded.events
            ledger += _ledger(batch.signal, decoded, stored=len(new))
            self._late.observe(new, now=batch.received_ns)
            block = decoded.block if len(new) == len(decoded.events) else None
            if block is not None and (block.rows >= LARGE_BLOCK or len(group) == 1):
                blocks.append(block)
            else:
                loose += [pair for pair in _keyed(decoded) if not has_known or id(pair[1]) in is_fresh]
        fresh.sort(key=lambda pair: pair[1].at_ns)
        findings: list[Finding] = []
        for _, event in fresh:
            findings.extend(self._bank.observe(event))
        self._tell_faults()
        self._fleet.observe([event for _, event in fresh])
        last = group[-1][0].seq
        beats = self._freshen([event for _, event in fresh])
        self._record(seq=last, events=loose, blocks=blocks, findings=findings, beats=beats, ledger=ledger)
        self._inbox.done(last)
        self._figures.detected(received_ns=group[0][0].received_ns, now=self._clock.now())

    def _correct(self) -> None:
        """Store steps again whose parents came later and name another agent; detectors have judged them by the first name."""
        began = self._clock.monotonic_ns()
        if began < self._look_at_ns and self._inbox.backlog:
            return
        found = self._late.look(self._clock.now())
        if found:
            self._store_again(found)
        ended = self._clock.monotonic_ns()
        self._look_at_ns = ended + (ended - began) * LOOK_REST

    def _store_again(self, found: Sequence[Correction]) -> None:
        unheard = self._fleet.take_back([each.before for each in found])
        corrected = [each.after for each in found]
        self._fleet.observe(corrected)
        self._beats = {key: beat for key, beat in self._beats.items() if key[0] not in unheard}
        # With the events, so that a crash does not leave an agent on the map that there never was.
        self._fleet_kept_ns = 0
        self._record(
            seq=None,
            events=(),
            findings=(),
            beats=self._freshen(corrected),
            ledger=(),
            corrected=[(each.place, event_key(each.before), each.after) for each in found],
            unheard=unheard,
        )

    def _tell_faults(self) -> None:
        """Say once what a detector stumbled over."""
        for rule, fault in self._bank.faults.items():
            if rule not in self._faults_told:
                self._faults_told.add(rule)
                logger.error("rule %s: %s", rule, fault)

    def _tick(self) -> None:
        now = self._clock.now()
        if now - self._started_ns < GRACE_NS:
            return
        findings = self._bank.tick(now)
        if findings or self._is_fleet_due(now):
            self._record(seq=None, events=(), findings=findings, beats=(), ledger=())

    def _record(
        self,
        *,
        seq: int | None,
        events: Sequence[tuple[bytes, Event]],
        blocks: Sequence[Block] = (),
        findings: Sequence[Finding],
        beats: Sequence[Beat],
        ledger: Sequence[LedgerLine],
        corrected: Sequence[tuple[int, bytes, Event]] = (),
        unheard: Sequence[str] = (),
    ) -> None:
        now = self._clock.now()
        fleet: Sequence[tuple[str, bytes]] = ()
        if self._is_fleet_due(now):
            fleet, self._fleet_kept_ns = self._fleet.take_rows(), now
        new = self._writer.record(
            seq=seq,
            events=events,
            blocks=blocks,
            findings=findings,
            beats=beats,
            ledger=ledger,
            now_ns=now,
            fleet=fleet,
            corrected=corrected,
            unheard=unheard,
        )
        if new:
            self._on_findings()

    def _is_fleet_due(self, now: int) -> bool:
        """Whether what was seen of the fleet is to be kept: at fleets of thousands, every group would be too often."""
        return self._fleet.has_changed and now - self._fleet_kept_ns >= FLEET_EVERY_NS

    def _freshen(self, events: Sequence[Event]) -> list[Beat]:
        """The signs of life that these events changed."""
        changed: dict[tuple[str, str, bool], Beat] = {}
        for beat in beats_of(events):
            key = (beat.agent, beat.instance, beat.trusted)
            self._beats[key] = changed[key] = _later(self._beats.get(key), beat)
        return list(changed.values())


def _keyed(decoded: Decoded) -> Iterable[tuple[bytes, Event]]:
    """The events of a request with their keys."""
    if decoded.block is not None:
        return zip(digests_in(decoded.block.keys), decoded.events, strict=True)
    return [(event_key(event), event) for event in decoded.events]


def _later(known: Beat | None, heard: Beat) -> Beat:
    """What is known of a process after hearing from it once more; the state it reported stays that of its last heartbeat."""
    if known is None:
        return heard
    last_seen_ns = max(known.last_seen_ns, heard.last_seen_ns)
    reported = heard if heard.heartbeat_ns > known.heartbeat_ns else known
    return msgspec.structs.replace(reported, last_seen_ns=last_seen_ns)


def _ledger(signal: Signal, decoded: Decoded, *, stored: int) -> list[LedgerLine]:
    """The ledger's lines for one batch; they add up by construction."""
    lines = [
        LedgerLine(signal=signal, outcome="accepted", count=decoded.seen),
        LedgerLine(signal=signal, outcome="stored", count=stored),
        LedgerLine(signal=signal, outcome="duplicate", count=len(decoded.events) - stored),
        *(
            LedgerLine(signal=signal, outcome="rejected", reason=rejection.reason, count=rejection.count)
            for rejection in decoded.rejected
        ),
    ]
    return [line for line in lines if line.count]
