"""`andon degrade`: what becomes of a tool, or of all that an agent does, in place of its work."""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.contain import Wait
from andoncord.cli.exits import Exit
from andoncord.cli.order import Agent, For, Reason, Role, Target, Tool, Yes, give
from andoncord.cli.output import Format, OutputOption, fail
from andoncord.respond.steps import DEGRADED

To = Annotated[
    str, typer.Option("--to", help=f"{', '.join(DEGRADED)}; without it what the settings declare for the tool, or deny.")
]


def degrade(
    agent: Agent = "",
    tool: Tool = "",
    role: Role = "",
    to: To = "",
    reason: Reason = "",
    lasts: For = "",
    wait: Wait = True,
    yes: Yes = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Go on without a tool: refuse its calls, allow only those that read, hand them to a person, or hold side effects.

    Without --tool, `hand-over` hands over everything that the agent does, and `hold` holds every declared side effect.
    Exits with 6 when not every process confirmed.
    """
    to = to or _declared(agent, tool)
    if to not in DEGRADED:
        raise fail(f"unknown mitigation {to!r}; use one of: {', '.join(DEGRADED)}", Exit.USAGE)
    if to == "deny" and not tool:
        raise fail("deny needs --tool; to stop all of an agent's calls: andon kill", Exit.USAGE)
    target = Target(agent, run="", role=role, tool=tool, fleet=False)
    words = {"rung": DEGRADED[to]["order"], "instead": DEGRADED[to]["instead"]}
    asked = {name: word for name, word in words.items() if word not in ("", "none")}
    give(target, {**asked, "reason": reason}, lasts=lasts, wait=wait, yes=yes, output=output)


def _declared(agent: str, tool: str) -> str:
    """What the settings declare for a tool of an agent; `deny` where they declare nothing."""
    if not agent or not tool:
        return "deny"
    found = Client().get("/api/v1/fallbacks", agent=agent, tool=tool)
    return str(found["to"] or "deny")
