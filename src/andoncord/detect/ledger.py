"""The alarm budget: how many false alarms the whole fleet may have, and how much of that each observation may use (DET-21)."""

from collections import OrderedDict
from collections.abc import Hashable

import msgspec

from andoncord.kernel.time import DAY_NS, SECOND_NS
from andoncord.telemetry.event import Event

WEEK_NS = 7 * DAY_NS
PER_WEEK = 1.0
"""False alarms per week for the whole fleet, unless the settings say otherwise. Chosen: one needless page a week."""
MAX_STREAMS = 200_000
"""Streams that share the budget; the one that was quiet longest gives up its share first."""
MAX_SPEND = 0.01
"""Most that one observation may use: no alarm on evidence of less than a hundred to one, however few streams. Chosen."""
FUTURE_NS = 60 * SECOND_NS
"""How far an emitter's clock may be ahead of its receipt and still be believed."""


class KeptBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What was promised and what came of it."""

    per_week: float
    """False alarms that may be expected in a week, for the whole fleet."""
    streams: int
    """Streams that share them now."""
    expected: float
    """False alarms to expect at most, of all that was judged so far."""
    observed: int
    """Alarms so far, true and false: what is above `expected` is, on average, true."""
    since_ns: int
    """Beginning of the count; 0 before anything was seen."""
    until_ns: int


class Ledger:
    """Splits one number, false alarms per week, over all streams, as they appear and fall quiet.

    The income of a moment is divided equally among the streams there are then. An observation is told what its stream has come
    into since its last one: that much it may add to the expected number of false alarms. What all streams use together is never
    more than `per_week` times the weeks that have passed, however often any of them is observed.

    Streams of signals with and without a token share half each once there are both, so that nobody without one can thin out the
    budget of those that have one (SIG-2).

    Cost: O(1) time per observation; about 0.3 kB per stream.
    Source: linearity of expectation; the weights of Shiryaev–Roberts starts, see `andoncord.detect.evidence`.

    >>> ledger = Ledger(per_week=2.0)
    >>> ledger.spend("a", 1, trusted=True), ledger.spend("b", 1, trusted=True)
    (0.0, 0.0)
    >>> ledger.spend("a", 1 + WEEK_NS // 1000, trusted=True)
    0.001
    """

    def __init__(self, *, per_week: float = PER_WEEK, max_streams: int = MAX_STREAMS) -> None:
        self.per_week = per_week
        self._shares = (_Share(max_streams), _Share(max_streams))
        self._now_ns = self._since_ns = 0
        self.spent = 0.0
        """False alarms to expect at most so far."""
        self.alarms = 0

    def spend(self, stream: Hashable, now_ns: int, *, trusted: bool) -> float:
        """What an observation of `stream` at `now_ns` may add to the expected number of false alarms."""
        self._pass_time(now_ns)
        amount = min(MAX_SPEND, self._shares[trusted].draw(stream, self._now_ns))
        self.spent += amount
        return amount

    def join(self, stream: Hashable, now_ns: int, *, trusted: bool) -> float:
        """Say that `stream` is there and judges nothing now; 0. What it has come into meanwhile lapses."""
        self._pass_time(now_ns)
        self._shares[trusted].draw(stream, self._now_ns)
        return 0.0

    def own(self, amount: float) -> None:
        """Note that something with a budget of its own added `amount` expected false alarms."""
        self.spent += amount

    def note_alarm(self) -> None:
        """Count an alarm."""
        self.alarms += 1

    def kept(self) -> KeptBudget:
        """Expected against observed."""
        return KeptBudget(
            per_week=self.per_week,
            streams=sum(len(share.drawn) for share in self._shares),
            expected=self.spent,
            observed=self.alarms,
            since_ns=self._since_ns,
            until_ns=self._now_ns,
        )

    def _pass_time(self, now_ns: int) -> None:
        if now_ns <= self._now_ns:
            return
        if not self._since_ns:
            self._since_ns = self._now_ns = now_ns
            return
        # A gap longer than a week earns a week: a wrong clock or a long sleep is not evidence about anybody.
        income = self.per_week * min(now_ns - self._now_ns, WEEK_NS) / WEEK_NS
        self._now_ns = now_ns
        sharing = [share for share in self._shares if share.drawn]
        for share in sharing:
            share.index += income / len(sharing) / len(share.drawn)
            share.forget(now_ns - WEEK_NS)


class _Share:
    """The streams of one kind of trust. `index` is what a stream that was always there would have been given."""

    __slots__ = ("_limit", "drawn", "index")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.index = 0.0
        self.drawn: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def draw(self, stream: Hashable, now_ns: int) -> float:
        drawn = self.drawn
        before = drawn.get(stream)
        drawn[stream] = (self.index, now_ns)
        if before is None:
            if len(drawn) > self._limit:
                drawn.popitem(last=False)
            return 0.0
        drawn.move_to_end(stream)
        return self.index - before[0]

    def forget(self, before_ns: int) -> None:
        """Let go of streams that were last seen before then."""
        while self.drawn:
            stream = next(iter(self.drawn))
            if self.drawn[stream][1] >= before_ns:
                return
            del self.drawn[stream]


def believed_ns(event: Event) -> int:
    """When an event was over, as far as its emitter's clock can be believed: never much after it was received."""
    at_ns = event.at_ns
    return min(at_ns, event.received_ns + FUTURE_NS) if event.received_ns else at_ns
