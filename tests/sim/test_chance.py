"""Seeded chance."""

from andoncord.sim.chance import Chance


def test_the_same_seed_and_labels_give_the_same_draws() -> None:
    """Two streams of one name are one stream."""
    first, second = Chance(7, "support"), Chance(7, "support")

    assert [first.bits() for _ in range(5)] == [second.bits() for _ in range(5)]


def test_a_child_does_not_depend_on_the_draws_of_its_parent() -> None:
    """Taking more draws from a stream leaves its children as they were."""
    fresh, used = Chance(7, "support"), Chance(7, "support")
    used.bits()

    assert fresh.child("run-1").bits() == used.child("run-1").bits()


def test_labels_keep_streams_apart() -> None:
    """Another label is another stream."""
    assert Chance(7, "support").bits() != Chance(7, "refunds").bits()


def test_an_event_happens_about_as_often_as_its_probability() -> None:
    """Over 10 000 draws a 0.3 event happens 0.3 of the time, give or take four standard errors."""
    chance = Chance(1)

    share = sum(chance.happens(0.3) for _ in range(10_000)) / 10_000

    assert abs(share - 0.3) < 0.02
