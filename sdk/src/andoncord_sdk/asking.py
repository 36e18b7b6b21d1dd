"""Approvals from the control plane: asked for in the background, used once, by the call that was approved and no other."""

import logging
import threading
from typing import Any

from andoncord_sdk import _platform
from andoncord_sdk.approval import Action
from andoncord_sdk.wire import UNREACHABLE, Endpoint, WireError, post

LOOK_S = 0.5
LOOK_MAX_S = 5.0
"""While the control plane is away, looks are this far apart at most."""
TIMEOUT_S = 2.0
MAX_WAITING = 64
"""Actions that wait at once; a call beyond these is refused without asking."""
WAIT_MAX_S = 86_400.0
USE_MAX_S = 3_600.0
OVER = ("denied", "expired", "used")

_log = logging.getLogger("andoncord_sdk")


class AskedApprovals:
    """What a guard uses where a control plane is. `take` never waits: first it asks, and a later call finds the answer.

    What the control plane hands out is used up there already, so that it is good in this process only, once, and for a while.

    Args:
        endpoint: the control plane.
        instance: names this process.
    """

    def __init__(self, endpoint: Endpoint, *, instance: str) -> None:
        self._endpoint = endpoint
        self._instance = instance
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[Action, float]] = {}
        self._granted: dict[str, tuple[Action, float]] = {}
        self._asker: threading.Thread | None = None
        self._wake = threading.Event()

    def take(self, action: Action) -> bool:
        """Whether this very action was approved and not used. Where it was not, ask."""
        digest, now_s = action.digest, _platform.monotonic_s()
        with self._lock:
            known, until_s = self._granted.pop(digest, (None, 0.0))
            if known == action and now_s < until_s:
                return True
            if digest not in self._waiting and len(self._waiting) < MAX_WAITING:
                self._waiting[digest] = (action, now_s + WAIT_MAX_S)
            if self._asker is None or not self._asker.is_alive():
                self._asker = threading.Thread(target=self._ask, name="andoncord-approvals", daemon=True)
                self._asker.start()
        self._wake.set()
        return False

    def forget_other_threads(self) -> None:
        """In a forked child: what was granted to the parent is the parent's."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._waiting, self._granted, self._asker = {}, {}, None

    def _ask(self) -> None:
        pause_s = LOOK_S
        while True:
            with self._lock:
                now_s = _platform.monotonic_s()
                self._waiting = {digest: each for digest, each in self._waiting.items() if now_s < each[1]}
                self._granted = {digest: each for digest, each in self._granted.items() if now_s < each[1]}
                actions = [action for action, _ in self._waiting.values()]
                if not actions:
                    self._asker = None
                    return
                self._wake.clear()
            try:
                self._learn(actions)
                pause_s = LOOK_S
            except UNREACHABLE as lost:
                _log.debug("no word about approvals: %s", lost)
                if isinstance(lost, WireError) and 400 <= lost.status < 500:
                    self._give_up(actions, lost)
                pause_s = min(LOOK_MAX_S, pause_s * 2)
            self._wake.wait(_platform.jittered(pause_s))

    def _learn(self, actions: list[Action]) -> None:
        asked = [{**action._asdict(), "epoch": None if action.epoch is None else list(action.epoch)} for action in actions]
        said = post(self._endpoint, "/api/v1/approvals", {"instance": self._instance, "actions": asked}, timeout_s=TIMEOUT_S)
        statuses, good_s = _read(said)
        until_s = _platform.monotonic_s() + good_s
        with self._lock:
            for action in actions:
                status = statuses.get(action.digest)
                if status == "granted":
                    self._granted[action.digest] = (action, until_s)
                if status == "granted" or status in OVER:
                    self._waiting.pop(action.digest, None)

    def _give_up(self, actions: list[Action], why: WireError) -> None:
        """The control plane refuses to be asked about one of these: none is waited for, and a later call asks anew."""
        _log.warning("approvals cannot be asked for: %s", why)
        with self._lock:
            for action in actions:
                self._waiting.pop(action.digest, None)


def _read(said: Any) -> tuple[dict[str, Any], float]:
    """The statuses by digest, and how long what is granted is good.

    Raises:
        WireError: the answer is not one.
    """
    statuses = said.get("statuses") if isinstance(said, dict) else None
    good_s = said.get("use_within_s") if isinstance(said, dict) else None
    if not isinstance(statuses, dict) or not isinstance(good_s, int | float) or not 0 < good_s <= USE_MAX_S:
        raise WireError(f"the answer about approvals is not one: {str(said)[:200]}")
    return statuses, float(good_s)
