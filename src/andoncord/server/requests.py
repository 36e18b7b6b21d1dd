"""Bodies of the HTTP API. Unknown fields are refused, so that a misspelt one is never silently ignored."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from andoncord.kernel.access import Scope
from andoncord.kernel.vocabulary import Disposition, Severity

MAX_TEXT = 4_000
MAX_NAME = 200
Rung = Literal["monitor", "restrict", "pause", "kill"]


class Body(BaseModel):
    """What every body has in common."""

    model_config = ConfigDict(extra="forbid")


class Declaration(Body):
    """An incident opened by hand (INC-7)."""

    agent: str = Field(min_length=1, max_length=MAX_NAME)
    title: str = Field(default="", max_length=MAX_NAME)
    severity: Severity = Severity.HIGH
    reason: str = Field(default="", max_length=MAX_TEXT)


class Containment(Body):
    """A rung to be put in force."""

    rung: Rung
    agent: str = Field(default="", max_length=MAX_NAME)
    reason: str = Field(default="", max_length=MAX_TEXT)
    lasts_s: int | None = Field(default=None, gt=0)
    """After so many seconds it ends by itself."""
    dry_run: bool = False


class AgentOrder(Body):
    """A rung for an agent, in its open incident or in one declared for it."""

    rung: Rung
    reason: str = Field(default="", max_length=MAX_TEXT)
    lasts_s: int | None = Field(default=None, gt=0)
    """After so many seconds it ends by itself."""


class FleetOrder(Body):
    """A rung for every known agent whose name matches, in one incident declared for it."""

    agents: str = Field(min_length=1, max_length=200)
    """A glob: `*` is the whole fleet."""
    rung: Rung
    reason: str = Field(default="", max_length=MAX_TEXT)


class Release(Body):
    """Let an agent go on."""

    agent: str = Field(default="", max_length=MAX_NAME)
    reason: str = Field(min_length=1, max_length=MAX_TEXT)


class Reasoned(Body):
    """An act that needs no more than its reason."""

    reason: str = Field(default="", max_length=MAX_TEXT)


class DispositionBody(Body):
    """What an incident turned out to be."""

    disposition: Disposition
    reason: str = Field(default="", max_length=MAX_TEXT)


class NoteBody(Body):
    """A note for the record."""

    text: str = Field(min_length=1, max_length=MAX_TEXT)


class Answers(Body):
    """Answers to the review's open questions, by question id."""

    answers: dict[str, str]


class VersionBody(Body):
    """A version for the registry."""

    values: dict[str, Any]
    version: str = Field(default="", max_length=MAX_NAME)
    note: str = Field(default="", max_length=MAX_TEXT)
    good: bool = False


class Activation(Body):
    """Make a version the active one."""

    version: str = Field(min_length=1, max_length=MAX_NAME)
    reason: str = Field(default="", max_length=MAX_TEXT)


class TokenBody(Body):
    """A token to be created."""

    name: str = Field(min_length=1, max_length=MAX_NAME)
    scope: Scope | None = None
    scopes: list[Scope] = Field(default=[], max_length=len(Scope))
    """More than one, in place of `scope`."""
    agent: str = Field(default="", max_length=MAX_NAME)
    owner: str = Field(default="", max_length=MAX_NAME)
    """The account that answers for it."""
    days: float = 0.0
    """After how many it ends; 0 for never."""

    @property
    def wanted(self) -> tuple[Scope, ...]:
        """Every scope that was asked for, once."""
        return tuple(dict.fromkeys([*([self.scope] if self.scope else []), *self.scopes]))
