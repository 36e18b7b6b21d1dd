"""Orders that were given for a limited time, and what happens when it is over."""

from collections.abc import Iterator

from andoncord.engine.drafts import held_by_others, order_draft
from andoncord.engine.standing import end_standing, next_end_ns
from andoncord.engine.state import State
from andoncord.kernel.journal import Draft

ORDER_MS = 1_000


def next_expiry_ns(state: State) -> int | None:
    """When the next order ends by itself; None when none does."""
    ends = [control.expires_ns for control in state.controls.values() if control.expires_ns]
    return min([*ends, *filter(None, [next_end_ns(state)])], default=None)


def end_expired(state: State, now_ns: int) -> Iterator[Draft]:
    """Let go of the first agent whose order is over. Only a person can give an order with an end, so a person decided this."""
    for control in state.controls.values():
        if control.expires_ns and control.expires_ns <= now_ns:
            yield order_draft(
                state,
                control.incident,
                f"expiry/{control.intent}",
                control.agent,
                rung=held_by_others(state, control.incident, control.agent),
                reason=f"the time that {control.by.removeprefix('person:')} gave is over",
                deadline_ms=ORDER_MS,
                may_lower=True,
            )
            return
    yield from end_standing(state, now_ns)
