"""What is allowed in a playbook and probably not meant."""

from collections.abc import Iterator

from andoncord.respond.ladder import FENCING
from andoncord.respond.playbook import Playbook
from andoncord.respond.steps import IRREVERSIBLE


def remarks(playbook: Playbook) -> Iterator[str]:
    """One line for each thing that a careful reader would ask about."""
    words = [step.do for step in playbook.steps]
    if any(step.rung for step in playbook.steps) and "verify" not in words:
        yield "it orders a rung and does not verify it"
    if any(step.rung == "kill" for step in playbook.steps) and "capture" not in words:
        yield "it ends runs without sealing evidence first"
    stops = any(step.do == "contain" and step.rung in FENCING and not step.condition for step in playbook.steps)
    if stops and "fence" not in words:
        yield "it stops an agent and has no fence before"
    automatic = playbook.recovery == "automatic"
    for step in playbook.steps:
        if step.undo.startswith(IRREVERSIBLE) and automatic:
            yield f"{step.name} cannot be undone, and no person is asked anywhere"
        if step.do in ("hook", "retry") and not step.limit:
            yield f"{step.name} has no limit: it is done for every incident of an agent, however many there are"
    yield from _unheard(playbook)
    if automatic and not any(step.limit for step in playbook.steps if step.do == "recover"):
        yield "the recovery starts by itself and has no limit"
    if not playbook.tests:
        yield "it has no examples"


def _unheard(playbook: Playbook) -> Iterator[str]:
    """Orders after a question that do not look at the answer."""
    asked = ""
    for step in playbook.steps:
        if step.do == "ask":
            asked = step.name
        elif step.late and asked and f"steps.{asked}" not in step.condition:
            yield f"{step.name} comes after the question {asked} and does not look at its answer"
