"""One client session over HTTP. What the server says while it answers a request goes to the client with that answer."""

import asyncio
import contextvars
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from andoncord_sdk import _platform
from andoncord_sdk.guard import Guard
from andoncord_sdk.mcp.messages import Answer, Message, Notification, Request
from andoncord_sdk.mcp.pins import Pins
from andoncord_sdk.mcp.rules import Rules
from andoncord_sdk.mcp.session import Session
from andoncord_sdk.mcp.upstream import Upstream
from andoncord_sdk.wire import UNREACHABLE

Mailbox = queue.SimpleQueue[Message]
"""What is to be written in answer to one POST of the client."""

_mailbox: contextvars.ContextVar[Mailbox | None] = contextvars.ContextVar("andoncord_mcp_mailbox", default=None)
"""Goes with every task that one POST begins, so that what comes back finds its way."""


class Channel:
    """Joins a session to its server. Made in the event loop; `take` and `end` run there too.

    Args:
        guard: decides about tool calls, and reports them.
        rules: what else is to be kept.
        pins: tool descriptions as they were first seen.
        upstream: the server.
        pool: threads that wait for it.
        note: takes a sentence for whoever reads the log.
    """

    def __init__(
        self,
        guard: Guard,
        rules: Rules,
        pins: Pins,
        upstream: Upstream,
        pool: ThreadPoolExecutor,
        note: Callable[[str], None],
    ) -> None:
        self.id = _platform.trace_id()
        self.used_s = _platform.monotonic_s()
        """When the client was last heard."""
        self._upstream = upstream
        self._pool = pool
        self._note = note
        self._exchanges: set[asyncio.Task[None]] = set()
        self.session = Session(
            guard,
            rules,
            pins,
            task=f"MCP session with {upstream.endpoint.url}",
            to_client=self._to_client,
            to_server=self._to_server,
            note=note,
        )

    async def take(self, message: Message, mailbox: Mailbox) -> None:
        """A message of the client; what is to be said in answer to it goes into the mailbox, now or later."""
        _mailbox.set(mailbox)
        self.used_s = _platform.monotonic_s()
        await self.session.take(message)

    async def abandon(self, request: Request) -> None:
        """The client waits no more for the answer to this request."""
        self.session.calls.abandon(request.id)

    async def end(self) -> None:
        """The client has gone."""
        await self.session.end()
        for exchange in self._exchanges:
            exchange.cancel()
        self._upstream.abort()
        await asyncio.get_running_loop().run_in_executor(self._pool, self._upstream.end, self.session.version)

    async def _to_client(self, message: Message) -> None:
        mailbox = _mailbox.get()
        assert mailbox is not None
        mailbox.put(message)

    async def _to_server(self, message: Message) -> None:
        if isinstance(message, Notification):
            await self._exchange(message)
            return
        # Not waited for: a question of the server is answered while the thread that brought it is held by us.
        exchange = asyncio.create_task(self._exchange(message))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)

    async def _exchange(self, message: Message) -> None:
        loop, why = asyncio.get_running_loop(), "the server ended its answer without giving one"

        def received(line: bytes | None) -> None:
            asyncio.run_coroutine_threadsafe(self.session.from_server(line), loop).result()

        in_context = contextvars.copy_context().run
        try:
            await loop.run_in_executor(self._pool, in_context, self._upstream.post, message, self.session.version, received)
        except UNREACHABLE as lost:
            why = f"the server cannot be reached: {lost}"
            self._note(why)
        except Exception as fault:
            why = f"the exchange with the server broke: {type(fault).__name__}"
            self._note(f"{why}: {fault}")
        if isinstance(message, Request):
            await self.session.lose_answer(message.id, why)


def is_final(message: Message, to: Request) -> bool:
    """Whether this ends the answer to a request.

    >>> is_final(Answer(1, {}), Request(1, "ping")), is_final(Notification("notifications/progress"), Request(1, "ping"))
    (True, False)
    """
    return isinstance(message, Answer) and message.id == to.id
