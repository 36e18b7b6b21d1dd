"""The wire to the control plane: JSON over HTTP, and server-sent events read as they come. Standard library only."""

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LINE_MAX_BYTES = 4 * 1024 * 1024
"""Longest line accepted from an event stream; a config push with long prompts is the largest thing sent."""
BODY_MAX_BYTES = 16 * 1024 * 1024


class WireError(Exception):
    """The other side answered with something other than success.

    Attributes:
        status: the HTTP status, or 0 where the answer could not be understood.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


UNREACHABLE = (OSError, http.client.HTTPException, WireError)
"""Everything that means "try again later"."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is, and how to prove who asks.

    >>> Endpoint("http://127.0.0.1:8420/base").path("/api/v1/guards")
    '/base/api/v1/guards'
    """

    url: str
    token: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected a URL such as http://127.0.0.1:8420, got {self.url!r}")

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    def path(self, path: str) -> str:
        return urlsplit(self.url).path.rstrip("/") + path

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that is opened by its first request."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        assert parts.hostname is not None
        return kind(parts.hostname, parts.port, timeout=timeout_s)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def send_json(connection: http.client.HTTPConnection, endpoint: Endpoint, path: str, body: Any) -> tuple[int, bytes]:
    """POST `body` as JSON on an open connection; the status and the whole answer."""
    headers = {"Content-Type": "application/json", **endpoint.headers()}
    connection.request("POST", endpoint.path(path), json.dumps(body, separators=(",", ":")).encode(), headers)
    response = connection.getresponse()
    return response.status, response.read(BODY_MAX_BYTES)


def post(endpoint: Endpoint, path: str, body: Any, *, timeout_s: float) -> Any:
    """POST on a connection of its own; the decoded answer, or None where there is none.

    Raises:
        WireError: the answer was not a success, or not JSON.
        OSError: nobody answered.
    """
    connection = endpoint.connect(timeout_s)
    try:
        status, answer = send_json(connection, endpoint, path, body)
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise WireError(f"POST {path}: HTTP {status}: {answer[:200].decode('utf-8', 'replace')}", status=status)
    return parse_json(answer) if answer else None


def delete(endpoint: Endpoint, path: str, *, timeout_s: float) -> None:
    """DELETE on a connection of its own.

    Raises:
        WireError: the answer was not a success.
        OSError: nobody answered.
    """
    connection = endpoint.connect(timeout_s)
    try:
        connection.request("DELETE", endpoint.path(path), headers=endpoint.headers())
        status = connection.getresponse().status
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise WireError(f"DELETE {path}: HTTP {status}", status=status)


def parse_json(text: bytes | str) -> Any:
    """Decode, with a broken document counted as the wire's fault."""
    try:
        return json.loads(text)
    except ValueError as broken:
        raise WireError(f"not JSON: {broken}") from broken


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    data: str


def read_events(lines: Iterator[bytes]) -> Iterator[ServerEvent]:
    r"""Server-sent events out of the lines of a stream. An unfinished event at its end is dropped, as the standard says.

    >>> [event.name for event in read_events(iter([b"event: ping\n", b"data: {}\n", b"\n", b"data: cut"]))]
    ['ping']
    """
    name, data = "message", list[str]()
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield ServerEvent(name, "\n".join(data))
            name, data = "message", []
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "data":
            data.append(value)


class EventStream:
    """One open event stream. Another thread may end the reading with `abort`."""

    def __init__(self, endpoint: Endpoint, path: str, *, silence_s: float) -> None:
        """Open it. `silence_s` without a single byte counts as a broken connection.

        Raises:
            WireError: the server refused.
            OSError: nobody answered.
        """
        self._connection = endpoint.connect(silence_s)
        try:
            headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", **endpoint.headers()}
            self._connection.request("GET", endpoint.path(path), headers=headers)
            self._socket: socket.socket | None = self._connection.sock
            self._response = self._connection.getresponse()
            if self._response.status != 200:
                raise WireError(f"GET {path}: HTTP {self._response.status}", status=self._response.status)
        except BaseException:
            self._connection.close()
            raise

    def events(self) -> Iterator[ServerEvent]:
        """Every event until the stream ends.

        Raises:
            OSError: the connection broke or went silent.
        """
        return read_events(self._lines())

    def abort(self) -> None:
        """Break the connection under the reader, who then closes it."""
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # Already gone.

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def _lines(self) -> Iterator[bytes]:
        while line := self._response.readline(LINE_MAX_BYTES):
            if not line.endswith(b"\n") and len(line) >= LINE_MAX_BYTES:
                raise WireError(f"a line of the event stream is longer than {LINE_MAX_BYTES} bytes")
            yield line
