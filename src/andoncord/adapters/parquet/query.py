"""A question to the store, and what answers it."""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import msgspec

from andoncord.adapters.parquet.manifest import Segment
from andoncord.telemetry.block import ANY, Index, mark
from andoncord.telemetry.event import Event

UNNESTED = "SELECT unnest(?::BIGINT[])"
"""A list of numbers, given as one parameter, as rows."""
MAX_ASKED = 200
"""Marks that are looked for; with more of them nearly every block has one, and looking costs more than reading."""
EARLIEST, LATEST = -(2**63), 2**63 - 1


class Found(NamedTuple):
    """An event that was found."""

    at_ns: int
    id: int
    event: Event


Read = Callable[[bytes | str], Event]
"""Makes an event of its JSON. What is found is read piece by piece, so that its JSON is never held beside all of the events."""
whole: Read = msgspec.json.Decoder(Event).decode


def bare(line: bytes | str) -> Event:
    """An event without what was said: a tenth of the memory, for whoever counts."""
    return msgspec.structs.replace(whole(line), arguments="", result="", instructions="", input_text="", output_text="")


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for. Everything that is given must hold."""

    agents: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    from_ns: int = EARLIEST
    until_ns: int = LATEST
    after_id: int = 0
    received_ns: int = EARLIEST

    def marks(self) -> list[str]:
        """What a block or a segment must be marked with, one of these; empty when anything will do, or many things."""
        if len(self.agents) * max(1, len(self.kinds)) > MAX_ASKED:
            return []
        return [mark(agent, kind) for agent in self.agents for kind in self.kinds or ("",)]

    def may_hold(self, segment: Segment) -> bool:
        """Whether a segment can have such an event; its traces are not looked at."""
        return (
            segment.last_id > self.after_id
            and segment.max_at_ns >= self.from_ns
            and segment.min_at_ns <= self.until_ns
            and segment.max_received_ns >= self.received_ns
            and (segment.marks == ANY or not (marks := self.marks()) or any(each in segment.marks for each in marks))
        )

    def fitting(self, first_id: int, index: Index, gone: Collection[int]) -> Iterator[tuple[int, int, int]]:
        """Time, id and place of the events of a block that fit, without those that are gone."""
        agents, traces = frozenset(self.agents), frozenset(self.traces)
        for place, at_ns in enumerate(index.at_ns):
            if (
                self.from_ns <= at_ns <= self.until_ns
                and (not agents or index.agent[place] in agents)
                and (not self.kinds or index.kind[place] in self.kinds)
                and (not traces or index.trace_id[place] in traces)
                and first_id + place > self.after_id
                and index.received_ns[place] >= self.received_ns
                and first_id + place not in gone
            ):
                yield at_ns, first_id + place, place
