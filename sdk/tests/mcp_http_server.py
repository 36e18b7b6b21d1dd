"""A server of the Model Context Protocol behind HTTP, by the real library. It prints its port and notes requests."""

import socket
import sys
from pathlib import Path

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

traces = Path(sys.argv[1])
server = MCPServer("orders")


@server.tool()
def look(order: int) -> str:
    """Look an order up."""
    with (traces / "looked").open("a") as file:
        file.write(f"{order}\n")
    return "paid"


@server.tool()
async def count(context: Context) -> str:
    """Tell progress before the answer."""
    await context.report_progress(1, 2)
    return "done"


class Reason(BaseModel):
    """What a person may say."""

    reason: str


@server.tool()
async def ask(context: Context) -> str:
    """Ask a person."""
    answer = await context.elicit("Why?", Reason)
    return answer.data.reason if answer.action == "accept" else answer.action


@server.tool()
def pay(order: int) -> str:
    """Pay an order back."""
    (traces / "paid").write_text(str(order))
    return f"paid {order} back"


app = server.streamable_http_app()


async def noting(scope, receive, send):  # type: ignore[no-untyped-def]
    if scope["type"] == "http":
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        with (traces / "headers").open("a") as file:
            file.write(f"{scope['method']} {headers.get('authorization')} {headers.get('mcp-protocol-version')}\n")
    await app(scope, receive, send)


if __name__ == "__main__":
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)  # noqa: T201
    uvicorn.Server(uvicorn.Config(noting, log_level="error")).run(sockets=[listening])
