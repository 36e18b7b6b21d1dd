"""The gate: every request is held against the table of permissions, and every decision is written down.

It stands before every route of the web application, as a dependency of all of them. The three routes that guards use all the
time are answered before it (`guard_wire.py`), by handlers that ask for the guard's token themselves.
"""

import hmac

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute

from andoncord.kernel.access import Scope
from andoncord.kernel.errors import CallerError
from andoncord.server.access_log import AccessLog
from andoncord.server.auth import CSRF_FIELD, SAFE_METHODS, Auth, ForbiddenError, Principal, UnauthenticatedError, address_of
from andoncord.server.permissions import CONSOLE, ROUTES, Need
from andoncord.server.throttle import RequestThrottle

FORM_LIMIT = 256 * 1024
"""Bytes of one form of the console."""
FIELDS_LIMIT = 64


class SignInNeededError(UnauthenticatedError):
    """A browser without a session asks for a page: it is led to the sign-in."""


class Gate:
    """Lets a request through, or raises.

    Args:
        throttle: how often one person may ask.
    """

    def __init__(self, *, auth: Auth, log: AccessLog, throttle: RequestThrottle) -> None:
        self._auth = auth
        self._log = log
        self._throttle = throttle
        self._paths: dict[int, tuple[BaseRoute, str]] = {}
        """By the identity of the route; routes cannot be hashed."""
        self._routes: set[str] = set()

    def declare(self, router: APIRouter, *, prefix: str = "") -> None:
        """Take in every route of a router, before the first request.

        Raises:
            AssertionError: one is not in the table; names the row that is missing.
        """
        for route in router.routes:
            assert isinstance(route, APIRoute), "a router of ours has plain routes only"
            for method in route.methods or ():
                name = f"{method} {prefix}{route.path}"
                assert name in ROUTES, f"say in server/permissions.py who may use {name!r}"
                self._routes.add(name)
            self._paths[id(route)] = (route, f"{prefix}{route.path}")

    @property
    def routes(self) -> frozenset[str]:
        """Every route that was declared."""
        return frozenset(self._routes)

    async def __call__(self, request: Request) -> None:
        """Hold one request against the table.

        Raises:
            CallerError: it is not let through, with the reason.
        """
        route = f"{request.method} {self._paths[id(request.scope['route'])][1]}"
        need = ROUTES[route]
        principal: Principal | None = None
        try:
            match need:
                case Need.NOTHING | Need.SIGNATURE:
                    return
                case Need.GUARD:
                    self._auth.require_agent(request)
                    return
                case Scope() if route in CONSOLE:
                    principal = self._auth.session(request)
                    self._check_page(principal, need)
                case Scope():
                    principal = self._auth.recognized(request)
                    await self._auth.check(request, principal, need)
        except CallerError as error:
            self._note_refusal(request, route, principal, error)
            raise
        assert principal is not None
        request.state.principal = principal
        self._throttle.take(principal.token.id if principal.token else principal.name)
        if request.method in SAFE_METHODS:
            return
        if route in CONSOLE and not await _is_theirs(request, principal):
            # The page says so itself, and keeps what was typed.
            self._note_refusal(request, route, principal, ForbiddenError("the form was not sent from this login"))
            return
        self._log.changed(principal.actor, route, request.url.path)

    def _check_page(self, principal: Principal | None, scope: Scope) -> None:
        if principal is None:
            raise SignInNeededError("sign in first")
        if scope not in principal.may:
            raise ForbiddenError(f"this needs scope {scope.value}; {principal.name!r} has {principal.scope.value}")

    def _note_refusal(self, request: Request, route: str, principal: Principal | None, error: CallerError) -> None:
        if isinstance(error, SignInNeededError) and request.method in SAFE_METHODS:
            return  # Opening the console without a session is how everybody begins.
        self._log.refused(
            who=principal.name if principal else "",
            via=principal.via if principal else "",
            address=address_of(request),
            what=route,
            about=request.url.path,
            why=error.message,
        )


async def _is_theirs(request: Request, principal: Principal) -> bool:
    """Whether a form of the console carries the proof of the session that sends it."""
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > FORM_LIMIT:
        return False
    sent = (await request.form(max_files=0, max_fields=FIELDS_LIMIT)).get(CSRF_FIELD)
    return isinstance(sent, str) and hmac.compare_digest(sent.encode(), principal.csrf.encode())
