"""Wiring of the control process: which adapter stands behind which port. Nothing else is decided here."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from andoncord import config as configuration
from andoncord.adapters.durable.carrier import DurableCarrier
from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.schema import prepare
from andoncord.adapters.sql.access import SqlAccess
from andoncord.adapters.sql.accounts import SqlAccounts
from andoncord.adapters.sql.budgets import SqlBudgets
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.deliveries import SqlDeliveries
from andoncord.adapters.sql.journal import SqlJournal
from andoncord.adapters.sql.ledger import SqlEffectLedger
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.sql.standby import wait_for_lease, watch_lease
from andoncord.adapters.sql.vault import SqlVault
from andoncord.adapters.system import dumps, machine
from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.entropy import SystemEntropy
from andoncord.adapters.system.flags import FlagFile
from andoncord.adapters.system.forward import Forwarder
from andoncord.adapters.system.hook import run_hook
from andoncord.adapters.system.lock import DirectoryLock
from andoncord.adapters.system.logs import log_to_stderr
from andoncord.adapters.system.processes import SystemProcesses
from andoncord.adapters.system.sealing import AesGcmCipher
from andoncord.adapters.system.signing import open_key
from andoncord.app_both import CONTROL_FILE, TELEMETRY_FILE, WorkerSetup, load_detectors, load_prices, look_for_circles_seldom
from andoncord.app_channels import Telling
from andoncord.app_home import (
    LOCAL_NAME,
    ensure_lease_secret,
    ensure_node_id,
    ensure_vault_secret,
    open_identity,
    renew_token,
)
from andoncord.app_quality import JUDGES, connect_quality, judges_token, load_canaries, load_evaluators
from andoncord.app_settings import (
    beat_targets,
    credentials_held,
    load_playbooks,
    load_policies,
    load_sources,
    load_templates,
    missing_programs,
)
from andoncord.config import Config
from andoncord.engine.holds import Holds
from andoncord.engine.run import Engine
from andoncord.kernel.access import Scope
from andoncord.kernel.canon import canonical_json, digest
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.ports import Performer
from andoncord.server import reachable
from andoncord.server.budgets import BudgetOffice
from andoncord.server.capture import CapturePerformer, EvidenceFolder
from andoncord.server.cases import ReviewPerformer
from andoncord.server.casework import InvestigatePerformer
from andoncord.server.control import Control
from andoncord.server.control_process import ControlProcess
from andoncord.server.credentials import NamingPerformer, RevokePerformer
from andoncord.server.deadman import Deadman
from andoncord.server.drafting import DraftPerformer
from andoncord.server.errands import AskPerformer, HookPerformer, WaitPerformer
from andoncord.server.feeds import DigestFeed, FindingFeed
from andoncord.server.figures import Misuse
from andoncord.server.health import Health
from andoncord.server.holds import HOLDS_FILE, HoldFeed
from andoncord.server.hub import GuardHub
from andoncord.server.leases import LeaseOffice
from andoncord.server.listening import WebServer, listen, reserve, target_of, url_of
from andoncord.server.live import LiveStreams
from andoncord.server.performers import GuardPerformers, compiled_policies
from andoncord.server.points import Force
from andoncord.server.reading import Reading
from andoncord.server.releasing import ReleasePerformer
from andoncord.server.sources import Sources
from andoncord.server.standing_watch import StandingWatch
from andoncord.server.vault import Vault
from andoncord.server.watching import VerifyPerformer
from andoncord.server.web import web_app
from andoncord.server.worker_process import WorkerProcess, python_command
from andoncord.telemetry.prices import rows

DURABLE_FILE = "durable.db"
"""The durable engine's own; it may be deleted while the server is down."""
GIVE_WAY_S = 0.0005
"""How long a thread that computes may keep orders waiting before it gives way; Python's own figure is ten times that."""
LOCK_FILE = "serve.lock"
FLAG_FILE = "guards.flag"
HOME_MODE = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a server that is up can be reached."""

    api_url: str
    otlp_url: str
    grpc_url: str
    login_url: str


def serve(home: Path, config: Config, *, beside: Path, on_ready: Callable[[Addresses], None]) -> None:
    """Run the server until SIGINT or SIGTERM.

    Args:
        home: the data directory.
        beside: the folder that files named in the settings are relative to.
        on_ready: called once every port answers.

    Raises:
        CallerError: it cannot start; says why and what to do.
    """
    log_to_stderr()
    dumps.leave_none()
    home.mkdir(parents=True, exist_ok=True, mode=HOME_MODE)
    home.chmod(HOME_MODE)
    lock = DirectoryLock(home / LOCK_FILE)
    try:
        # Whatever is wrong with rules and policies is found here, where somebody reads the message.
        load_detectors(config, beside=beside)
        load_playbooks(config, beside=beside)
        load_evaluators(config, beside=beside)
        load_canaries(config)
        database = control_database(home, config)
        wait_for_lease(database)
        migrate(database)
        with (
            contextlib.closing(database),
            listen(config.server.bind, config.server.api_port) as api,
            listen(config.server.bind, config.server.otlp_port) as otlp,
            reserve(config.server.bind, config.server.grpc_port) as grpc,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_control(home, config, database, beside=beside, api=api, otlp=otlp, grpc=grpc, on_ready=on_ready))
    finally:
        lock.close()


async def _control(
    home: Path,
    config: Config,
    database: Database,
    *,
    beside: Path,
    api: socket.socket,
    otlp: socket.socket,
    grpc: socket.socket,
    on_ready: Callable[[Addresses], None],
) -> None:
    """Connect the control process and run it."""
    clock, entropy = SystemClock(), SystemEntropy()
    prepare(home / TELEMETRY_FILE)
    telemetry = ParquetTelemetryReader(home / TELEMETRY_FILE)
    journal = SqlJournal(database)
    access = SqlAccess(database)

    def force_on(agent: str) -> Force:
        return control.force(agent)

    def roles_of(agent: str) -> frozenset[str]:
        return control.roles_of(agent)

    def note_misuse(misuse: Misuse) -> None:
        process.note_misuse_soon(misuse)

    flags = FlagFile(home / FLAG_FILE, nonce=entropy.secret()[-32:])
    hub = GuardHub(
        clock=clock,
        entropy=entropy,
        force=force_on,
        flags=flags,
        processes=SystemProcesses(),
    )
    lease_secret = ensure_lease_secret(home, entropy)
    identity = open_identity(
        home,
        config,
        access,
        SqlAccounts(database),
        clock=clock,
        entropy=entropy,
        device_key=lease_secret,
        on_revoked=hub.revoke,
        on_misuse=note_misuse,
        beside=beside,
    )
    leases = LeaseOffice(secret=lease_secret, clock=clock)
    vault = Vault(
        store=SqlVault(database),
        cipher=AesGcmCipher(ensure_vault_secret(home, entropy)),
        clock=clock,
        state=lambda: engine.state,
    )
    caps = config.budgets.caps({name: agent.team for name, agent in config.agents.items()})
    budgets = BudgetOffice(caps, store=SqlBudgets(database), clock=clock)
    own_policies = load_policies(config, beside=beside)

    def policies_in_force() -> list[dict[str, Any]]:
        return [*own_policies, *compiled_policies(engine.state)]

    guards = GuardPerformers(
        hub=hub,
        telemetry=telemetry,
        clock=clock,
        state=lambda: engine.state,
        policies=policies_in_force,
        roles=roles_of,
    )
    own_rules = canonical_json(configuration.texts(config.rules, beside=beside) if config.rules else {})
    own_versions = {"server": metadata.version("andoncord"), "own_rules": digest(own_rules)}
    evidence = EvidenceFolder(home / "evidence", signer=open_key(home))
    revoking = RevokePerformer(held=credentials_held(config, beside=beside), clock=clock)
    telling = Telling(
        config,
        beside=beside,
        deliveries=SqlDeliveries(database),
        ledger=SqlEffectLedger(database),
        secret=lease_secret,
        clock=clock,
        chance=entropy.fraction,
    )
    ordering = guards.table()
    performers: dict[EffectKind, Performer] = {
        **ordering,
        EffectKind.ORDER: NamingPerformer(ordering[EffectKind.ORDER], revoking),
        EffectKind.REVOKE: revoking,
        EffectKind.VERIFY: VerifyPerformer(hub=hub, telemetry=telemetry, clock=clock, leases=leases),
        EffectKind.CAPTURE: CapturePerformer(
            folder=evidence,
            telemetry=telemetry,
            clock=clock,
            state=lambda: engine.state,
            hub=hub,
            versions=lambda: own_versions,
            around=lambda: machine.surroundings(home),
        ),
        EffectKind.INVESTIGATE: InvestigatePerformer(telemetry=telemetry, clock=clock, is_repeatable=config.is_repeatable),
        EffectKind.HOOK: HookPerformer(config.hooks, run=run_hook, ledger=SqlEffectLedger(database), clock=clock),
        EffectKind.WAIT: WaitPerformer(clock),
        EffectKind.ASK: AskPerformer(clock),
        EffectKind.DRAFT: DraftPerformer(
            load_templates(config, beside=beside), state=lambda: engine.state, clock=clock, link=config.oncall.link
        ),
        EffectKind.RELEASE: ReleasePerformer(
            hub=hub,
            ledger=SqlEffectLedger(database),
            clock=clock,
            state=lambda: engine.state,
            is_repeatable=config.is_repeatable,
            exact=vault.released,
        ),
        EffectKind.NOTIFY: telling.notices,
        EffectKind.TICKET: telling.tickets,
        EffectKind.REVIEW: ReviewPerformer(folder=home / "reviews", clock=clock, state=lambda: engine.state),
    }
    node = ensure_node_id(home, entropy)
    # Each server has telemetry of its own; who shares the journal says whose it speaks of.
    log = "" if database.is_sqlite else node
    carrier = DurableCarrier(
        database.location if not database.is_sqlite else f"sqlite:///{home / DURABLE_FILE}",
        executor=node,
        is_shared=not database.is_sqlite,
    )
    engine = Engine(
        journal=journal,
        clock=clock,
        performers=performers,
        playbooks=load_playbooks(config, beside=beside),
        carrier=carrier,
        escalation=telling.notices.oncall.escalation,
        tracker=next(iter(config.trackers), ""),
    )
    control = Control(
        engine=engine,
        hub=hub,
        telemetry=telemetry,
        clock=clock,
        entropy=entropy,
        environment=config.environment,
        declared=tuple(config.agents),
        policies=policies_in_force,
        prices=rows(load_prices(config, beside=beside)),
        heartbeat_s=config.heartbeat.every_s,
        silent_after_s=config.heartbeat.silent_after_s,
        roles={name: agent.role for name, agent in config.agents.items() if agent.role},
        owners={name: agent.owner for name, agent in config.agents.items() if agent.owner},
        breakers={name: msgspec.to_builtins(agent.breakers) for name, agent in config.agents.items() if agent.breakers},
    )
    live = LiveStreams(engine)

    def worker_state() -> tuple[bool, int | None]:
        return worker.state

    deadman = Deadman(
        engine=engine,
        lag=telemetry.lag,
        clock=clock,
        is_worker_up=lambda: worker_state()[0],
        targets=beat_targets(home, config),
        every_s=config.deadman.every_s,
    )
    health = Health(
        control=control,
        deadman=deadman,
        worker=worker_state,
        figures=lambda: worker.figures,
        machine=machine,
        processes=SystemProcesses(),
        home=home,
        settings=lambda: (
            *config.doubts(),
            *missing_programs(config),
            *reachable.doubts(telling.notices, identity.auth, now_ns=clock.now()),
        ),
    )
    known = load_sources(config, beside=beside)
    forwarder = Forwarder(
        url_of(otlp),
        {
            JUDGES: judges_token(identity.auth, access),
            **{name: renew_token(identity.auth, access, source) for name, source in known.items()},
        },
    )
    sources = Sources(known, submit=engine.submit, pass_on=forwarder.send, clock=clock)
    quality = connect_quality(
        config,
        hub=hub,
        rung_of=lambda agent: control.force(agent).rung,
        state=lambda: engine.state,
        beside=beside,
        secret=ensure_lease_secret(home, entropy),
        telemetry=telemetry,
        positions=access,
        clock=clock,
        pass_on=forwarder.send,
        log=log,
    )
    app = web_app(
        settings=config.server,
        control=control,
        reading=Reading(control=control, declared=config.fleet()),
        health=health,
        identity=identity,
        leases=leases,
        budgets=budgets,
        sources=sources,
        evaluators=quality.evaluators,
        canaries=quality.canaries,
        predictions=quality.predictions,
        false_incidents_per_week=config.detection.false_incidents_per_week,
        notices=telling.notices,
        tickets=telling.tickets,
        approvals=config.approvals,
        vault=vault,
        handover=config.handover,
        outbox=config.outbox,
        notice_settings=config.notices,
        fallback=config.fallback_of,
        evidence=evidence,
        answers=access,
        journal=journal,
        live=live,
        declared=config.declared(),
        version=metadata.version("andoncord"),
    )
    findings = FindingFeed(telemetry=telemetry, positions=access, engine=engine, log=log)
    setup = WorkerSetup(home=str(home), beside=str(beside), config=config, grpc_target=target_of(grpc))
    standing = StandingWatch(engine=engine, telemetry=telemetry, clock=clock)
    process = ControlProcess(
        engine=engine,
        hub=hub,
        live=live,
        telemetry=telemetry,
        clock=clock,
        server=WebServer(app),
        listener=api,
        findings=findings,
        digests=DigestFeed(telemetry=telemetry, engine=engine, log=log),
        deadman=deadman,
        holds=HoldFeed(home / HOLDS_FILE, clock=clock, holds=Holds(lambda: engine.state)),
        carrier=carrier,
        beside={**quality.parts(), **telling.beside(control, identity), "standing orders": standing.run, "vault": vault.run},
    )
    worker = WorkerProcess(
        command=python_command("andoncord.app_worker"),
        setup=msgspec.json.encode(setup),
        listener=otlp,
        on_findings=findings.ring,
        on_death=process.note_worker_death,
        on_misuse=process.note_misuse,
    )

    def announce() -> None:
        api_url = url_of(api)
        code = identity.auth.login_code(name=LOCAL_NAME, scopes=(Scope.ADMIN,))
        login_url = f"{api_url}/login#code={code}"
        on_ready(Addresses(api_url=api_url, otlp_url=url_of(otlp), grpc_url=url_of(grpc), login_url=login_url))

    look_for_circles_seldom()
    sys.setswitchinterval(GIVE_WAY_S)
    try:
        await process.run(worker, on_ready=announce, watch=watch_lease(database))
    finally:
        flags.close()
        telemetry.close()


def control_database(home: Path, config: Config, *, read_only: bool = False) -> Database:
    """The control database that the settings name; without one, the SQLite file in the data directory.

    Raises:
        CallerError: the settings name none that is supported.
    """
    if config.database.url:
        return Database(config.database.url, read_only=read_only)
    return Database.in_file(home / CONTROL_FILE, read_only=read_only)
