"""An enforcement point outside the agent: between its Model Context Protocol client and one server, over standard streams.

    python -m andoncord_sdk.mcp_proxy --agent NAME [--allow TOOL=read|write …] -- SERVER COMMAND…

The client starts this in place of the server, and nothing in the agent changes. Every tool call passes a guard.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, cast, get_args

from andoncord_sdk import _platform
from andoncord_sdk.admission import ToolKind
from andoncord_sdk.breaker import BreakerSettings
from andoncord_sdk.breaking import settings_in
from andoncord_sdk.guard import Guard
from andoncord_sdk.mcp.calls import Send
from andoncord_sdk.mcp.messages import Lines, Message, write
from andoncord_sdk.mcp.pins import PinMode, Pins
from andoncord_sdk.mcp.rules import OF_CAPABILITY, Rules
from andoncord_sdk.mcp.server_process import TOKEN_MARKS, Log, ServerProcess, environment_for_server
from andoncord_sdk.mcp.session import Session
from andoncord_sdk.mcp_http import HttpProxy
from andoncord_sdk.run_tokens import RunTokens
from andoncord_sdk.wire import Endpoint

DEFAULT_SERVER = "http://127.0.0.1:8420"
DEFAULT_TELEMETRY = "http://127.0.0.1:4318"
DEFAULT_TOKEN_ENV = "ANDON_TOKEN"
DEFAULT_AGENT_ENV = "ANDON_AGENT"
DEFAULT_HOLD_MAX_S = 300.0

CHUNK_BYTES = 64 * 1024
SETTLE_S = 0.5
"""Once the client has no more to say, what it still waits for may take this long."""
DRAIN_S = 1.0
"""What a server said before it ended is read for this long."""

NOT_FOUND, NOT_A_PIPE = 127, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a proxy is to be run.

    Attributes:
        command: the server's program and arguments; empty for a server behind HTTP.
        http: the URL of a server behind HTTP.
        port: where clients of that one find the proxy on this machine; 0 lets the system choose.
        upstream_token_env: the variable that holds the token which that one asks for.
        client_tokens: the folder with the tokens of runs that clients of that one must show; None asks for none.
        agent: whose calls these are; None takes it from the environment.
        tools: the declared scope; None declares nothing, and every tool is allowed.
        pin: what follows when the description of a tool changes.
        pins: a file that keeps the descriptions' digests between sessions.
        let: what the server may ask of the client: sampling, roots, elicitation.
        environment: names of variables the server gets besides the usual few.
        calls_max: tool calls in one session.
        effects: tools whose calls can be held for a person; the proxy makes them when they are let go.
        breakers: circuit breakers, by glob over tools, beside those that the control plane declares.
        hold_max_s: how long a call is held, by an order or for an approval, before it is refused.
        server: the control plane; None to follow no orders.
        telemetry: the OTLP/HTTP receiver; None to report nothing.
        token_env: the variable that holds the guard's token.
    """

    command: Sequence[str] = ()
    http: str | None = None
    port: int = 0
    upstream_token_env: str | None = None
    client_tokens: Path | None = None
    agent: str | None = None
    tools: dict[str, ToolKind] | None = None
    pin: PinMode = "report"
    pins: Path | None = None
    let: frozenset[str] = frozenset()
    environment: Sequence[str] = ()
    calls_max: int | None = None
    effects: Sequence[str] = ()
    breakers: Mapping[str, BreakerSettings] = field(default_factory=dict)
    hold_max_s: float = DEFAULT_HOLD_MAX_S
    server: str | None = DEFAULT_SERVER
    telemetry: str | None = DEFAULT_TELEMETRY
    token_env: str = DEFAULT_TOKEN_ENV


def proxy(options: Options) -> int:
    """Stand between the client on our standard streams and the server, until one of them ends; the exit code.

    Raises:
        ValueError: an option is wrong. Nothing has been started.
    """
    agent = options.agent or _platform.environment_variable(DEFAULT_AGENT_ENV)
    if not agent:
        raise ValueError(f"name the agent whose calls these are, with --agent or in {DEFAULT_AGENT_ENV}")
    if bool(options.command) is (options.http is not None):
        raise ValueError("name the server's command after --, or its URL with --http")
    if unknown := options.let - OF_CAPABILITY.keys():
        raise ValueError(f"a server can ask for {', '.join(sorted(OF_CAPABILITY))}; not for {min(unknown)!r}")
    if options.token_env in options.environment:
        raise ValueError(f"{options.token_env} holds the guard's token and is not passed to a server")
    if options.upstream_token_env == options.token_env:
        raise ValueError(f"{options.token_env} holds the guard's token and is not passed to a server")
    if options.client_tokens is not None and options.http is None:
        raise ValueError("tokens are for clients over HTTP: over standard streams the client is who started the proxy")
    if options.effects and options.http is not None:
        raise ValueError("over HTTP nothing is held: sessions are the clients', and end with them; leave --effect out")
    if options.tools is not None and (undeclared := set(options.effects) - options.tools.keys()):
        raise ValueError(f"--effect {min(undeclared)}: it is not among the declared tools")
    clients = None if options.client_tokens is None else RunTokens(options.client_tokens)
    upstream = None if options.http is None else Endpoint(options.http, _upstream_token(options.upstream_token_env))
    environment = environment_for_server(options.environment, options.command)
    pins = Pins(options.pin, options.pins)
    rules = Rules(
        tools=None if options.tools is None else frozenset(options.tools),
        allowed_requests=options.let,
        calls_max=options.calls_max,
        transport="pipe" if upstream is None else "tcp",
    )
    guard = Guard(
        agent,
        server=options.server,
        telemetry=options.telemetry,
        token=_platform.environment_variable(options.token_env),
        tools=options.tools,
        hold_max_s=options.hold_max_s,
        breakers=options.breakers,
    )
    guard.reached_through("mcp_proxy", lacks=("model_calls",))
    try:
        if upstream is not None:
            return asyncio.run(HttpProxy(guard, rules, pins, upstream, options.port, clients=clients).serve())
        return asyncio.run(_relay(options.command, environment, guard, rules, pins, options.effects))
    except OSError as fault:
        sys.stderr.write(f"mcp-proxy: {fault}\n")
        return NOT_FOUND if isinstance(fault, FileNotFoundError) else 1
    finally:
        guard.close()


def _upstream_token(name: str | None) -> str | None:
    token = None if name is None else _platform.environment_variable(name)
    if name is not None and token is None:
        raise ValueError(f"{name} is not set")
    if token is not None and any(mark in token for mark in TOKEN_MARKS):
        raise ValueError(f"{name} holds a token of Andoncord, which is not passed to a server")
    return token


async def _relay(
    command: Sequence[str], environment: dict[str, str], guard: Guard, rules: Rules, pins: Pins, effects: Sequence[str]
) -> int:
    log, over, lost = Log(), asyncio.Event(), asyncio.Event()
    signals: list[int] = []

    def signalled(number: int) -> None:
        signals.append(number)
        over.set()

    try:
        client_out, client_in = await _writer(sys.stdout.buffer), await _reader(sys.stdin.buffer)
    except (ValueError, PermissionError):
        sys.stderr.write("mcp-proxy: started by hand? Standard input and output must be pipes to a client\n")
        return NOT_A_PIPE
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, signalled, number)
    server = ServerProcess(command, environment, log)
    server_in = await _writer(server.stdin)
    session = Session(
        guard,
        rules,
        pins,
        task=f"MCP session with {Path(command[0]).name}",
        to_client=_sender(client_out, over),
        to_server=_sender(server_in, lost),
        note=log.note,
    )
    for tool in effects:
        guard.effect(tool, partial(_carry, session, tool))
    from_client = asyncio.create_task(_pump(client_in, session.from_client))
    from_server = asyncio.create_task(_pump(await _reader(server.stdout), session.from_server))
    broken, deaf = asyncio.create_task(over.wait()), asyncio.create_task(lost.wait())
    try:
        ends: set[asyncio.Future[Any]] = {from_client, from_server, broken, deaf, server.exited}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        has_left = server.exited.done() or from_server.done() or lost.is_set()
        if has_left:
            await asyncio.wait({from_server, broken, deaf}, timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
            await session.lose_server("the server has ended")
        elif from_client.done():
            idle = asyncio.create_task(session.wait_idle())
            await asyncio.wait({idle, broken}, timeout=SETTLE_S, return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
        from_client.cancel()
        await session.end()
        server_in.close()
        code = await server.end()
        await asyncio.wait({from_server}, timeout=DRAIN_S)
    finally:
        for task in (from_client, from_server, broken, deaf):
            task.cancel()
        with contextlib.suppress(ConnectionError):
            client_out.close()
            await asyncio.wait_for(client_out.wait_closed(), DRAIN_S)
    if has_left:
        log.note(f"the server ended with {code}")
        return code
    return 128 + signals[0] if signals else 0


def _carry(session: Session, tool: str, /, **arguments: Any) -> Any:
    return session.released.carry(tool, arguments)


async def _pump(stream: asyncio.StreamReader, take: Callable[[bytes | None], Awaitable[None]]) -> None:
    """Every line of a stream, one after the other, until it ends."""
    lines = Lines()
    while chunk := await stream.read(CHUNK_BYTES):
        for line in lines.feed(chunk):
            if line is None or line.strip():
                await take(line)


def _sender(writer: asyncio.StreamWriter, gone: asyncio.Event) -> Send:
    """Writes to one side, as fast as that reads. When it does not read any more, everything is over."""

    async def send(message: Message) -> None:
        try:
            writer.write(write(message))
            await writer.drain()
        except ConnectionError:
            gone.set()

    return send


async def _reader(pipe: IO[bytes]) -> asyncio.StreamReader:
    stream = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    return stream


async def _writer(pipe: IO[bytes]) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    protocol_of_writer = asyncio.StreamReaderProtocol(asyncio.StreamReader())  # Never read: it knows when to wait.
    transport, protocol = await loop.connect_write_pipe(lambda: protocol_of_writer, pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)


# ----------------------------------------------------------------------------------------------------------- command line


def tools_of(allowed: Sequence[str], path: Path | None) -> dict[str, ToolKind] | None:
    """The scope that options declare; None where they declare none.

    Raises:
        ValueError: it is not one.

    >>> tools_of(["look=read", "pay=write"], None)
    {'look': 'read', 'pay': 'write'}
    >>> tools_of(["pay"], None)
    Traceback (most recent call last):
    ValueError: expected TOOL=read or TOOL=write, got 'pay'
    """
    found: dict[str, Any] = {}
    if path is not None:
        try:
            declared = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as broken:
            raise ValueError(f"{path}: {broken}") from broken
        if not isinstance(declared, dict):
            raise ValueError(f'{path}: expected an object such as {{"look": "read", "pay": "write"}}')
        found |= declared
    for word in allowed:
        tool, _, kind = word.rpartition("=")
        if not tool:
            raise ValueError(f"expected TOOL=read or TOOL=write, got {word!r}")
        found[tool] = kind
    if wrong := [tool for tool, kind in found.items() if kind not in get_args(ToolKind)]:
        raise ValueError(f'{wrong[0]}: each tool is "read" or "write", got {found[wrong[0]]!r}')
    return cast("dict[str, ToolKind]", found) if allowed or path is not None else None


def breakers_of(words: Sequence[str]) -> dict[str, BreakerSettings]:
    """The circuit breakers that options set.

    Raises:
        ValueError: one of them makes no sense.

    >>> breakers_of(["pay*=calls_min:5,open_s:10"])["pay*"].open_s
    10.0
    >>> breakers_of(["pay*=opens:10"])
    Traceback (most recent call last):
    ValueError: --breaker pay*: a breaker has no 'opens'
    """
    found: dict[str, BreakerSettings] = {}
    for word in words:
        glob, _, settings = word.partition("=")
        given: dict[str, float | int] = {}
        try:
            for each in filter(None, settings.split(",")):
                name, _, value = each.partition(":")
                given[name] = int(value) if name in ("calls_min", "trials") else float(value)
            found |= settings_in({glob: given})
        except ValueError as wrong:
            raise ValueError(f"--breaker {glob}: {wrong}") from None
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours, _, command = (
        (given, "", []) if "--" not in given else (given[: given.index("--")], "", given[given.index("--") + 1 :])
    )
    parser = argparse.ArgumentParser(
        prog="python -m andoncord_sdk.mcp_proxy",
        usage="%(prog)s [options] {-- SERVER COMMAND… | --http URL}",
        description="Guard the tool calls between a Model Context Protocol client and a server.",
    )
    parser.add_argument("--agent", help=f"whose calls these are (default: ${DEFAULT_AGENT_ENV})")
    parser.add_argument("--http", metavar="URL", help="a server behind HTTP, instead of a command")
    parser.add_argument("--port", type=int, default=0, help="where its clients find the proxy (default: the system chooses)")
    parser.add_argument("--upstream-token-env", metavar="NAME", help="variable that holds the token of a server behind HTTP")
    parser.add_argument(
        "--client-tokens", type=Path, metavar="FOLDER", help="with --http: clients must show the token of a run, kept there"
    )
    parser.add_argument("--tools", type=Path, metavar="FILE", help='declared tools: a JSON object, each "read" or "write"')
    parser.add_argument("--allow", action="append", default=[], metavar="TOOL=KIND", help="declare one tool: read or write")
    parser.add_argument("--pin", choices=get_args(PinMode), default="report", help="when a tool changes (default: %(default)s)")
    parser.add_argument("--pins", type=Path, metavar="FILE", help="keep the digests of tools between sessions")
    parser.add_argument("--let", action="append", default=[], choices=sorted(OF_CAPABILITY), help="what the server may ask for")
    parser.add_argument("--env", action="append", default=[], metavar="NAME", help="a variable that the server gets as well")
    parser.add_argument("--max-calls", type=int, metavar="N", help="tool calls in one session")
    parser.add_argument(
        "--effect", action="append", default=[], metavar="TOOL", help="its calls can be held, and made when a person says so"
    )
    parser.add_argument(
        "--breaker",
        action="append",
        default=[],
        metavar="GLOB[=KEY:VALUE,…]",
        help="a circuit breaker for tools, such as 'pay*=calls_min:5,open_s:30'",
    )
    parser.add_argument(
        "--hold-max", type=float, default=DEFAULT_HOLD_MAX_S, metavar="S", help="seconds (default: %(default)s)"
    )
    parser.add_argument("--server", default=DEFAULT_SERVER, help="the control plane (default: %(default)s)")
    parser.add_argument("--telemetry", default=DEFAULT_TELEMETRY, help="the OTLP receiver (default: %(default)s)")
    parser.add_argument("--offline", action="store_true", help="follow no orders and report nothing")
    parser.add_argument("--token-env", default=DEFAULT_TOKEN_ENV, help="variable that holds the token (default: %(default)s)")
    chosen = parser.parse_args(ours)
    try:
        return proxy(
            Options(
                command=command,
                http=chosen.http,
                port=chosen.port,
                upstream_token_env=chosen.upstream_token_env,
                client_tokens=chosen.client_tokens,
                agent=chosen.agent,
                tools=tools_of(chosen.allow, chosen.tools),
                pin=chosen.pin,
                pins=chosen.pins,
                let=frozenset(chosen.let),
                environment=chosen.env,
                calls_max=chosen.max_calls,
                effects=chosen.effect,
                breakers=breakers_of(chosen.breaker),
                hold_max_s=chosen.hold_max,
                server=None if chosen.offline else chosen.server,
                telemetry=None if chosen.offline else chosen.telemetry,
                token_env=chosen.token_env,
            )
        )
    except ValueError as mistake:
        parser.error(str(mistake))


if __name__ == "__main__":
    raise SystemExit(main())
