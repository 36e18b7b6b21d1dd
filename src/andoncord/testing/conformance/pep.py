"""What every enforcement point must do when its control plane is lost, wrong or lying (public; needs pytest).

An enforcement point is what lets an agent's calls through or not: a guard, a proxy, an adapter of your own. Its test makes a
class that inherits `EnforcementPointContract` and says how to make the point; pytest runs the cases. Time is a clock by hand.
What holds an agent's processes from outside, as a supervisor does, has calls of nobody to refuse: it is a `TreeHolder`, and its
test inherits `HolderContract`.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from andoncord.testing.plane import TTL_MS, ScriptedPlane

__all__ = ["EnforcementPointContract", "HandBootClock", "HolderContract", "Point", "TreeHolder"]

SECOND_NS = 1_000_000_000
SLACK_S = 0.5
"""How long after the end of a lease the last change may come."""


class Point(Protocol):
    """An enforcement point that follows a control plane."""

    def read(self) -> bool:
        """Ask for a call that only reads. Whether it was made; a call that would be held counts as not made."""
        ...

    def write(self) -> bool:
        """Ask for a call that changes something. Whether it was made."""
        ...

    def close(self) -> None: ...


class HandBootClock:
    """Nanoseconds that pass only by `move_by`, as on a machine that is watched from outside.

    >>> clock = HandBootClock()
    >>> before = clock()
    >>> clock.move_by(1.5)
    >>> clock() - before
    1500000000
    """

    def __init__(self) -> None:
        self._now_ns = 1_000 * SECOND_NS

    def __call__(self) -> int:
        return self._now_ns

    def move_by(self, seconds: float) -> None:
        """Let time pass, awake or asleep."""
        self._now_ns += int(seconds * SECOND_NS)


class EnforcementPointContract:
    """What every enforcement point must do."""

    reads_s = 30.0
    """How long the point goes on reading without a lease; 0 where it does not."""

    def make(self, *, url: str, telemetry: str, token: str, clock_ns: Callable[[], int]) -> Point:
        """An enforcement point that follows the control plane at `url`, reports to `telemetry` in OTLP/JSON, and counts its
        lease on `clock_ns`.
        """
        raise NotImplementedError("say how to make the enforcement point under test")

    @pytest.fixture
    def plane(self) -> Iterator[ScriptedPlane]:
        """A control plane that fails as told."""
        plane = ScriptedPlane()
        yield plane
        plane.close()

    @pytest.fixture
    def clock(self) -> HandBootClock:
        """The clock that the point counts on."""
        return HandBootClock()

    @pytest.fixture
    def point(self, plane: ScriptedPlane, clock: HandBootClock) -> Iterator[Point]:
        """A point that is connected and lets everything through."""
        point = self.make(url=plane.url, telemetry=plane.telemetry_url, token="andon_sdk_conformance", clock_ns=clock)
        plane.until(plane.is_followed)
        assert point.read()
        assert point.write()
        yield point
        point.close()

    def test_killed(self, point: Point, plane: ScriptedPlane, clock: HandBootClock) -> None:
        """The control plane dies: no change after the lease, reading for a while, and all goes on when it is back."""
        plane.kill()
        assert point.write(), "a lease holds until its end, whatever became of the one who gave it"
        self._ends(point, clock)

        plane.start()
        plane.until(point.write)

    @pytest.mark.parametrize("mode", ["hung", "failing", "garbage", "cut off"])
    def test_answering_wrongly(self, point: Point, plane: ScriptedPlane, clock: HandBootClock, mode: str) -> None:
        """A control plane that hangs, fails, talks nonsense or is cut off is as lost as a dead one."""
        plane.turn(mode)  # type: ignore[arg-type]
        self._ends(point, clock)

        plane.turn("well")
        plane.until(point.write)

    def test_slow(self, point: Point, plane: ScriptedPlane, clock: HandBootClock) -> None:
        """A lease that comes after its length has passed since the asking is refused and reported."""
        plane.holds_leases = True
        plane.until(lambda: plane.held)
        clock.move_by(TTL_MS / 1_000 + SLACK_S)
        assert not point.write()

        plane.let_leases_go()
        plane.until(lambda: "lease_refused" in plane.reports)
        plane.until(point.write)

    @pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:00 GMT", -3_600, 3_600, "Fri, 31 Dec 2099 23:59:59 GMT"])
    def test_clocks_apart(self, point: Point, plane: ScriptedPlane, clock: HandBootClock, date: str | int) -> None:
        """What time the control plane thinks it is, an hour or years off, neither ends nor lengthens a lease."""
        plane.date, plane.off_s = (date, 0) if isinstance(date, str) else ("", date)
        plane.turn("cut off")
        plane.turn("well")
        clock.move_by(3_600)
        plane.until(point.write)
        plane.kill()
        self._ends(point, clock)

    def test_old_orders_replayed(self, point: Point, plane: ScriptedPlane) -> None:
        """An order from before the one in force changes nothing and is answered as refused."""
        plane.order("kill", (1, 5))
        plane.until(lambda: _enforced(plane, (1, 5)))
        assert not point.read()
        old = {"order_id": "old", "agent": "*", "rung": "none", "epoch": [1, 4], "reason": "", "by": "", "incident": ""}
        plane.push("order", old)

        plane.until(lambda: [ack for ack in plane.acks if ack["order_id"] == "old" and ack["outcome"] == "refused"])
        assert not point.read()

    def test_old_leases_replayed(self, point: Point, plane: ScriptedPlane, clock: HandBootClock) -> None:
        """A lease that was given before is not taken a second time, and is reported."""
        plane.replayed_lease = plane.last_lease
        self._ends_refusing(point, plane, clock)

    @pytest.mark.parametrize("change", [{"mac": "0" * 64}, {"ttl_ms": 50_000}, {"rung": "monitor"}, {"epoch": [7, 7]}])
    def test_forged(self, point: Point, plane: ScriptedPlane, clock: HandBootClock, change: dict[str, object]) -> None:
        """A lease that says anything else than what it proves is not taken, tells of no order, and is reported."""
        plane.changed_lease = change
        self._ends_refusing(point, plane, clock)

    def test_partition_and_healing(self, point: Point, plane: ScriptedPlane, clock: HandBootClock) -> None:
        """An order that was given while the point was cut off is obeyed as soon as it is not."""
        plane.turn("cut off")
        plane.order("kill", (1, 3))
        clock.move_by(TTL_MS / 1_000 + SLACK_S)
        assert not point.write()

        plane.turn("well")
        plane.until(lambda: not point.read())
        plane.until(lambda: _enforced(plane, (1, 3)))

    def test_suspended_for_a_minute(self, point: Point, plane: ScriptedPlane, clock: HandBootClock) -> None:
        """A machine that wakes up has no lease until it has heard again: the first change after waking is not made."""
        plane.holds_leases = True
        clock.move_by(60)
        assert not point.write()

        plane.let_leases_go()
        plane.until(point.write)

    def test_restored_from_an_older_state(self, point: Point, plane: ScriptedPlane, clock: HandBootClock) -> None:
        """A control plane that forgot an order hears of it, and cannot lift it; only a newer generation can."""
        plane.order("kill", (1, 9))
        plane.until(lambda: _enforced(plane, (1, 9)))
        plane.kill()
        plane.rung, plane.epoch = "none", (1, 2)
        plane.start()

        plane.until(lambda: plane.reported_epochs[-1] == (1, 9))
        plane.until(lambda: "lease_refused" in plane.reports)
        assert not point.read()
        plane.order("none", (2, 0))
        plane.until(point.write)

    def _ends(self, point: Point, clock: HandBootClock) -> None:
        clock.move_by(TTL_MS / 1_000 + SLACK_S)
        assert not point.write(), "a change was made without a lease"
        assert point.read() is (self.reads_s > 0)
        clock.move_by(self.reads_s)
        assert not point.read(), "reading went on for too long without a lease"

    def _ends_refusing(self, point: Point, plane: ScriptedPlane, clock: HandBootClock) -> None:
        plane.until(lambda: "lease_refused" in plane.reports)
        self._ends(point, clock)

        plane.changed_lease, plane.replayed_lease = {}, None
        plane.until(point.write)


def _enforced(plane: ScriptedPlane, epoch: tuple[int, int]) -> bool:
    """Whether this very order has been acknowledged, not only the one that was in force at the beginning."""
    return any(ack["outcome"] == "enforced" and ack["epoch"] == list(epoch) for ack in plane.acks)


class TreeHolder(Protocol):
    """Something outside of an agent that freezes and ends its processes on order."""

    def goes_on(self) -> bool:
        """Whether the agent's processes do anything now. Watches them for a moment."""
        ...

    def close(self) -> None: ...


class HolderContract:
    """What must do whatever holds an agent's processes: a control plane that is lost or lying never lets a held one go."""

    def make(self, *, url: str, token: str) -> TreeHolder:
        """A holder of an agent at work, that follows the control plane at `url`."""
        raise NotImplementedError("say how to make the holder under test")

    @pytest.fixture
    def plane(self) -> Iterator[ScriptedPlane]:
        """A control plane that fails as told."""
        plane = ScriptedPlane()
        yield plane
        plane.close()

    @pytest.fixture
    def held(self, plane: ScriptedPlane) -> Iterator[TreeHolder]:
        """A holder whose agent was at work and is paused."""
        holder = self.make(url=plane.url, token="andon_sdk_conformance")
        try:
            plane.until(plane.is_followed)
            plane.until(holder.goes_on)
            plane.order("pause", (1, 5))
            plane.until(lambda: _enforced(plane, (1, 5)))
            assert not holder.goes_on(), "it was acknowledged that the agent stands, and it does not"
            yield holder
        finally:
            holder.close()

    @pytest.mark.parametrize("mode", ["hung", "failing", "garbage", "cut off"])
    def test_held_through_wrong_answers(self, held: TreeHolder, plane: ScriptedPlane, mode: str) -> None:
        """A control plane that hangs, fails, talks nonsense or is cut off releases nobody; when it is well, it can."""
        plane.turn(mode)  # type: ignore[arg-type]
        assert not held.goes_on()
        plane.turn("well")
        plane.until(plane.is_followed)
        plane.order("none", (1, 6))
        plane.until(held.goes_on)

    def test_held_when_the_control_plane_dies(self, held: TreeHolder, plane: ScriptedPlane) -> None:
        """And while it is started again, knowing nobody."""
        plane.kill()
        assert not held.goes_on()
        plane.start()
        plane.until(plane.is_followed)
        assert not held.goes_on()

    def test_clocks_apart(self, held: TreeHolder, plane: ScriptedPlane) -> None:
        """A control plane that takes it to be an hour later, or earlier, ends no hold by that."""
        for off_s in (3_600, -3_600):
            plane.turn("cut off")
            plane.off_s = off_s
            plane.turn("well")
            plane.until(plane.is_followed)
            assert not held.goes_on()

    def test_old_orders_release_nothing(self, held: TreeHolder, plane: ScriptedPlane) -> None:
        """An order of an earlier epoch, sent again, is refused."""
        plane.push("order", {**plane.order_body(), "rung": "none", "epoch": [1, 4], "order_id": "a@1.4"})
        plane.until(lambda: any(ack["outcome"] == "refused" for ack in plane.acks))
        assert not held.goes_on()

    def test_partition_and_healing(self, held: TreeHolder, plane: ScriptedPlane) -> None:
        """An order that was given while the holder was cut off is obeyed as soon as it is not."""
        plane.turn("cut off")
        plane.order("kill", (1, 7))
        plane.turn("well")
        plane.until(lambda: _enforced(plane, (1, 7)))
        assert not held.goes_on()

    def test_restored_from_an_older_state(self, held: TreeHolder, plane: ScriptedPlane) -> None:
        """A control plane that forgot the order hears of it, and cannot lift it; only a newer generation can."""
        plane.kill()
        plane.rung, plane.epoch = "none", (1, 2)
        plane.start()
        plane.until(lambda: plane.reported_epochs[-1] == (1, 5))
        plane.until(plane.is_followed)
        assert not held.goes_on()
        plane.order("none", (2, 0))
        plane.until(held.goes_on)
