"""The pages about people's word and people's access: approvals and the audit."""

from collections.abc import Awaitable, Callable, Mapping
from hmac import compare_digest
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.server.console.forms import FIELD_LIMIT, Command, Form
from andoncord.server.console.people_port import PeoplePort, Session

KINDS = ("change", "login", "denied")
MAX_WHO = 64
DONE = {
    "grant": "Approved. It is used once, by the guard that asked, and by nothing else.",
    "seconded": "Your word is recorded. Somebody else has to approve it as well.",
    "deny": "Denied. The call is not made.",
}


class Face(Protocol):
    """What the pages of the console share."""

    def render(self, request: Request, session: Session, template: str, status: int, **context: Any) -> Response: ...

    def missing(self, request: Request, session: Session, what: str) -> Response: ...

    def to_login(self, request: Request, *, after: str = "") -> Response: ...

    def redirect(self, to: str) -> Response: ...

    async def fields(self, request: Request) -> dict[str, str]: ...

    async def act(self, form: Form, session: Session, fields: Mapping[str, str], *, incident: str) -> None: ...


def exact(text: str) -> Markup:
    """Text of printable ASCII as it is, every character of it: what people approve is not cut, softened or prettied.

    >>> exact('{"to":"<b>"}')
    Markup('{&#34;to&#34;:&#34;&lt;b&gt;&#34;}')
    """
    assert text.isascii(), "escaped before"
    assert text.isprintable(), "of one line"
    return escape(text)


class PeoplePages:
    """Approvals and audit.

    Args:
        session: who a request belongs to.
        status_of: the HTTP status that says the same as an error.
    """

    def __init__(
        self,
        port: PeoplePort,
        *,
        face: Face,
        session: Callable[[Request], Session | None],
        status_of: Callable[[CallerError], int],
    ) -> None:
        self._port = port
        self._face = face
        self._session = session
        self._status_of = status_of

    def add_to(self, router: APIRouter) -> None:
        """Add every page to the console's."""
        router.add_api_route("/approvals", self._signed_in(self.approvals_page), methods=["GET"])
        router.add_api_route("/approvals/{request_id}", self._signed_in(self.approval_page), methods=["GET"])
        router.add_api_route("/approvals/{request_id}/{form}", self._signed_in(self.answer), methods=["POST"])
        router.add_api_route("/account", self._signed_in(self.account_page), methods=["GET"])
        router.add_api_route("/account", self._signed_in(self.change_password), methods=["POST"])
        router.add_api_route("/audit", self._signed_in(self.audit_page), methods=["GET"])

    def _signed_in(self, page: Callable[[Request, Session], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The same for a request with a session; without one, the way to the sign-in."""

        async def opened(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                after = "" if request.method == "GET" else "/approvals"
                return self._face.to_login(request, after=after)
            return await page(request, session)

        return opened

    async def approvals_page(self, request: Request, session: Session) -> Response:
        every = self._port.approvals()
        waiting = [each for each in every if each["status"] == "waiting"]
        over = [each for each in every if each["status"] != "waiting"]
        return self._face.render(request, session, "approvals.html", 200, waiting=waiting, over=over)

    async def approval_page(self, request: Request, session: Session) -> Response:
        return self._shown(request, session, done=DONE.get(request.query_params.get("done", ""), ""))

    async def answer(self, request: Request, session: Session) -> Response:
        known, request_id = FORMS.get(request.path_params["form"]), request.path_params["request_id"]
        if known is None:
            return self._face.missing(request, session, "There is no such form.")
        fields = {**await self._face.fields(request), "request": request_id}
        try:
            found = self._port.approval(request_id, session)
            if known is GRANT and not found["whole"]:
                raise CallerError("it cannot be shown whole here, so it cannot be approved here")
            await self._face.act(known, session, fields, incident="")
        except NotFoundError as error:
            return self._face.missing(request, session, str(error))
        except CallerError as error:
            return self._shown(
                request, session, problem=str(error), status=self._status_of(error), reason=fields.get("reason", "")
            )
        now = self._port.approval(request_id, session)["status"]
        done = "seconded" if known is GRANT and now == "waiting" else request.path_params["form"]
        return self._face.redirect(f"/approvals/{quote(request_id, safe='')}?{urlencode({'done': done})}")

    async def account_page(self, request: Request, session: Session) -> Response:
        done = "Your password is changed, and every other session of yours has ended." if "done" in request.query_params else ""
        return self._account(request, session, done=done)

    async def change_password(self, request: Request, session: Session) -> Response:
        fields = await self._face.fields(request)
        try:
            if not compare_digest(fields.get("csrf", "").encode(), session.csrf.encode()):
                raise ConflictError("this form belongs to an older session", remedy="send it again")
            if fields.get("new", "") != fields.get("again", ""):
                raise ConflictError("the new password was typed in two ways")
            put = await self._port.change_password(request, session, old=fields.get("old", ""), new=fields.get("new", ""))
        except CallerError as error:
            return self._account(request, session, problem=str(error), status=self._status_of(error))
        response = self._face.redirect("/account?done=1")
        put(response)
        return response

    def _account(self, request: Request, session: Session, *, done: str = "", problem: str = "", status: int = 200) -> Response:
        found = self._port.account(session)
        return self._face.render(request, session, "account.html", status, account=found, done=done, problem=problem)

    async def audit_page(self, request: Request, session: Session) -> Response:
        asked = request.query_params
        kind, who, before = asked.get("kind", ""), asked.get("who", "")[:MAX_WHO], asked.get("before", "0")
        kind = kind if kind in KINDS else ""
        start = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else 0
        found = self._port.audit(kind=kind, who=who, before=start)
        further = {"kind": kind, "who": who, "before": found["next"]}
        return self._face.render(
            request,
            session,
            "audit.html",
            200,
            rows=found["items"],
            kinds=KINDS,
            filters={"kind": kind, "who": who},
            further=f"/audit?{urlencode(further)}" if found["next"] else "",
            start=start,
        )

    def _shown(
        self, request: Request, session: Session, *, done: str = "", problem: str = "", status: int = 200, reason: str = ""
    ) -> Response:
        try:
            found = self._port.approval(request.path_params["request_id"], session)
        except NotFoundError as error:
            return self._face.missing(request, session, str(error))
        told = [(name, exact(text)) for name, text in found["whole"]]
        return self._face.render(
            request, session, "approval.html", status, asked=found, whole=told, done=done, problem=problem, reason=reason
        )


def _answer(fields: Mapping[str, str]) -> Command:
    reason = fields.get("reason", "").strip()
    if len(reason) > FIELD_LIMIT:
        raise CallerError(f"reason has {len(reason)} characters", remedy=f"shorten it to {FIELD_LIMIT}")
    return Command(parameters={"request": fields["request"], "digest": fields.get("digest", ""), "reason": reason})


GRANT = Form(command="grant_approval", read=_answer, anchor="", done=DONE["grant"])
FORMS: Mapping[str, Form] = {
    "grant": GRANT,
    "deny": Form(command="deny_approval", read=_answer, anchor="", done=DONE["deny"]),
}
