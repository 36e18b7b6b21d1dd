"""Whether Andoncord itself works: checks with remedies for `andon doctor`, the console and whoever asks (KPI-2)."""

import asyncio
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import msgspec

from andoncord.engine.audit import OURS, Overdue, audit
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.time import DAY_NS, SECOND_NS, rfc3339, seconds_between
from andoncord.server.control import Control
from andoncord.server.deadman import MAX_LAG, TURN_S, Deadman
from andoncord.server.figures import WorkerFigures
from andoncord.server.ports import Processes
from andoncord.server.reconcile import Reconciliation, reconcile

MIB = 1 << 20
DISK_FAIL_BYTES = 200 * MIB
DISK_WARN_BYTES = 2 << 30
KILL_PATH_DAYS = 7
"""A kill that was proven longer ago says little about today. Chosen: the interval of a weekly exercise."""
FENCES_READ = 1_000
"""The latest orders that the time to fence is read from."""
INTENTS_READ = 5_000
AUDIT_NS = 2 * SECOND_NS
"""How long an audit stands [20 µs for each open incident]."""
CANARY = "canary-"
"""How the names of canaries begin (`andon canary`)."""


class Verdict(StrEnum):
    """What a check says."""

    OK = "ok"
    WARN = "warn"
    """It works, and something about it will hurt on the day it matters."""
    FAIL = "fail"
    UNKNOWN = "unknown"
    """It could not be looked at."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    text: str
    remedy: str = ""


class Machine(Protocol):
    """What the machine says about itself."""

    def resident_bytes(self, pid: int | None = None) -> int | None: ...

    def user_of(self, pid: int) -> int | None: ...

    def own_user(self) -> int: ...

    def disk_bytes(self, path: Path) -> tuple[int, int]: ...

    def clock_is_synchronised(self) -> bool | None: ...

    def openings(self, home: Path) -> list[str]: ...


class Health:
    """Looks at everything that has to work.

    Args:
        worker: whether the ingest worker is up, and its process id.
        figures: what the worker last told about itself.
        settings: sentences about settings that will hurt, each with its remedy; looked at anew each time.
    """

    def __init__(
        self,
        *,
        control: Control,
        deadman: Deadman,
        worker: Callable[[], tuple[bool, int | None]],
        figures: Callable[[], WorkerFigures | None],
        machine: Machine,
        processes: Processes | None,
        home: Path,
        settings: Callable[[], Iterable[tuple[str, str]]] = tuple,
    ) -> None:
        self.control = control
        self.deadman = deadman
        self.worker = worker
        self.figures = figures
        self.machine = machine
        self._processes = processes
        self._home = home
        self._settings = settings
        self._audited: tuple[Overdue, ...] = ()
        self._audited_ns = -AUDIT_NS

    def overdue(self) -> tuple[Overdue, ...]:
        """Promises that were not kept, as of the last few seconds: with thousands of open incidents a look takes its time."""
        now = self.control.clock.now()
        if not self._audited_ns <= now < self._audited_ns + AUDIT_NS:
            self._audited, self._audited_ns = audit(self.control.state, now=now), now
        return self._audited

    async def checks(self) -> list[Check]:
        """Everything, one after the other; a check that breaks says so and the rest goes on."""
        looks: tuple[Callable[[], Any], ...] = (
            self._data_directory,
            self._same_user,
            self._disk,
            self._clock,
            self._engine,
            self._worker,
            self._lag,
            self._ledger,
            self._promises,
            self._kill_path,
            self._fleet,
            self._heartbeat_out,
            self._configuration,
        )
        found: list[Check] = []
        for look in looks:
            name = look.__name__.strip("_").replace("_", " ")
            try:
                said = look()
                found += [await said] if asyncio.iscoroutine(said) else [said]
            except Exception as error:
                found.append(_check(name, Verdict.UNKNOWN, f"could not be looked at: {type(error).__name__}: {error}"))
        return found

    def _data_directory(self) -> Check:
        open_to_others = self.machine.openings(self._home)
        if open_to_others:
            remedy = f"chmod 700 {self._home}, in a folder that only its owner can write"
            return _check("data directory", Verdict.FAIL, "; ".join(open_to_others), remedy)
        return _check("data directory", Verdict.OK, f"{self._home} is closed to everybody else")

    def _same_user(self) -> Check:
        """An agent that runs as our user could write the record, whatever the mode of its folder."""
        own, found = self.machine.own_user(), set()
        for guard in self.control.hub.all():
            process = guard.registration.process
            if self._processes and self._processes.is_here(process) and self.machine.user_of(process["pid"]) == own:
                found.add(guard.agent)
        if found:
            names = ", ".join(sorted(found)[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
            remedy = "run agents as another user than the server"
            return _check("agents' user", Verdict.WARN, f"{names} run as the server's user and could write its record", remedy)
        return _check("agents' user", Verdict.OK, "no connected agent of this machine runs as the server's user")

    def _disk(self) -> Check:
        free, total = self.machine.disk_bytes(self._home)
        text = f"{free / MIB:.0f} MiB free of {total / MIB:.0f} MiB"
        remedy = "make room, or keep less: section `telemetry` of andon.yaml"
        if free < DISK_FAIL_BYTES:
            return _check("disk", Verdict.FAIL, text, remedy)
        return _check("disk", Verdict.WARN if free < DISK_WARN_BYTES else Verdict.OK, text, remedy)

    def _clock(self) -> Check:
        synchronised = self.machine.clock_is_synchronised()
        if synchronised is None:
            return _check("clock", Verdict.UNKNOWN, "the kernel does not say whether its clock is kept in step")
        if not synchronised:
            remedy = "start a time service such as chrony; until then times of several machines cannot be compared"
            return _check("clock", Verdict.WARN, "the kernel's clock is not kept in step with others", remedy)
        return _check("clock", Verdict.OK, "the kernel's clock is kept in step with others")

    async def _engine(self) -> Check:
        try:
            async with asyncio.timeout(TURN_S):
                turning = await self.control.engine.is_turning()
        except TimeoutError:
            remedy = "look at the server's log and restart it: nothing is done twice"
            return _check("engine", Verdict.FAIL, f"gave no turn within {TURN_S:g} s", remedy)
        state = self.control.state
        if not turning:
            remedy = "restart the server: the journal is the truth"
            return _check("engine", Verdict.FAIL, f"is at entry {state.seq}, and the journal is not", remedy)
        head = state.head.digest if state.head else "none"
        return _check("engine", Verdict.OK, f"takes facts; {state.seq} entries, head {head}")

    def _worker(self) -> Check:
        up, pid = self.worker()
        if not up:
            remedy = "look at the server's log; what senders could not deliver they send again"
            return _check(
                "ingest worker", Verdict.FAIL, "is not up, or hangs: no telemetry is received and nothing is detected", remedy
            )
        return _check("ingest worker", Verdict.OK, f"is up, process {pid}")

    async def _lag(self) -> Check:
        lag = await asyncio.to_thread(self.control.telemetry.lag)
        remedy = "send less, or give the server more of the machine"
        return _check(
            "detection lag", Verdict.FAIL if lag > MAX_LAG else Verdict.OK, f"{lag} batches are accepted and not read", remedy
        )

    async def _ledger(self) -> Check:
        found = await self.reconciled()
        if not found.balanced:
            remedy = "keep the data directory as it is and report it: accepted telemetry is missing"
            return _check("loss ledger", Verdict.FAIL, "; ".join(found.problems), remedy)
        accepted, rejected = (_count(found, outcome) for outcome in ("accepted", "rejected"))
        text = f"{accepted} accepted, {rejected} of them rejected with a reason, {found.storage.events} kept: it adds up"
        return _check("loss ledger", Verdict.OK, text)

    async def reconciled(self) -> Reconciliation:
        """The loss ledger compared with the store. What arrives meanwhile may stand on one side only: a second look tells."""
        found = await asyncio.to_thread(reconcile, self.control.telemetry)
        return found if found.balanced else await asyncio.to_thread(reconcile, self.control.telemetry)

    def _promises(self) -> Check:
        late = self.overdue()
        if not late:
            return _check("promises", Verdict.OK, "no step, order, person or review is overdue")
        worst = late[0]
        verdict = Verdict.FAIL if worst.fault in OURS else Verdict.WARN
        more = f" and {len(late) - 1} more" if len(late) > 1 else ""
        return _check("promises", verdict, f"{worst.text} ({worst.incident or 'no incident'}){more}", worst.remedy)

    def _kill_path(self) -> Check:
        proven_ns = last_proven_kill_ns(self.control.state.intents.values(), self.control.state.incidents.values())
        if not proven_ns:
            return _check("kill path", Verdict.WARN, "no kill was ever proven here", "run `andon canary`")
        age_days = seconds_between(proven_ns, self.control.clock.now()) / (DAY_NS / SECOND_NS)
        verdict = Verdict.WARN if age_days > KILL_PATH_DAYS else Verdict.OK
        return _check("kill path", verdict, f"last proven {rfc3339(proven_ns)}", "run `andon canary`, also with --every")

    def _fleet(self) -> Check:
        fleet = self.control.fleet()
        silent = [agent["agent"] for agent in fleet if agent["state"] == "silent"]
        if silent:
            names = ", ".join(silent[:5]) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")
            return _check(
                "agents", Verdict.WARN, f"not heard of lately: {names}", "see `andon fleet ls`; unknown is not healthy"
            )
        return _check("agents", Verdict.OK, f"{len(fleet)} known, none with a guard is silent")

    def _heartbeat_out(self) -> Check:
        deadman = self.deadman
        if not deadman.is_set_up:
            remedy = "set deadman.url or deadman.file in andon.yaml: a server that died reports nothing"
            return _check("heartbeat out", Verdict.WARN, "nobody would notice if this server died", remedy)
        if deadman.silent_because:
            return _check(
                "heartbeat out", Verdict.FAIL, f"stopped: {deadman.silent_because}", "mend that; it goes on by itself"
            )
        if deadman.failing:
            told = "; ".join(f"{name}: {why}" for name, why in deadman.failing.items())
            return _check("heartbeat out", Verdict.FAIL, f"does not arrive: {told}", "mend the target, or name another")
        if not deadman.sent_ns:
            return _check("heartbeat out", Verdict.UNKNOWN, "none was sent yet")
        return _check("heartbeat out", Verdict.OK, f"last sent {rfc3339(deadman.sent_ns)}")

    def _configuration(self) -> Check:
        if found := tuple(self._settings()):
            return _check(
                "settings",
                Verdict.WARN,
                "; ".join(text for text, _ in found),
                "; ".join(dict.fromkeys(remedy for _, remedy in found)),
            )
        return _check("settings", Verdict.OK, "nothing in them contradicts itself")


def shown_overdue(late: Overdue) -> dict[str, Any]:
    """A promise that was not kept, as the API shows it."""
    shown: dict[str, Any] = msgspec.to_builtins(late)
    return {**{name: value for name, value in shown.items() if name != "since_ns"}, "since_at": rfc3339(late.since_ns)}


def _count(found: Reconciliation, outcome: str) -> int:
    return sum(line.count for line in found.lines if line.outcome == outcome)


def last_proven_kill_ns(intents: Iterable[Any], incidents: Iterable[Any]) -> int:
    """When a kill was last proven by a verdict; 0 when it never was."""
    kills = {
        (intent.incident, intent.effect.target): intent.receipt.at_ns
        for intent in intents
        if intent.effect.kind is EffectKind.ORDER
        and intent.effect.parameters.get("rung") == "kill"
        and intent.receipt is not None
        and intent.receipt.outcome is not Outcome.FAILED
    }
    return max(
        (
            given.at_ns
            for incident in incidents
            for given in incident.verdicts
            if given.verdict == "VERIFIED" and kills.get((incident.id, given.agent), 2**63) <= given.at_ns
        ),
        default=0,
    )


def fence_times_ms(intents: dict[str, Any], *, of_canaries: bool) -> list[float]:
    """How long the latest fences took, milliseconds, of canaries or of all others; only those that everybody confirmed."""
    found: list[float] = []
    for looked, key in enumerate(reversed(intents)):
        if looked >= INTENTS_READ or len(found) >= FENCES_READ:
            break
        intent = intents[key]
        if intent.effect.kind is not EffectKind.ORDER or intent.receipt is None:
            continue
        took = intent.receipt.detail.get("fence_ms")
        if took is not None and intent.effect.target.startswith(CANARY) is of_canaries:
            found.append(float(took))
    return found


def _check(name: str, verdict: Verdict, text: str, remedy: str = "") -> Check:
    return Check(name=name, verdict=verdict, text=text, remedy="" if verdict is Verdict.OK else remedy)
