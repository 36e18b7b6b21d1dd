"""`andon deploy-gate`: may the code of these agents be deployed now?"""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, show_json, show_table


def deploy_gate(
    agents: Annotated[list[str], typer.Argument(metavar="AGENT…", help="Names; every one must be free.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Say whether the code of these agents may be deployed: not while one is held or a severe incident about it is open.

    For CI and for a git hook. Exits with 5 when one is blocked; without an answer from the server with 1, which blocks too.
    """
    client = Client()
    answers = [client.get("/api/v1/deploy-gate", agent=agent) for agent in agents]
    if output is Format.JSON:
        show_json(answers)
    else:
        show_table(
            ("agent", "deploy", "why"), [(each["agent"], "yes" if each["allowed"] else "no", each["why"]) for each in answers]
        )
    blocked = [each["agent"] for each in answers if not each["allowed"]]
    if blocked:
        raise fail(f"not now: {', '.join(blocked)}", Exit.NOT_NOW)
