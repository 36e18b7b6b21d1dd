"""Obligations of policies: masked, approved, rated and saved before the call, or not made."""

import threading
from typing import Any

import pytest

from andoncord_sdk import CallDenied, Guard, RunStopped
from andoncord_sdk.approval import Action, UnwritableError, canonical
from andoncord_sdk.duties import SnapshotRequest
from andoncord_sdk.policy import PolicyError, PolicySet

AMOUNT = {"op": "field", "of": {"op": "name", "name": "args"}, "name": "amount"}
BIG = {"op": ">", "args": [AMOUNT, {"op": "const", "value": 100}]}


def oblige(*obligations: dict[str, Any], when: Any = None, policy_id: str = "careful", **fields: Any) -> dict[str, Any]:
    return {"id": policy_id, "effect": "forbid", "when": when, "message": "be careful", "obligations": obligations, **fields}


def redact(*paths: str) -> dict[str, Any]:
    return {"redact": {"paths": list(paths)}}


APPROVAL = {"require_approval": {"role": "finance"}}
SNAPSHOT = {"snapshot": {"of": "workspace", "at_most_s": 0.2}}


class Desk:
    """Approves what it was told to, once each."""

    def __init__(self, *digests: str) -> None:
        self.digests = list(digests)
        self.asked: list[Action] = []

    def take(self, action: Action) -> bool:
        self.asked.append(action)
        if action.digest in self.digests:
            self.digests.remove(action.digest)
            return True
        return False


def refused(guard: Guard, tool: str = "pay", **arguments: Any) -> CallDenied:
    with guard.run() as run, pytest.raises(CallDenied) as refusal:
        run.call(tool, lambda **given: pytest.fail("was called"), **arguments)
    return refusal.value


def test_the_tool_never_sees_what_is_redacted() -> None:
    """Named arguments are masked for a called function, a decorated one, and in what is reported."""
    guard = Guard("a", policies=[oblige(redact("card.number", "notes"))])
    seen: list[Any] = []

    @guard.tool("pay")
    def pay(amount: int, card: dict[str, str], *rest: str, **more: str) -> None:
        seen.append((amount, card, rest, more))

    with guard.run() as run:
        run.call("pay", lambda **given: seen.append(given), amount=1, card={"number": "4111", "name": "Ada"})
        pay(2, {"number": "4222", "name": "Bob"}, "x", notes="secret", kind="b")

    assert seen == [
        {"amount": 1, "card": {"number": "[redacted]", "name": "Ada"}},
        (2, {"number": "[redacted]", "name": "Bob"}, ("x",), {"notes": "[redacted]", "kind": "b"}),
    ]
    assert "4111" not in str(run.recent) + str(run.capture())


def test_where_arguments_cannot_be_replaced_the_call_is_denied() -> None:
    """A block that uses values of its own cannot be trusted to use the masked ones, unless it says so."""
    guard = Guard("a", policies=[oblige(redact("card"))])
    with guard.run() as run:
        with pytest.raises(CallDenied, match=r"cannot be replaced here; make the call with run\.call"):
            run.step("pay", {"card": "4111"}).begin()
        with run.step("pay", {"card": "4111"}, can_replace=True) as step:
            assert step.arguments == {"card": "[redacted]"}


def test_a_call_without_its_approval_is_denied_and_says_what_is_to_be_approved() -> None:
    """The refusal has a code of its own, the role, and the digest of the very call."""
    refusal = refused(Guard("a", policies=[oblige(APPROVAL, when=BIG)]), amount=500)

    assert (refusal.code, refusal.policy, len(refusal.action_digest)) == ("approval", "careful", 64)
    assert "be careful: pay needs the approval of finance, and there is none for it" in str(refusal)


def test_an_approval_is_for_one_call_and_nothing_else() -> None:
    """Another argument needs another approval, and the same call a second one."""
    desk = Desk()
    guard = Guard("a", policies=[oblige(APPROVAL, when=BIG)], approvals=desk)
    with guard.run() as run:

        def pay(amount: int) -> Any:
            return run.call("pay", lambda amount: amount, amount=amount)

        assert pay(100) == 100
        with pytest.raises(CallDenied) as refusal:
            pay(500)
        desk.digests.append(refusal.value.action_digest)
        with pytest.raises(CallDenied):
            pay(501)
        assert pay(500) == 500
        with pytest.raises(CallDenied):
            pay(500)


@pytest.mark.parametrize(
    "change",
    [{"agent": "b"}, {"run_id": "s"}, {"arguments": "{}"}, {"policy_digest": "e"}, {"epoch": (1, 3)}, {"role": "ops"}],
)
def test_another_action_has_another_digest(change: dict[str, Any]) -> None:
    """Agent, run, arguments, policy version, role and epoch are all part of what is approved."""
    action = Action("a", "r", "pay", '{"x":1}', "p", "d", "finance", (1, 2))

    assert action._replace(**change).digest != action.digest


def test_only_arguments_of_one_form_can_be_approved() -> None:
    """What JSON has not, or reads two ways, is refused: nobody can say what was approved."""
    assert canonical({"b": 1, "a": (2,)}) == canonical({"a": [2], "b": 1})
    for odd in ({1: "a"}, {"a": {1}}, {"a": float("nan")}, {"a": object()}):
        with pytest.raises(UnwritableError):
            canonical(odd)  # type: ignore[arg-type]


def test_a_rate_is_kept_per_tool_and_refills() -> None:
    """Two a minute are two a minute; another tool has its own; half a minute later one more is due."""
    now = [0]
    rate = oblige({"throttle": {"calls": 2, "per": "minute"}}, tool="*")
    guard = Guard("a", policies=[rate])
    guard._admission.duties._clock_ns = lambda: now[0]
    with guard.run() as run:

        def call(tool: str, number: int) -> str:
            try:
                return str(run.call(tool, lambda number: number, number=number))
            except CallDenied as refusal:
                return f"{refusal.code}: {refusal.message}"

        assert [call("mail", 1), call("mail", 2), call("look", 1)] == ["1", "2", "1"]
        assert call("mail", 3) == "throttle: be careful: mail may be called 2 times per minute; again in 30.0 s"
        now[0] += 30_000_000_000
        assert [call("mail", 4)[:5], call("mail", 5)[:8]] == ["4", "throttle"]


def test_a_rate_uses_up_no_approval_and_a_missing_approval_no_turn() -> None:
    """What a call used up that is not made is there for the next one, whichever obligation refused it."""
    now, desk = [0], Desk()
    rate = {"throttle": {"calls": 1, "per": "minute"}}
    guard = Guard("a", policies=[oblige(APPROVAL, rate)], approvals=desk)
    guard._admission.duties._clock_ns = lambda: now[0]
    with guard.run() as run:

        def pay() -> str:
            try:
                return str(run.call("pay", lambda amount: amount, amount=1))
            except CallDenied as refusal:
                return refusal.code

        assert [pay(), pay()] == ["approval", "approval"]
        desk.digests = [desk.asked[0].digest] * 2
        assert [pay(), pay()] == ["1", "throttle"]
        now[0] += 60_000_000_000
        assert pay() == "1"


def test_a_snapshot_comes_before_the_call() -> None:
    """The hook is told what will be called, and where the snapshot lies is told with the call."""
    order: list[str] = []

    def save(request: SnapshotRequest) -> str:
        order.append(f"{request.of} before {request.tool} {dict(request.arguments)}")
        return "refs/snapshots/7"

    guard = Guard("a", policies=[oblige(SNAPSHOT)], snapshots={"workspace": save})
    with guard.run() as run:
        run.call("write", lambda path: order.append(f"write {path}"), path="x")

    assert order == ["workspace before write {'path': 'x'}", "write x"]
    assert run.recent[-1].attributes["andoncord.obligations"] == "snapshot of workspace: refs/snapshots/7"


def test_a_snapshot_that_fails_denies_unless_the_policy_lets_it_go_on() -> None:
    """No hook, an error and a hook that hangs all deny; with `go_on` the call is made, and the gap is reported."""
    hang = threading.Event()

    def broken(request: SnapshotRequest) -> None:
        raise OSError("disk full")

    for hooks, said in (
        ({}, "no snapshot hook"),
        ({"workspace": broken}, "disk full"),
        ({"workspace": lambda r: hang.wait(9)}, "0.2 s"),
    ):
        refusal = refused(Guard("a", policies=[oblige(SNAPSHOT)], snapshots=hooks))
        assert (refusal.code, said in refusal.message) == ("snapshot", True)
    hang.set()

    reported: list[Any] = []
    lenient = {"snapshot": {"of": "workspace", "if_it_fails": "go_on"}}
    guard = Guard("a", policies=[oblige(lenient)])
    guard._admission.duties._report = lambda record, **_: reported.append(record)
    with guard.run() as run:
        assert run.call("write", lambda: "made") == "made"
    assert [record.attributes["andoncord.decision.code"] for record in reported] == ["snapshot_failed"]


def test_all_obligations_of_all_policies_are_owed_and_a_refusal_outranks_them() -> None:
    """Policies add up; a plain prohibition, and a lack of permission, still refuse."""
    both = [oblige(redact("a")), oblige(APPROVAL, when=BIG, policy_id="big")]
    decision = PolicySet(both).decide({"agent": "a", "tool": "pay", "args": {"amount": 500}})
    assert (decision.allow, decision.code) == (False, "obligation")
    assert [owed.policy_id for owed in decision.obligations] == ["careful", "big"]
    assert PolicySet(both).decide({"agent": "a", "tool": "pay", "args": {}}).obligations[1:] != ()

    never = {"id": "never", "effect": "forbid", "message": "no"}
    other = {"id": "look", "effect": "permit", "tool": "look"}
    assert PolicySet([*both, never]).decide({"agent": "a", "tool": "pay", "args": {}}).policy_id == "never"
    assert PolicySet([*both, other]).decide({"agent": "a", "tool": "pay", "args": {}}).code == "scope"


def test_out_of_scope_ends_the_run_whatever_is_owed() -> None:
    """An undeclared tool is no matter of obligations."""
    guard = Guard("a", tools={"look": "read"}, policies=[oblige(redact("a"))])
    with guard.run() as run, pytest.raises(RunStopped):
        run.step("pay", {"a": 1}).begin()


@pytest.mark.parametrize(
    ("obligation", "said"),
    [
        ({"pray": {}}, "'pray' is not known"),
        ({"redact": {"paths": []}}, "'paths' is a list"),
        ({"redact": {"paths": ["a..b"]}}, "names divided by dots"),
        ({"throttle": {"calls": 0, "per": "minute"}}, "'calls' is a whole number"),
        ({"throttle": {"calls": 1, "per": "day"}}, "'per' is one of"),
        ({"snapshot": {"of": "x", "at_most": 1}}, "unknown field 'at_most'"),
        ({"require_approval": {}}, "'role' is text"),
    ],
)
def test_a_guard_loads_no_obligation_that_it_does_not_understand(obligation: dict[str, Any], said: str) -> None:
    """What cannot be met as written must not be in force by halves."""
    with pytest.raises(PolicyError, match=said):
        PolicySet([oblige(obligation)])
    with pytest.raises(PolicyError, match="belong to a forbid"):
        PolicySet([{"id": "p", "effect": "permit", "obligations": [APPROVAL]}])
