"""The control process's web application: API, guard API and console behind the doors."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from andoncord.detect.declared import Declared
from andoncord.respond.approval import ApprovalSettings
from andoncord.server import problems
from andoncord.server.api.access import AccessApi
from andoncord.server.api.agents import AgentApi
from andoncord.server.api.approvals import ApprovalApi
from andoncord.server.api.budgets import BudgetApi
from andoncord.server.api.door import PREFIX, SPEC_PATH, ApiDoor
from andoncord.server.api.evidence import EvidenceApi
from andoncord.server.api.fleet import FleetApi
from andoncord.server.api.health import HealthApi
from andoncord.server.api.incidents import IncidentApi
from andoncord.server.api.lifecycle import LifecycleApi
from andoncord.server.api.oncall import OncallApi
from andoncord.server.api.orders import OrderApi
from andoncord.server.api.playbooks import PlaybookApi
from andoncord.server.api.records import RecordApi
from andoncord.server.api.rules import RuleApi
from andoncord.server.api.sources import SourceApi
from andoncord.server.auth import Auth
from andoncord.server.budgets import BudgetOffice
from andoncord.server.capture import EvidenceFolder
from andoncord.server.console.routes import console_router
from andoncord.server.console_port import ServerConsolePort
from andoncord.server.control import Control
from andoncord.server.doors import Doors
from andoncord.server.guard_wire import GuardWire
from andoncord.server.guards import MAX_BODY, GuardApi
from andoncord.server.health import Health
from andoncord.server.leases import LeaseOffice
from andoncord.server.live import LiveStreams
from andoncord.server.notices import NotifyPerformer
from andoncord.server.ports import AccessStore, JournalReader
from andoncord.server.reading import Reading
from andoncord.server.settings import ServerSettings
from andoncord.server.sources import Sources


def web_app(
    *,
    settings: ServerSettings,
    control: Control,
    reading: Reading,
    health: Health,
    auth: Auth,
    leases: LeaseOffice,
    budgets: BudgetOffice,
    sources: Sources,
    evidence: EvidenceFolder,
    notices: NotifyPerformer,
    approvals: ApprovalSettings,
    answers: AccessStore,
    journal: JournalReader,
    live: LiveStreams,
    declared: dict[str, Declared],
    version: str,
) -> ASGIApp:
    """Everything that listens on the API port."""
    app = FastAPI(title="Andoncord", version=version, docs_url=None, redoc_url=None, openapi_url=SPEC_PATH)
    problems.install(app)
    door = ApiDoor(control=control, auth=auth, answers=answers)
    own_health = HealthApi(door, health=health, leases=leases, version=version)
    for routes in (
        own_health,
        IncidentApi(door),
        LifecycleApi(door),
        AgentApi(door),
        OrderApi(door),
        FleetApi(door, reading=reading),
        RecordApi(door, reading=reading, journal=journal, live=live),
        PlaybookApi(door, journal=journal),
        RuleApi(door, declared=declared),
        AccessApi(door, store=answers),
        BudgetApi(door, budgets=budgets),
        SourceApi(sources),
        EvidenceApi(door, folder=evidence),
        OncallApi(door, notices=notices),
        ApprovalApi(door, settings=approvals),
    ):
        app.include_router(routes.router(), prefix=PREFIX)
    guards = GuardApi(control=control, auth=auth, leases=leases, budgets=budgets)
    app.include_router(guards.router())
    app.include_router(own_health.root())
    app.include_router(console_router(ServerConsolePort(control=control, auth=auth, reading=reading, health=health)))

    return Doors(GuardWire(app, guards), hosts=settings.hosts, origins="same", max_body=MAX_BODY)
