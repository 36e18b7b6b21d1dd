"""Wiring of the control process: which adapter stands behind which port. Nothing else is decided here."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from andoncord import config as configuration
from andoncord.adapters.credentials.by_hook import Command, HookBroker
from andoncord.adapters.credentials.by_proxy import ProxyBroker
from andoncord.adapters.credentials.by_webhook import WebhookBroker
from andoncord.adapters.durable.carrier import DurableCarrier
from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.schema import prepare
from andoncord.adapters.sql.access import SqlAccess
from andoncord.adapters.sql.budgets import SqlBudgets
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.deliveries import SqlDeliveries
from andoncord.adapters.sql.journal import SqlJournal
from andoncord.adapters.sql.ledger import SqlEffectLedger
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.sql.standby import wait_for_lease, watch_lease
from andoncord.adapters.system import machine
from andoncord.adapters.system.beat import FileBeat, UrlBeat
from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.entropy import SystemEntropy
from andoncord.adapters.system.flags import FlagFile
from andoncord.adapters.system.forward import Forwarder
from andoncord.adapters.system.hook import run_hook
from andoncord.adapters.system.lock import DirectoryLock
from andoncord.adapters.system.logs import log_to_stderr
from andoncord.adapters.system.processes import SystemProcesses
from andoncord.adapters.system.server_process import TOKEN_FILE
from andoncord.adapters.system.signing import open_key
from andoncord.app_both import CONTROL_FILE, TELEMETRY_FILE, WorkerSetup, load_detectors, look_for_circles_seldom
from andoncord.app_channels import channels_of
from andoncord.config import Config
from andoncord.engine.holds import Holds
from andoncord.engine.run import Engine
from andoncord.kernel.access import Scope, secret_digest
from andoncord.kernel.canon import canonical_json, digest
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.errors import CallerError
from andoncord.kernel.ports import Performer
from andoncord.policy import policy as policies
from andoncord.respond import playbook
from andoncord.respond.playbook import Playbook
from andoncord.server.auth import Auth
from andoncord.server.budgets import BudgetOffice
from andoncord.server.capture import CapturePerformer, EvidenceFolder
from andoncord.server.cases import ReviewPerformer
from andoncord.server.casework import InvestigatePerformer
from andoncord.server.control import Control
from andoncord.server.control_process import ControlProcess
from andoncord.server.credentials import Held, NamingPerformer, RevokePerformer
from andoncord.server.deadman import BeatTarget, Deadman
from andoncord.server.errands import HookPerformer, WaitPerformer
from andoncord.server.feeds import DigestFeed, FindingFeed
from andoncord.server.figures import Misuse
from andoncord.server.health import Health
from andoncord.server.holds import HOLDS_FILE, HoldFeed
from andoncord.server.hub import Force, GuardHub
from andoncord.server.leases import LeaseOffice
from andoncord.server.listening import WebServer, listen, reserve, target_of, url_of
from andoncord.server.live import LiveStreams
from andoncord.server.notices import NotifyPerformer
from andoncord.server.performers import GuardPerformers, compiled_policies
from andoncord.server.reading import Reading
from andoncord.server.sources import Source, Sources
from andoncord.server.watching import VerifyPerformer
from andoncord.server.web import web_app
from andoncord.server.worker_process import WorkerProcess, python_command
from andoncord.telemetry.prices import rows, with_own

DURABLE_FILE = "durable.db"
"""The durable engine's own; it may be deleted while the server is down."""
NODE_FILE = "node.id"
GIVE_WAY_S = 0.0005
"""How long a thread that computes may keep orders waiting before it gives way; Python's own figure is ten times that."""
LOCK_FILE = "serve.lock"
LEASE_SECRET_FILE = "lease.key"
FLAG_FILE = "guards.flag"
LOCAL_NAME = "local"
"""Who the local user is in the record: whoever can read the data directory."""
HOME_MODE = 0o700
MIN_SECRET = 32


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
    home.mkdir(parents=True, exist_ok=True, mode=HOME_MODE)
    home.chmod(HOME_MODE)
    lock = DirectoryLock(home / LOCK_FILE)
    try:
        # Whatever is wrong with rules and policies is found here, where somebody reads the message.
        load_detectors(config, beside=beside)
        load_playbooks(config, beside=beside)
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
    auth = Auth(store=access, clock=clock, entropy=entropy, on_revoked=hub.revoke, on_misuse=note_misuse)
    _refuse_open_doors(config, access)
    ensure_local_token(home, auth, access)

    leases = LeaseOffice(secret=ensure_lease_secret(home, entropy), clock=clock)
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
    oncall = configuration.load_oncall(config, beside=beside)
    notifying = NotifyPerformer(
        oncall=oncall,
        channels=channels_of(config, beside=beside, clock=clock),
        deliveries=SqlDeliveries(database),
        clock=clock,
        chance=entropy.fraction,
        link=config.oncall.link,
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
        EffectKind.NOTIFY: notifying,
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
        escalation=oncall.escalation,
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
        prices=rows(with_own(config.prices)),
        heartbeat_s=config.heartbeat.every_s,
        silent_after_s=config.heartbeat.silent_after_s,
        roles={name: agent.role for name, agent in config.agents.items() if agent.role},
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
        settings=[*config.doubts(), *missing_programs(config), *oncall.doubts(clock.now())],
    )
    known = load_sources(config, beside=beside)
    forwarder = Forwarder(url_of(otlp), {name: renew_token(auth, access, source) for name, source in known.items()})
    sources = Sources(known, submit=engine.submit, pass_on=forwarder.send, clock=clock)
    app = web_app(
        settings=config.server,
        control=control,
        reading=Reading(control=control, declared=config.fleet()),
        health=health,
        auth=auth,
        leases=leases,
        budgets=budgets,
        sources=sources,
        notices=notifying,
        approvals=config.approvals,
        evidence=evidence,
        answers=access,
        journal=journal,
        live=live,
        declared=config.declared(),
        version=metadata.version("andoncord"),
    )
    findings = FindingFeed(telemetry=telemetry, positions=access, engine=engine, log=log)
    setup = WorkerSetup(home=str(home), beside=str(beside), config=config, grpc_target=target_of(grpc))
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
        code = auth.login_code(name=LOCAL_NAME, scope=Scope.ADMIN)
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


def credentials_held(config: Config, *, beside: Path) -> dict[str, Held]:
    """The credentials of the settings, each with whoever revokes it.

    Raises:
        CallerError: one of them cannot be revoked as it is written.
    """

    def command(name: str) -> Command | None:
        hook = config.hooks.get(name)
        if hook is None:
            return None
        return Command(argv=hook.run, timeout_s=hook.at_most_s, output_bytes=hook.output_kib * 1024)

    held: dict[str, Held] = {}
    for name, credential in config.credentials.items():
        credential.check(name, hooks=frozenset(config.hooks))
        if credential.proxy_tokens:
            by_proxy = ProxyBroker(folder=beside / credential.proxy_tokens, url=credential.proxy_url)
            held[name] = Held(agents=credential.agents, broker=by_proxy)
            continue
        revoking, probing = command(credential.revoke_hook), command(credential.probe_hook)
        token_file = beside / credential.revoke_token_file if credential.revoke_token_file else None
        broker = (
            WebhookBroker(url=credential.revoke_url, token_file=token_file, probing=probing)
            if revoking is None
            else HookBroker(revoking=revoking, probing=probing)
        )
        held[name] = Held(agents=credential.agents, broker=broker)
    return held


def load_playbooks(config: Config, *, beside: Path) -> tuple[Playbook, ...]:
    """The built-in playbooks, and those that the settings name, which take the place of built-in ones of the same id.

    Raises:
        CallerError: a playbook is wrong, or calls a hook that the settings do not name.
    """
    own = [playbook.load(text, place=place) for place, text in configuration.texts(config.playbooks, beside=beside).items()]
    known = {each.id: each for each in (*shipped_playbooks(), *own)}
    oncall = configuration.load_oncall(config, beside=beside)
    for each in known.values():
        playbook.refuse_unknown_hooks(each, config.hooks)
        playbook.refuse_unknown_targets(each, (*oncall.people, *oncall.rotas, *config.channels))
    return tuple(known.values())


def shipped_playbooks() -> tuple[Playbook, ...]:
    """The built-in playbooks."""
    folder = resources.files("andoncord") / "playbooks"
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name)
    return tuple(playbook.load(each.read_text(encoding="utf-8"), place=f"playbooks/{each.name}") for each in files)


def load_sources(config: Config, *, beside: Path) -> dict[str, Source]:
    """Whoever else sends events, with their secrets.

    Raises:
        CallerError: a secret cannot be read, or is none.
    """
    found: dict[str, Source] = {}
    for name, settings in config.sources.items():
        path = beside / settings.secret_file
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except OSError as wrong:
            place = f"sources.{name}.secret_file"
            raise CallerError(f"{path}: {wrong.strerror}", place=place, remedy="put the secret there") from None
        found[name] = Source(name, settings, secret)
    return found


def renew_token(auth: Auth, access: SqlAccess, source: Source) -> str:
    """What a source's events are passed on with: a token that only sends, for its agents, new at every start."""
    name = f"source:{source.name}"
    for token in access.tokens():
        if token.name == name and not token.revoked_ns:
            auth.revoke_token(token.id)
    return auth.create_token(name=name, scope=Scope.INGEST, agent=source.settings.agents)[1]


def load_policies(config: Config, *, beside: Path) -> list[dict[str, Any]]:
    """The policies that the settings name, compiled.

    Raises:
        CallerError: a policy file is wrong.
    """
    found = [
        policy
        for place, text in configuration.texts(config.policies, beside=beside).items()
        for policy in policies.load(text, place=place)
    ]
    return policies.compile_policies(found)


def missing_programs(config: Config) -> list[tuple[str, str]]:
    """Hooks that could not be started, each with its remedy: found now, and not in the night they are needed."""
    return [
        (f"hook {name} runs {hook.run[0]}, which is not there", "install it, or correct the hook")
        for name, hook in config.hooks.items()
        if not machine.has_program(hook.run[0])
    ]


def beat_targets(home: Path, config: Config) -> list[BeatTarget]:
    """Who is told that the server works."""
    targets: list[BeatTarget] = []
    if config.deadman.file:
        targets.append(FileBeat(home / config.deadman.file))
    if config.deadman.url:
        targets.append(UrlBeat(config.deadman.url))
    return targets


def ensure_local_token(home: Path, auth: Auth, access: SqlAccess) -> None:
    """Keep one admin token in the data directory, readable by its owner alone: the command line's key."""
    path = home / TOKEN_FILE
    if path.exists() and access.token(secret_digest(path.read_text(encoding="utf-8").strip())) is not None:
        return
    _, secret = auth.create_token(name=LOCAL_NAME, scope=Scope.ADMIN)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secret + "\n", encoding="utf-8")


def ensure_node_id(home: Path, entropy: SystemEntropy) -> str:
    """What this data directory is called among those that share a database."""
    path = home / NODE_FILE
    if not path.exists():
        path.write_text(entropy.identifier("node") + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


def ensure_lease_secret(home: Path, entropy: SystemEntropy) -> bytes:
    """The secret that the keys of leases are derived from, readable by its owner alone.

    Raises:
        CallerError: the file is there and is not what it should be.
    """
    path = home / LEASE_SECRET_FILE
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(entropy.secret() + "\n", encoding="utf-8")
    secret = path.read_text(encoding="utf-8").strip()
    if len(secret) < MIN_SECRET:
        raise CallerError("the secret for leases is too short", place=str(path), remedy="delete the file; a new one is made")
    return secret.encode()


def _refuse_open_doors(config: Config, access: SqlAccess) -> None:
    """Beyond loopback everybody needs a token, and somebody must have made one on purpose."""
    if config.server.is_loopback:
        return
    place = "server.bind"
    if not config.server.require_token:
        raise CallerError(
            f"{config.server.bind} can be reached from other machines, and telemetry needs no token",
            place=place,
            remedy="set server.require_token: true, or bind to 127.0.0.1",
        )
    if not any(token.scope is Scope.ADMIN and token.name != LOCAL_NAME and not token.revoked_ns for token in access.tokens()):
        raise CallerError(
            f"{config.server.bind} can be reached from other machines, and nobody has a token",
            place=place,
            remedy="start once on 127.0.0.1 and run `andon token create NAME --scope admin`",
        )
