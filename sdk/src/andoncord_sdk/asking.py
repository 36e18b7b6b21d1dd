"""Approvals from the control plane: asked for in the background, used once, by the call that was approved and no other."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from andoncord_sdk import _platform
from andoncord_sdk.approval import Action
from andoncord_sdk.wire import UNREACHABLE, Endpoint, WireError, post

LOOK_S = 0.5
LOOK_MAX_S = 5.0
"""While the control plane is away, looks are this far apart at most."""
TIMEOUT_S = 2.0
MAX_WAITING = 64
"""Actions that wait at once, and calls that are held for one; a call beyond these is refused without asking."""
WAIT_MAX_S = 86_400.0
USE_MAX_S = 3_600.0
OVER = {
    "denied": "it was denied",
    "expired": "it was not answered, or not used, in time",
    "used": "it has been used up",
}
"""What ends the asking without an approval, and what that means."""

NOT_NOW = (408, 429)
"""HTTP statuses that mean "ask again later"."""

_log = logging.getLogger("andoncord_sdk")


class AskedApprovals:
    """What a guard uses where a control plane is. Nothing here waits: `look` asks, and a later look finds the answer.

    What the control plane hands out is used up there already, so that it is good in this process only, once, and for a while.

    Args:
        endpoint: the control plane.
        instance: names this process.
        heard: called when something was answered, so that held calls look again.
    """

    def __init__(self, endpoint: Endpoint, *, instance: str, heard: Callable[[], None] = lambda: None) -> None:
        self._endpoint = endpoint
        self._instance = instance
        self._heard = heard
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[Action, float]] = {}
        self._granted: dict[str, tuple[Action, float]] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        """Why, and until when that is remembered."""
        self._held: Counter[str] = Counter()
        """Calls that are held, by the digest they wait for."""
        self._asker: threading.Thread | None = None
        self._wake = threading.Event()

    def take(self, action: Action) -> bool:
        """Whether this very action was approved and not used. Where it was not, ask."""
        if not self.look(action):
            return False
        with self._lock:
            return self._granted.pop(action.digest, None) is not None

    def look(self, action: Action) -> bool:
        """Whether `take` would say yes. Where it would not, ask."""
        digest, now_s = action.digest, _platform.monotonic_s()
        with self._lock:
            known, until_s = self._granted.get(digest, (None, 0.0))
            if known == action and now_s < until_s:
                return True
            if digest in self._waiting or self._why_refused(digest):
                return False
            if len(self._waiting) >= MAX_WAITING:
                return False
            self._waiting[digest] = (action, now_s + WAIT_MAX_S)
            if self._asker is None or not self._asker.is_alive():
                self._asker = threading.Thread(target=self._ask, name="andoncord-approvals", daemon=True)
                self._asker.start()
        self._wake.set()
        return False

    def hold(self, action: Action) -> bool:
        """Count one more call that is held for an approval that was asked for. False if too many are."""
        digest = action.digest
        with self._lock:
            is_asked = digest in self._waiting or digest in self._granted or bool(self._why_refused(digest))
            if not is_asked or self._held.total() >= MAX_WAITING:
                return False
            self._held[digest] += 1
            return True

    def let_go(self, action: Action) -> None:
        """One call less is held; when it was the last one, nobody is asked any more."""
        digest = action.digest
        with self._lock:
            self._held[digest] -= 1
            if self._held[digest] <= 0:
                del self._held[digest]
                self._waiting.pop(digest, None)

    def refusal(self, action: Action) -> str:
        """Why the approval will not come; empty while it may."""
        with self._lock:
            return self._why_refused(action.digest)

    def forget_other_threads(self) -> None:
        """In a forked child: what was granted to the parent is the parent's."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._waiting, self._granted, self._refused, self._asker = {}, {}, {}, None
        self._held = Counter()

    def _why_refused(self, digest: str) -> str:
        why, until_s = self._refused.get(digest, ("", 0.0))
        return why if _platform.monotonic_s() < until_s else ""

    def _ask(self) -> None:
        pause_s = LOOK_S
        while True:
            with self._lock:
                now_s = _platform.monotonic_s()
                self._waiting = {digest: each for digest, each in self._waiting.items() if now_s < each[1]}
                self._granted = {digest: each for digest, each in self._granted.items() if now_s < each[1]}
                self._refused = {digest: each for digest, each in self._refused.items() if now_s < each[1]}
                actions = [action for action, _ in self._waiting.values()]
                if not actions:
                    self._asker = None
                    return
                self._wake.clear()
            try:
                self._look(actions)
                pause_s = LOOK_S
            except UNREACHABLE as lost:
                _log.debug("no word about approvals: %s", lost)
                pause_s = min(LOOK_MAX_S, pause_s * 2)
            self._wake.wait(_platform.jittered(pause_s))

    def _look(self, actions: Sequence[Action]) -> None:
        """Ask about all of them; where the control plane will not be asked about one, about each by itself.

        Raises:
            WireError: the control plane does not answer now, or what it says makes no sense.
        OSError: nobody answered.
        """
        try:
            answered = self._learn(actions)
        except WireError as refused:
            if not 400 <= refused.status < 500 or refused.status in NOT_NOW:
                raise
            if len(actions) > 1:
                for action in actions:
                    self._look([action])
                return
            _log.warning("an approval cannot be asked for: %s", refused)
            answered = self._over(actions[0], f"the control plane cannot be asked for it: {refused}")
        if answered:
            self._heard()

    def _learn(self, actions: Sequence[Action]) -> bool:
        asked = [{**action._asdict(), "epoch": None if action.epoch is None else list(action.epoch)} for action in actions]
        said = post(self._endpoint, "/api/v1/approvals", {"instance": self._instance, "actions": asked}, timeout_s=TIMEOUT_S)
        statuses, good_s = _read(said)
        until_s = _platform.monotonic_s() + good_s
        is_any = False
        for action in actions:
            status = statuses.get(action.digest)
            if status == "granted":
                with self._lock:
                    self._granted[action.digest] = (action, until_s)
                    is_any = self._waiting.pop(action.digest, None) is not None or is_any
            elif isinstance(status, str) and status in OVER:
                is_any = self._over(action, OVER[status]) or is_any
        return is_any

    def _over(self, action: Action, why: str) -> bool:
        """It is waited for no more. A later call asks anew."""
        with self._lock:
            self._refused[action.digest] = (why, _platform.monotonic_s() + LOOK_MAX_S)
            return self._waiting.pop(action.digest, None) is not None


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
