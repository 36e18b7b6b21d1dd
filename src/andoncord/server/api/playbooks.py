"""Playbooks over HTTP: those in force, those before, what they do for an incident, and undoing it."""

from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from andoncord.engine.playbook_view import playbook_view, summary
from andoncord.kernel.time import rfc3339
from andoncord.respond.playbook import Playbook
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.ports import JournalReader
from andoncord.server.requests import MAX_NAME, MAX_TEXT, Body


class Undoing(Body):
    """Undo everything that was done for an incident, or one step of it."""

    step: str = Field(default="", max_length=MAX_NAME)
    """An intent's id or a step's name; empty for everything."""
    reason: str = Field(min_length=1, max_length=MAX_TEXT)


class Cancelling(Body):
    """Stop waiting for a step that is under way."""

    intent: str = Field(min_length=1, max_length=MAX_NAME)
    reason: str = Field(min_length=1, max_length=MAX_TEXT)


class Forking(Body):
    """Do the steps after the containment anew, from this one on."""

    step: str = Field(min_length=1, max_length=MAX_NAME)
    reason: str = Field(min_length=1, max_length=MAX_TEXT)


class PlaybookApi:
    """Routes under `/api/v1`.

    Args:
        journal: where the sets of playbooks before are read from.
    """

    def __init__(self, door: ApiDoor, *, journal: JournalReader) -> None:
        self._door = door
        self._journal = journal

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/playbooks")(self.playbooks)
        router.get("/playbooks/history")(self.history)
        router.get("/incidents/{incident}/playbook")(self.playbook)
        router.post("/incidents/{incident}/undo", status_code=202)(self.undo)
        router.post("/incidents/{incident}/playbook/cancel", status_code=202)(self.cancel)
        router.post("/incidents/{incident}/playbook/fork", status_code=202)(self.fork)
        return router

    async def playbooks(self, request: Request) -> Response:
        """The playbooks in force for incidents that open from now on."""
        state = self._door.control.state
        return answer({"set": state.book or None, "items": _shown(state.books.get(state.book, ()))})

    async def history(self, request: Request) -> Response:
        """Every set of playbooks that was ever in force, newest first, with what each changed."""
        state = self._door.control.state
        items: list[dict[str, object]] = []
        before: dict[str, int] = {}
        for entry in self._journal.read():
            if entry.kind != "playbooks.loaded":
                continue
            now = {each.id: each.version for each in state.books.get(entry.body["digest"], ())}
            changed = sorted(name for name in now if before.get(name) != now[name])
            gone = sorted(set(before) - set(now))
            items.append({"at": rfc3339(entry.at_ns), "set": entry.body["digest"], "changed": changed, "removed": gone})
            before = now
        return answer({"items": items[::-1]})

    async def playbook(self, request: Request, incident: str) -> Response:
        """What the playbooks of an incident have done and would do next. Nothing is done by asking."""
        return answer(playbook_view(self._door.control.state, incident))

    async def undo(self, request: Request, incident: str, body: Undoing) -> Response:
        """Undo what was done for an incident, by the reversals that were stated, last first."""
        parameters = {"step": body.step, "reason": body.reason}
        return await self._door.do(request, "undo", incident=incident, parameters=parameters)

    async def cancel(self, request: Request, incident: str, body: Cancelling) -> Response:
        """Stop waiting for a step that is under way; the steps after it go on."""
        parameters = {"intent": body.intent, "reason": body.reason}
        return await self._door.do(request, "cancel_step", incident=incident, parameters=parameters)

    async def fork(self, request: Request, incident: str, body: Forking) -> Response:
        """Do the steps after the containment anew, from one of them on."""
        parameters = {"step": body.step, "reason": body.reason}
        return await self._door.do(request, "fork_playbook", incident=incident, parameters=parameters)


def _shown(playbooks: Sequence[Playbook]) -> list[dict[str, object]]:
    return [summary(playbook) for playbook in playbooks]
