"""The console's pages and forms. Every action is a plain form post, so that containment works without scripts."""

import asyncio
import re
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.kernel.vocabulary import Disposition, Severity, SevLevel
from andoncord.server.auth import ForbiddenError
from andoncord.server.console import charts, overview, spread
from andoncord.server.console import fleet as fleets
from andoncord.server.console import room as rooms
from andoncord.server.console.assets import load_assets
from andoncord.server.console.desk import DeskPages, counts
from andoncord.server.console.filters import template_environment
from andoncord.server.console.forms import CONTAIN, DECLARE, ROOM_FORMS, Form
from andoncord.server.console.people import PeoplePages
from andoncord.server.console.people_port import Session
from andoncord.server.console.port import ConsolePort

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: with it a browser sends `Origin: null` on form posts, and the server rightly refuses those.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
BODY_LIMIT = 256 * 1024
"""Bytes of one posted form. Chosen: every field of the largest form at its own limit."""
FIELDS_LIMIT = 64
THEMES = ("auto", "light", "dark")
THEME_COOKIE = "andoncord_theme"
YEAR_S = 365 * 24 * 3_600
RECEIPT_LOOKS = 10
RECEIPT_LOOK_S = 0.05
"""An order is given half a second for its receipt before the page is shown: most take a few milliseconds."""
LOOKS_LIMIT = 15
"""How often a page without scripts loads itself anew for a receipt, 2 s apart: longer than any order's deadline."""
LIST_LIMIT = 200
"""Rows of the Incidents page; the filters narrow down what is beyond."""

LOCAL_PATH = re.compile(r"/(?![/\\])[A-Za-z0-9_\-./?=&%+~:,]*")
STALE_FORM = "This form belongs to an older session, so nothing was done. Check it and send it again."


def local_path(path: str) -> str:
    """`path` when it stays on this server, else the Now page: where to go on after a form.

    >>> local_path("/incidents?state=open"), local_path("//elsewhere.example"), local_path("https://elsewhere.example")
    ('/incidents?state=open', '/', '/')
    """
    return path if LOCAL_PATH.fullmatch(path) else "/"


def status_of(error: CallerError) -> int:
    """The HTTP status that says the same as `error`."""
    if isinstance(error, ForbiddenError):
        return 403
    return 404 if isinstance(error, NotFoundError) else 409 if isinstance(error, ConflictError) else 422


def _looks(request: Request) -> int:
    """How often this page has loaded itself anew for a receipt."""
    count = request.query_params.get("looks", "0")
    return int(count) if count.isascii() and count.isdigit() and len(count) < 4 else 0


def _is_theirs(fields: Mapping[str, str], session: Session) -> bool:
    """Whether the form was rendered for this session."""
    return compare_digest(fields.get("csrf", "").encode(), session.csrf.encode())


def console_router(port: ConsolePort) -> APIRouter:
    """Every page of the console, reading and acting through `port`."""
    return _Console(port).router()


class _Console:
    def __init__(self, port: ConsolePort) -> None:
        self._port = port
        self._assets = load_assets()
        self._templates = template_environment()
        self._templates.globals.update(
            asset={name: asset.address for name, asset in self._assets.items()},
            fleets=fleets,
            overview=overview,
            rooms=rooms,
            new_key=port.new_key,
        )

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/static/{name}", self.static, methods=["GET"])
        router.add_api_route("/login", self.login_page, methods=["GET"])
        router.add_api_route("/login", self.login, methods=["POST"])
        router.add_api_route("/login/provider", self.send_elsewhere, methods=["GET"])
        router.add_api_route("/login/provider/callback", self.back_from_elsewhere, methods=["GET"])
        router.add_api_route("/logout", self.logout, methods=["POST"])
        router.add_api_route("/theme", self.theme, methods=["POST"])
        router.add_api_route("/", self.now_page, methods=["GET"])
        router.add_api_route("/incidents", self.incidents_page, methods=["GET"])
        router.add_api_route("/incidents", self.declare, methods=["POST"])
        router.add_api_route("/incidents/{incident}", self.room_page, methods=["GET"])
        router.add_api_route("/incidents/{incident}/{form}", self.room_form, methods=["POST"])
        router.add_api_route("/fleet", self.fleet_page, methods=["GET"])
        router.add_api_route("/fleet/{agent:path}", self.agent_page, methods=["GET"])
        router.add_api_route("/spread", self.spread_page, methods=["GET"])
        router.add_api_route("/traces/{trace_id}", self.trace_page, methods=["GET"])
        router.add_api_route("/agents/{agent}/contain", self.contain_agent, methods=["POST"])
        PeoplePages(self._port, face=self, session=self._port.session, status_of=status_of).add_to(router)
        DeskPages(self._port.desk, face=self, session=self._port.session, status_of=status_of).add_to(router)
        return router

    # Pages

    async def static(self, name: str) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            return Response(status_code=404)
        headers = {"Cache-Control": f"public, max-age={YEAR_S}, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(asset.content, media_type=asset.media_type, headers=headers)

    async def login_page(self, request: Request) -> Response:
        return self._login(request, after=request.query_params.get("next", "/"))

    async def now_page(self, request: Request) -> Response:
        session = self._port.session(request)
        return self._now(request, session) if session else self.to_login(request)

    async def incidents_page(self, request: Request) -> Response:
        session = self._port.session(request)
        return self._incidents(request, session) if session else self.to_login(request)

    async def room_page(self, request: Request, incident: str) -> Response:
        session = self._port.session(request)
        return self._room(request, session, incident) if session else self.to_login(request)

    async def fleet_page(self, request: Request) -> Response:
        session = self._port.session(request)
        if session is None:
            return self.to_login(request)
        every = await self._port.fleet_map()
        wanted, text = request.query_params.get("state", "any"), request.query_params.get("q", "")[:200]
        filters = {"state": wanted if wanted in fleets.STATE_FILTERS else "any", "q": text}
        rows = fleets.chosen(every, wanted=filters["state"], text=text)
        return self.render(
            request,
            session,
            "fleet.html",
            200,
            rows=rows[: fleets.ROWS_LIMIT],
            found=len(rows),
            total=len(every),
            counts=fleets.counts(every),
            filters=filters,
        )

    async def agent_page(self, request: Request, agent: str) -> Response:
        session = self._port.session(request)
        if session is None:
            return self.to_login(request)
        try:
            found = await self._port.agent(agent)
        except NotFoundError as error:
            return self.missing(request, session, str(error))
        series, touched, runs, answers = await asyncio.gather(
            self._port.series(agent), self._port.touched(agent), self._port.runs(agent), self._port.answers(agent)
        )
        return self.render(
            request,
            session,
            "agent.html",
            200,
            agent=found,
            charts=charts.charts(series),
            span=charts.span(series),
            series_cut=series["is_cut"],
            touched=touched,
            runs=runs,
            answers=answers,
        )

    async def spread_page(self, request: Request) -> Response:
        session = self._port.session(request)
        if session is None:
            return self.to_login(request)
        asked = spread.asked(request.query_params)
        taint, problem = None, ""
        if asked.datum:
            try:
                taint = await self._port.taint(asked.datum, asked.hours)
            except CallerError as error:
                problem = str(error)
        influence = await self._port.influence(asked.agent)
        status = 422 if problem else 200
        return self.render(
            request,
            session,
            "spread.html",
            status,
            asked=asked,
            taint=taint,
            problem=problem,
            influence=influence,
            spread=spread,
        )

    async def trace_page(self, request: Request, trace_id: str) -> Response:
        session = self._port.session(request)
        if session is None:
            return self.to_login(request)
        try:
            found = await self._port.trace(trace_id)
        except NotFoundError as error:
            return self.missing(request, session, str(error))
        return self.render(request, session, "trace.html", 200, trace=found, told=fleets.trace(found))

    # Forms

    async def login(self, request: Request) -> Response:
        fields = await self.fields(request)
        after = local_path(fields.get("next", "/"))
        code = fields.get("code", "").strip()
        if fields.get("name", "").strip() and not code:
            try:
                begun = await self._port.sign_in(request, fields["name"], fields.get("password", ""))
            except CallerError as error:
                return self._login(request, after=after, problem=str(error), status=429)
            problem = "Name and password do not belong together."
        else:
            # People paste the whole link as often as the code alone.
            code = code.rpartition("code=")[2]
            begun = self._port.exchange(request, code) if code else None
            problem = "This code is not valid: codes work once, for five minutes. Take a new link from the terminal."
        if begun is None:
            return self._login(request, after=after, problem=problem, status=403)
        response = self.redirect(after)
        begun(response)
        return response

    async def send_elsewhere(self, request: Request) -> Response:
        after = local_path(request.query_params.get("next", "/"))
        try:
            address, put = await self._port.send_elsewhere(request, after)
        except CallerError as error:
            return self._login(request, after=after, problem=str(error), status=status_of(error))
        response = self.redirect(address)
        put(response)
        return response

    async def back_from_elsewhere(self, request: Request) -> Response:
        try:
            after, put = await self._port.back_from_elsewhere(request)
        except CallerError as error:
            return self._login(request, after="/", problem=str(error), status=status_of(error))
        response = self.redirect(local_path(after))
        put(response)
        return response

    async def logout(self, request: Request) -> Response:
        session = self._port.session(request)
        fields = await self.fields(request)
        response = self.redirect("/login")
        if session and _is_theirs(fields, session):
            self._port.forget(request)(response)
        return response

    async def theme(self, request: Request) -> Response:
        fields = await self.fields(request)
        response = self.redirect(local_path(fields.get("back", "/")))
        theme = fields.get("theme", "")
        if theme in THEMES:
            response.set_cookie(THEME_COOKIE, theme, max_age=YEAR_S, httponly=True, samesite="lax", path="/")
        return response

    async def declare(self, request: Request) -> Response:
        session = self._port.session(request)
        if session is None:
            return self.to_login(request)
        fields = await self.fields(request)
        try:
            await self.act(DECLARE, session, fields, incident="")
        except CallerError as error:
            return self._incidents(request, session, problem=str(error), typed=fields, status=status_of(error))
        return self.redirect("/incidents?done=declare")

    async def contain_agent(self, request: Request, agent: str) -> Response:
        session = self._port.session(request)
        if session is None:
            return self.to_login(request, after="/")
        fields = {**await self.fields(request), "agent": agent}
        try:
            await self.act(CONTAIN, session, fields, incident="")
        except CallerError as error:
            return self._now(request, session, problem=str(error), status=status_of(error))
        return self.redirect("/?done=contain")

    async def room_form(self, request: Request, incident: str, form: str) -> Response:
        known = ROOM_FORMS.get(form)
        room = f"/incidents/{quote(incident, safe='')}"
        session = self._port.session(request)
        if session is None:
            return self.to_login(request, after=room)
        if known is None:
            return self.missing(request, session, "There is no such form.")
        fields = await self.fields(request)
        try:
            await self.act(known, session, fields, incident=incident)
        except CallerError as error:
            typed = {"form": form, **fields}
            return self._room(request, session, incident, problem=str(error), typed=typed, status=status_of(error))
        await self._order_receipt(incident)
        return self.redirect(f"{room}?{urlencode({'done': form})}#{known.anchor}")

    async def act(self, form: Form, session: Session, fields: Mapping[str, str], *, incident: str) -> None:
        if not _is_theirs(fields, session):
            raise ConflictError(STALE_FORM)
        command = form.read(fields)
        key = fields.get("key", "")[:200] or self._port.new_key()
        await self._port.act(
            form.command,
            who=session,
            incident=incident,
            agent=command.agent,
            parameters={**command.parameters, "scope": session.scope},
            key=key,
        )

    async def _order_receipt(self, incident: str) -> None:
        """Wait, within bounds, until no order of this incident is without a receipt."""
        for _ in range(RECEIPT_LOOKS):
            view = self._port.view(incident)
            if view is None or not any(pending["kind"] == "order" for pending in view["pending"]):
                return
            await asyncio.sleep(RECEIPT_LOOK_S)

    async def fields(self, request: Request) -> dict[str, str]:
        """The posted form as text fields; too large a body reads as an empty form, which no form accepts."""
        declared = request.headers.get("content-length", "")
        if not declared.isdigit() or int(declared) > BODY_LIMIT:
            return {}
        async with request.form(max_files=0, max_fields=FIELDS_LIMIT) as form:
            return {name: value for name, value in form.multi_items() if isinstance(value, str)}

    # Rendering

    def _login(self, request: Request, *, after: str, problem: str = "", status: int = 200) -> Response:
        ways = {"has_passwords": self._port.has_passwords, "provider": self._port.provider}
        return self.render(request, None, "login.html", status, after=local_path(after), problem=problem, **ways)

    def _now(self, request: Request, session: Session, *, problem: str = "", status: int = 200) -> Response:
        open_incidents = overview.worst_first(self._port.summaries("open"))
        recent = sorted(self._port.summaries("all"), key=lambda summary: summary.get("opened_at") or "", reverse=True)
        details = [view for summary in recent[: overview.DETAIL_LIMIT] if (view := self._port.view(summary["id"]))]
        fleet = self._port.fleet()
        held = overview.in_force(fleet, details)
        return self.render(
            request,
            session,
            "now.html",
            status,
            open_incidents=open_incidents,
            recent=[summary for summary in recent if not rooms.is_open(summary)][:5],
            waits=overview.waits(details),
            next_steps=overview.next_steps(details),
            held=held,
            cells=overview.fleet_cells(fleet, held),
            proven_kill=overview.last_verified_kill(details),
            kpis=self._port.kpis(),
            overdue=self._port.overdue(),
            approvals=[each for each in self._port.approvals() if each["status"] == "waiting"],
            desk_counts=counts(self._port.desk),
            problem=problem,
            done=CONTAIN.done if request.query_params.get("done") == "contain" else "",
        )

    def _incidents(
        self,
        request: Request,
        session: Session,
        *,
        problem: str = "",
        typed: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        asked = request.query_params
        state = asked.get("state", "open")
        filters = {
            "state": state if state in overview.STATE_FILTERS else "open",
            "sev": asked.get("sev", "") if asked.get("sev") in tuple(SevLevel) else "",
            "agent": asked.get("agent", "")[:200],
            "q": asked.get("q", "")[:200],
        }
        every = self._port.summaries("all")
        rows = overview.chosen(
            self._port.summaries(filters["state"]), sev=filters["sev"], agent=filters["agent"], text=filters["q"]
        )
        rows = sorted(rows, key=lambda summary: summary.get("opened_at") or "", reverse=True)
        return self.render(
            request,
            session,
            "incidents.html",
            status,
            rows=rows[:LIST_LIMIT],
            found=len(rows),
            total=len(every),
            filters=filters,
            agents=sorted({agent for summary in every for agent in summary["agents"]}),
            known_agents=sorted(agent["agent"] for agent in self._port.fleet()),
            sevs=tuple(SevLevel),
            severities=tuple(reversed(Severity)),
            problem=problem,
            typed=typed or {},
            done=DECLARE.done if asked.get("done") == "declare" else "",
        )

    def _room(
        self,
        request: Request,
        session: Session,
        incident: str,
        *,
        problem: str = "",
        typed: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        view = self._port.view(incident)
        if view is None:
            return self.missing(request, session, f"There is no incident {incident}.")
        done = request.query_params.get("done", "")
        finished = ROOM_FORMS.get(done) if not problem else None
        room = f"/incidents/{quote(incident, safe='')}"
        looks = _looks(request)
        look_again = ""
        if finished and view.get("pending") and looks < LOOKS_LIMIT:
            # The count makes the address a new one: to the same one with a fragment browsers only scroll.
            look_again = f"{room}?{urlencode({'done': done, 'looks': looks + 1})}#{finished.anchor}"
        return self.render(
            request,
            session,
            "room.html",
            status,
            view=rooms.room(view),
            room=room,
            look_again=look_again,
            dispositions=tuple(Disposition),
            problem=problem,
            typed=typed or {},
            done=finished.done if finished else "",
        )

    def missing(self, request: Request, session: Session, what: str) -> Response:
        return self.render(request, session, "missing.html", 404, what=what)

    def render(self, request: Request, session: Session | None, template: str, status: int, **context: Any) -> Response:
        theme = request.cookies.get(THEME_COOKIE, "auto")
        back = request.url.path if request.method == "GET" else "/"
        html = self._templates.get_template(template).render(
            session=session,
            theme=theme if theme in THEMES else "auto",
            back=local_path(f"{back}?{request.url.query}" if request.url.query and back != "/login" else back),
            simulated=self._port.environment == "demo",
            pill=overview.pill(self._port.summaries("open")) if session else None,
            now_ns=self._port.now_ns(),
            path=request.url.path,
            **context,
        )
        return HTMLResponse(html, status_code=status, headers=HEADERS)

    def to_login(self, request: Request, *, after: str = "") -> Response:
        wanted = after or (request.url.path if request.method == "GET" else "/")
        if not after and request.method == "GET" and request.url.query:
            wanted = f"{wanted}?{request.url.query}"
        return self.redirect(f"/login?{urlencode({'next': local_path(wanted)})}")

    def redirect(self, to: str) -> RedirectResponse:
        return RedirectResponse(to, status_code=303, headers=HEADERS)
