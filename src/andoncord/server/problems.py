"""Errors as problem details (RFC 9457): what went wrong, where, and what to do about it."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.server.auth import ForbiddenError, UnauthenticatedError
from andoncord.server.gate import SignInNeededError
from andoncord.server.throttle import TooManyError

PROBLEM_JSON = "application/problem+json"
OUR_FAULT = ("our fault", "something broke here; what was decided before is kept, and the log says more")

_STATUS: tuple[tuple[type[CallerError], int, str], ...] = (
    (UnauthenticatedError, 401, "not authenticated"),
    (ForbiddenError, 403, "not allowed"),
    (TooManyError, 429, "too many"),
    (NotFoundError, 404, "not found"),
    (ConflictError, 409, "not possible now"),
    (CallerError, 422, "cannot be done as asked"),
)


def problem(status: int, title: str, detail: str, **more: Any) -> Response:
    """A problem document as a response."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return Response(msgspec.json.encode(body), status, headers, PROBLEM_JSON)


def problem_of(error: CallerError) -> Response:
    """A caller's error as a problem document."""
    for kind, status, title in _STATUS:
        if isinstance(error, kind):
            more = {"place": error.place} if error.place else {}
            if error.remedy:
                more["remedy"] = error.remedy
            answered = problem(status, title, str(error), **more)
            if isinstance(error, TooManyError):
                answered.headers["Retry-After"] = str(error.retry_s)
            return answered
    raise AssertionError("every caller's error is a CallerError")


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem document."""
    handlers: dict[type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
        CallerError: _caller_error,
        RequestValidationError: _validation_error,
        HTTPException: _http_error,
        Exception: _our_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _caller_error(request: Request, error: CallerError) -> Response:
    if isinstance(error, SignInNeededError):
        wanted = request.url.path if request.method == "GET" else "/"
        after = f"{wanted}?{request.url.query}" if request.url.query and request.method == "GET" else wanted
        return RedirectResponse(f"/login?{urlencode({'next': after})}", status_code=303)
    return problem_of(error)


async def _validation_error(_request: Request, error: RequestValidationError) -> Response:
    errors = [
        {"pointer": "/" + "/".join(str(part) for part in each["loc"][1:]), "detail": str(each["msg"])}
        for each in error.errors()
    ]
    first = f"{errors[0]['pointer']}: {errors[0]['detail']}" if errors else "the request is not valid"
    return problem(422, "cannot be done as asked", first, errors=errors)


async def _our_error(_request: Request, _error: Exception) -> Response:
    return problem(500, *OUR_FAULT)


async def _http_error(_request: Request, error: HTTPException) -> Response:
    return problem(error.status_code, "request refused", str(error.detail))
