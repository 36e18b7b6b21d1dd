"""The guard hub: who can stop an agent, how orders reach them, and what they answered."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from andoncord.kernel.errors import CallerError, NotFoundError
from andoncord.respond.ladder import height
from andoncord.server.answers import AnswerBook
from andoncord.server.points import Ack, Force, Guard, Kind, Registration, check_state, order_id
from andoncord.server.ports import Entropy, Flags, Processes, ServerClock
from andoncord.server.server_event import encoded_event

PING_S = 0.5
PING = ("ping", b"{}")
GONE_AFTER_NS = 10_000_000_000
"""How long a guard whose connection broke is still expected to answer. Its agent may go on running: unknown is not healthy."""
MAX_GUARDS = 10_000
MAX_QUEUED = 256
"""Events waiting for one guard; a guard this far behind is disconnected and starts over."""
MAX_ORDERS_REMEMBERED = 2 * MAX_GUARDS
"""An order to the fleet is one for each agent: while it is answered, none of them may be forgotten."""
MAX_DEPARTED = 10_000
"""Processes remembered as gone for good, so that their last heartbeats are not taken for life."""

FLAG = "flag"
"""The capability of a guard that looks at a flag in shared memory."""

HOLDING = {"pause": {"pause"}, "kill": {"kill"}, "none": {"pause", "kill"}}
"""What a supervisor must declare to be asked for a rung: freezing and ending is all that it can do, and undo."""


class GuardHub:
    """Guards in memory: nothing here has to survive, because guards come back and the journal knows what is in force.

    Args:
        force: the order in force for an agent.
        flags: raised before an order is pushed, for guards on this machine; None where there are none.
        processes: those of this machine; None where nobody can look.
    """

    def __init__(
        self,
        *,
        clock: ServerClock,
        entropy: Entropy,
        force: Callable[[str], Force],
        flags: Flags | None = None,
        processes: Processes | None = None,
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._force = force
        self._flags = flags
        self._processes = processes
        self._roles: OrderedDict[str, str] = OrderedDict()
        self._seen_here: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self._guards: dict[str, Guard] = {}
        self._named: dict[tuple[str, str, Kind], Guard] = {}
        self.answers = AnswerBook(MAX_ORDERS_REMEMBERED)
        self._departed: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._came = asyncio.Event()
        self._closed = False

    # Guards come and go.

    def register(self, registration: Registration, *, token_id: str) -> Guard:
        """Take in a guard; one of the same agent, instance and kind is replaced.

        Raises:
            CallerError: there are too many.
        """
        if (known := self._named.get(_name_in(registration))) is not None:
            self._drop(known)
        if len(self._guards) >= MAX_GUARDS:
            self._forget_gone()
            if len(self._guards) >= MAX_GUARDS:
                raise CallerError(f"more than {MAX_GUARDS} guards are connected")
        guard = Guard(
            id=self._entropy.identifier("grd"), token_id=token_id, registration=registration, seen_ns=self._clock.now()
        )
        self._guards[guard.id] = self._named[guard.name] = guard
        self._departed.pop((guard.agent, guard.instance), None)
        self._see(guard)
        if registration.role:
            self._roles[registration.agent] = registration.role
            self._roles.move_to_end(registration.agent)
            while len(self._roles) > MAX_DEPARTED:
                self._roles.popitem(last=False)
        return guard

    def role_of(self, agent: str) -> str:
        """The role that a guard of the agent said last; empty where none did."""
        return self._roles.get(agent, "")

    def _see(self, guard: Guard) -> None:
        """Remember a process that runs here, as it says of itself: only what was seen can be seen to be gone."""
        if self._processes is None or not self._processes.is_here(guard.registration.process):
            return
        self._seen_here[guard.agent, guard.instance] = guard.registration.process
        while len(self._seen_here) > MAX_DEPARTED:
            self._seen_here.popitem(last=False)

    def ended_pid(self, agent: str, instance: str) -> int:
        """The number that a guard's process had, if it ran on this machine and has ended; 0 otherwise."""
        process = self._seen_here.get((agent, instance))
        if process is None or self._processes is None or not self._processes.is_gone(process):
            return 0
        return int(process["pid"])

    def flag_for(self, guard: Guard) -> dict[str, Any] | None:
        """Where the guard finds its flag, if it can read one and is on this machine; None where there is none for it."""
        if self._flags is None or FLAG not in guard.registration.capabilities:
            return None
        return self._flags.allot(guard.id)

    def guard(self, guard_id: str, *, token_id: str) -> Guard:
        """A guard that this token registered.

        Raises:
            NotFoundError: there is none; it has to register again.
        """
        guard = self._guards.get(guard_id)
        if guard is None or guard.token_id != token_id:
            raise NotFoundError("this guard is not registered", remedy="register again")
        return guard

    def update(self, guard: Guard, *, capabilities: tuple[str, ...], state: dict[str, Any]) -> None:
        """A guard tells what has changed since it registered; whoever waits for one that can do something looks again.

        Raises:
            CallerError: its state cannot be read.
        """
        check_state(state)
        guard.registration = msgspec.structs.replace(guard.registration, capabilities=capabilities)
        guard.state = state or guard.state
        guard.seen_ns = self._clock.now()
        self._came.set()

    def depart(self, guard: Guard) -> None:
        """A guard that says goodbye is not expected to answer any more."""
        self._drop(guard)
        self._departed[guard.agent, guard.instance] = None
        while len(self._departed) > MAX_DEPARTED:
            self._departed.popitem(last=False)

    def has_departed(self, agent: str, instance: str) -> bool:
        """Whether a process is known to be gone for good."""
        return (agent, instance) in self._departed

    def forget_agent_processes(self, agent: str, *, host: str) -> list[str]:
        """The agent's process tree on `host` was seen empty: its guards there, which are told, are gone for good."""
        gone = [guard for guard in self.points(agent) if guard.registration.host == host]
        for guard in gone:
            self.depart(guard)
        return [guard.instance for guard in gone]

    def revoke(self, token_id: str) -> None:
        """Close everything that a token opened."""
        for guard in [guard for guard in self._guards.values() if guard.token_id == token_id]:
            self._drop(guard)

    def close(self) -> None:
        """End every stream, so that nothing keeps the server from stopping."""
        self._closed = True
        for guard in self._guards.values():
            guard.end_stream()

    # Who is there.

    def points(self, agent: str, *, kind: Kind = "guard") -> list[Guard]:
        """Enforcement points that should answer for an agent (a glob is allowed): connected, or lost a moment ago."""
        self._forget_gone()
        return [
            guard
            for guard in self._guards.values()
            if guard.registration.kind == kind and (agent == guard.agent or fnmatchcase(guard.agent, agent))
        ]

    def holders(self, agent: str, rung: str) -> list[Guard]:
        """Supervisors that enforce this rung themselves, on the agent's whole process tree."""
        wanted = HOLDING.get(rung, set())
        return [point for point in self.points(agent, kind="supervisor") if wanted & set(point.registration.capabilities)]

    def all(self) -> list[Guard]:
        """Every guard and supervisor that is not gone."""
        self._forget_gone()
        return list(self._guards.values())

    async def wait_for(self, is_there: Callable[[Guard], bool], *, timeout_s: float) -> Guard | None:
        """The first connected guard for which `is_there` holds; None when none came in time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            for guard in self._guards.values():
                if guard.is_connected and is_there(guard):
                    return guard
            self._came.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._came.wait()
            except TimeoutError:
                return None

    async def wait_for_instance(self, agent: str, instance: str, *, timeout_s: float) -> Guard | None:
        """The guard of one process, once it is connected; None when it did not come in time."""
        return await self.wait_for(
            lambda guard: (guard.agent, guard.instance, guard.registration.kind) == (agent, instance, "guard"),
            timeout_s=timeout_s,
        )

    # Orders out.

    def send(self, guards: Iterable[Guard], event: str, body: dict[str, Any]) -> None:
        """Put an event on the streams of these guards. Those not connected get what is in force when they come back."""
        encoded = msgspec.json.encode(body)  # Once for all of them.
        is_flagged = event == "order" and self._flags is not None and _holds(body)
        order = body.get("order_id")
        for guard in guards:
            if order:
                self.answers.ask(order, guard.agent)
            guard.told = tuple(body["epoch"]) if event == "order" and "epoch" in body else guard.told
            if is_flagged and self._flags is not None:
                self._flags.show(guard.id, body)
            if guard.queue is None:
                continue
            try:
                guard.queue.put_nowait((event, encoded))
            except asyncio.QueueFull:
                guard.end_stream()

    def order_body(self, agent: str, force: Force) -> dict[str, Any]:
        """An order as guards read it."""
        return {
            "order_id": order_id(agent, force.epoch),
            "agent": agent,
            "rung": force.rung,
            "epoch": list(force.epoch),
            "reason": force.reason,
            "by": force.by,
            "incident": force.incident,
            "orders": list(force.orders),
            "dropped": list(force.dropped),
        }

    async def stream(self, guard: Guard) -> AsyncIterator[bytes]:
        """The guard's server-sent events: first what is in force, then whatever comes, and a ping when nothing does."""
        queue: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(MAX_QUEUED)
        guard.end_stream()
        guard.queue = queue
        self._came.set()
        number = 0
        try:
            pending: tuple[str, bytes] | None = self._in_force(guard)
            while pending is not None and not self._closed:
                number += 1
                guard.seen_ns = self._clock.now()
                yield encoded_event(pending[0], number, pending[1])
                try:
                    # Not wait_for: on Python 3.11 that can swallow the cancellation of a stream whose reader is gone.
                    async with asyncio.timeout(PING_S):
                        pending = await queue.get()
                except TimeoutError:
                    pending = self._in_force(guard) if self._is_behind(guard) else PING
        finally:
            if guard.queue is queue:
                guard.queue = None
                guard.seen_ns = self._clock.now()

    def _in_force(self, guard: Guard) -> tuple[str, bytes]:
        """The event that tells a guard what is in force for its agent."""
        body = self.order_body(guard.agent, self._force(guard.agent))
        self.answers.ask(body["order_id"], guard.agent)
        guard.told = tuple(body["epoch"])
        return "order", msgspec.json.encode(body)

    def _is_behind(self, guard: Guard) -> bool:
        """Whether an order changed without its agent being told by name: guards hear of it with their leases, others here."""
        return guard.registration.kind == "supervisor" and self._force(guard.agent).epoch > guard.told

    # Answers in.

    def acknowledge(self, guard: Guard, ack: Ack) -> None:
        """Keep what a guard answered, and what it said of itself with it.

        Raises:
            CallerError: its state cannot be read; an order that was answered so is not confirmed.
        """
        check_state(ack.state)
        guard.seen_ns = self._clock.now()
        if ack.state:
            guard.state = ack.state
        self.answers.add(guard.agent, guard.instance, ack)

    def _drop(self, guard: Guard) -> None:
        guard.end_stream()
        if self._flags is not None:
            self._flags.free(guard.id)
        self._guards.pop(guard.id, None)
        if self._named.get(guard.name) is guard:
            del self._named[guard.name]

    def _forget_gone(self) -> None:
        horizon = self._clock.now() - GONE_AFTER_NS
        for guard in [each for each in self._guards.values() if not each.is_connected and each.seen_ns < horizon]:
            self._drop(guard)


def _holds(order: dict[str, Any]) -> bool:
    """Whether an order, or one of those that it is made of, holds something: a flag is for raising alone."""
    return any(height(str(each["rung"])) >= height("restrict") for each in (order, *order.get("orders", ())))


def _name_in(registration: Registration) -> tuple[str, str, Kind]:
    """What tells an enforcement point from every other."""
    return registration.agent, registration.instance, registration.kind
