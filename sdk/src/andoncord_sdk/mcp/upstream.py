"""A server behind HTTP: one POST for each message to it, answered with JSON or with a stream of events."""

import http.client
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from andoncord_sdk.mcp.messages import MESSAGE_MAX_BYTES, Message, write
from andoncord_sdk.wire import UNREACHABLE, Endpoint, WireError, read_events

SILENCE_S = 300.0
"""An answer that brings nothing for so long has been lost."""
CONNECT_S = 10.0
GOODBYE_S = 1.0
SESSION_ID_MAX_CHARS = 256

TYPES = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
SESSION_HEADER, VERSION_HEADER = "Mcp-Session-Id", "MCP-Protocol-Version"


@dataclass(slots=True)
class Upstream:
    """One session with the server. Thread-safe: every message has a connection of its own.

    Args:
        endpoint: where it is, and the token that it asks for. Redirects are not followed.
    """

    endpoint: Endpoint
    session_id: str = ""
    """Its own name for the session. The client never learns it."""
    _sockets: set[socket.socket] = field(default_factory=set)
    _is_over: bool = False

    def __post_init__(self) -> None:
        if urlsplit(self.endpoint.url).query:
            raise ValueError("the URL of a server has no query: pass its token with --upstream-token-env")

    def post(self, message: Message, version: str, received: Callable[[bytes | None], None]) -> None:
        """Send one message, and hand over every message that comes back; None stands for one that was too long.

        Raises:
            WireError: the server did not take it.
            OSError: nobody answered, or the answer broke off.
        """
        connection = self.endpoint.connect(CONNECT_S)
        used: socket.socket | None = None
        try:
            connection.request("POST", self.endpoint.path("") or "/", write(message), {**TYPES, **self._headers(version)})
            used = self._use(connection.sock)
            response = connection.getresponse()
            if not 200 <= response.status < 300:
                raise WireError(f"the server answered HTTP {response.status}", status=response.status)
            self._keep_session(response)
            kind = response.headers.get_content_type()
            if response.status in (202, 204):
                return
            if kind == "application/json":
                body = response.read(MESSAGE_MAX_BYTES + 1)
                received(None if len(body) > MESSAGE_MAX_BYTES else body)
            elif kind == "text/event-stream":
                for event in read_events(_lines(response)):
                    if event.data:
                        received(event.data.encode())
            else:
                raise WireError(f"the server answered with {kind[:80]!r}")
        finally:
            if used is not None:
                self._sockets.discard(used)
            connection.close()

    def abort(self) -> None:
        """Break every connection, so that no thread waits on one."""
        self._is_over = True
        for each in list(self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # Already gone.

    def end(self, version: str) -> None:
        """Say that the session is over. Whether the server hears it does not matter."""
        if not self.session_id:
            return
        connection = self.endpoint.connect(GOODBYE_S)
        try:
            connection.request("DELETE", self.endpoint.path("") or "/", headers=self._headers(version))
            connection.getresponse()
        except UNREACHABLE:
            pass
        finally:
            connection.close()

    def _use(self, opened: socket.socket) -> socket.socket:
        opened.settimeout(SILENCE_S)
        self._sockets.add(opened)
        if self._is_over:
            raise WireError("the session is over")
        return opened

    def _headers(self, version: str) -> dict[str, str]:
        named = {SESSION_HEADER: self.session_id, VERSION_HEADER: version}
        return {**self.endpoint.headers(), **{name: value for name, value in named.items() if value}}

    def _keep_session(self, response: http.client.HTTPResponse) -> None:
        given = response.headers.get(SESSION_HEADER, "")
        if given and not self.session_id and len(given) <= SESSION_ID_MAX_CHARS and given.isascii() and given.isprintable():
            self.session_id = given


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The lines of a stream of events, none of which may be longer than a message."""
    of_event = 0
    while line := response.readline(MESSAGE_MAX_BYTES):
        of_event = of_event + len(line) if line.strip() else 0
        if of_event >= MESSAGE_MAX_BYTES:
            raise WireError(f"an event of the server is longer than {MESSAGE_MAX_BYTES} bytes")
        yield line
