"""A person's word for one exact call of an agent (RSP-11): who asked, for what, and what became of it.

What is approved is the digest of the canonical action: agent, run, tool, arguments, policy version, role and the epoch of the
order in force. The guard makes the digest anew from the call that it is about to let through; another byte is another digest.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from andoncord.kernel.errors import CallerError, ConflictError
from andoncord_sdk.approval import Action, canonical
from andoncord_sdk.obligation import MAX_PEOPLE

MAX_ARGUMENTS = 8_000
"""Characters of arguments that a person is asked to read. A longer call cannot be approved: nothing is approved unread."""
MAX_WORD = 300
MAX_OPEN = 1_000
"""Requests that wait at once. More are refused: nobody reads them."""
MAX_OF_AGENT = 100
"""The same, of one agent: a runaway fills its own share and no more."""
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WORD)]
Status = Literal["waiting", "granted", "denied", "expired", "used"]


class ApprovalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may approve what, and for how long a request waits."""

    roles: dict[str, Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]] = {}
    """People in each role that a policy's `require_approval` names, by the names they sign in with."""
    wait_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 900.0
    """Seconds that a request waits for an answer. Without one it is denied."""
    use_within_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 120.0
    """Seconds within which what was granted has to be used."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The action as a guard sends it."""

    agent: Word
    run_id: Annotated[str, msgspec.Meta(max_length=MAX_WORD)]
    tool: Word
    arguments: str
    policy_id: Word
    policy_digest: Word
    role: Word
    epoch: tuple[int, int] | None = None
    people: Annotated[int, msgspec.Meta(ge=1, le=MAX_PEOPLE)] = 1

    @property
    def digest(self) -> str:
        """Made anew here: what a guard says about it is not believed."""
        return Action(
            agent=self.agent,
            run_id=self.run_id,
            tool=self.tool,
            arguments=self.arguments,
            policy_id=self.policy_id,
            policy_digest=self.policy_digest,
            role=self.role,
            epoch=self.epoch,
            people=self.people,
        ).digest


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and what became of it."""

    id: str
    action: Asked
    """As it is kept: masked, where there was something to mask."""
    digest: str
    """Of the exact action."""
    requested_by: str
    """The name of the token that the guard asked with."""
    not_by: tuple[str, ...] = ()
    """Who answers for the guard or its agent, besides: they asked, and cannot approve."""
    people: int = 1
    """How many different people have to approve it."""
    approved_by: tuple[str, ...] = ()
    """Those who did, while more are needed."""
    asked_ns: int
    until_ns: int
    """Until when it waits; once granted, until when it has to be used."""
    status: Status = "waiting"
    by: str = ""
    reason: str = ""


def check(asked: Asked) -> None:
    """Whether a person can be asked at all.

    Raises:
        CallerError: says why not.
    """
    if len(asked.arguments) > MAX_ARGUMENTS:
        raise CallerError(f"more than {MAX_ARGUMENTS} characters: nobody would read them all", place="arguments")
    try:
        is_canonical = canonical(json.loads(asked.arguments)) == asked.arguments
    except (ValueError, RecursionError, AttributeError):
        is_canonical = False
    if not is_canonical:
        raise CallerError("are not canonical JSON, so that two people could read them differently", place="arguments")


def whole(request: Request) -> tuple[tuple[str, str], ...]:
    """Everything that is approved, each with its name, in printable ASCII and without a cut; empty where that cannot be.

    Only what is shown like this may be approved. Letters beyond ASCII are escaped, so that none passes for another.
    """
    action = request.action
    is_plain = action.arguments.isascii() and action.arguments.isprintable() and len(action.arguments) <= MAX_ARGUMENTS
    if not is_plain or action.digest != request.digest:
        return ()
    epoch = "none" if action.epoch is None else f"{action.epoch[0]}.{action.epoch[1]}"
    return (
        ("Agent", _plain(action.agent)),
        ("Run", _plain(action.run_id)),
        ("Tool", _plain(action.tool)),
        ("Arguments", action.arguments),
        ("Policy", _plain(action.policy_id)),
        ("Version of the policy", _plain(action.policy_digest)),
        ("Role that approves", _plain(action.role)),
        ("People needed", str(action.people)),
        ("Order in force", epoch),
        ("SHA-256 of all this", request.digest),
    )


def refuse_wrong_person(request: Request, *, by: str, roles: Mapping[str, Any]) -> None:
    """See that whoever answers is in the role, and is not who asked.

    Raises:
        ConflictError: says why not.
    """
    name = by.removeprefix("person:")
    people = roles.get(request.action.role, ())
    if not people:
        remedy = f"name people under approvals.roles.{request.action.role} in andon.yaml"
        raise ConflictError(f"nobody is in the role {request.action.role!r}", remedy=remedy)
    if name not in people:
        raise ConflictError(f"{name} is not in the role {request.action.role!r}", remedy=f"ask one of: {', '.join(people)}")
    if name in (request.requested_by, request.action.agent, *request.not_by):
        raise ConflictError("whoever asked cannot approve it", remedy="ask somebody else in the role")


def refuse_second_word(request: Request, *, by: str) -> None:
    """See that a request that needs several people gets several.

    Raises:
        ConflictError: they have approved it before.
    """
    if by in request.approved_by:
        raise ConflictError(f"{by.removeprefix('person:')} has approved it", remedy="somebody else has to approve it as well")


def _plain(text: str) -> str:
    """Text as JSON writes it in ASCII, without the quotation marks."""
    return json.dumps(text, ensure_ascii=True)[1:-1]
