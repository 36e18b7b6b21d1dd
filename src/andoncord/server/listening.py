"""Listening on a port, and stopping in time."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import uvicorn
from starlette.types import ASGIApp

from andoncord.kernel.errors import CallerError

BACKLOG = 2_048
KEEP_ALIVE_S = 30
STOP_S = 1
"""How long open requests are waited for when the server stops."""
PATIENCE_S, ASK_AGAIN_S = 5.0, 0.1
"""How long a port in use is waited for: a killed server's worker stores what it has, and holds its port meanwhile."""


def listen(bind: str, port: int) -> socket.socket:
    """A socket that listens; port 0 lets the system choose. Waits `PATIENCE_S` at most for a port in use.

    Raises:
        CallerError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        _bind(listener, (bind, port))
    except OSError as error:
        listener.close()
        raise CallerError(
            f"cannot listen on {bind}:{port}: {error.strerror}", remedy="stop what uses it, or choose another port"
        ) from None
    listener.setblocking(False)
    return listener


def _bind(listener: socket.socket, address: tuple[str, int]) -> None:
    """Bind and listen, asking again for as long as the port may be a killed server's."""
    pause = Event()
    for left in range(round(PATIENCE_S / ASK_AGAIN_S), -1, -1):
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not left:
                raise
            pause.wait(ASK_AGAIN_S)
        else:
            return


def reserve(bind: str, port: int) -> socket.socket:
    """A socket that holds a port for gRPC, which opens its own: another process may listen there only by sharing it on purpose.

    While nobody does, senders are refused at once and come again.

    Raises:
        CallerError: the address cannot be listened on.
    """
    with listen(bind, port) as probe:
        address, family = probe.getsockname(), probe.family
    holder = socket.socket(family, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        holder.bind(address)
    except OSError as error:
        holder.close()
        raise CallerError(f"cannot listen on {bind}:{address[1]}: {error.strerror}", remedy="start again") from None
    return holder


def url_of(listener: socket.socket) -> str:
    """The address a listening socket is reached at from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def target_of(holder: socket.socket) -> str:
    """Host and port of a socket, as gRPC writes them."""
    host, port = holder.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class WebServer(uvicorn.Server):
    """Uvicorn on a socket that is open already, without signal handlers of its own and without a log of requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._up = asyncio.Event()
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=STOP_S,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Whoever runs the process decides about signals."""
        yield

    async def run_on(self, listener: socket.socket) -> None:
        """Serve until `stop`."""
        await self.serve(sockets=[listener])

    def stop(self) -> None:
        """Take no more requests, and end."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up.set()

    async def is_up(self) -> None:
        """Return once requests are answered."""
        await self._up.wait()
