"""`andon user`: the accounts of people."""

import sys
from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, say, show_json, show_table
from andoncord.kernel.access import Role

app = typer.Typer(no_args_is_help=True)
COLUMNS = ("name", "role", "password", "elsewhere", "seen_at", "disabled_at")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As the record names them.")]


@app.command()
def add(
    name: NameArgument,
    role: Annotated[Role, typer.Option(help="What the account is good for.")] = Role.VIEWER,
    no_password: Annotated[bool, typer.Option("--no-password", help="They sign in by one-time links or elsewhere.")] = False,
) -> None:
    """Make an account. Asks for a password, or reads it from standard input where that is no terminal."""
    password = "" if no_password else _typed("Password")
    Client().post("/api/v1/users", {"name": name, "role": role.value, "password": password})
    say(f"{name} is a {role.value}. One-time link: andon login --user {name}. Undo: andon user disable {name}")


@app.command("list")
def list_users(output: OutputOption = Format.TABLE) -> None:
    """List every account."""
    items = Client().get("/api/v1/users")["items"]
    if output is Format.JSON:
        show_json(items)
        return
    show_table(COLUMNS, [[each[column] for column in COLUMNS] for each in items])


@app.command()
def role(name: NameArgument, role: Annotated[Role, typer.Argument(help="What the account is to be good for.")]) -> None:
    """Change what an account is good for, from its next request on."""
    Client().post(f"/api/v1/users/{name}/role", {"role": role.value})
    say(f"{name} is a {role.value}")


@app.command()
def password(name: NameArgument) -> None:
    """Change a password. The sessions of the account end."""
    typed = _typed("New password")
    Client().post(f"/api/v1/users/{name}/password", {"password": typed})
    say(f"the password of {name} is changed; their sessions ended")


@app.command()
def disable(name: NameArgument) -> None:
    """End an account, its sessions and its tokens."""
    Client().post(f"/api/v1/users/{name}/disable", {})
    say(f"{name} is disabled. Undo: andon user enable {name} (tokens stay revoked)")


@app.command()
def enable(name: NameArgument) -> None:
    """Let a disabled account sign in again."""
    Client().post(f"/api/v1/users/{name}/enable", {})
    say(f"{name} may sign in again")


def _typed(what: str) -> str:
    """A secret from the terminal, twice; from a pipe, its first line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    typed: str = typer.prompt(what, hide_input=True, confirmation_prompt=True, err=True)
    return typed
