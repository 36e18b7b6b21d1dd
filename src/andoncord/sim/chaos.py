"""Kill -9 at every persisted step of every playbook, and see that the restart loses nothing and does nothing twice.

Each try is a process of its own: it takes a finding, runs the engine on a real journal, and kills itself at one point: before
or after its n-th append to the journal, or after the n-th effect and before its receipt. Then another process goes on. What the
world saw and what the journal says are compared with a run that nobody killed.

The world outlives the processes: a SQLite file of every effect that was done, by its idempotency key.
"""

import asyncio
import importlib
import os
import shutil
import signal
import sqlite3
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from andoncord.adapters.durable.carrier import SCHEMA, DurableCarrier
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.journal import SqlJournal
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.postgres_process import PostgresProcess
from andoncord.detect.finding import Finding
from andoncord.engine.facts import EffectHeld, FindingArrived, PersonAsked
from andoncord.engine.replaying import replay
from andoncord.engine.run import Engine
from andoncord.engine.state import State
from andoncord.kernel.effect import Effect, EffectKind, Receipt
from andoncord.kernel.errors import CallerError
from andoncord.kernel.journal import Entry, check
from andoncord.kernel.vocabulary import CauseType, Pattern, Severity
from andoncord.respond.desk import SideEffect, batch_digest
from andoncord.respond.playbook import Playbook
from andoncord.sim import chaos_people
from andoncord.testing.story import INVESTIGATION, SHIPPED, answer_plainly, finding

LOOK_S = 0.002
REST_S = 20.0
"""A run that has not come to rest after this long is stuck."""
SHORT_MS = 30
"""What every wait of a playbook is shortened to."""
KILLED = -signal.SIGKILL


OPTIONS = ("repeatable", "undoes", "is_told", "closes", "holds", "fails_first")
"""Fields of a scenario that `scenarios` sets; everything else is of its finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A finding that makes one playbook speak."""

    playbook: str
    found: Finding
    repeatable: bool = False
    """No cause is found, and the run called nothing that may not be called again."""
    approves: bool = True
    """A person approves the recovery where one is needed."""
    undoes: bool = False
    """A person undoes everything at the end."""
    is_told: bool = True
    """People are on call, and there is a tracker."""
    holds: bool = False
    """Side effects are held meanwhile, and a person has them carried out."""
    fails_first: bool = False
    """The first recovery does not hold; a person has it tried again."""
    closes: bool = False
    """A person lets the agent go at the end, and everybody is told that it is over."""


def scenarios() -> tuple[Scenario, ...]:
    """One for every playbook that comes with Andoncord, those that are undone, and one of which nobody is told."""

    def of(playbook: str, **changes: Any) -> Scenario:
        more = {name: changes.pop(name) for name in OPTIONS if name in changes}
        return Scenario(playbook=playbook, found=finding(**changes), **more)

    money = {"at_risk_micro_usd": 250_000_000}
    return (
        of("critical", severity=Severity.CRITICAL, pattern=Pattern.UNAUTHORIZED_ACTION, closes=True),
        of("high", severity=Severity.HIGH, pattern=Pattern.SILENCE),
        of("medium", severity=Severity.MEDIUM, pattern=Pattern.TOKEN_BURST),
        of("low", severity=Severity.LOW, pattern=Pattern.CONTEXT_GROWTH),
        of("escalation", severity=Severity.HIGH, pattern=Pattern.REPEATED_FAILURE, repeatable=True),
        of("impact-financial", severity=Severity.MEDIUM, pattern=Pattern.TOKEN_BURST, facts=money),
        of("impact-customers", severity=Severity.MEDIUM, pattern=Pattern.QUALITY_DROP, facts={"customers": 3}),
        of("impact-regulatory", severity=Severity.HIGH, pattern=Pattern.DATA_EXFILTRATION),
        of("impact-operational", severity=Severity.HIGH, pattern=Pattern.SILENCE),
        of("pattern-infinite-loop", pattern=Pattern.INFINITE_LOOP),
        of("pattern-scope-creep", pattern=Pattern.SCOPE_CREEP),
        of("pattern-confident-hallucination", pattern=Pattern.CONFIDENT_HALLUCINATION),
        of("pattern-cost-spiral", pattern=Pattern.COST_SPIRAL),
        of("pattern-decision-cascade", pattern=Pattern.DECISION_CASCADE),
        of("pattern-state-corruption", pattern=Pattern.STATE_CORRUPTION),
        of("pattern-emergence", pattern=Pattern.EMERGENT_BEHAVIOR),
        of("critical", severity=Severity.CRITICAL, pattern=Pattern.POLICY_VIOLATION, undoes=True),
        of("critical", severity=Severity.CRITICAL, pattern=Pattern.UNAUTHORIZED_ACTION, is_told=False),
        of("impact-financial", severity=Severity.HIGH, pattern=Pattern.COST_SPIRAL, facts=money, holds=True, undoes=True),
        of("impact-operational", severity=Severity.HIGH, pattern=Pattern.DECISION_CASCADE, fails_first=True),
    )


def shortened(playbooks: Iterable[Playbook] = SHIPPED) -> tuple[Playbook, ...]:
    """The playbooks with every wait cut short: what is tried is the order of things, not the patience."""

    def short(settings: dict[str, Any]) -> dict[str, Any]:
        return {name: SHORT_MS if name in ("for_ms", "watch_ms") else value for name, value in settings.items()}

    return tuple(
        msgspec.structs.replace(
            each, steps=tuple(msgspec.structs.replace(step, settings=short(step.settings)) for step in each.steps)
        )
        for each in playbooks
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one try keeps what outlives its processes."""

    control: str
    """Address of the control database."""
    durable: str
    """Address of the durable engine's database; empty for none."""
    world: Path
    executor: str = "chaos"
    is_shared: bool = False


@dataclass(slots=True)
class Bomb:
    """Kills this process at the n-th point it comes by. 0 never does, and counts."""

    at: int = 0
    passed: int = 0

    def pass_by(self) -> None:
        """One point."""
        self.passed += 1
        if self.passed == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class MinedJournal(SqlJournal):
    """A journal with a point before and after each append."""

    def __init__(self, database: Database, bomb: Bomb) -> None:
        super().__init__(database)
        self._bomb = bomb

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self._bomb.pass_by()
        super().append(entries)
        self._bomb.pass_by()


class World:
    """Does every effect once for each key, and remembers how often it was asked; a point between the effect and its receipt."""

    def __init__(self, path: Path, scenario: Scenario, bomb: Bomb) -> None:
        self._scenario = scenario
        self._bomb = bomb
        self._done = self.store = sqlite3.connect(path, isolation_level=None)
        self._done.execute("PRAGMA journal_mode = WAL")
        self._done.execute(
            "CREATE TABLE IF NOT EXISTS done (key TEXT PRIMARY KEY, effect TEXT NOT NULL, asked INTEGER NOT NULL)"
        )

    def mark(self, key: str, said: str) -> None:
        """Something is done in the world; a point after it."""
        self._done.execute("INSERT INTO done VALUES (?, ?, 1) ON CONFLICT (key) DO UPDATE SET asked = asked + 1", (key, said))
        self._bomb.pass_by()

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        if effect.kind is EffectKind.WAIT:
            await asyncio.sleep(SHORT_MS / 1_000)
        self.mark(effect.key, f"{effect.kind.value} {effect.target} {effect.parameters.get('rung', '')}".strip())
        outcome, detail = answer_plainly(effect)
        if effect.kind is EffectKind.INVESTIGATE and self._scenario.repeatable:
            executed = [{"agent": effect.target, "tool": "orders.lookup", "repeatable": True}]
            detail = {**INVESTIGATION, "root_causes": [], "executed": executed}
        if self._scenario.fails_first and effect.kind is EffectKind.INVESTIGATE:
            stuck = [{**cause, "type": CauseType.FEEDBACK_LOOP.value} for cause in detail["root_causes"]]
            detail = {**INVESTIGATION, "root_causes": stuck}
        if self._scenario.fails_first and effect.kind is EffectKind.PROBE and self._is_first(effect):
            detail = {"passed": [False] * len(detail["passed"])}
        return Receipt(intent=intent, outcome=outcome, at_ns=1, detail=detail)

    def _is_first(self, effect: Effect) -> bool:
        """Whether this is the first effect of its kind that was ever asked for, however often it was."""
        first = self._done.execute("SELECT key FROM done WHERE effect LIKE ? ORDER BY rowid", (f"{effect.kind.value} %",))
        return bool(first.fetchone()[0] == effect.key)


def run(place: Place, scenario: Scenario, *, die_at: int = 0) -> int:
    """One process's share of a try: goes on from what is there, to the end or to its death. Returns the points it passed."""
    bomb = Bomb(at=die_at)
    database = Database(place.control)
    while not database.take_lease():
        pass
    migrate(database)
    world = World(place.world, scenario, bomb)
    telling = chaos_people.performers(database, world.store, mark=world.mark, pass_by=bomb.pass_by) if scenario.is_told else {}
    engine = Engine(
        journal=MinedJournal(database, bomb),
        clock=SystemClock(),
        performers={**dict.fromkeys(EffectKind, world), **telling},
        escalation=chaos_people.ONCALL.escalation if scenario.is_told else None,
        tracker=chaos_people.TRACKER if scenario.is_told else "",
        playbooks=shortened(),
        carrier=(
            carrier := DurableCarrier(place.durable, executor=place.executor, is_shared=place.is_shared)
            if place.durable
            else None
        ),
    )
    asyncio.run(_live(engine, carrier, scenario))
    database.close()
    return bomb.passed


async def _live(engine: Engine, carrier: DurableCarrier | None, scenario: Scenario) -> None:
    carrying = asyncio.create_task(carrier.run(engine)) if carrier is not None else None
    try:
        async with asyncio.timeout(REST_S):
            await engine.resume()
            await engine.submit(FindingArrived(finding=scenario.found))
            await _rest(engine)
            while scenario.is_told and (fact := chaos_people.next_of(engine.state)):
                await engine.submit(fact)
                await _rest(engine)
            if scenario.approves:
                await _ask(engine, "approve_recovery", "approve")
            if scenario.fails_first:
                await _ask(engine, "approve_recovery", "approve-again")
            if scenario.undoes:
                await _ask(engine, "undo", "undo")
            if scenario.holds:
                await _hold_and_release(engine)
            if scenario.closes:
                await _ask(engine, "release", "release")
    finally:
        await engine.stop()
        if carrier is not None and carrying is not None:
            carrying.cancel()
            await carrier.close()


async def _hold_and_release(engine: Engine) -> None:
    """A guard holds two refunds, and a person lets both go with one word."""
    for usd in (1, 2):
        effect = SideEffect(agent="refunds", run_id="r1", tool="payments.refund", arguments=f'{{"usd":{usd}}}')
        await engine.submit(EffectHeld(effect=effect))
    held = tuple(engine.state.desk.held.values())
    chosen = {"ids": [each.id for each in held], "digest": batch_digest(held)}
    await _ask(engine, "release_held", "release-held", chosen)


async def _ask(engine: Engine, command: str, key: str, more: Mapping[str, Any] = MappingProxyType({})) -> None:
    """A person's wish, once however often it is asked for; what cannot be granted here is not wanted here."""
    parameters = {"reason": "chaos", "scope": "admin", **more}
    try:
        await engine.submit(
            PersonAsked(command=command, by="person:ada", incident="inc_000001", parameters=parameters, key=key)
        )
    except CallerError:
        return
    await _rest(engine)


async def _rest(engine: Engine) -> None:
    """Wait until every intent has its receipt."""
    async with asyncio.timeout(REST_S):
        while engine.state.outstanding:  # noqa: ASYNC110 - a receipt comes from a carrier too, which has no event to wait on
            await asyncio.sleep(LOOK_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What a try came to."""

    story: dict[str, Any]
    """What must be the same however often it was killed: the incident, its steps and their outcomes, what is in force."""
    done: Counter[str]
    """Effects that the world saw, in words, each key once."""
    asked_again: int
    """Effects that were asked for more than once with the same key."""
    told_again: int
    """Messages among them: only one whose sending a death cut off may be sent again."""
    entries: int


def look(place: Place) -> Came:
    """What the journal and the world say.

    Raises:
        AssertionError: the journal's chain does not hold.
    """
    database = Database(place.control, read_only=True)
    entries = list(SqlJournal(database).read())
    assert check(entries) is None, "the chain is broken"
    state = replay(entries)
    story = {**_story(state), "messages": chaos_people.sent(database, state)}
    database.close()
    world = sqlite3.connect(place.world)
    rows = world.execute("SELECT effect, asked FROM done").fetchall()
    story["tickets"] = chaos_people.tickets(world)
    world.close()
    return Came(
        story=story,
        done=Counter(effect for effect, _ in rows),
        asked_again=sum(asked - 1 for _, asked in rows),
        told_again=sum(asked - 1 for effect, asked in rows if effect.startswith(chaos_people.TOLD)),
        entries=len(entries),
    )


def _story(state: State) -> dict[str, Any]:
    return {
        "incidents": {
            each.id: (each.state, each.playbook, each.round, each.judged, each.retried, each.containment, each.undo)
            for each in state.incidents.values()
        },
        "steps": {
            each.step: (each.effect.kind, each.effect.target, each.receipt.outcome if each.receipt else None)
            for each in state.intents.values()
        },
        "controls": {agent: (control.rung, control.epoch) for agent, control in state.controls.items()},
        "versions": {agent: state.registry.active(agent) is not None for agent in ("refunds",)},
        "orders": {each.id: each.what for each in state.orders.in_force.values()},
        "held": {each.id: each.status for each in state.desk.held.values()},
        "outstanding": list(state.outstanding),
    }


def differences(came: Came, wanted: Came) -> tuple[int, int, str]:
    """Effects lost, effects doubled, and in words whether the stories differ; empty when they are the same."""
    lost = sum((wanted.done - came.done).values())
    doubled = sum((came.done - wanted.done).values())
    said = [
        f"{part}: {came.story[part]} instead of {wanted.story[part]}"
        for part in wanted.story
        if came.story[part] != wanted.story[part]
    ]
    return lost, doubled, "; ".join(said)


def in_child(place: Place, scenario: Scenario, *, die_at: int = 0) -> tuple[int, int]:
    """`run` in a process of its own, forked from this one, which has everything loaded and no threads.

    Returns:
        Its exit code, negative for a signal, and the points that it passed when it came to its end.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.close(reading)
            os.write(writing, str(run(place, scenario, die_at=die_at)).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), int(said or b"0")


class Stores:
    """Fresh places for tries, each a copy of one that was migrated once."""

    def __init__(self, folder: Path) -> None:
        importlib.import_module("dbos")  # Loaded once, before anything is forked.
        self._folder = folder
        self._count = 0
        self._template = folder / "template.db"
        database = Database.in_file(self._template)
        migrate(database)
        with database.reading() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()

    def place(self, *, durable: bool) -> Place:
        """A new place."""
        self._count += 1
        home = self._folder / str(self._count)
        home.mkdir()
        shutil.copy(self._template, home / "control.db")
        return Place(
            control=f"sqlite:///{home}/control.db",
            durable=f"sqlite:///{home}/durable.db" if durable else "",
            world=home / "world.db",
        )

    def forget(self, place: Place) -> None:
        """Delete a place."""
        shutil.rmtree(place.world.parent)


class PostgresStores(Stores):
    """The same in databases of a PostgreSQL; the durable engine's data is in the same database, as in a real cluster."""

    def __init__(self, folder: Path, server: PostgresProcess) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self._server = server
        self._origin = server.new_database()
        database = Database(self._origin)
        migrate(database)
        database.close()

    def place(self, *, durable: bool) -> Place:
        """A new place."""
        home = super().place(durable=False)
        url = self._server.new_database(like=self._origin)
        location = Database(url).location
        return replace(home, control=url, durable=location if durable else "", is_shared=durable)

    def forget(self, place: Place) -> None:
        """Delete a place."""
        super().forget(place)
        self._server.drop_database(place.control)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of one try against the run that nobody killed."""

    died: bool
    """It came by the point that it was to die at."""
    lost: int
    doubled: int
    asked_again: int
    why: str
    """How its story differs; empty when it does not."""


def whole(place: Place, scenario: Scenario) -> tuple[Came, int]:
    """The run that nobody kills, and the number of points in it."""
    code, points = in_child(place, scenario)
    assert code == 0, f"{scenario.playbook} does not come to its end: {code}"
    return look(place), points


def try_deaths(place: Place, scenario: Scenario, wanted: Came, deaths: Sequence[int], *, loses_engine: bool = False) -> Tried:
    """Kill one run at each of these points in turn, starting it again each time, and let the last start go to the end.

    Args:
        loses_engine: delete the durable engine's database after each death.
    """
    died = False
    for point in deaths:
        code, _ = in_child(place, scenario, die_at=point)
        died = died or code == KILLED
        if code not in (0, KILLED):
            return Tried(died=died, lost=0, doubled=0, asked_again=0, why=f"ended with {code}")
        if loses_engine:
            lose_engine(place)
    code, _ = in_child(place, scenario)
    if code != 0:
        return Tried(died=died, lost=0, doubled=0, asked_again=0, why=f"ended with {code}")
    came = look(place)
    lost, doubled, why = differences(came, wanted)
    if came.told_again > len(deaths):
        why = f"{came.told_again} messages were sent again after {len(deaths)} deaths; {why}"
    return Tried(died=died, lost=lost, doubled=doubled, asked_again=came.asked_again, why=why)


def lose_engine(place: Place) -> None:
    """Delete everything that the durable engine keeps."""
    if not place.is_shared:
        for file in place.world.parent.glob("durable.db*"):
            file.unlink()
        return
    database = Database(place.control)
    with database.writing() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    database.close()
