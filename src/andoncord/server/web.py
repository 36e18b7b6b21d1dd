"""The control process's web application: API, guard API and console behind the doors."""

from collections.abc import Callable

from fastapi import APIRouter, Depends, FastAPI
from starlette.types import ASGIApp

from andoncord.detect.declared import Declared
from andoncord.respond.approval import ApprovalSettings
from andoncord.server import problems
from andoncord.server.api.access import AccessApi
from andoncord.server.api.agents import AgentApi
from andoncord.server.api.approvals import ApprovalApi
from andoncord.server.api.budgets import BudgetApi
from andoncord.server.api.canaries import CanaryApi
from andoncord.server.api.desk import DeskApi
from andoncord.server.api.door import PREFIX, SPEC_PATH, ApiDoor
from andoncord.server.api.evidence import EvidenceApi
from andoncord.server.api.fleet import FleetApi
from andoncord.server.api.health import HealthApi
from andoncord.server.api.incidents import IncidentApi
from andoncord.server.api.lifecycle import LifecycleApi
from andoncord.server.api.oncall import OncallApi
from andoncord.server.api.orders import OrderApi
from andoncord.server.api.playbooks import PlaybookApi
from andoncord.server.api.predictions import PredictionApi
from andoncord.server.api.quality import QualityApi
from andoncord.server.api.records import RecordApi
from andoncord.server.api.rule_records import RuleRecordApi
from andoncord.server.api.rules import RuleApi
from andoncord.server.api.sources import SourceApi
from andoncord.server.api.spreading import SpreadingApi
from andoncord.server.api.tickets import TicketApi
from andoncord.server.api.users import UserApi
from andoncord.server.budgets import BudgetOffice
from andoncord.server.canaries import Canaries
from andoncord.server.capture import EvidenceFolder
from andoncord.server.console.routes import console_router
from andoncord.server.console_port import ServerConsolePort
from andoncord.server.control import Control
from andoncord.server.desk_reads import DeskReads
from andoncord.server.desk_settings import HandoverSettings, NoticeSettings, OutboxSettings
from andoncord.server.doors import Doors, host_name, origin_of
from andoncord.server.evaluators import Evaluators
from andoncord.server.goodness import Goodness
from andoncord.server.guard_wire import GuardWire
from andoncord.server.guards import MAX_BODY, GuardApi
from andoncord.server.health import Health
from andoncord.server.identity import Identity
from andoncord.server.leases import LeaseOffice
from andoncord.server.live import LiveStreams
from andoncord.server.notices import NotifyPerformer
from andoncord.server.ports import AccessStore, JournalReader
from andoncord.server.predictions import Predictions
from andoncord.server.reading import Reading
from andoncord.server.settings import ServerSettings
from andoncord.server.sources import Sources
from andoncord.server.spreading import Spreading
from andoncord.server.tickets import TicketPerformer
from andoncord.server.vault import Vault


def web_app(
    *,
    settings: ServerSettings,
    control: Control,
    reading: Reading,
    health: Health,
    identity: Identity,
    leases: LeaseOffice,
    budgets: BudgetOffice,
    sources: Sources,
    evaluators: Evaluators,
    canaries: Canaries,
    predictions: Predictions,
    false_incidents_per_week: float,
    evidence: EvidenceFolder,
    notices: NotifyPerformer,
    tickets: TicketPerformer,
    approvals: ApprovalSettings,
    vault: Vault,
    handover: HandoverSettings,
    outbox: OutboxSettings,
    notice_settings: NoticeSettings,
    fallback: Callable[[str, str], str],
    answers: AccessStore,
    journal: JournalReader,
    live: LiveStreams,
    declared: dict[str, Declared],
    version: str,
) -> ASGIApp:
    """Everything that listens on the API port."""
    app = FastAPI(
        title="Andoncord",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url=SPEC_PATH,
        dependencies=[Depends(identity.gate)],
    )
    problems.install(app)
    auth = identity.auth
    door = ApiDoor(control=control, auth=auth, answers=answers)

    def include(router: APIRouter, *, prefix: str = "") -> None:
        identity.gate.declare(router, prefix=prefix)
        app.include_router(router, prefix=prefix)

    spreading = Spreading(control)
    known = Goodness(control=control, declared=declared, evaluators=evaluators, canaries=canaries, predictions=predictions)
    desk = DeskReads(control, outbox=outbox, notices=notice_settings, approvals=approvals, vault=vault)
    own_health = HealthApi(door, health=health, leases=leases, version=version)
    for routes in (
        own_health,
        IncidentApi(door),
        LifecycleApi(door),
        AgentApi(door),
        OrderApi(door),
        FleetApi(door, reading=reading),
        SpreadingApi(door, spreading=spreading),
        RecordApi(door, reading=reading, journal=journal, live=live),
        PlaybookApi(door, journal=journal),
        RuleApi(door, declared=declared),
        RuleRecordApi(control, budget_per_week=false_incidents_per_week),
        QualityApi(answers=known),
        CanaryApi(canaries=canaries),
        PredictionApi(predictions=predictions),
        AccessApi(door, store=answers, accounts=identity.accounts, log=identity.log, url=identity.settings.url),
        UserApi(door, identity=identity),
        BudgetApi(door, budgets=budgets),
        SourceApi(sources),
        EvidenceApi(door, folder=evidence),
        OncallApi(door, notices=notices),
        TicketApi(door, tickets=tickets),
        ApprovalApi(door, settings=approvals, vault=vault),
        DeskApi(door, reads=desk, vault=vault, handover=handover, outbox=outbox, fallback=fallback),
    ):
        include(routes.router(), prefix=PREFIX)
    guards = GuardApi(control=control, auth=auth, leases=leases, budgets=budgets)
    include(guards.router())
    include(own_health.root())
    include(
        console_router(
            ServerConsolePort(
                control=control,
                identity=identity,
                approvals=approvals,
                vault=vault,
                reading=reading,
                health=health,
                spreading=spreading,
                answers=known,
                desk=desk,
            )
        )
    )

    outside = origin_of(identity.settings.url)
    hosts = settings.hosts | ({host_name(outside.partition("://")[2])} if outside else set())
    return Doors(GuardWire(app, guards), hosts=hosts, origins="same", max_body=MAX_BODY, outside=outside)
