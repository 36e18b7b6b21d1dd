"""Something to be done before a call can be decided: it takes time, so the check hands it to the call."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Errand(Protocol):
    """Done outside the check; afterwards the check is asked again, and finds what came of it."""

    def do(self) -> None:
        """Do it, or give up. Blocks for a bounded time and never raises."""


async def do_async(errand: Errand) -> None:
    """Do an errand without blocking the event loop."""
    await asyncio.to_thread(errand.do)


def within(seconds: float, fn: Callable[[], Any]) -> tuple[bool, Any]:
    """Call `fn` in a thread of its own. Whether it returned in time, and what; an exception is what it returned.

    A thread that takes too long is left behind: there is no way to end it.
    """
    done = threading.Event()
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append(fn())
        except BaseException as error:
            outcome.append(error)
        done.set()

    threading.Thread(target=call, name="andoncord-errand", daemon=True).start()
    return (True, outcome[0]) if done.wait(seconds) else (False, None)
