"""The HTTP API as the command line uses it."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import httpx2
import msgspec
import typer

from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.entropy import SystemEntropy
from andoncord.adapters.system.environment import home_directory, server_from_environment, token_from_environment
from andoncord.adapters.system.server_process import ADDRESS_FILE, TOKEN_FILE, Announcement
from andoncord.cli.exits import OF_STATUS, Exit
from andoncord.cli.output import fail
from andoncord.kernel.time import SECOND_NS

DEFAULT_URL = "http://127.0.0.1:8420"
DEFAULT_TELEMETRY = "http://127.0.0.1:4318"
TIMEOUT_S = 10.0
LOOK_EVERY_S = 0.1
Found = TypeVar("Found")


class Client:
    """A person's client: address from `$ANDON_SERVER` or the data directory, token from `$ANDON_TOKEN` or there."""

    def __init__(self) -> None:
        self.url = server_address()
        token = token_from_environment() or _local_token(home_directory())
        if not token:
            raise fail("no token: set ANDON_TOKEN, or run this where the server runs", Exit.NOT_ALLOWED)
        self._client = httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S, trust_env=False
        )
        self._entropy = SystemEntropy()

    def get(self, path: str, **query: str | int) -> Any:
        """The JSON at `path`; ends the command when there is none."""
        return self._answer("GET", path, params=query)

    def content(self, path: str) -> bytes:
        """The bytes at `path`; ends the command when there are none."""
        return self._response("GET", path).content

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Do something, once, however often the network makes us ask."""
        return self._answer("POST", path, json=body, headers={"Idempotency-Key": self._entropy.secret()})

    def delete(self, path: str) -> None:
        """End something."""
        self._answer("DELETE", path)

    def receipt(self, path: str, *, timeout_s: float) -> dict[str, Any] | None:
        """The receipt at `path`, as soon as there is one; None when there is none in time."""
        clock = SystemClock()
        deadline_ns = clock.monotonic_ns() + int(timeout_s * SECOND_NS)
        pause = Event()
        while True:
            found: dict[str, Any] = self.get(path)
            if found.get("outcome"):
                return found
            if clock.monotonic_ns() >= deadline_ns:
                return None
            pause.wait(LOOK_EVERY_S)

    def until(self, looks: Callable[[], Found | None], *, timeout_s: float, what: str) -> Found:
        """What `looks` finds, as soon as it finds something; ends the command when it is not there in time."""
        clock = SystemClock()
        deadline_ns = clock.monotonic_ns() + int(timeout_s * SECOND_NS)
        pause = Event()
        while (found := looks()) is None:
            if clock.monotonic_ns() >= deadline_ns:
                raise fail(f"{what} after {timeout_s:g} s", Exit.TOO_LONG)
            pause.wait(LOOK_EVERY_S)
        return found

    def settled(self, path: str, *, kind: str, timeout_s: float) -> dict[str, Any]:
        """The incident at `path`, once none of its effects of this kind is pending, or as it is when the time is up."""
        clock = SystemClock()
        deadline_ns = clock.monotonic_ns() + int(timeout_s * SECOND_NS)
        pause = Event()
        while True:
            found: dict[str, Any] = self.get(path)
            if clock.monotonic_ns() >= deadline_ns or not any(each["kind"] == kind for each in found["pending"]):
                return found
            pause.wait(LOOK_EVERY_S)

    def _answer(self, method: str, path: str, **more: Any) -> Any:
        response = self._response(method, path, **more)
        return response.json() if response.content else None

    def _response(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            response = self._client.request(method, path, **more)
        except httpx2.HTTPError as error:
            raise fail(f"no answer from {self.url} ({error}); is `andon serve` running?", Exit.ERROR) from None
        if response.is_success:
            return response
        raise _refused(response)


def server_address() -> str:
    """`$ANDON_SERVER`, else where the server of the data directory said it listens."""
    return server_from_environment() or _address(home_directory())


def _refused(response: httpx2.Response) -> typer.Exit:
    try:
        problem = response.json()
        text = f"{problem['detail']}"
    except (ValueError, KeyError, TypeError):
        text = f"{response.status_code} {response.text[:200]}"
    return fail(text, OF_STATUS.get(response.status_code, Exit.ERROR))


def _address(home: Path) -> str:
    """Where the server of this data directory said it listens."""
    try:
        return msgspec.json.decode((home / ADDRESS_FILE).read_bytes(), type=Announcement).api_url
    except (OSError, msgspec.DecodeError):
        return DEFAULT_URL


def telemetry_address() -> str:
    """Where the server of this data directory receives telemetry.

    Raises:
        typer.Exit: no server of this machine and data directory is known.
    """
    try:
        return msgspec.json.decode((home_directory() / ADDRESS_FILE).read_bytes(), type=Announcement).otlp_url
    except (OSError, msgspec.DecodeError):
        raise fail("no server is known here; run this where `andon serve` runs", Exit.ERROR) from None


def known_telemetry() -> str:
    """Where the server of this data directory receives telemetry; where none is known, the port that servers use by default."""
    try:
        return msgspec.json.decode((home_directory() / ADDRESS_FILE).read_bytes(), type=Announcement).otlp_url
    except (OSError, msgspec.DecodeError):
        return DEFAULT_TELEMETRY


def _local_token(home: Path) -> str:
    try:
        return (home / TOKEN_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
