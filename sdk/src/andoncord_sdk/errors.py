"""What a guard raises into the agent. Nothing else ever comes out of it."""

from typing import Literal

Code = Literal[
    "scope",
    "policy",
    "loop",
    "budget",
    "order",
    "breaker",
    "lease",
    "approval",
    "throttle",
    "snapshot",
    "guard_error",
    "held",
    "handed_over",
]
"""Which check refused the call."""


class GuardError(Exception):
    """A guarded call was refused and not executed.

    Attributes:
        code: which check refused it.
        policy: id of the policy that refused it, or "".
        message: one sentence for a person or a model.
        tool: the tool or model that was to be called.
        clause: the part of that policy that applied, or "".
        near_misses: why the permissions that come closest did not apply.
        action_digest: names the exact call, where a person has to approve it; else "".
    """

    def __init__(self, code: Code, message: str, *, tool: str = "", policy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.tool = tool
        self.policy = policy
        self.clause = ""
        self.near_misses: tuple[str, ...] = ()
        self.action_digest = ""

    @property
    def action(self) -> Literal["deny", "stop_run"]:
        """Whether only the call is refused, or the run is over as well."""
        return "stop_run" if isinstance(self, RunStopped) else "deny"


class CallDenied(GuardError):
    """This call is refused; the run may go on. Tell the model `str(error)`."""


class RunStopped(GuardError):
    """This call is refused and the run is over: every further guarded call in it raises. Let it leave the run."""

    def again(self, tool: str) -> "RunStopped":
        """The same refusal for a further call."""
        return type(self)(self.code, self.message, tool=tool, policy=self.policy)


class AgentStopped(RunStopped):
    """A kill order is in force for the whole agent."""


class CallHeld(CallDenied):
    """The side effect was not made: it is held for a person, who lets it go or drops it. Do not repeat it.

    Attributes:
        item: what it is held as.
    """

    def __init__(self, message: str, *, tool: str = "", item: str = "") -> None:
        super().__init__("held", message, tool=tool)
        self.item = item


class HandedOver(GuardError):
    """A person does it instead.

    Attributes:
        item: what it is in their inbox: `guard.handed_over(item)` tells what became of it.
    """

    item: str = ""


class CallHandedOver(HandedOver, CallDenied):
    """A person makes this call, or does without it; the run may go on."""

    def __init__(self, message: str, *, tool: str = "", item: str = "") -> None:
        super().__init__("handed_over", message, tool=tool)
        self.item = item


class RunHandedOver(HandedOver, RunStopped):
    """A person has the whole task, and the run is over."""

    def __init__(self, message: str, *, tool: str = "", item: str = "") -> None:
        super().__init__("handed_over", message, tool=tool)
        self.item = item

    def again(self, tool: str) -> "RunStopped":
        """The same refusal for a further call."""
        return RunHandedOver(self.message, tool=tool, item=self.item)
