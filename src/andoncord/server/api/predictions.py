"""What is predicted, over HTTP."""

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.time import rfc3339
from andoncord.learn.risk import Prediction
from andoncord.server.api.door import answer
from andoncord.server.predictions import Predictions


class PredictionApi:
    """Routes under `/api/v1`."""

    def __init__(self, *, predictions: Predictions) -> None:
        self._predictions = predictions

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/predictions")(self.predictions)
        return router

    async def predictions(self, request: Request) -> Response:
        """The chance of an incident of each agent within an hour, beside what recency alone says; or why there is none."""
        return answer(shown(await self._predictions.fresh()))


def shown(prediction: Prediction) -> dict[str, object]:
    """A prediction as the API shows it."""
    body: dict[str, object] = msgspec.to_builtins(prediction)
    body.pop("at_ns")
    return {**body, "at": rfc3339(prediction.at_ns)}
