"""The enforcement point for servers behind HTTP: clients reach it on this machine, and it reaches the server for them.

It speaks the streamable HTTP of protocol versions 2025-03-26 to 2025-11-25: one session, one run.
"""

import asyncio
import queue
import select
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from andoncord_sdk import _platform
from andoncord_sdk.guard import Guard
from andoncord_sdk.mcp import messages
from andoncord_sdk.mcp.channel import Channel, Mailbox, is_final
from andoncord_sdk.mcp.messages import Answer, Message, Request, UnreadableError, failed
from andoncord_sdk.mcp.pins import Pins
from andoncord_sdk.mcp.rules import Rules
from andoncord_sdk.mcp.server_process import Log
from andoncord_sdk.mcp.upstream import SESSION_HEADER, Upstream
from andoncord_sdk.run_tokens import RunTokens
from andoncord_sdk.wire import Endpoint

PATH = "/mcp"
LOOPBACK = "127.0.0.1"
HOSTS = frozenset({"127.0.0.1", "localhost"})
CHANNELS_MAX = 64
"""Sessions at one time; a further one ends the one that has been idle longest."""
POSTS_MAX = 128
"""Requests of clients that are being answered; a further one is refused."""
WAITING_THREADS_MAX = 192
"""More than there can be POSTs, so that a question of the server can always be answered."""
KEEP_ALIVE_S = 10.0
"""A client that waits hears something this often."""
READ_S = 30.0
LEFT_S = 0.25
"""Whether a client that waits has hung up is looked at this often: a call that is held for it is not made then."""


class HttpProxy:
    """Sessions of clients, each joined to the server.

    Args:
        guard: decides about tool calls, and reports them.
        rules: what else is to be kept.
        pins: tool descriptions as they were first seen.
        upstream: where the server is, and the token that it asks for.
        port: on this machine; 0 lets the system choose.
        clients: whose tokens clients must show; None to take whoever reaches the port.
    """

    def __init__(
        self, guard: Guard, rules: Rules, pins: Pins, upstream: Endpoint, port: int, *, clients: RunTokens | None = None
    ) -> None:
        Upstream(upstream)
        self._clients = clients
        self._guard, self._rules, self._pins, self._upstream = guard, rules, pins, upstream
        self._log = Log()
        self._channels: dict[str, Channel] = {}
        self._pool = ThreadPoolExecutor(WAITING_THREADS_MAX, thread_name_prefix="andoncord-mcp")
        self._free_posts = threading.BoundedSemaphore(POSTS_MAX)
        self._http = _Server((LOOPBACK, port), _handler(self))
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self) -> int:
        """Until a signal comes; the exit code."""
        self._loop, over = asyncio.get_running_loop(), asyncio.Event()
        signals: list[int] = []

        def signalled(number: int) -> None:
            signals.append(number)
            over.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, signalled, number)
        threading.Thread(target=self._http.serve_forever, name="andoncord-mcp-http", daemon=True).start()
        sys.stderr.write(f"mcp-proxy: listening on http://{LOOPBACK}:{self._http.server_port}{PATH}\n")
        sys.stderr.flush()
        await over.wait()
        await asyncio.to_thread(self._http.shutdown)
        self._http.server_close()
        await asyncio.gather(*(channel.end() for channel in self._channels.values()), return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)
        return 128 + signals[0]

    # ------------------------------------------------------------------------------------------------- called by threads

    def refusal(self, headers: Any, path: str) -> tuple[HTTPStatus, str] | None:
        """Why this request is not even read: a page in a browser must not reach a server through us."""
        if urlsplit(f"//{headers.get('Host', '')}").hostname not in HOSTS:
            return HTTPStatus.MISDIRECTED_REQUEST, "this is not the host you asked for"
        if headers.get("Origin") is not None:
            return HTTPStatus.FORBIDDEN, "requests from web pages are not accepted"
        if path != PATH:
            return HTTPStatus.NOT_FOUND, f"there is only {PATH}"
        if self._clients is not None and not self._clients.holds(_bearer(headers), self._guard.agent):
            return HTTPStatus.UNAUTHORIZED, "the token of a run is required, and this is none, or was revoked"
        return None

    def channel_for(self, message: Message, session_id: str | None) -> Channel | tuple[HTTPStatus, str]:
        """The session a message belongs to; `initialize` makes one."""
        if session_id is not None:
            return self._channels.get(session_id) or (HTTPStatus.NOT_FOUND, "there is no such session")
        if not isinstance(message, Request) or message.method != "initialize":
            return HTTPStatus.BAD_REQUEST, "begin with initialize: versions without sessions are not passed on over HTTP"
        if len(self._channels) >= CHANNELS_MAX:
            idle = [channel for channel in list(self._channels.values()) if channel.session.is_idle]
            if not idle:
                return HTTPStatus.SERVICE_UNAVAILABLE, f"{CHANNELS_MAX} sessions are busy"
            self.close(min(idle, key=lambda channel: channel.used_s))  # Not every client says goodbye.
        opened: Channel = self._in_loop(self._open())
        return opened

    def begin(self, channel: Channel, message: Message) -> Mailbox:
        """Have a message judged; what is said in answer to it arrives in the mailbox."""
        mailbox: Mailbox = queue.SimpleQueue()
        self._in_loop(channel.take(message, mailbox))
        return mailbox

    def abandon(self, channel: Channel, request: Request) -> None:
        """The client has hung up before the answer: what is held for it is not made."""
        self._in_loop(channel.abandon(request))

    def close(self, channel: Channel) -> None:
        """The client is done with its session."""
        if self._channels.pop(channel.id, None) is not None:
            self._in_loop(channel.end())

    def take_post(self) -> bool:
        return self._free_posts.acquire(blocking=False)

    def release_post(self) -> None:
        self._free_posts.release()

    async def _open(self) -> Channel:
        channel = Channel(self._guard, self._rules, self._pins, Upstream(self._upstream), self._pool, self._log.note)
        self._channels[channel.id] = channel
        return channel

    def _in_loop(self, work: Any) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no fault of ours."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _has_hung_up(client: socket.socket) -> bool:
    """Whether nothing more will come from a client; it need not have said so."""
    if not select.select([client], [], [], 0)[0]:
        return False
    try:
        return not client.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def _bearer(headers: Any) -> str:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _handler(proxy: HttpProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = READ_S

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing: every call is on record elsewhere."""

        def do_POST(self) -> None:
            if (refusal := proxy.refusal(self.headers, self.path)) is not None:
                self._refuse(*refusal)
            elif not proxy.take_post():
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{POSTS_MAX} requests are being answered")
            else:
                try:
                    self._post()
                finally:
                    proxy.release_post()

        def do_DELETE(self) -> None:
            if (refusal := proxy.refusal(self.headers, self.path)) is not None:
                self._refuse(*refusal)
                return
            channel = proxy.channel_for(Answer(None), self.headers.get(SESSION_HEADER, ""))
            if isinstance(channel, tuple):
                self._refuse(*channel)
            else:
                proxy.close(channel)
                self._reply(HTTPStatus.OK, b"")

        def do_GET(self) -> None:
            if (refusal := proxy.refusal(self.headers, self.path)) is not None:
                self._refuse(*refusal)
                return
            # What a server says of its own accord does not pass; the protocol knows servers that offer no such stream.
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "there is no stream apart from answers")

        def _post(self) -> None:
            lengths = self.headers.get_all("Content-Length", [])
            if len(lengths) != 1 or not lengths[0].isdecimal() or "Transfer-Encoding" in self.headers:
                self._refuse(HTTPStatus.LENGTH_REQUIRED, "state the length of the message")
                return
            if (length := int(lengths[0])) > messages.MESSAGE_MAX_BYTES:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a message is at most {messages.MESSAGE_MAX_BYTES} bytes")
                return
            try:
                message = messages.read(self.rfile.read(length))
            except UnreadableError as broken:
                self._say(HTTPStatus.BAD_REQUEST, failed(broken.id, broken.code, broken.message))
                return
            channel = proxy.channel_for(message, self.headers.get(SESSION_HEADER))
            if isinstance(channel, tuple):
                self._refuse(*channel, message=message)
                return
            mailbox = proxy.begin(channel, message)
            if isinstance(message, Request):
                self._answer(channel, message, mailbox)
            else:
                self._reply(HTTPStatus.ACCEPTED, b"")

        def _answer(self, channel: Channel, request: Request, mailbox: Mailbox) -> None:
            """As JSON when the answer is all there is to say, else as a stream that ends with it."""
            try:
                self._answer_from(channel, request, mailbox)
            except ConnectionError:
                proxy.abandon(channel, request)
                self.close_connection = True

        def _answer_from(self, channel: Channel, request: Request, mailbox: Mailbox) -> None:
            said = self._next(mailbox)
            session = {SESSION_HEADER: channel.id} if request.method == "initialize" else {}
            if said is not None and is_final(said, request):
                if session and isinstance(said, Answer) and said.error is not None:
                    proxy.close(channel)
                    session = {}
                self._say(HTTPStatus.OK, said, session)
                return
            self.close_connection = True
            self.send_response(HTTPStatus.OK)
            events = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "Connection": "close"}
            for name, value in {**events, **session}.items():
                self.send_header(name, value)
            self.end_headers()
            while True:
                self.wfile.write(b": waiting\n\n" if said is None else b"event: message\ndata: " + messages.write(said) + b"\n")
                if said is not None and is_final(said, request):
                    return
                said = self._next(mailbox)
                if said is None and not channel.session.is_waiting(request.id) and (said := self._next(mailbox, 1.0)) is None:
                    return  # It was taken back, and will not be answered.

        def _next(self, mailbox: Mailbox, timeout_s: float = KEEP_ALIVE_S) -> Message | None:
            """What is to be said next, or None when there has been nothing for a while.

            Raises:
                ConnectionError: the client has hung up.
            """
            end_s = _platform.monotonic_s() + timeout_s
            while (left_s := end_s - _platform.monotonic_s()) > 0:
                try:
                    return mailbox.get(timeout=min(LEFT_S, left_s))
                except queue.Empty:
                    if _has_hung_up(self.connection):
                        raise ConnectionAbortedError from None
            return None

        def _refuse(self, status: HTTPStatus, why: str, *, message: Message | None = None) -> None:
            self.close_connection = True  # Its body may not have been read.
            id_ = message.id if isinstance(message, Request) else None
            self._say(status, failed(id_, messages.REFUSED, why))

        def _say(self, status: HTTPStatus, message: Message, headers: dict[str, str] | None = None) -> None:
            self._reply(status, messages.write(message), {"Content-Type": "application/json", **(headers or {})})

        def _reply(self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            if status == HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", "Bearer")
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

    return Handler
