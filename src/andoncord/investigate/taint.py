"""What is downstream of a datum that turned out to be wrong: runs, agents, decisions, effects (DET-17).

Data are entities, runs are activities, in the terms of W3C PROV: a run uses what it reads, and what it does after that is
derived from it. Two answers are given. *Exact* follows recorded edges alone: reads, writes, calls, hand-offs and messages
within a trace, answers to a caller, copies of the datum's own text. It is a lower bound: what was not recorded is not in it.
*Possible* also takes in what nothing recorded rules out: later work of the same trace or conversation, later runs of an agent
that is downstream, and calls of which it is not clear whether they read.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from andoncord.investigate.touched import touched
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.lineage import Uses, only_reads, uses_of
from andoncord.telemetry.partners import CALLED, HANDED_OVER, LINKED, SENT, Partners, Reach

MAX_PASSES = 16
"""Rounds until nothing new is found; each goes once through all events. What is farther away is left out, and said."""
MAX_LISTED = 200
"""Runs, decisions, effects and data listed of each; all are counted."""
MAX_SHOWN = 50
"""Runs kept with an incident."""
MIN_TEXT = 24
"""Characters of a result from which finding it again is a copy and no coincidence. Chosen."""
MAX_TEXT = 4_000

_TOOLS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED})
_WORK = _TOOLS | {EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED}
_BY = {CALLED: "called by", HANDED_OVER: "was handed the work by", SENT: "got a message from"}
RunKey = tuple[str, str]
"""Agent and run, or trace where an emitter knows no runs."""


class TaintedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run downstream of the datum."""

    agent: str
    run_id: str
    trace_id: str
    since_ns: int
    why: str
    """The edge by which it got there."""
    after: str
    """The run it came from; empty for one that used the datum itself."""
    decisions: int
    """Tool calls and hand-offs after that."""
    is_exact: bool


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """A call downstream that may have changed something: its tool is not named like one that only reads."""

    agent: str
    run_id: str
    tool: str
    span_id: str
    at_ns: int
    ok: bool
    is_exact: bool


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is."""

    runs: int = 0
    agents: tuple[str, ...] = ()
    decisions: int = 0
    effects: int = 0
    data: tuple[str, ...] = ()
    """What was derived from the datum and may be read by others."""
    files: int = 0
    systems: tuple[str, ...] = ()
    cost_micro_usd: int = 0
    """Spent in these runs after it."""


class Taint(msgspec.Struct, frozen=True, kw_only=True):
    """Everything downstream of one datum."""

    datum: str
    origin: tuple[str, ...]
    """Spans that wrote it or, of a result, returned it; earliest first."""
    first_ns: int
    """When it was first written, returned or read; 0 where no event names it."""
    exact: Bound
    possible: Bound
    """Including what is exact."""
    runs: tuple[TaintedRun, ...]
    effects: tuple[Effect, ...]
    assumptions: tuple[str, ...]


class _Mark:
    """Since when something is tainted, and how that came about."""

    __slots__ = ("after", "since_ns", "why")

    def __init__(self, since_ns: int, why: str, after: str) -> None:
        self.since_ns, self.why, self.after = since_ns, why, after


class _Flow:
    """One way of following: along recorded edges alone, or along possible ones as well."""

    def __init__(self, datum: str, *, since_ns: int, is_wide: bool) -> None:
        self.is_wide = is_wide
        self.since_ns = since_ns
        self.data: dict[str, _Mark] = {datum: _Mark(since_ns, "marked", "")} if datum else {}
        self.runs: dict[RunKey, _Mark] = {}
        self.links: dict[tuple[str, str], tuple[int, str, str]] = {}
        """Trace and agent that is reached → since when, why, after which run."""
        self.traces: dict[str, int] = {}
        self.agents: dict[str, int] = {}
        self.changed = False
        self.trace_of: dict[RunKey, str] = {}

    def taint(self, key: RunKey, since_ns: int, why: str, after: str) -> None:
        known = self.runs.get(key)
        if known is None or since_ns < known.since_ns:
            self.runs[key] = _Mark(since_ns, why, after)
            self.agents[key[0]] = min(since_ns, self.agents.get(key[0], since_ns))
            self.changed = True

    def link(self, trace_id: str, agent: str, since_ns: int, why: str, after: str) -> None:
        known = self.links.get((trace_id, agent))
        if known is None or since_ns < known[0]:
            self.links[trace_id, agent] = (since_ns, why, after)
            self.changed = True

    def wrote(self, name: str, at_ns: int, run: str) -> None:
        known = self.data.get(name)
        if known is None or at_ns < known.since_ns:
            self.data[name] = _Mark(at_ns, f"written by {run}", run)
            self.changed = True


def taint(events: Iterable[Event], datum: str, *, since_ns: int = 0) -> Taint:
    """Follow a datum.

    Args:
        events: of all agents that may have to do with it, with agent and run filled in.
        datum: the name under which events read and write it; or the id of the span that returned it.
        since_ns: from when on it was wrong; 0 for always.

    Cost: O(events) for each generation of readers.

    >>> def call(name, at, run, **said):
    ...     return Event(kind=EventKind.TOOL_COMPLETED, name=name, agent=run, run_id=run, start_ns=at, end_ns=at, **said)
    >>> found = taint(
    ...     [
    ...         call("read_file", 1, "a", arguments='{"path": "prices.csv"}'),
    ...         call("write_file", 2, "a", arguments='{"path": "offer.txt"}'),
    ...         call("read_file", 3, "b", arguments='{"path": "offer.txt"}'),
    ...         call("pay", 4, "b"),
    ...         call("pay", 5, "c"),
    ...     ],
    ...     "prices.csv",
    ... )
    >>> found.exact.agents, found.exact.effects, found.exact.data
    (('a', 'b'), 2, ('offer.txt',))
    """
    ordered = sorted(events, key=lambda event: (event.at_ns, event.start_ns, event.span_id))
    uses = [uses_of(event) for event in ordered]
    reaches = _reaches(ordered)
    origin = [event for event in ordered if event.span_id == datum and event.kind in _WORK]
    text = _telling(origin)
    exact, wide = (
        _follow(ordered, uses, reaches, datum, text, since_ns=since_ns, is_wide=is_wide) for is_wide in (False, True)
    )
    named = [event for event, used in zip(ordered, uses, strict=True) if datum in (*used.reads, *used.writes, *used.unclear)]
    writers = origin or [event for event, used in zip(ordered, uses, strict=True) if datum in used.writes]
    return Taint(
        datum=datum,
        origin=tuple(dict.fromkeys(event.span_id for event in writers))[:MAX_LISTED],
        first_ns=min((event.at_ns for event in (*writers, *named)), default=0),
        exact=_bound(ordered, exact, datum),
        possible=_bound(ordered, wide, datum),
        runs=_runs(ordered, exact, wide),
        effects=_effects(ordered, exact, wide),
        assumptions=(
            "Exact is a lower bound: reads, writes and messages that no event records are not in it.",
            "Everything that a run does after it has read the datum counts as derived from it.",
            "Possible leaves out other agents that read it without any record, in another trace and conversation.",
        ),
    )


class BlastRadius(msgspec.Struct, frozen=True, kw_only=True):
    """How far an incident reaches, from its onset on."""

    exact: Bound
    possible: Bound
    """Including what is exact, and what the same version may still do."""
    conversations: int
    """Conversations or users' sessions that the exact runs belong to; 0 where emitters name none."""
    possible_conversations: int
    at_risk: int
    """Runs of the same versions of these agents since the onset, that no recorded edge and no finding connects."""
    runs: tuple[TaintedRun, ...]
    is_cut: bool = False
    """There were more events than are read: more may be reached than `possible` says."""


def blast_radius(events: Iterable[Event], seeds: Iterable[tuple[str, str, int]]) -> BlastRadius:
    """How far an incident reaches: what is downstream of the runs that its findings name.

    Args:
        events: of all agents that may have to do with it, since before the onset, with agent and run filled in.
        seeds: agent, run and since when, of each finding.

    Cost: as `taint`.

    >>> events = [
    ...     Event(kind=EventKind.TOOL_COMPLETED, name="pay", agent="a", run_id="r", trace_id="t", start_ns=5, end_ns=6),
    ...     Event(kind=EventKind.TOOL_COMPLETED, name="pay", agent="a", run_id="s", trace_id="u", start_ns=9, end_ns=9),
    ... ]
    >>> reached = blast_radius(events, [("a", "r", 5)])
    >>> (reached.exact.runs, reached.possible.runs, reached.exact.effects)
    (1, 2, 1)
    """
    ordered = sorted(events, key=lambda event: (event.at_ns, event.start_ns, event.span_id))
    uses, reaches = [uses_of(event) for event in ordered], _reaches(ordered)
    given = [((agent, run), since_ns) for agent, run, since_ns in seeds if agent and run]
    since_ns = min((since for _, since in given), default=0)
    flows = [
        _follow(ordered, uses, reaches, "", "", since_ns=since_ns, is_wide=is_wide, seeds=given) for is_wide in (False, True)
    ]
    exact, wide = flows
    sessions = [{event.session_id for event in _downstream(ordered, flow) if event.session_id} for flow in flows]
    return BlastRadius(
        exact=_bound(ordered, exact, ""),
        possible=_bound(ordered, wide, ""),
        conversations=len(sessions[0]),
        possible_conversations=len(sessions[1]),
        at_risk=_at_risk(ordered, exact, since_ns),
        runs=_runs(ordered, exact, wide)[:MAX_SHOWN],
    )


def _at_risk(ordered: Sequence[Event], flow: _Flow, since_ns: int) -> int:
    """Runs of the same versions since then that are not downstream."""
    bad = {_version(event) for event in ordered if _key(event) in flow.runs and event.at_ns >= since_ns}
    same = {_key(event) for event in ordered if event.start_ns >= since_ns and event.kind in _WORK and _version(event) in bad}
    return len(same - flow.runs.keys())


def _version(event: Event) -> tuple[str, str]:
    """The agent, and the version that it ran with where events say one."""
    get = event.attributes.get
    return event.agent, str(get("agent_version") or get("config_version") or get("prompt_version") or "")


def _follow(
    ordered: Sequence[Event],
    uses: Sequence[Uses],
    reaches: Mapping[int, Sequence[Reach]],
    datum: str,
    text: str,
    *,
    since_ns: int,
    is_wide: bool,
    seeds: Sequence[tuple[RunKey, int]] = (),
) -> _Flow:
    flow = _Flow(datum, since_ns=since_ns, is_wide=is_wide)
    flow.trace_of = {_key(event): event.trace_id for event in ordered if event.trace_id}
    for key, began_ns in seeds:
        flow.taint(key, began_ns, "named by a finding", "")
    for _ in range(MAX_PASSES):
        flow.changed = False
        for place, event in enumerate(ordered):
            if event.at_ns >= since_ns and event.agent:
                _step(flow, event, uses[place], reaches.get(place, ()), datum, text)
        if not flow.changed:
            break
    return flow


def _step(flow: _Flow, event: Event, used: Uses, reached: Sequence[Reach], datum: str, text: str) -> None:
    key, at_ns = _key(event), event.at_ns
    run = event.run_id or event.trace_id
    if datum and event.span_id == datum and event.kind in _WORK:
        flow.taint(key, at_ns, "got it as a result", "")
    elif text and event.kind in _WORK and key not in flow.runs and (text in event.input_text or text in event.arguments):
        flow.taint(key, at_ns, "was given a copy of it", "")
    has_read = False
    for name in used.reads if not flow.is_wide else (*used.reads, *used.unclear):
        mark = flow.data.get(name)
        if mark is not None and mark.since_ns <= at_ns:
            has_read = has_read or name in used.reads
            flow.taint(key, at_ns, f"read {name}" if name in used.reads else f"named {name}", mark.after)
    link = flow.links.get((event.trace_id, event.agent)) if event.trace_id else None
    if link is not None and event.start_ns >= link[0] and key not in flow.runs:
        flow.taint(key, event.start_ns, link[1], link[2])
    if flow.is_wide:
        _step_wide(flow, event, key)
    mark = flow.runs.get(key)
    for reach in reached:
        _pass_on(flow, event, reach)
    # What one step reads goes into what the same step writes.
    if mark is None or (event.start_ns < mark.since_ns and not has_read):
        return
    for name in used.writes if not flow.is_wide else (*used.writes, *used.unclear):
        flow.wrote(name, at_ns, run)


def _step_wide(flow: _Flow, event: Event, key: RunKey) -> None:
    """What nothing rules out: work in the same trace or conversation, and of the same agent, that began later."""
    mark = flow.runs.get(key)
    for shared in (event.trace_id, event.session_id):
        if not shared:
            continue
        if mark is not None:
            known = flow.traces.get(shared)
            if known is None or mark.since_ns < known:
                flow.traces[shared] = mark.since_ns
                flow.changed = True
        elif flow.traces.get(shared, event.start_ns + 1) <= event.start_ns:
            flow.taint(key, event.start_ns, "same trace or conversation, later", "")
    if mark is None and event.kind in _WORK and flow.agents.get(event.agent, event.start_ns + 1) <= event.start_ns:
        flow.taint(key, event.start_ns, "same agent, later", "")


def _pass_on(flow: _Flow, event: Event, reach: Reach) -> None:
    """Along a call, a hand-off or a message: what goes there, and what comes back to a caller."""
    if not reach.trace_id:
        return
    is_shown_by_receiver = event.agent == reach.receiver
    # Who is called works before the span that shows the call is over.
    since_ns = event.start_ns if is_shown_by_receiver else reach.at_ns
    for key, mark in flow.runs.items():
        is_sender = key[0] == reach.sender and (is_shown_by_receiver or key == _key(event))
        if is_sender and mark.since_ns <= since_ns and flow.trace_of.get(key) == reach.trace_id:
            flow.link(reach.trace_id, reach.receiver, since_ns, f"{_BY[reach.how]} {reach.sender}", key[1])
    callee = flow.runs.get(_key(event)) if reach.how == CALLED and is_shown_by_receiver else None
    if callee is not None and callee.since_ns <= reach.at_ns:
        flow.link(reach.trace_id, reach.sender, reach.at_ns, f"answered by {reach.receiver}", _key(event)[1])


def _reaches(ordered: Sequence[Event]) -> dict[int, tuple[Reach, ...]]:
    """Who reached whom, by the place of the event that shows it."""
    agents = {event.agent for event in ordered if event.agent}
    plain = {_plain(agent): agent for agent in agents}
    partners = Partners(agents, lambda text: text if text in agents else plain.get(_plain(text), text))
    found: dict[int, tuple[Reach, ...]] = {}
    by_span: dict[tuple[str, str], int] = {}
    for place, event in enumerate(ordered):
        by_span[event.trace_id, event.span_id] = place
        if event.kind in LINKED:
            for reach in partners.observe(event, event.at_ns):
                # A call is shown by the callee's span, even where its parent came later.
                where = by_span.get((reach.trace_id, reach.span_id), place)
                found[where] = (*found.get(where, ()), reach)
    return found


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _telling(origin: Sequence[Event]) -> str:
    text = next((event.result or event.output_text for event in origin if event.result or event.output_text), "")
    return text[:MAX_TEXT] if len(text) >= MIN_TEXT else ""


def _key(event: Event) -> RunKey:
    return event.agent, event.run_id or event.trace_id


def _downstream(ordered: Sequence[Event], flow: _Flow) -> list[Event]:
    """The work of tainted runs from then on."""
    return [
        event
        for event in ordered
        if event.kind in _WORK and (mark := flow.runs.get(_key(event))) is not None and event.start_ns >= mark.since_ns
    ]


def _bound(ordered: Sequence[Event], flow: _Flow, datum: str) -> Bound:
    work = _downstream(ordered, flow)
    calls = [event for event in work if event.kind in _TOOLS]
    left = touched(work)
    return Bound(
        runs=len(flow.runs),
        agents=tuple(sorted({agent for agent, _ in flow.runs})),
        decisions=len(calls),
        effects=sum(not only_reads(event.name) for event in calls),
        data=tuple(sorted(flow.data.keys() - {datum}))[:MAX_LISTED],
        files=len(left.files),
        systems=tuple(dict.fromkeys(system.name for system in left.systems))[:MAX_LISTED],
        cost_micro_usd=sum(event.cost_micro_usd for event in work),
    )


def _runs(ordered: Sequence[Event], exact: _Flow, wide: _Flow) -> tuple[TaintedRun, ...]:
    traces = {_key(event): event.trace_id for event in ordered if event.trace_id}
    calls: dict[RunKey, int] = {}
    for event in _downstream(ordered, wide):
        calls[_key(event)] = calls.get(_key(event), 0) + (event.kind in _TOOLS)
    found = [
        TaintedRun(
            agent=key[0],
            run_id=key[1],
            trace_id=traces.get(key, ""),
            since_ns=mark.since_ns,
            why=mark.why,
            after=mark.after,
            decisions=calls.get(key, 0),
            is_exact=key in exact.runs,
        )
        for key, mark in ((key, exact.runs.get(key) or mark) for key, mark in wide.runs.items())
    ]
    return tuple(sorted(found, key=lambda run: (not run.is_exact, run.since_ns, run.agent, run.run_id))[:MAX_LISTED])


def _effects(ordered: Sequence[Event], exact: _Flow, wide: _Flow) -> tuple[Effect, ...]:
    sure = {(event.trace_id, event.span_id) for event in _downstream(ordered, exact)}
    found = [
        Effect(
            agent=event.agent,
            run_id=event.run_id,
            tool=event.name,
            span_id=event.span_id,
            at_ns=event.at_ns,
            ok=event.ok,
            is_exact=(event.trace_id, event.span_id) in sure,
        )
        for event in _downstream(ordered, wide)
        if event.kind in _TOOLS and not only_reads(event.name)
    ]
    assert all(one.at_ns <= other.at_ns for one, other in pairwise(found)), "events are in order"
    return tuple(sorted(found, key=lambda effect: not effect.is_exact)[:MAX_LISTED])
