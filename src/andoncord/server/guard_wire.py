"""The short way for what guards do all the time: follow orders, acknowledge them, renew their leases.

A thousand guards hear 2 000 pings and renew 700 leases a second, and all acknowledge an order at once. The way through the
framework of the API costs more than the answer does, so these three are answered before it; everything else passes.
"""

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from andoncord.kernel.errors import CallerError
from andoncord.server.guards import PREFIX, GuardApi
from andoncord.server.problems import OUR_FAULT, problem, problem_of

logger = logging.getLogger(__name__)

Act = Callable[[Request, str], Awaitable[Response]]


class GuardWire:
    """Answers three routes of `api`, as `app` would."""

    def __init__(self, app: ASGIApp, api: GuardApi) -> None:
        self._app = app
        self._acts: dict[tuple[str, str], Act] = {
            ("POST", "acks"): api.acknowledge,
            ("POST", "lease"): api.lease,
            ("GET", "orders"): api.orders,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        guard, _, last = path.removeprefix(f"{PREFIX}/").partition("/") if path.startswith(PREFIX) else ("", "", "")
        act = self._acts.get((scope.get("method", ""), last)) if guard else None
        if act is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await act(Request(scope, receive), guard)
        except CallerError as error:
            response = problem_of(error)
        except ClientDisconnect:
            return
        except Exception:
            logger.exception("%s broke", path)
            response = problem(500, *OUR_FAULT)
        await response(scope, receive, send)
