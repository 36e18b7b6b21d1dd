"""Settings of canary tasks: tasks with a known answer that agents are asked on a schedule."""

import re
from typing import Annotated

import msgspec

from andoncord.detect.known_answer import Expected
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import MINUTE_NS
from andoncord.respond.playbook import duration_ms

MAX_INPUT = 100_000
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class CanarySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One task of section `canaries` of `andon.yaml`. The key it stands under is its name."""

    agent: str
    """Who is asked."""
    input: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_INPUT)]
    """What is asked."""
    expect: Expected
    """What the right answer is."""
    every: str
    """How often, for example 1h; a minute at least."""
    hook: str = ""
    """A hook that asks the agent; without one a guard of the agent is asked that has registered `@guard.canary`."""
    answer_within_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 120.0
    """Seconds after which no answer is a missed one."""

    def check(self, name: str, *, hooks: frozenset[str]) -> None:
        """Raises CallerError: it cannot be asked as it is written."""
        place = f"canaries.{name}"
        if not _NAME.fullmatch(name):
            raise CallerError("is called otherwise", place=place, remedy="use small letters, digits, - and _, at most 64")
        if self.hook and self.hook not in hooks:
            raise CallerError(f"there is no hook {self.hook!r}", place=f"{place}.hook", remedy="name it under `hooks`")
        if not self.agent or any(sign in self.agent for sign in "*?["):
            raise CallerError("is the name of one agent", place=f"{place}.agent")
        self.expect.check(f"{place}.expect")
        if self.every_ns(name) < max(MINUTE_NS, int(self.answer_within_s * 1e9)):
            raise CallerError("is a minute at least, and no less than answer_within_s", place=f"{place}.every")

    def every_ns(self, name: str) -> int:
        """How often, nanoseconds."""
        return duration_ms(self.every, place=f"canaries.{name}.every") * 1_000_000
