"""How often each rule was right, over HTTP."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.detect.pack import default_rules, paying
from andoncord.learn.rule_record import rule_records
from andoncord.server.api.door import answer
from andoncord.server.cases import cases
from andoncord.server.control import Control


class RuleRecordApi:
    """Routes under `/api/v1`.

    Args:
        budget_per_week: false incidents that rules without statistics may open in a week.
    """

    def __init__(self, control: Control, *, budget_per_week: float) -> None:
        self._control = control
        self._budget = budget_per_week
        self._statistical = frozenset(rule.id for rule in paying(default_rules()))

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/rules/records")(self.records)
        return router

    async def records(self, request: Request) -> Response:
        """Incidents that each rule opened in 90 days, how many people called false, and the budget they are held against."""
        now = self._control.clock.now()
        known = cases(self._control.state)
        return answer(rule_records(known, statistical=self._statistical, budget_per_week=self._budget, now_ns=now))
