"""The shared-memory flag: the server's file, and guards that read it."""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from andoncord.adapters.system.flags import FlagFile
from andoncord.testing.plane import ScriptedPlane
from andoncord_sdk import CallDenied, Guard, GuardError
from andoncord_sdk.flag import PAGE, TEXT_MAX, open_flag


def order(rung: str, counter: int, **more: Any) -> dict[str, Any]:
    return {"order_id": f"a@1.{counter}", "rung": rung, "epoch": [1, counter], "reason": "test", **more}


def is_let_through(guard: Guard) -> bool:
    with contextlib.suppress(GuardError), guard.run() as run, run.step("pay"):
        return True
    return False


@pytest.fixture
def flags(tmp_path: Path) -> Iterator[FlagFile]:
    file = FlagFile(tmp_path / "guards.flag", nonce="n" * 32)
    yield file
    file.close()


@pytest.fixture
def plane(flags: FlagFile) -> Iterator[ScriptedPlane]:
    plane = ScriptedPlane()
    plane.flag = flags.allot
    yield plane
    plane.close()


@pytest.fixture
def guard(plane: ScriptedPlane) -> Iterator[Guard]:
    guard = Guard("a", server=plane.url, token="t", tools={"pay": "write"}, hold_max_s=0.0)
    plane.until(plane.is_followed)
    yield guard
    guard.close()


def test_the_next_call_after_a_raised_flag_is_refused(flags: FlagFile, plane: ScriptedPlane, guard: Guard) -> None:
    """Without a word on the stream; and the order is acknowledged like any other, once the stream can take it."""
    assert is_let_through(guard)
    assert flags.show("g1", order("kill", 1))

    assert not is_let_through(guard)
    assert guard.state.epoch == (1, 1)
    plane.until(lambda: [ack["outcome"] for ack in plane.acks if ack["order_id"] == "a@1.1"] == ["enforced"])


def test_a_flag_never_releases(flags: FlagFile, plane: ScriptedPlane, guard: Guard) -> None:
    """A newer order that is milder, or lifts one of several, changes nothing; from the stream it does."""
    about_pay = {"id": "ord_1", "scope": {"tool": "pay"}, "rung": "kill", "reason": "test", "by": "person:test"}
    flags.show("g1", order("none", 1, orders=[about_pay]))
    assert not is_let_through(guard)
    flags.show("g1", order("none", 2, orders=[{**about_pay, "id": "ord_2", "scope": {"tool": "other"}}]))
    assert not is_let_through(guard)
    flags.show("g1", order("pause", 3, orders=[about_pay]))
    assert not is_let_through(guard)
    flags.show("g1", order("restrict", 4, orders=[about_pay]))
    assert not is_let_through(guard)
    assert (guard.state.rung, guard.state.epoch) == ("pause", (1, 3))

    plane.order("none", (1, 4))
    plane.until(lambda: is_let_through(guard))


def test_a_torn_slot_lets_nothing_through(flags: FlagFile, guard: Guard, tmp_path: Path) -> None:
    """A server that died while it wrote may have written a kill: every call is refused until the slot is whole again."""
    with (tmp_path / "guards.flag").open("r+b") as file:
        file.seek(PAGE)
        (whole,) = struct.unpack("<Q", file.read(8))
        for torn in (whole + 1, whole + 2):  # In the middle of it; and with a text that does not belong to the number.
            file.seek(PAGE)
            file.write(struct.pack("<Q", torn))
            file.flush()
            with pytest.raises(CallDenied, match="half written"), guard.run() as run, run.step("pay"):
                pass
    flags.show("g1", order("none", 0))
    assert is_let_through(guard)


def test_only_the_servers_own_file_is_taken(flags: FlagFile, tmp_path: Path) -> None:
    """Not one with another nonce, as on another machine, nor one that ends before the slot, nor none."""
    offer = flags.allot("g1")
    assert offer is not None
    for wrong in ({"nonce": "m" * 32}, {"path": str(tmp_path / "none")}, {"slot": 1_000_000}, {"slot": 0}, {"path": 3}):
        assert open_flag({**offer, **wrong}, guard="g1", ordered=lambda order: None) is None
    assert open_flag(offer, guard="g1", ordered=lambda order: None) is not None
    assert (tmp_path / "guards.flag").stat().st_mode & 0o077 == 0


def test_a_slot_that_was_given_to_another_says_nothing_to_the_first(flags: FlagFile) -> None:
    """The new owner's orders are not obeyed by a guard that the server counts as gone."""
    obeyed: list[dict[str, Any]] = []
    first = open_flag(flags.allot("g1"), guard="g1", ordered=obeyed.append)
    assert first is not None
    flags.free("g1")
    assert flags.allot("g2") is not None
    flags.show("g2", order("kill", 5))

    first.look()
    assert obeyed == []
    assert not first.is_ours
    assert not flags.show("g2", order("kill", 6, reason="x" * TEXT_MAX)), "what does not fit is left to the stream"
