"""Guessing is slow, and nobody can lock out anybody else."""

import pytest

from andoncord.kernel.time import HOUR_NS, MINUTE_NS, SECOND_NS
from andoncord.server.throttle import (
    ACCOUNT_FAILURES,
    FREE_FAILURES,
    LONGEST_WAIT_NS,
    PLACE_FAILURES,
    LoginThrottle,
    RequestThrottle,
    TooManyError,
)


class Watch:
    """A clock by hand."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def throttle(watch: Watch) -> LoginThrottle:
    return LoginThrottle(watch)


def test_failures_make_the_next_try_wait_ever_longer(throttle: LoginThrottle, watch: Watch) -> None:
    """A few are free; then the wait doubles up to a bound; an hour later all is forgotten."""
    waits: list[int] = []
    for _ in range(FREE_FAILURES + 9):
        throttle.failed("ada", "10.0.0.1")
        try:
            throttle.check("ada", "10.0.0.1")
            waits.append(0)
        except TooManyError as error:
            waits.append(error.retry_s)
            watch.now += error.retry_s * SECOND_NS
            throttle.check("ada", "10.0.0.1")
    assert waits[: FREE_FAILURES + 3] == [0] * (FREE_FAILURES - 1) + [30, 60, 120, 240]
    assert max(waits) == LONGEST_WAIT_NS // SECOND_NS
    watch.now += HOUR_NS
    throttle.failed("ada", "10.0.0.1")
    throttle.check("ada", "10.0.0.1")


def test_a_stranger_cannot_lock_out_the_person(throttle: LoginThrottle) -> None:
    """Failures elsewhere do not count here, and whatever strangers do, a browser that signed in before still may."""
    for _ in range(FREE_FAILURES * 2):
        throttle.failed("ada", "10.6.6.6")
    throttle.check("ada", "10.0.0.1")
    for number in range(ACCOUNT_FAILURES):
        throttle.failed("ada", f"10.6.{number}.6")
    with pytest.raises(TooManyError):
        throttle.check("ada", "10.0.0.1")
    throttle.check("ada", "10.0.0.1", device="her browser")
    throttle.check("bob", "10.0.0.1")


def test_one_place_cannot_try_every_account(throttle: LoginThrottle) -> None:
    """A password that is tried with many names counts for the place."""
    for number in range(PLACE_FAILURES):
        throttle.failed(f"person-{number}", "10.6.6.6")
    with pytest.raises(TooManyError):
        throttle.check("somebody new", "10.6.6.6")
    throttle.check("somebody new", "10.0.0.1")


def test_requests_are_bounded_for_each_alone(watch: Watch) -> None:
    """A burst passes, more does not until time has passed, and others are not touched."""
    throttle = RequestThrottle(per_s=2, burst=3, now_ns=watch)
    for _ in range(3):
        throttle.take("script")
    with pytest.raises(TooManyError):
        throttle.take("script")
    throttle.take("ada")
    watch.now += SECOND_NS
    throttle.take("script")
    watch.now += MINUTE_NS
    for _ in range(3):
        throttle.take("script")
    with pytest.raises(TooManyError):
        throttle.take("script")
