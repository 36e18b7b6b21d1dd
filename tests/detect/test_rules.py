"""The packaged rules: each holds by its own cases, and the format says clearly what is wrong with a rule."""

import json
from importlib import resources

import pytest

from andoncord.detect.build import build
from andoncord.detect.cases import check_case, check_cases
from andoncord.detect.pack import recorded_rules
from andoncord.detect.rule import CaseSpec, Rule, load_rules, rule_schema
from andoncord.kernel.errors import CallerError

GOOD = """id: x
title: x
on: tool.failed
correlate: {type: count, group_by: [agent], window: 5m, gte: 3}
severity: high
category: decision_failure
pattern: repeated_failure
summary: "{agent}"
source: test
runbook: none
tests:
  - {name: fires, given: [{on: tool.failed, times: 3}], expect: high}
  - {name: silent, given: [{on: tool.failed}], expect: none}
"""


@pytest.mark.parametrize(
    ("rule", "case"),
    [(rule, case) for rule in recorded_rules() for case in rule.tests],
    ids=lambda item: getattr(item, "id", ""),
)
def test_every_case_of_every_rule_holds(rule: Rule, case: CaseSpec) -> None:
    """What must fire fires, what must stay silent is silent."""
    assert check_case(rule, case) == ""


def test_a_wrong_case_is_reported_with_its_rule() -> None:
    """A case that does not hold says what was expected and what came."""
    (rule,) = load_rules({"rules/x.yaml": GOOD.replace("times: 3", "times: 2")})

    assert check_cases(rule) == ("rules/x.yaml:1: fires: expected ['high'], got no finding",)


@pytest.mark.parametrize(
    ("wrong", "instead", "message"),
    [
        ("severity: high", "sevrity: high", "rules/x.yaml:5: unknown field 'sevrity', did you mean 'severity'?"),
        ("severity: high", "severity: dire", "rules/x.yaml:5: severity: invalid enum value 'dire'"),
        ("window: 5m", "window: 5", "rules/x.yaml:4: correlate.window: expected `str`, got `int`"),
        ("gte: 3", "gte: 0", "rules/x.yaml:4: correlate.gte: expected `int` >= 1"),
        ("type: count", "type: conut", "rules/x.yaml:4: correlate.type: invalid value 'conut'"),
        ("title: x", "title: x\nwhere: event.name = 'a'", "rules/x.yaml:3: unexpected '=' at column 12, write '=='"),
        ("title: x", "title: x\nwhere: evnt.name == 'a'", "rules/x.yaml:3: "),
        ("on: tool.failed\n", "", "rules/x.yaml:1: the rule names no events, add 'on'"),
        ("  - {name: silent, given: [{on: tool.failed}], expect: none}\n", "", "rules/x.yaml:11: the rule has no case"),
        ("id: x", "id: X y", "rules/x.yaml:1: 'X y' is no rule id"),
    ],
)
def test_mistakes_are_named_with_place_and_remedy(wrong: str, instead: str, message: str) -> None:
    """A mistake in a rule file is reported with file, line and what to do."""
    assert wrong in GOOD
    with pytest.raises(CallerError) as raised:
        load_rules({"rules/x.yaml": GOOD.replace(wrong, instead)})

    assert str(raised.value).startswith(message)


def test_an_unknown_field_to_group_by_is_named() -> None:
    """A rule that groups by something that does not exist is refused when it is built."""
    (rule,) = load_rules({"rules/x.yaml": GOOD.replace("[agent]", "[agnet]")})

    with pytest.raises(CallerError, match="there is no field 'agnet', use one of agent, "):
        build(rule)


def test_two_rules_with_one_id_are_refused() -> None:
    """An id names one rule; the message says where the other stands."""
    with pytest.raises(CallerError, match=r"b\.yaml:1: rule 'x' exists twice, the other is a\.yaml:1"):
        load_rules({"a.yaml": GOOD, "b.yaml": GOOD})


def test_the_schema_file_is_the_format() -> None:
    """The JSON schema for editors is the one the loader checks by."""
    packaged = resources.files("andoncord").joinpath("rules/rule.schema.json").read_text(encoding="utf-8")

    assert json.loads(packaged) == json.loads(json.dumps(rule_schema()))
