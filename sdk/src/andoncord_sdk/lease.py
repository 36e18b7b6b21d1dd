"""Leases: the control plane's word, good for a few seconds, that this guard may let calls through.

A lease bounds the harm of a lost control plane: without a live one, calls that change something are refused. It is counted from
the sending of the request that it answers, on a clock that runs on while the machine is suspended, so a late answer or a
long sleep can only make it shorter. It names the order in force, so it can never be older than what the guard was told.
"""

import hashlib
import hmac
import http.client
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from andoncord_sdk import _platform
from andoncord_sdk.allowance import Allowance, AllowanceError, proven
from andoncord_sdk.ladder import Rung
from andoncord_sdk.orders import Epoch, Gate, parse_epoch
from andoncord_sdk.otlp import SEVERITY_WARN, LogRecord
from andoncord_sdk.wire import UNREACHABLE, Endpoint, WireError, parse_json, send_json

RENEW_S = 1.5
"""A lease is renewed this often, counted from the last asking."""
RETRY_S = 0.3
"""The pause, at most, after an asking that failed."""
GAP_S = 0.1
"""Calls that miss a lease have it asked for at once, but not more often than this."""
TIMEOUT_S = 1.0
"""Longest wait for one answer: a hung control plane must leave time to ask again before the lease ends."""
READS_S = 30.0
"""How long after the end of the lease calls that only read are still made."""
TTL_MAX_MS = 60_000
"""No lease is longer: a control plane that is lost for a minute is lost."""
OPEN_ASKS_MAX = 8
NS = 1_000_000_000

_log = logging.getLogger("andoncord_sdk")


def orders_digest(orders: Sequence[Any], dropped: Sequence[str]) -> str:
    """Names a set of orders that comes with a lease; empty where there is none.

    >>> orders_digest([], ()), len(orders_digest([{"id": "o1"}], ()))
    ('', 64)
    """
    if not orders and not dropped:
        return ""
    text = json.dumps([list(orders), list(dropped)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def lease_mac(key: bytes, *, guard: str, agent: str, epoch: Epoch, rung: str, ttl_ms: int, nonce: str, orders: str = "") -> str:
    """HMAC-SHA256 over everything a lease says, in hex.

    Args:
        orders: the digest of the set of orders that comes with it.

    >>> said = {"guard": "g1", "agent": "a", "epoch": (1, 2), "rung": "none", "nonce": "n"}
    >>> lease_mac(b"key", ttl_ms=5000, **said) == lease_mac(b"key", ttl_ms=50000, **said)
    False
    """
    said = ["andoncord-lease-1", guard, agent, *epoch, rung, ttl_ms, nonce, *([orders] if orders else [])]
    content = json.dumps(said, separators=(",", ":"))
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()


GIVE_BACK_S = 1.0
"""Closing waits this long until what is left of shared budgets has been returned."""


class LeaseRefusedError(Exception):
    """A lease that proves nothing."""


class Granted(NamedTuple):
    """A lease that was checked."""

    epoch: Epoch
    rung: Rung
    until_ns: int


@dataclass(frozen=True, slots=True)
class _Ask:
    sent_ns: int
    epoch: Epoch | None


class Lease:
    """What a guard holds: until when it may let calls through, and how a new lease is checked. Thread-safe.

    Args:
        agent: the agent's name.
        gate: knows the order in force.
        report: takes a record, and `urgent`.
        reads_s: how long after the end calls that only read are still made.
        models_s: the same for calls of models, which cost money.
        clock_ns: nanoseconds on a clock that never steps back and runs on while the machine is suspended.
    """

    def __init__(
        self,
        *,
        agent: str,
        gate: Gate,
        report: Callable[..., None],
        reads_s: float = READS_S,
        models_s: float = READS_S,
        clock_ns: Callable[[], int] = _platform.boot_ns,
    ) -> None:
        self.clock_ns = clock_ns
        self.until_ns = clock_ns()
        """Before the first lease: since when there should have been one."""
        self.wanted = threading.Event()
        """Set when a call missed a lease."""
        self.granted = threading.Event()
        """Set once there was one."""
        self._agent = agent
        self._gate = gate
        self._report = report
        self._reads_ns, self._models_ns = int(reads_s * NS), int(models_s * NS)
        self._guard = ""
        self._key = b""
        self._asks: dict[str, _Ask] = {}
        self._lock = threading.Lock()

    @property
    def key(self) -> bytes:
        """What answers of the control plane are proven with; empty before a registration."""
        return self._key

    @property
    def left_s(self) -> float:
        """Seconds until the lease ends; negative once it has."""
        return (self.until_ns - self.clock_ns()) / NS

    def goes_on(self, *, is_model: bool) -> bool:
        """Whether calls that only read, or those of models, are still made without a lease."""
        return self.clock_ns() < self.until_ns + (self._models_ns if is_model else self._reads_ns)

    def ask(self) -> str:
        """A new request begins now; the nonce that the answer must carry."""
        nonce = _platform.nonce()
        with self._lock:
            self._asks[nonce] = _Ask(self.clock_ns(), self._gate.order.epoch)
            while len(self._asks) > OPEN_ASKS_MAX:
                del self._asks[next(iter(self._asks))]
        return nonce

    def registered(self, guard: str, key: bytes) -> None:
        """From now on leases are for this registration, under its key."""
        with self._lock:
            self._guard, self._key = guard, key

    def check(self, content: dict[str, Any]) -> Granted:
        """What a lease grants.

        Raises:
            LeaseRefusedError: it is forged, replayed, late, too long, or older than the order in force when it was asked for.
        """
        try:
            epoch, rung = parse_epoch(content["epoch"]), Rung.parse(content["rung"])
            ttl_ms, nonce, mac = content["ttl_ms"], content["nonce"], content["mac"]
            if type(ttl_ms) is not int or type(nonce) is not str or type(mac) is not str:
                raise ValueError("ttl_ms is a number; nonce and mac are texts")
            orders = orders_digest(content.get("orders") or (), content.get("dropped") or ())
        except (KeyError, ValueError, TypeError) as wrong:
            raise LeaseRefusedError(f"malformed: {wrong!r}") from wrong
        with self._lock:
            ask, guard, key = self._asks.pop(nonce, None), self._guard, self._key
        if ask is None:
            raise LeaseRefusedError("replayed: it answers no open request")
        said: dict[str, Any] = {"epoch": epoch, "rung": rung.word, "ttl_ms": ttl_ms, "nonce": nonce, "orders": orders}
        proof = lease_mac(key, guard=guard, agent=self._agent, **said)
        if not key or not hmac.compare_digest(proof.encode(), mac.encode("utf-8", "replace")):
            raise LeaseRefusedError("forged: its proof does not hold")
        if not 0 < ttl_ms <= TTL_MAX_MS:
            raise LeaseRefusedError(f"its length of {ttl_ms} ms is not between 1 and {TTL_MAX_MS}")
        if ask.epoch is not None and epoch < ask.epoch:
            raise LeaseRefusedError(f"stale: it knows the order {epoch}, and {ask.epoch} was in force when it was asked for")
        until_ns = ask.sent_ns + ttl_ms * 1_000_000
        if until_ns <= self.clock_ns():
            raise LeaseRefusedError("expired: it ended before it arrived")
        return Granted(epoch, rung, until_ns)

    def is_news(self, granted: Granted) -> bool:
        """Whether the lease tells of an order that is not in force here yet."""
        in_force = self._gate.order.epoch
        return in_force is None or granted.epoch > in_force

    def take(self, granted: Granted) -> bool:
        """Let calls through until it ends. False if an order came meanwhile that the lease does not know."""
        in_force = self._gate.order
        if in_force.epoch is not None and granted.epoch < in_force.epoch:
            return False
        with self._lock:
            self.until_ns = max(self.until_ns, granted.until_ns)
        self.granted.set()
        return True

    def refuse(self, why: object) -> None:
        """Report a lease that was not taken."""
        _log.warning("a lease was refused: %s", why)
        self.report("lease_refused", f"{self._agent} was offered a lease and refused it: {why}")

    def report(self, code: str, message: str, **more: Any) -> None:
        """Report that the guard works without what it should have."""
        self._report(
            LogRecord(
                event_name="andoncord.guard.degraded",
                at_ns=_platform.now_ns(),
                trace_id=more.pop("trace_id", ""),
                span_id=more.pop("span_id", ""),
                severity=SEVERITY_WARN,
                attributes={
                    "gen_ai.agent.name": self._agent,
                    **more.pop("attributes", {}),
                    "andoncord.decision.code": code,
                    "andoncord.decision.message": message,
                },
            ),
            urgent=True,
        )

    def forget_other_threads(self) -> None:
        """In a forked child: renew what another thread may have held. The parent's lease ends when it ends."""
        self._lock = threading.Lock()
        self.wanted, self.granted = threading.Event(), threading.Event()
        self._asks = {}
        self._key = b""


class LeaseKeeper:
    """Renews a lease from a thread of its own, so that neither a slow acknowledgement nor a silent stream can cost it.

    Args:
        endpoint: the control plane.
        lease: what is renewed.
        ordered: takes an order that a lease was the first to tell of.
        lost: called when the control plane no longer knows this guard.
        allowance: what the control plane lets this guard spend of shared budgets; told and asked with every renewal.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        lease: Lease,
        *,
        ordered: Callable[[dict[str, Any]], None],
        lost: Callable[[], None],
        allowance: Allowance | None = None,
    ) -> None:
        self._allowance = allowance
        self._endpoint = endpoint
        self._lease = lease
        self._ordered = ordered
        self._lost = lost
        self.start()

    def start(self) -> None:
        """Begin anew; called again in a forked child, where the thread does not exist."""
        self._guard = ""
        self._renew_s = RENEW_S
        self._thread: threading.Thread | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._closing = threading.Event()

    def close(self) -> None:
        self._closing.set()
        self._lease.wanted.set()
        if self._thread is not None and self._allowance is not None and self._allowance.is_covered:
            self._thread.join(GIVE_BACK_S)

    def welcomed(self, welcome: dict[str, Any]) -> None:
        """Take the key and the first lease out of the answer to a registration. Without them there is no lease."""
        offer = welcome.get("lease")
        if not isinstance(offer, dict):
            return
        try:
            key, renew_s = bytes.fromhex(offer["key"]), float(offer.get("renew_s", RENEW_S))
        except (KeyError, ValueError, TypeError) as wrong:
            self._lease.refuse(f"the registration was answered with a broken key: {wrong!r}")
            return
        self._guard, self._renew_s = str(welcome["guard_id"]), min(max(GAP_S, renew_s), RENEW_S)
        if welcome.get("shares_budget") and self._allowance is not None:
            self._allowance.covered()
            self._lease.wanted.set()
        self._lease.registered(self._guard, key)
        self._receive(offer)
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="andoncord-lease", daemon=True)
            self._thread.start()

    def _keep(self) -> None:
        wanted = self._lease.wanted
        while not self._closing.is_set():
            wanted.wait(self._renew_s)
            wanted.clear()
            if self._closing.is_set():
                break
            pause_s = GAP_S
            if self._guard:
                try:
                    self._renew()
                except UNREACHABLE as lost:
                    _log.debug("no lease from %s: %s", self._endpoint.url, lost)
                    self._hang_up()
                    wanted.set()
                    pause_s = _platform.jittered(RETRY_S)
                except Exception:  # Our own fault: say so, and go on asking.
                    _log.exception("the lease could not be renewed")
            self._closing.wait(pause_s)
        if self._allowance is not None and self._guard:
            self._give_back(self._allowance)
        self._hang_up()

    def _give_back(self, allowance: Allowance) -> None:
        """Return what is left of shared budgets; what cannot be returned lapses."""
        if allowance.give_back():
            try:
                self._renew()
            except UNREACHABLE as lost:
                _log.debug("a part of a shared budget could not be returned: %s", lost)

    def _renew(self) -> None:
        guard = self._guard
        if self._connection is None:
            self._connection = self._endpoint.connect(TIMEOUT_S)
        path = f"/api/v1/guards/{guard}/lease"
        nonce = self._lease.ask()
        body: dict[str, Any] = {"nonce": nonce}
        if self._allowance is not None:
            body["budget"] = self._allowance.report()
        key = self._lease.key
        status, answer = send_json(self._connection, self._endpoint, path, body)
        if status == 404:
            if guard == self._guard:
                self._guard = ""
                self._lost()
            return
        if not 200 <= status < 300:
            raise WireError(f"POST {path}: HTTP {status}", status=status)
        content = parse_json(answer)
        if not isinstance(content, dict):
            raise WireError(f"expected a lease, got {str(content)[:200]}")
        if guard != self._guard:
            return  # It is for the registration before this one, whose key is gone: no forgery, and no use.
        self._receive(content)
        if self._allowance is not None and isinstance(allotted := content.get("budget"), dict):
            try:
                self._allowance.take(proven(allotted, key=key, guard=guard, nonce=nonce))
            except AllowanceError as wrong:
                self._lease.refuse(f"its part about budgets is {wrong}")

    def _receive(self, content: dict[str, Any]) -> None:
        try:
            granted = self._lease.check(content)
        except LeaseRefusedError as refusal:
            self._lease.refuse(refusal)
            return
        if self._lease.is_news(granted):
            self._ordered(content)
            if self._lease.is_news(granted):
                # Under an order that is not in force here, nothing may be let through.
                self._lease.refuse(f"the order {granted.epoch} that it goes with could not be followed")
                return
        if not self._lease.take(granted):
            self._lease.wanted.set()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
