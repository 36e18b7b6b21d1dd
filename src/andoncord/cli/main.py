"""`andon`: one command per file, loaded only when it is the one that was asked for."""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import typer

HELP = """Incident response for AI agent systems: see what agents do, stop the harm, prove that it stopped.

Exit codes: 0 done; 1 error; 2 wrong usage; 3 not found; 4 not allowed; 5 not possible now; 6 done, but not confirmed by all;
7 an incident was found; 8 took too long; 130 interrupted.
"""


class Command(NamedTuple):
    """Where a command is defined, and the line about it in `andon --help`."""

    module: str
    name: str
    summary: str
    is_group: bool = False


COMMANDS = {
    "demo": Command("demo", "demo", "Watch a simulated fleet go wrong in four ways, within a minute."),
    "serve": Command("serve", "serve", "Run the server: telemetry in, orders out, API and console."),
    "analyze": Command("analyze", "analyze", "Judge recorded agent runs."),
    "login": Command("login", "login", "Print a one-time link to the console."),
    "token": Command("token", "app", "Make, list and revoke tokens.", is_group=True),
    "user": Command("user", "app", "Make, list, change and disable the accounts of people.", is_group=True),
    "audit": Command("audit", "audit", "Show who was let in, who signed in and who was refused."),
    "incidents": Command("shaping", "app", "List, show, merge, split and close incidents.", is_group=True),
    "declare": Command("declare", "declare", "Open an incident by hand."),
    "agents": Command("agents", "agents", "List agents and what is in force for them."),
    "ack": Command("ack", "ack", "Say that you look after an incident."),
    "ticket": Command("ticket", "app", "Open tickets about incidents, and see where they are.", is_group=True),
    "approvals": Command("approvals", "app", "List, grant and deny what needs a person's word.", is_group=True),
    "handover": Command("handover", "app", "Work that agents may not do: list it, take it, finish it.", is_group=True),
    "held": Command("held", "app", "Side effects that wait for a person: let them go, or drop them.", is_group=True),
    "notice": Command("notice", "app", "Notices to the outside: read what was drafted, send it or not.", is_group=True),
    "answer": Command("notice", "answer", "Answer what a playbook asks."),
    "oncall": Command("oncall", "app", "Say who is on call, test channels, find gaps.", is_group=True),
    "fleet": Command("fleet", "app", "Show which agents there are, their versions, tools and partners.", is_group=True),
    "taint": Command("taint", "taint", "Show what is downstream of a wrong datum."),
    "orders": Command("orders", "orders", "List every order in force."),
    "monitor": Command("order", "monitor", "Have an agent report more often."),
    "throttle": Command("order", "throttle", "Let calls go on at a part of their usual rate."),
    "restrict": Command("order", "restrict", "Allow only tools that read, or those that are named."),
    "quarantine": Command("order", "quarantine", "Hold the messages to and from an agent."),
    "pause": Command("order", "pause", "Hold every call of an agent, a role, a tool, a run or the fleet."),
    "kill": Command("order", "kill", "End every run of an agent, or refuse every call of a tool."),
    "degrade": Command("degrade", "degrade", "Go on without a tool: deny it, hand it over, or hold side effects."),
    "resume": Command("orders", "resume", "Let an agent go on, or lift one order."),
    "breaker": Command("breaker", "app", "Show circuit breakers, hold them open or closed.", is_group=True),
    "recover": Command("recover", "recover", "Approve the recovery of an incident."),
    "release": Command("recover", "release", "Let an agent of an incident go on, without a verified recovery."),
    "budget": Command("budget", "app", "Show what agents may spend together.", is_group=True),
    "undo": Command("undo", "undo", "Undo what was done for an incident."),
    "playbook": Command("playbook", "app", "Test and read playbooks, and say what they would do.", is_group=True),
    "policy": Command("policy", "app", "Test, explain, compare and translate policies.", is_group=True),
    "rules": Command("rules", "app", "Test, check and explain rules, and try them on the past.", is_group=True),
    "run": Command("run", "run", "Start any agent so that it can be paused, resumed and killed."),
    "mcp-proxy": Command("mcp_proxy", "mcp_proxy", "Guard the tool calls between an MCP client and a server."),
    "trace": Command("trace", "app", "Show what was recorded of one trace.", is_group=True),
    "tail": Command("tail", "tail", "Follow what comes in."),
    "canaries": Command("canaries", "canaries", "Show tasks with known answers, and what came of them."),
    "predict": Command("predict", "predict", "Say which agents are likely to have an incident soon."),
    "quality": Command("quality", "quality", "Show how good answers are, as judged and as corrected."),
    "series": Command("series", "series", "Show an agent's figures, a minute at a time."),
    "prices": Command("prices", "app", "Show what model calls cost, and take prices of further providers.", is_group=True),
    "kpi": Command("kpi", "kpi", "Figures over all incidents."),
    "deploy-gate": Command("deploy_gate", "deploy_gate", "Say whether the code of agents may be deployed now."),
    "canary": Command("canary", "canary", "Stop a synthetic agent, and say whether the stop is proven."),
    "doctor": Command("doctor", "doctor", "Say what is wrong with this installation, and what to do."),
    "redact": Command("redact", "redact", "Show what would be masked in a file before it is stored."),
    "evidence": Command("evidence", "app", "List, export, check and read sealed evidence.", is_group=True),
    "verify": Command("verify", "verify", "Check the record offline; finds a changed byte."),
    "backup": Command("backup", "backup", "Copy the whole record into a folder, while the server runs."),
    "restore": Command("backup", "restore", "Put a backup into a new data directory."),
    "export": Command("exchange", "export", "Write stored telemetry to a file."),
    "import": Command("exchange", "import_", "Send recorded telemetry to the server."),
}


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application, with the one command that `arguments` name loaded and the others only listed."""
    app = typer.Typer(help=HELP, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    asked = next((argument for argument in arguments if not argument.startswith("-")), "")
    for word, command in COMMANDS.items():
        if word != asked:
            app.command(word, help=command.summary)(_not_loaded)
            continue
        loaded = getattr(importlib.import_module(f"andoncord.cli.{command.module}"), command.name)
        if command.is_group:
            app.add_typer(loaded, name=word, help=command.summary)
        else:
            function: Callable[..., None] = loaded
            app.command(word)(function)
    return app


def main() -> None:
    """Run what the command line asks for."""
    build(sys.argv[1:])()


def _not_loaded() -> None:
    raise AssertionError("a command that was not named cannot run")


if __name__ == "__main__":
    main()
