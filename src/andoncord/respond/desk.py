"""What waits for a person because an agent may not do it: work that was handed over, and side effects that are held (RSP-6).

Both are taken in once for each key, however often a guard sends them. A held side effect is known by the digest of exactly what
would be done; another byte is another digest.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from andoncord.kernel.canon import canonical_json, digest
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord_sdk.approval import canonical
from andoncord_sdk.side_effect import effect_digest

MAX_TEXT = 4_000
MAX_ARGUMENTS = 32_000
"""Characters of arguments that are kept, so that somebody can read them all before they let it go."""
MAX_CONTEXT = 64_000
MAX_DEPTH = 100
"""Of what comes along: whoever reads, keeps or shows it goes through it without running out of stack."""
MAX_OPEN = 10_000
"""Items, and likewise side effects, that wait at once. More are refused, and the call is denied."""
MAX_OF_AGENT = 1_000
"""The same, of one agent: a runaway fills its own share and no more."""
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Short = Annotated[str, msgspec.Meta(max_length=300)]
ItemStatus = Literal["waiting", "taken", "done", "returned", "closed"]
EffectStatus = Literal["held", "released", "done", "failed", "unknown", "discarded"]
OPEN_ITEM = ("waiting", "taken")


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Work as a guard hands it over."""

    agent: Word
    key: Word
    """The same for the same work."""
    run_id: Short = ""
    trace_id: Short = ""
    task: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""
    tool: Short = ""
    """The one call that was handed over; empty for the whole task."""
    arguments: Annotated[str, msgspec.Meta(max_length=MAX_ARGUMENTS)] = ""
    context: Any = None
    """What a person needs to go on: what the program gave along, and the last steps."""
    reason: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""
    order: Short = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Work in a person's inbox."""

    id: str
    work: Work
    digest: str = ""
    """Of the exact work, where `work` has it masked."""
    incident: str
    received_ns: int
    status: ItemStatus = "waiting"
    by: str = ""
    """Who took it, or did with it what the status says."""
    answer: str = ""
    changed_ns: int = 0


class SideEffect(msgspec.Struct, frozen=True, kw_only=True):
    """A side effect as a guard would have had it done."""

    agent: Word
    run_id: Short
    trace_id: Short = ""
    tool: Word
    arguments: Annotated[str, msgspec.Meta(max_length=MAX_ARGUMENTS)]
    """Canonical JSON."""
    roles: tuple[Short, ...] = ()
    """Roles whose approval policies want for it."""
    instance: Short = ""
    order: Short = ""

    @property
    def digest(self) -> str:
        """Names exactly this side effect of this run."""
        return effect_digest(agent=self.agent, run_id=self.run_id, tool=self.tool, arguments=self.arguments)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A side effect that is held, and what became of it."""

    id: str
    effect: SideEffect
    """As it is kept: masked, where there was something to mask."""
    digest: str
    """Of the exact side effect."""
    incident: str
    held_ns: int
    not_by: tuple[str, ...] = ()
    """Who answers for the guard or its agent: where a policy wants an approval, it is somebody else's."""
    status: EffectStatus = "held"
    by: str = ""
    reason: str = ""
    came: str = ""
    """What the agent's side answered, or why nobody knows."""
    changed_ns: int = 0


def check_work(work: Work) -> None:
    """Whether it can be kept.

    Raises:
        CallerError: it is too large or too deep.
    """
    level = [work.context]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _within(each)]
    if level:
        raise CallerError(f"is nested more than {MAX_DEPTH} deep", place="context", remedy="give less along")
    if len(canonical_json(work.context)) > MAX_CONTEXT:
        raise CallerError(f"more than {MAX_CONTEXT} characters", place="context", remedy="give less along")


def _within(value: Any) -> Iterable[Any]:
    """What a list or an object holds."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def check_effect(effect: SideEffect) -> None:
    """Whether a person can be shown what would be done.

    Raises:
        CallerError: says why not.
    """
    try:
        value = json.loads(effect.arguments)
        is_canonical = isinstance(value, dict) and canonical(value) == effect.arguments
    except (ValueError, RecursionError, AttributeError):
        is_canonical = False
    if not is_canonical:
        raise CallerError("are not canonical JSON, so that two people could read them differently", place="arguments")


def batch_digest(chosen: Iterable[Held]) -> str:
    """Names exactly these side effects, in this order: what somebody who lets several go at once has read."""
    return digest(canonical_json(["andoncord effects 1", *([each.id, each.digest] for each in chosen)]))


def refuse_wrong_approver(chosen: Iterable[Held], *, by: str, role: str, roles: Mapping[str, Any]) -> None:
    """See that whoever lets side effects go, or drops them, may do that.

    Args:
        role: whose approval the settings want for every one; empty for nobody's in particular.
        roles: people by role.

    Raises:
        ConflictError: says why not.
    """
    name = by.removeprefix("person:")
    for each in chosen:
        for wanted in dict.fromkeys((*each.effect.roles, *([role] if role else []))):
            people = roles.get(wanted, ())
            if not people:
                remedy = f"name people under approvals.roles.{wanted} in andon.yaml"
                raise ConflictError(f"nobody is in the role {wanted!r}", remedy=remedy)
            if name not in people:
                raise ConflictError(f"{name} is not in the role {wanted!r}", remedy=f"ask one of: {', '.join(people)}")
        if name == each.effect.agent or (each.effect.roles and name in each.not_by):
            raise ConflictError("whoever asked cannot approve it", remedy="ask somebody else")
