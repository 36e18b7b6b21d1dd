"""The desk: what waits for a person because an agent may not do it, and what is to be said to others."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.errors import CallerError
from andoncord.server.console.desk_port import DeskPort
from andoncord.server.console.forms import FIELD_LIMIT, Command, Fields, Form
from andoncord.server.console.people import Face, exact
from andoncord.server.console.people_port import Session

DONE = {
    "take": "It is yours. The others see that.",
    "finish": "Done. The program that handed it over can read your answer.",
    "return": "The agent may do it after all.",
    "close": "Closed. Nobody does it.",
    "release": "Let go. Below is what came of each.",
    "discard": "Dropped for good.",
    "send": "Under way to whoever the settings name.",
    "reject": "Not sent.",
    "answer": "Your answer is recorded.",
}


class DeskPages:
    """The page and its forms.

    Args:
        session: who a request belongs to.
        status_of: the HTTP status that says the same as an error.
    """

    def __init__(
        self,
        port: DeskPort,
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
        """Add the page to the console's."""
        router.add_api_route("/desk", self.page, methods=["GET"])
        router.add_api_route("/desk/{form}", self.do, methods=["POST"])

    async def page(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return self._face.to_login(request)
        return self._shown(request, session, done=DONE.get(request.query_params.get("done", ""), ""))

    async def do(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return self._face.to_login(request, after="/desk")
        word = request.path_params["form"]
        form = FORMS.get(word)
        if form is None:
            return self._face.missing(request, session, "There is no such form.")
        fields = await self._face.fields(request)
        try:
            await self._face.act(form, session, fields, incident=fields.get("incident", ""))
        except CallerError as error:
            return self._shown(request, session, problem=str(error), status=self._status_of(error))
        return self._face.redirect(f"/desk?{urlencode({'done': word})}")

    def _shown(self, request: Request, session: Session, *, done: str = "", problem: str = "", status: int = 200) -> Response:
        batches = [
            {**batch, "items": [{**each, "whole": exact(each["effect"]["arguments"])} for each in batch["items"]]}
            for batch in self._port.batches(session.may)
        ]
        items = [{**each, "context": _pretty(each["work"]["context"])} for each in self._port.waiting(session.may)]
        return self._face.render(
            request,
            session,
            "desk.html",
            status,
            items=items,
            batches=batches,
            lately=self._port.lately(),
            drafts=self._port.drafts(),
            questions=self._port.questions(),
            done=done,
            problem=problem,
        )


def counts(port: DeskPort) -> str:
    """What waits at the desk, in words; empty when nothing does."""
    found = {
        "held": sum(len(batch["items"]) + batch["left_off"] for batch in port.batches()),
        "handed over": len(port.waiting()),
        "to be sent or not": len(port.drafts()),
        "to be answered": len(port.questions()),
    }
    return ", ".join(f"{count} {word}" for word, count in found.items() if count)


def _pretty(context: Any) -> str:
    return "" if not context else json.dumps(context, indent=1, ensure_ascii=True)


def _text(fields: Fields, name: str, *, is_needed: bool = True) -> str:
    value = fields.get(name, "").strip()
    if is_needed and not value:
        raise CallerError(f"{name} is empty", remedy="say why, or what came of it")
    if len(value) > FIELD_LIMIT:
        raise CallerError(f"{name} has {len(value)} characters", remedy=f"shorten it to {FIELD_LIMIT}")
    return value


def _take(fields: Fields) -> Command:
    return Command(parameters={"item": fields.get("item", "")})


def _finish(fields: Fields) -> Command:
    return Command(parameters={"item": fields.get("item", ""), "answer": _text(fields, "reason")})


def _said(fields: Fields) -> Command:
    return Command(parameters={"item": fields.get("item", ""), "reason": _text(fields, "reason")})


def _chosen(fields: Fields) -> Command:
    ids = [each for each in fields.get("ids", "").split(",") if each]
    return Command(parameters={"ids": ids, "digest": fields.get("digest", ""), "reason": _text(fields, "reason")})


def _send(fields: Fields) -> Command:
    words = {"subject": _text(fields, "subject"), "text": _text(fields, "text").replace("\r\n", "\n")}
    return Command(parameters={"draft": fields.get("draft", ""), **words})


def _reject(fields: Fields) -> Command:
    return Command(parameters={"draft": fields.get("draft", ""), "reason": _text(fields, "reason")})


def _answer(fields: Fields) -> Command:
    said = {"step": fields.get("step", ""), "answer": fields.get("answer", "")}
    return Command(parameters={**said, "reason": _text(fields, "reason", is_needed=False)})


FORMS: Mapping[str, Form] = {
    "take": Form(command="take_handover", read=_take, anchor="", done=DONE["take"]),
    "finish": Form(command="finish_handover", read=_finish, anchor="", done=DONE["finish"]),
    "return": Form(command="return_handover", read=_said, anchor="", done=DONE["return"]),
    "close": Form(command="close_handover", read=_said, anchor="", done=DONE["close"]),
    "release": Form(command="release_held", read=_chosen, anchor="", done=DONE["release"]),
    "discard": Form(command="discard_held", read=_chosen, anchor="", done=DONE["discard"]),
    "send": Form(command="send_statement", read=_send, anchor="", done=DONE["send"]),
    "reject": Form(command="reject_statement", read=_reject, anchor="", done=DONE["reject"]),
    "answer": Form(command="answer_ask", read=_answer, anchor="", done=DONE["answer"]),
}
