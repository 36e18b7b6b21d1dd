"""The console's forms: which command each one is, and what it must carry."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from andoncord.incident.changes import Role
from andoncord.kernel.errors import CallerError
from andoncord.kernel.vocabulary import Disposition, Severity
from andoncord.learn.review import BLANK
from andoncord.server.console.room import RUNG_WORDS

FIELD_LIMIT = 4_000
"""Characters in one field, the same as the engine takes."""

ANSWER_PREFIX = "answer."
DRAFTED_PREFIX = "drafted."

Fields = Mapping[str, str]


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What a form asks for, in the words of `ConsolePort.act`."""

    agent: str = ""
    parameters: dict[str, Any] = {}


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of form: the command it becomes, where the page goes on, and what is said then."""

    command: str
    read: Callable[[Fields], Command]
    anchor: str
    done: str


def _required(fields: Fields, name: str, remedy: str) -> str:
    value = _optional(fields, name)
    if not value:
        raise CallerError(f"{name} is empty", remedy=remedy)
    return value


def _optional(fields: Fields, name: str, default: str = "") -> str:
    value = fields.get(name, "").strip()
    if len(value) > FIELD_LIMIT:
        raise CallerError(f"{name} has {len(value)} characters", remedy=f"shorten it to {FIELD_LIMIT}")
    return value or default


def _contain(fields: Fields) -> Command:
    agent = _required(fields, "agent", "choose the agent to contain")
    rung = _required(fields, "rung", f"choose one of {', '.join(RUNG_WORDS)}")
    if rung not in RUNG_WORDS:
        raise CallerError(f"unknown rung '{rung}'", remedy=f"choose one of {', '.join(RUNG_WORDS)}")
    if rung == "kill" and _optional(fields, "confirm") != agent:
        raise CallerError(
            "nothing was killed: the typed name is not the agent's", remedy=f"type {agent} to kill it, or pause it instead"
        )
    return Command(agent=agent, parameters={"rung": rung, "reason": _optional(fields, "reason", "ordered in the console")})


def _recover(fields: Fields) -> Command:
    return Command(parameters={"reason": _optional(fields, "reason", "approved in the console")})


def _release(fields: Fields) -> Command:
    agent = _required(fields, "agent", "choose the agent to release")
    return Command(agent=agent, parameters={"reason": _required(fields, "reason", "say why it is safe to release the agent")})


def _lift(fields: Fields) -> Command:
    order = _required(fields, "order", "choose the order to lift")
    messages = "drop" if fields.get("messages") == "drop" else "deliver"
    reason = _required(fields, "reason", "say why it is not needed any more")
    return Command(parameters={"order": order, "reason": reason, "messages": messages})


def _dispose(fields: Fields) -> Command:
    disposition = fields.get("disposition", "")
    if disposition not in tuple(Disposition):
        raise CallerError(f"unknown disposition '{disposition}'", remedy=f"choose one of {', '.join(Disposition)}")
    return Command(
        parameters={"disposition": disposition, "reason": _required(fields, "reason", "say how you know; the record keeps it")}
    )


def _note(fields: Fields) -> Command:
    return Command(parameters={"text": _required(fields, "text", "write the note first")})


def _merge(fields: Fields) -> Command:
    other = _required(fields, "other", "name the incident that becomes part of this one")
    return Command(parameters={"from": other, "reason": _required(fields, "reason", "say why they are one")})


def _split(fields: Fields) -> Command:
    agent = _required(fields, "agent", "choose the agent whose findings leave")
    return Command(agent=agent, parameters={"reason": _required(fields, "reason", "say why they are two")})


def _assign(fields: Fields) -> Command:
    role = fields.get("role", "")
    if role not in tuple(Role):
        raise CallerError(f"unknown role '{role}'", remedy=f"choose one of {', '.join(Role)}")
    return Command(
        parameters={"role": role, "person": _optional(fields, "person"), "reason": _optional(fields, "reason")},
    )


def _star(fields: Fields) -> Command:
    """The button says which moment; a minus before it takes the mark away."""
    moment = _required(fields, "moment", "choose a moment")
    return Command(parameters={"moment": moment.removeprefix("-"), "star": not moment.startswith("-")})


def _acknowledge(fields: Fields) -> Command:
    return Command(parameters={"note": ""})


def _apply(fields: Fields) -> Command:
    return Command(parameters={"reason": _optional(fields, "reason", "applied in the console")})


def _answer(fields: Fields) -> Command:
    """The answers that differ from the draft they started from. A blank that is still in one is not an answer."""
    answers: dict[str, str] = {}
    for name in fields:
        question = name.removeprefix(ANSWER_PREFIX)
        text = _optional(fields, name) if name.startswith(ANSWER_PREFIX) else ""
        drafted = fields.get(f"{DRAFTED_PREFIX}{question}", "")
        # Browsers send every new line of a text area as two characters, whatever it was.
        text = text.replace("\r\n", "\n")
        if not text or text == drafted.replace("\r\n", "\n").strip():
            continue
        if BLANK in text:
            raise CallerError(f"the answer to {question} still has its blank", remedy=f"replace “{BLANK}” with what you know")
        answers[question] = text
    if not answers:
        raise CallerError("no answer was changed", remedy="fill in at least one blank")
    return Command(parameters={"answers": answers})


def read_declaration(fields: Fields) -> Command:
    """The form that opens an incident by hand."""
    severity = fields.get("severity", "")
    if severity not in tuple(Severity):
        raise CallerError(f"unknown severity '{severity}'", remedy=f"choose one of {', '.join(Severity)}")
    return Command(
        agent=_required(fields, "agent", "name the agent"),
        parameters={
            "title": _required(fields, "title", "say in a few words what goes wrong"),
            "severity": severity,
            "reason": _required(fields, "reason", "say what you saw"),
        },
    )


CONTAIN = Form(
    command="contain",
    read=_contain,
    anchor="containment",
    done="Ordered. Who confirmed it, and who did not, is shown under Containment.",
)
DECLARE = Form(command="declare", read=read_declaration, anchor="open", done="The incident is open. It is in the list below.")
ROOM_FORMS: Mapping[str, Form] = {
    "contain": CONTAIN,
    "recover": Form(
        command="approve_recovery",
        read=_recover,
        anchor="recovery",
        done="Recovery approved. The agent stays held until its quality is verified.",
    ),
    "release": Form(
        command="release", read=_release, anchor="containment", done="Release ordered. Its receipt is shown under Containment."
    ),
    "lift": Form(command="lift", read=_lift, anchor="containment", done="Lifted. Who confirmed it is shown under Containment."),
    "disposition": Form(command="dispose", read=_dispose, anchor="close", done="The disposition is recorded."),
    "notes": Form(command="note", read=_note, anchor="notes", done="The note is in the record."),
    "merge": Form(command="merge", read=_merge, anchor="shape", done="Merged. What the other one held is held by this one."),
    "split": Form(command="split", read=_split, anchor="shape", done="Split. The new incident is named under Changes."),
    "crew": Form(command="assign", read=_assign, anchor="crew", done="The role is recorded."),
    "acknowledge": Form(
        command="acknowledge", read=_acknowledge, anchor="crew", done="It is yours: nobody else is paged until that is stale."
    ),
    "stars": Form(command="star", read=_star, anchor="timeline", done="The mark is recorded."),
    "proposal": Form(
        command="apply_proposal",
        read=_apply,
        anchor="proposal",
        done="The proposal is being sent to every guard. Who loaded it is shown under Containment.",
    ),
    "review": Form(command="answer_review", read=_answer, anchor="review", done="The answers are in the review."),
}
"""The forms of the incident room, by the last part of their address."""

COMMANDS = tuple(form.command for form in (*ROOM_FORMS.values(), DECLARE))
"""Every word that `ConsolePort.act` must understand."""
