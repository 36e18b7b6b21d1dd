"""Notices to others from templates, and what a queue is told of work that was handed over."""

import pytest

from andoncord.kernel.errors import CallerError
from andoncord.respond.notice import compose
from andoncord.respond.statement import load, render

TEMPLATE = """
id: own
version: 2
audience: customer
subject: "Since $opened"
text: |
  Reference $incident, $title. It cost $$5.
"""


def test_a_template_says_what_is_known_and_what_is_not() -> None:
    """Words of agents are one line of plain text; a dollar sign is written twice."""
    words = render(load(TEMPLATE, place="t"), {"incident": "inc_1", "title": "a\n\x1b[31mred $incident"})

    assert words[0] == "Since unknown"
    assert "\x1b" not in words[1]
    assert "\n" not in words[1]
    assert words[1].endswith("It cost $5.")
    assert "$incident" in words[1], "what an agent wrote is not a template"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("$opened", "$secret"), "unknown name \\$secret"),
        (("$opened", "$ "), "write \\$\\$"),
        (("customer", "press"), "unknown audience"),
        (("version: 2", "version: 2\nto: x"), "unknown field 'to'"),
        (("subject", "title"), "subject"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused(change: tuple[str, str], says: str) -> None:
    """With what is wrong, and what would be right."""
    with pytest.raises(CallerError, match=says):
        load(TEMPLATE.replace(*change), place="t")


def test_a_queue_gets_everything_it_needs_to_do_the_work() -> None:
    """And the same id however often it is told, so that the same work is done once."""
    facts = {
        "item": "hnd_000001",
        "agent": "refunds",
        "key": "ticket-17",
        "task": "refund\norder 17",
        "tool": "",
        "reason": "fraud",
    }
    told = [
        compose({"kind": "handover", "to": ["q"], "facts": facts}, key="inc_1.004", incident="inc_1", link="https://c/inc_1")
        for _ in range(2)
    ]

    assert told[0] == told[1]
    assert (told[0].kind, told[0].facts, told[0].key) == ("handover", facts, "inc_1.004")
    assert all("\n" not in line for line in (told[0].subject, *told[0].lines))


def test_a_statement_leaves_as_it_was_read_and_without_a_way_in() -> None:
    """No line is added to it, and no link to a console that whoever gets it cannot open."""
    asked = {"kind": "statement", "to": ["c"], "audience": "customer", "subject": "Hello", "text": "One.\n\nTwo."}
    notice = compose(asked, key="k", incident="inc_1", link="https://c/inc_1")

    assert (notice.subject, notice.lines, notice.link) == ("Hello", ("One.", "", "Two."), "")
