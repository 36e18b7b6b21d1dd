"""A server of the Model Context Protocol, by the real library, for the tests of the proxy. It leaves traces in a folder."""

import asyncio
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer

traces = Path(sys.argv[1])
server = MCPServer("orders")
(traces / "environment").write_text("\n".join(sorted(os.environ)))
print("up \x1b[31mred", file=sys.stderr, flush=True)  # noqa: T201


@server.tool()
def look(order: int) -> str:
    """Look an order up."""
    with (traces / "looked").open("a") as file:
        file.write(f"{order}\n")
    return "paid"


@server.tool()
def pay(order: int) -> str:
    """Pay an order back."""
    (traces / "paid").write_text(str(order))
    return f"paid {order} back"


@server.tool()
def crash() -> str:
    """End without an answer."""
    os._exit(3)


@server.tool()
async def stay(context: Context) -> str:
    """Take for ever."""
    (traces / "staying").touch()
    await asyncio.Event().wait()
    return "never"


@server.resource("orders://all")
def orders() -> str:
    """All orders."""
    return "17"


if __name__ == "__main__":
    server.run()
