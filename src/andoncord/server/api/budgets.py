"""Shared budgets over HTTP: what is spent, what guards hold."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.budgets import BudgetOffice


class BudgetApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, budgets: BudgetOffice) -> None:
        self._door = door
        self._budgets = budgets

    def router(self) -> APIRouter:
        """Every route."""
        router = APIRouter()
        router.get("/budgets")(self.budgets)
        return router

    async def budgets(self, request: Request) -> Response:
        """Every budget that agents share: its limits, what was spent since its period began, what guards hold."""
        return answer({"items": self._budgets.view()})
