"""Who influences whom: what agents send on because of what they were sent, and circles in which that grows (DET-16).

The estimator counts. A run of an agent answers the newest message that came before it began and was not answered yet, in the
same trace where messages say theirs, and not more than `LAG_NS` ago; a message that no run began with is answered by the next
run that sends something. The *gain* of a step A → B → C is how many messages to C a message from A makes B send: those sent
in answer, over the messages from A that had their chance. Answers younger than the longest run of B so far are counted on
neither side, so that what is still to come neither hides growth nor makes it. The gain of the edge A → B is the sum over all C,
with the exact interval of a Poisson count (Garwood). The null: the runs of B are turned around the circle of time, by other
amounts each time, which leaves their rhythm and takes away what follows from what. The mean number of answers over the turns is
what chance makes, and is taken off; the p-value is the share of turns with as many. The gain of a circle of agents is the
product of its steps: above one, each round makes more messages than the one before. Its bounds are those of a product of means
(delta method on logarithms, with the variance that the counts themselves show, and no less than Poisson's). Where traces link
messages a circle is not held against the null: it is no chance that they are in one trace, and what grows cannot be turned.

What it cannot tell: two agents that act in one trace because a third told both of them look as if one caused the other.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import exp, inf, sqrt
from typing import NamedTuple

import msgspec

from andoncord.detect.cascade import highest, lowest
from andoncord.detect.profile import Draws
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event
from andoncord.telemetry.lineage import READS, WRITES, uses_of
from andoncord.telemetry.partners import LINKED, Partners

LAG_NS = 5 * MINUTE_NS
"""Longest time from a message to the beginning of its answer. Chosen: model calls take seconds, a few of them a minute."""
TURNS = 19
"""Turns around the circle: none of them reaching the truth is a p-value of 0.05."""
MIN_EFFECTS = 5
"""Messages in answer at each step of a circle, below which its bounds are unknown."""
LEVEL = 0.005
"""One-sided level of a circle's bounds, shared by its steps. As that of cascades, small because it is looked at often."""
BOUND = 2.576
"""Standard errors to a bound of that level."""
MAX_MESSAGES = 2_000
MAX_CIRCLE = 6
"""Agents of a circle that is looked for; longer ones show as shorter ones of which each agent is a part, or not at all."""
MAX_CIRCLES = 200
LEFT = "left data for"
"""How an agent reaches another through something both use: one wrote it, the other read it."""


class Message(NamedTuple):
    """Something that went from one agent to another."""

    sender: str
    receiver: str
    at_ns: int
    trace_id: str = ""
    span_id: str = ""
    how: str = ""
    run_id: str = ""
    """Of the sender."""


class Turn(NamedTuple):
    """A run of an agent, as far as it was seen."""

    agent: str
    run_id: str
    trace_id: str
    first_ns: int
    last_ns: int
    is_over: bool


class Influence(msgspec.Struct, frozen=True, kw_only=True):
    """One edge: what the receiver sends on because of the sender."""

    sender: str
    receiver: str
    how: tuple[str, ...]
    messages: int
    passed_on: int
    """Messages that the receiver sent because of these."""
    by_chance: float
    """The same where what it sends has nothing to do with what it gets: the mean over the turns."""
    gain: float
    at_least: float
    at_most: float
    p: float
    """Share of the turns that show as much, with the truth counted as one of them."""
    lag_s: float | None
    """The middle of the time from a message to what the receiver sends in answer; None where there is none."""


class Circle(msgspec.Struct, frozen=True, kw_only=True):
    """Agents that influence themselves through each other."""

    agents: tuple[str, ...]
    """In the order of influence; the last influences the first."""
    gain: float
    """Messages that one message makes by the time it is around."""
    at_least: float
    at_most: float | None
    """None with too few messages to say."""
    messages: int
    spans: tuple[str, ...] = ()
    first_ns: int = 0

    @property
    def is_growing(self) -> bool:
        """Each round makes more than the one before, beyond chance."""
        return self.at_least > 1.0


Step = tuple[str, str, str]


class _Answers(NamedTuple):
    """What one agent sends, and why."""

    effects: dict[tuple[str, str], int]
    """Sender to it, receiver from it → messages sent in answer."""
    squares: dict[tuple[str, str], int]
    """The same, squared message by message."""
    tries: dict[str, int]
    """Sender → its messages that had their answer, or none in time."""
    lags: dict[str, list[int]]
    by_trace: bool


class _Open:
    """A message and what was sent in answer so far."""

    __slots__ = ("answered_ns", "at_ns", "sender", "sent")

    def __init__(self, sender: str, at_ns: int) -> None:
        self.sender, self.at_ns = sender, at_ns
        self.answered_ns = 0
        """When its answer began; 0 where none did."""
        self.sent: dict[str, int] = {}


_BEGAN, _SENT, _GOT = range(3)
"""What happens at one moment, in this order: what is sent just as something comes was not caused by it."""
Moment = tuple[int, int, str, str]
"""When, what, sender or receiver, run."""


class _Traffic:
    """Messages and runs, ready to be asked which answered which."""

    def __init__(self, messages: Sequence[Message], turns: Sequence[Turn]) -> None:
        self.sent: dict[str, list[Message]] = defaultdict(list)
        self.got: dict[str, list[Message]] = defaultdict(list)
        self.runs: dict[str, list[tuple[Turn, list[Message]]]] = {}
        self.counts: dict[tuple[str, str], int] = defaultdict(int)
        moments = [message.at_ns for message in messages] + [turn.last_ns for turn in turns]
        self.first_ns, self.last_ns = min(moments, default=0), max(moments, default=0)
        by_run: dict[tuple[str, str], list[Message]] = defaultdict(list)
        for message in sorted(messages, key=lambda each: each.at_ns):
            self.sent[message.sender].append(message)
            self.got[message.receiver].append(message)
            self.counts[message.sender, message.receiver] += 1
            by_run[message.sender, message.run_id or message.trace_id].append(message)
        known = {(turn.agent, turn.run_id): turn for turn in turns}
        for (agent, run_id), own in by_run.items():
            seen = Turn(agent, run_id, own[0].trace_id, own[0].at_ns, own[-1].at_ns, False)
            known.setdefault((agent, run_id), seen)
        for key, turn in known.items():
            self.runs.setdefault(turn.agent, []).append((turn, by_run.get(key, [])))

    def answers(self, agent: str, turn_ns: int = 0) -> _Answers:
        """Why an agent sends what it sends, with its runs turned around the circle."""
        got = self.got.get(agent, [])
        by_trace = all(message.trace_id for message in got)
        lines: dict[str, list[Moment]] = defaultdict(list)
        for message in got:
            lines[message.trace_id if by_trace else ""].append((message.at_ns, _GOT, message.sender, ""))
        for run, own in self.runs.get(agent, ()):
            line = lines[run.trace_id if by_trace else ""]
            line.append((self._turned_ns(run.first_ns, turn_ns), _BEGAN, "", run.run_id))
            line += [(self._turned_ns(message.at_ns, turn_ns), _SENT, message.receiver, run.run_id) for message in own]
        lasted = [run.last_ns - run.first_ns for run, _ in self.runs.get(agent, ()) if run.is_over]
        ripe_ns = self.last_ns - min(LAG_NS, max(lasted, default=LAG_NS))
        found = _Answers(defaultdict(int), defaultdict(int), defaultdict(int), defaultdict(list), by_trace)
        for _, line in sorted(lines.items()):
            for each in _matched(sorted(line)):
                due_ns = ripe_ns if each.answered_ns else self.last_ns - LAG_NS
                if (each.answered_ns or each.at_ns) < due_ns:
                    found.tries[each.sender] += 1
                    for receiver, count in each.sent.items():
                        found.effects[each.sender, receiver] += count
                        found.squares[each.sender, receiver] += count * count
                    if each.answered_ns:
                        found.lags[each.sender].append(each.answered_ns - each.at_ns)
        return found

    def _turned_ns(self, at_ns: int, turn_ns: int) -> int:
        return self.first_ns + (at_ns - self.first_ns + turn_ns) % (self.last_ns - self.first_ns + 1)

    def turned(self, agent: str, draws: Draws) -> list[_Answers]:
        """The same for every turn, none of them so small that little is changed."""
        length_ns = self.last_ns - self.first_ns + 1
        return [self.answers(agent, int((0.1 + 0.8 * draws.next()) * length_ns)) for _ in range(TURNS)]


def _matched(line: Sequence[Moment]) -> list[_Open]:
    """The messages that one agent got in one trace, each with what was sent in answer to it."""
    began: dict[str, _Open] = {}
    got: list[_Open] = []
    waiting: list[_Open] = []
    for at_ns, what, other, run_id in line:
        if what == _GOT:
            got.append(_Open(other, at_ns))
            waiting.append(got[-1])
        elif what == _BEGAN and waiting and at_ns - waiting[-1].at_ns <= LAG_NS:
            began[run_id] = waiting.pop()
            began[run_id].answered_ns = at_ns
    left = set(map(id, waiting))
    current: dict[str, _Open] = {}
    waiting, place = [], 0
    for at_ns, what, other, run_id in line:
        if what == _GOT:
            waiting += [got[place]] if id(got[place]) in left else []
            place += 1
        elif what == _BEGAN:
            if run_id in began:
                current[run_id] = began[run_id]
        else:
            if waiting and at_ns - waiting[-1].at_ns <= LAG_NS:
                current[run_id] = waiting.pop()
                current[run_id].answered_ns = at_ns
            answered = current.get(run_id)
            if answered is not None:
                answered.sent[other] = answered.sent.get(other, 0) + 1
    return got


def influences(messages: Sequence[Message], turns: Sequence[Turn] = ()) -> tuple[Influence, ...]:
    """Every edge among messages, the strongest first. The same messages give the same answer.

    Args:
        messages: what went from one agent to another.
        turns: runs of agents, also those that sent nothing; without them what an agent sends in a trace is one run.

    Cost: O(messages) for each of 20 turns.

    >>> asked = [Message("a", "b", (17 * minute % 40 + 40 * minute) * 10**12) for minute in range(40)]
    >>> answered = [Message("b", "c", message.at_ns + 10**9) for message in asked]
    >>> [(each.sender, each.receiver, round(each.gain, 1), each.p) for each in influences([*asked, *answered])][0]
    ('a', 'b', 1.0, 0.05)
    """
    traffic, draws = _Traffic(messages, turns), Draws(len(messages))
    found: list[Influence] = []
    for agent in sorted(traffic.got):
        truth, turned = traffic.answers(agent), traffic.turned(agent, draws)
        found.extend(_edge(traffic, sender, agent, truth, turned) for sender, other in sorted(traffic.counts) if other == agent)
    return tuple(sorted(found, key=lambda edge: (-edge.at_least, -edge.gain, edge.sender, edge.receiver)))


def _edge(traffic: _Traffic, sender: str, agent: str, truth: _Answers, turned: Sequence[_Answers]) -> Influence:
    effects = _from(truth, sender)
    others = [_from(each, sender) for each in turned]
    chance = sum(others) / len(others)
    tries = max(1, truth.tries.get(sender, 0))
    lags = sorted(truth.lags.get(sender, ()))
    how = {message.how for message in traffic.sent[sender] if message.receiver == agent and message.how}
    return Influence(
        sender=sender,
        receiver=agent,
        how=tuple(sorted(how)),
        messages=traffic.counts[sender, agent],
        passed_on=effects,
        by_chance=round(chance, 1),
        gain=round(max(0.0, effects - chance) / tries, 4),
        at_least=round(max(0.0, lowest(effects, LEVEL) - chance) / tries, 4),
        at_most=round(max(0.0, highest(effects, LEVEL) - chance) / tries, 4),
        p=round((1 + sum(each >= effects for each in others)) / (1 + len(others)), 4),
        lag_s=round(lags[len(lags) // 2] / SECOND_NS, 3) if lags else None,
    )


def _from(fit: _Answers, sender: str) -> int:
    return sum(count for (first, _), count in fit.effects.items() if first == sender)


def circles(messages: Sequence[Message], turns: Sequence[Turn] = ()) -> tuple[Circle, ...]:
    """Circles of influence among messages, those that grow fastest first.

    >>> talk = [Message("ab"[turn % 2], "ba"[turn % 2], turn * 10**11) for turn in range(30)]
    >>> [(circle.agents, circle.is_growing) for circle in circles(talk)]
    [(('a', 'b'), False)]
    """
    traffic, draws = _Traffic(messages, turns), Draws(len(messages))
    fits = {agent: traffic.answers(agent) for agent in sorted(traffic.sent.keys() & traffic.got.keys())}
    steps = [(one, agent, two) for agent, fit in fits.items() for (one, two), count in fit.effects.items() if count]
    found = []
    turned: dict[str, list[_Answers]] = {}
    for path in _circles(steps):
        circle = _circle(traffic, fits, path)
        if circle.is_growing:
            # Only what would be told is held against chance: that costs most.
            for agent in path:
                if agent not in turned:
                    turned[agent] = traffic.turned(agent, draws)
            if any(not fits[step[1]].by_trace and _is_chance(fits, turned, *step) for step in _steps_of(path)):
                circle = msgspec.structs.replace(circle, at_least=0.0)
        found.append(circle)
    return tuple(sorted(found, key=lambda circle: (-circle.at_least, -circle.gain, circle.agents)))


def _steps_of(path: tuple[str, ...]) -> list[Step]:
    return [(path[place - 1], path[place], path[(place + 1) % len(path)]) for place in range(len(path))]


def _is_chance(fits: Mapping[str, _Answers], turned: Mapping[str, Sequence[_Answers]], one: str, agent: str, two: str) -> bool:
    truth = fits[agent].effects.get((one, two), 0)
    return any(each.effects.get((one, two), 0) >= truth for each in turned[agent])


def _circle(traffic: _Traffic, fits: Mapping[str, _Answers], path: tuple[str, ...]) -> Circle:
    gain, variance, fewest = 1.0, 0.0, MIN_EFFECTS
    for one, agent, two in _steps_of(path):
        found = fits[agent]
        effects, tries = found.effects.get((one, two), 0), max(1, found.tries.get(one, 0))
        gain *= effects / tries
        fewest = min(fewest, effects)
        if effects:
            shown = (found.squares[one, two] - effects * effects / tries) / (effects * effects)
            variance += max(1.0 / effects, shown)
    apart = exp(BOUND * sqrt(variance))
    low, high = (gain / apart, gain * apart) if fewest >= MIN_EFFECTS else (0.0, inf)
    pairs = set(zip(path, (*path[1:], path[0]), strict=True))
    own = [message for agent in path for message in traffic.sent[agent] if (message.sender, message.receiver) in pairs]
    own.sort(key=lambda message: message.at_ns)
    return Circle(
        agents=path,
        gain=round(gain, 4),
        at_least=round(low, 4),
        at_most=round(high, 4) if high < inf else None,
        messages=len(own),
        spans=tuple(dict.fromkeys(message.span_id for message in own if message.span_id)),
        first_ns=own[0].at_ns if own else 0,
    )


def _circles(steps: Iterable[Step]) -> list[tuple[str, ...]]:
    """Circles along steps that were taken, each once, beginning with its first agent by name."""
    after: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one, two, three in sorted(steps):
        after[one, two].append(three)
    found: list[tuple[str, ...]] = []
    waiting: list[tuple[str, ...]] = [(one, two) for one, two in sorted(after, reverse=True) if one < two]
    while waiting and len(found) < MAX_CIRCLES:
        path = waiting.pop()
        for other in after.get((path[-2], path[-1]), ()):
            if other == path[0]:
                if path[1] in after.get((path[-1], path[0]), ()):
                    found.append(path)
            elif other > path[0] and other not in path and len(path) < MAX_CIRCLE:
                waiting.append((*path, other))
    return found


class Messages:
    """Reads messages off events, one at a time: hand-offs, messages, calls, and data that one left for the other.

    Cost: O(1) per event; memory by its bounds.
    """

    def __init__(self, *, max_agents: int = 10_000, max_data: int = 5_000, max_spans: int = 20_000) -> None:
        self._max_agents, self._max_data = max_agents, max_data
        self._agents: dict[str, None] = {}
        self._plain: dict[str, str] = {}
        self._wrote: dict[str, str] = {}
        """Datum → who wrote it last."""
        self._partners = Partners(self._agents, self._named, max_spans=max_spans)

    def observe(self, event: Event) -> list[Message]:
        """What went from one agent to another, as far as it is known now."""
        agent = event.agent
        if not agent:
            return []
        if agent not in self._agents:
            self._meet(agent)
        found: list[Message] = []
        if event.kind in LINKED:
            for reach in self._partners.observe(event, event.end_ns or event.start_ns):
                # A call begins with the callee's span; a message is there when the call that sends it is over.
                at_ns = event.start_ns if reach.span_id == event.span_id and agent == reach.receiver else reach.at_ns
                found.append(
                    Message(reach.sender, reach.receiver, at_ns, reach.trace_id, reach.span_id, reach.how, reach.run_id)
                )
        attributes = event.attributes
        if not (event.arguments or READS in attributes or WRITES in attributes):
            return found
        used = uses_of(event)
        for name in used.reads:
            writer = self._wrote.get(name)
            if writer is not None and writer != agent:
                found.append(Message(writer, agent, event.at_ns, "", event.span_id, LEFT))
        for name in used.writes:
            self._wrote.pop(name, None)
            self._wrote[name] = agent
            if len(self._wrote) > self._max_data:
                del self._wrote[next(iter(self._wrote))]
        return found

    def _meet(self, agent: str) -> None:
        self._agents[agent] = None
        self._plain["".join(letter for letter in agent.lower() if letter.isalnum())] = agent
        if len(self._agents) > self._max_agents:
            gone = next(iter(self._agents))
            del self._agents[gone]
            self._plain = {plain: name for plain, name in self._plain.items() if name != gone}

    def _named(self, text: str) -> str:
        plain = "".join(letter for letter in text.lower() if letter.isalnum())
        return text if text in self._agents else self._plain.get(plain, text)
