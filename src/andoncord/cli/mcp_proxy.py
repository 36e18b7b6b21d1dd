"""`andon mcp-proxy`: guard the tool calls between a client of the Model Context Protocol and one server."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from andoncord.cli.exits import Exit
from andoncord.cli.output import fail
from andoncord_sdk.mcp_proxy import (
    DEFAULT_HOLD_MAX_S,
    DEFAULT_SERVER,
    DEFAULT_TELEMETRY,
    DEFAULT_TOKEN_ENV,
    Options,
    breakers_of,
    proxy,
    tools_of,
)


def mcp_proxy(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND", help="The server's program and arguments.", show_default=False)
    ] = None,
    http: Annotated[str | None, typer.Option(metavar="URL", help="A server behind HTTP, instead of a command.")] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where its clients find the proxy; 0 lets the system choose.")
    ] = 0,
    upstream_token_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The variable that holds the token of a server behind HTTP.")
    ] = None,
    client_tokens: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --http: clients must show a token that `andon run` keeps there."),
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Whose calls these are. Default: $ANDON_AGENT.")] = None,
    tools: Annotated[Path | None, typer.Option(help='Declared tools: a JSON object, each "read" or "write".')] = None,
    allow: Annotated[list[str] | None, typer.Option(metavar="TOOL=KIND", help="Declare one tool: read or write.")] = None,
    pin: Annotated[
        Literal["report", "strict"], typer.Option(help="What follows when a tool's description changes; strict refuses it.")
    ] = "report",
    pins: Annotated[Path | None, typer.Option(help="Keep the digests of descriptions in this file between sessions.")] = None,
    let: Annotated[
        list[str] | None, typer.Option(help="What the server may ask of the client: sampling, roots, elicitation.")
    ] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A variable that the server gets as well.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Tool calls in one session.")] = None,
    effect: Annotated[
        list[str] | None,
        typer.Option(metavar="TOOL", help="Its calls are side effects that can be held, and made when a person lets them go."),
    ] = None,
    breaker: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB[=KEY:VALUE,…]", help="A circuit breaker for tools, such as 'pay*=calls_min:5,open_s:30'."),
    ] = None,
    hold_max: Annotated[
        float, typer.Option(min=0, help="Seconds a call is held, by an order or for an approval; then it is refused.")
    ] = DEFAULT_HOLD_MAX_S,
    server: Annotated[str, typer.Option(help="The control plane.")] = DEFAULT_SERVER,
    telemetry: Annotated[str, typer.Option(help="The OTLP/HTTP receiver.")] = DEFAULT_TELEMETRY,
    offline: Annotated[bool, typer.Option("--offline", help="Follow no orders and report nothing.")] = False,
    token_env: Annotated[str, typer.Option(help="The variable that holds the token.")] = DEFAULT_TOKEN_ENV,
) -> None:
    """Guard the tool calls between an MCP client and a server. The client starts this in place of the server.

    Exits with the server's code when it ends first, and with 2 when an option is wrong.
    """
    try:
        options = Options(
            command=command or [],
            http=http,
            port=port,
            upstream_token_env=upstream_token_env,
            client_tokens=client_tokens,
            agent=agent,
            tools=tools_of(allow or [], tools),
            pin=pin,
            pins=pins,
            let=frozenset(let or []),
            environment=env or [],
            calls_max=max_calls,
            effects=effect or [],
            breakers=breakers_of(breaker or []),
            hold_max_s=hold_max,
            server=None if offline else server,
            telemetry=None if offline else telemetry,
            token_env=token_env,
        )
        code = proxy(options)
    except ValueError as mistake:
        raise fail(str(mistake), Exit.USAGE) from None
    raise typer.Exit(code)
