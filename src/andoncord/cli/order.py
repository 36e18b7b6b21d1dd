"""`andon pause`, `kill`, `restrict`, `throttle`, `quarantine`, `monitor`: orders to agents, roles, tools, runs or the fleet."""

import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import typer

from andoncord.cli.client import Client
from andoncord.cli.contain import Wait, report, report_fleet, report_standing
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say
from andoncord.kernel.errors import CallerError
from andoncord.respond.playbook import duration_ms

GLOB = frozenset("*?[")
SHOWN = 20
"""Agents named in a question."""

Agent = Annotated[str, typer.Argument(metavar="[AGENT]", help="A name; or a pattern such as 'support-*', for all that match.")]
Run = Annotated[str, typer.Option("--run", help="Only this run.")]
Role = Annotated[str, typer.Option("--role", help="Every agent of this role; a pattern is allowed.")]
Tool = Annotated[str, typer.Option("--tool", help="Only calls of this tool; a pattern is allowed. Without AGENT: of anybody.")]
Fleet = Annotated[bool, typer.Option("--fleet", help="Every agent, those that come later included.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")]
For = Annotated[str, typer.Option("--for", help="End by itself after this long, for example 10m; empty for no end.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before ordering several agents.")]
Allow = Annotated[str, typer.Option("--allow", help="The tools that may be called, with commas between; patterns are allowed.")]
Rate = Annotated[float, typer.Option("--rate", help="The share of the calls' usual rate that goes on.", min=1e-6, max=1)]

EXITS = "Exits with 6 when not every process confirmed."


class Target(NamedTuple):
    """Whom or what an order is about, as the command line names it."""

    agent: str
    run: str
    role: str
    tool: str
    fleet: bool

    @property
    def is_one_agent(self) -> bool:
        """A single agent and nothing else: its incident takes the order in."""
        return bool(self.agent) and not GLOB & set(self.agent) and not (self.run or self.role or self.tool or self.fleet)

    @property
    def is_pattern(self) -> bool:
        """Agents by a pattern and nothing else: those that match now."""
        return bool(self.agent) and not (self.run or self.role or self.tool or self.fleet)

    def scope(self) -> dict[str, str]:
        """The parts that were named."""
        parts = {"agent": self.agent, "role": self.role, "tool": self.tool, "run": self.run}
        return {name: value for name, value in parts.items() if value}

    def check(self) -> None:
        """End the command unless exactly what is meant was said."""
        if self.fleet and (self.agent or self.role):
            raise fail("--fleet is every agent; leave AGENT and --role out", Exit.USAGE)
        if not (self.fleet or self.scope()):
            raise fail("name an AGENT, or --run, --role, --tool or --fleet", Exit.USAGE)


def _order_command(rung: str, sentence: str) -> Callable[..., None]:
    """A command that orders one rung."""

    def command(
        agent: Agent = "",
        run: Run = "",
        role: Role = "",
        tool: Tool = "",
        fleet: Fleet = False,
        reason: Reason = "",
        lasts: For = "",
        wait: Wait = True,
        yes: Yes = False,
        output: OutputOption = Format.TABLE,
    ) -> None:
        target = Target(agent, run, role, tool, fleet)
        if rung == "quarantine" or not target.is_pattern:
            give(target, {"rung": rung, "reason": reason}, lasts=lasts, wait=wait, yes=yes, output=output)
        else:
            respond(target, rung, reason, lasts=lasts, wait=wait, yes=yes, output=output)

    command.__doc__ = f"{sentence}\n\n{EXITS}"
    return command


pause = _order_command("pause", "Hold every call before it starts; open runs wait and can go on later.")
kill = _order_command(
    "kill",
    "End every run of an agent, and prove it; or refuse every call of a tool. Ended runs cannot be resumed; `andon resume` "
    "lets new ones start. It exits with 6 unless the verdict is VERIFIED.",
)
monitor = _order_command("monitor", "Have an agent report more often. Nothing is held.")
quarantine = _order_command(
    "quarantine",
    "Hold the messages to and from an agent, in order; everything else goes on. `andon resume` sends them or drops them.",
)


def restrict(
    agent: Agent = "",
    run: Run = "",
    role: Role = "",
    tool: Tool = "",
    fleet: Fleet = False,
    allow: Allow = "",
    reason: Reason = "",
    lasts: For = "",
    wait: Wait = True,
    yes: Yes = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Allow only tools that are declared to read, or those that --allow names.

    Exits with 6 when not every process confirmed.
    """
    target = Target(agent, run, role, tool, fleet)
    allowed = [each.strip() for each in allow.split(",") if each.strip()]
    if target.is_pattern and not allowed:
        respond(target, "restrict", reason, lasts=lasts, wait=wait, yes=yes, output=output)
    else:
        order = {"rung": "restrict", "allow": allowed, "reason": reason}
        give(target, order, lasts=lasts, wait=wait, yes=yes, output=output)


def throttle(
    agent: Agent = "",
    run: Run = "",
    role: Role = "",
    tool: Tool = "",
    fleet: Fleet = False,
    rate: Rate = 0.1,
    reason: Reason = "",
    lasts: For = "",
    wait: Wait = True,
    yes: Yes = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let calls go on at a part of their usual rate: each waits for its turn.

    Exits with 6 when not every process confirmed.
    """
    target = Target(agent, run, role, tool, fleet)
    give(target, {"rung": "throttle", "rate": rate, "reason": reason}, lasts=lasts, wait=wait, yes=yes, output=output)


def give(target: Target, order: dict[str, Any], *, lasts: str, wait: bool, yes: bool, output: Format) -> None:
    """Give an order of its own: it stands beside what is in force, until it is lifted by itself."""
    target.check()
    client = Client()
    if not target.run and (not target.agent or GLOB & set(target.agent)):
        _confirm(client, target, order, yes=yes)
    body = {"scope": target.scope(), "lasts_s": lasts_s(lasts), **order}
    done = client.post("/api/v1/orders", body)
    report_standing(
        client,
        done,
        wait=wait,
        output=output,
        undo=f"andon resume --order {done['order']} --reason …",
        is_kill=order.get("rung") == "kill",
    )


def respond(target: Target, rung: str, reason: str, *, lasts: str, wait: bool, yes: bool, output: Format) -> None:
    """Put a rung in force for agents by name, within an incident: it is raised, and released by that incident."""
    for_s = lasts_s(lasts)
    client = Client()
    if target.is_one_agent:
        order = {"rung": rung, "reason": reason, "lasts_s": for_s}
        done = client.post(f"/api/v1/agents/{quote(target.agent, safe='')}/orders", order)
        report(client, done, wait=wait, output=output, undo=f"andon resume {target.agent} --reason …")
        return
    if for_s:
        raise fail("--for is for one agent at a time, or for --fleet, --role, --tool and --run", Exit.USAGE)
    _confirm(client, target, {"rung": rung}, yes=yes)
    done = client.post("/api/v1/fleet/orders", {"agents": target.agent, "rung": rung, "reason": reason})
    report_fleet(client, done, wait=wait, output=output)


def lasts_s(lasts: str) -> int | None:
    """`--for` in whole seconds; None for no end. Ends the command when it is no duration."""
    try:
        return duration_ms(lasts, place="--for") // 1_000 or 1 if lasts else None
    except CallerError as error:
        raise fail(str(error), Exit.USAGE) from None


def _confirm(client: Client, target: Target, order: dict[str, Any], *, yes: bool) -> None:
    """Ask before several agents are ordered at once."""
    known = [each["agent"] for each in client.get("/api/v1/agents")["items"]]
    matching = [agent for agent in known if fnmatchcase(agent, target.agent or "*")]
    if len(matching) < 2 or yes:
        return
    about = ", ".join(f"{name} {value}" for name, value in target.scope().items()) or "the whole fleet"
    whom = f"{', '.join(matching[:SHOWN])}{' …' if len(matching) > SHOWN else ''}"
    say(f"{order.get('rung') or order.get('breaker')} for {about}; {len(matching)} agents may be concerned: {whom}")
    if not sys.stdin.isatty():
        raise fail("several agents need --yes", Exit.USAGE)
    typer.confirm("Go on?", abort=True, err=True)
