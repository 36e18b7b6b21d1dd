"""The rules that come with Andoncord."""

from functools import cache
from importlib import resources

from andoncord.detect.build import BUDGETED, OF_RUNS, build
from andoncord.detect.rule import DetectorSpec, Rule, StreamSpec, SynchronySpec, load_rules

RECORDED_ONLY = frozenset({"foreign-order", "injection-exposure"})
"""Rules for records of unknown origin, which read what texts say. Live they would page at a rate that nobody knows: on attacked
runs they are wrong in three of a hundred, and no set of ordinary work with foreign texts was there to count on. They also cost
as much as all others together where content is recorded. Under a guard, `injected-action` says the same, before the call."""


@cache
def recorded_rules() -> tuple[Rule, ...]:
    """All packaged rules, for recorded runs. Package data, read once."""
    folder = resources.files("andoncord").joinpath("rules")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return load_rules({f"rules/{file.name}": file.read_text(encoding="utf-8") for file in files})


@cache
def default_rules() -> tuple[Rule, ...]:
    """The packaged rules for live events.

    >>> "infinite-loop" in {rule.id for rule in default_rules()}
    True
    """
    return tuple(rule for rule in recorded_rules() if rule.id not in RECORDED_ONLY)


def needing_a_past(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Those that compare a run with its agent's past, and say nothing where there is none.

    >>> "run-cost" in {rule.id for rule in needing_a_past(default_rules())}
    True
    """
    return tuple(rule for rule in rules if hasattr(build(rule), "memory"))


def paying(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Those whose false alarms are part of the fleet's budget.

    >>> {"run-cost", "infinite-loop"} & {rule.id for rule in paying(default_rules())}
    {'run-cost'}
    """

    def pays(rule: Rule) -> bool:
        spec = rule.correlate
        return isinstance(spec, StreamSpec | SynchronySpec) or (
            isinstance(spec, DetectorSpec) and spec.name in (*BUDGETED, *OF_RUNS)
        )

    return tuple(rule for rule in rules if pays(rule))
