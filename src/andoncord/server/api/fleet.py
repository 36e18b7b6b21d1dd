"""The fleet map and what agents did, over HTTP."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.server.api.door import DEFAULT_LIMIT, MAX_LIMIT, ApiDoor, answer, bounded
from andoncord.server.reading import Reading

HOUR = 60


class FleetApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, reading: Reading) -> None:
        self._door = door
        self._reading = reading

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        get = router.get
        get("/fleet")(self.fleet)
        # Names of agents may hold a stroke; what is more particular comes first.
        get("/fleet/{agent:path}/series")(self.series)
        get("/fleet/{agent:path}/touched")(self.touched)
        get("/fleet/{agent:path}/runs")(self.runs)
        get("/fleet/{agent:path}")(self.agent)
        get("/events")(self.events)
        return router

    async def fleet(self, request: Request) -> Response:
        """The fleet map: every agent that is declared, was seen or has a guard, with its state now."""
        return answer({"items": await self._reading.fleet()})

    async def agent(self, request: Request, agent: str) -> Response:
        """Everything about one agent: tools with permissions, models, versions, changes, whom it reaches, who reaches it."""
        return answer(await self._reading.agent(agent))

    async def series(self, request: Request, agent: str, minutes: int = HOUR, until: str = "", step_s: int = 60) -> Response:
        """Runs, steps, failures, tokens, cost and latency over time; a point in which nothing was heard is unknown, not 0."""
        return answer(await self._reading.series(agent, minutes=minutes, until=until, step_s=step_s))

    async def runs(
        self, request: Request, agent: str, minutes: int = HOUR, until: str = "", limit: int = MAX_LIMIT, after: str = ""
    ) -> Response:
        """The runs of one agent within a time, the latest first, each with its trace.

        Ask again with `after` set to `next` for the page after it, of the same time. `is_cut` says that only the latest 100 000
        events of that time were read.
        """
        return answer(await self._reading.runs(agent, minutes=minutes, until=until, limit=bounded(limit), after=after))

    async def touched(self, request: Request, agent: str, minutes: int = HOUR, until: str = "") -> Response:
        """Files changed, commands run and systems reached by one agent within a time."""
        return answer(await self._reading.touched_by(agent, minutes=minutes, until=until))

    async def events(
        self, request: Request, after: int | None = None, agent: str = "", kind: str = "", limit: int = DEFAULT_LIMIT
    ) -> Response:
        """Events in the order in which they were stored, to follow live: ask again with `after` set to the last `next`.

        Without `after` there are no items: `next` is where news will begin. `kind` is one kind, or several with commas.
        """
        kinds = [each for each in kind.split(",") if each]
        return answer(await self._reading.tail(after=after, agent=agent, kinds=kinds, limit=bounded(limit)))
