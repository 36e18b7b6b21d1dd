"""A frozen process tree that is looked at again: quiescence is seen by looking twice."""

from andoncord_sdk import _platform
from andoncord_sdk.tree import Look

IDLE_S = 1.0
"""Between two looks at a frozen tree, and at whatever nobody rings for."""
LOOK_AGAIN_S = 0.25
"""After the first look."""
LOOKS_WANTED = 2


class FrozenWatch:
    """A frozen tree that is looked at again."""

    def __init__(self, order_id: str, first: Look) -> None:
        self.order_id = order_id
        self.first = first
        self.looks = 1 if first.is_frozen else 0
        self._next_s = _platform.monotonic_s() + LOOK_AGAIN_S

    def is_due(self) -> bool:
        return _platform.monotonic_s() >= self._next_s

    def add(self) -> int:
        """Count one more look at which it stood; how many there were."""
        self.looks += 1
        self._next_s = _platform.monotonic_s() + IDLE_S
        return self.looks
