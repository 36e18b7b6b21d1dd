"""What inputs are, and that a change of them is found for what it is."""

import pytest

from andoncord.detect.bank import Bank
from andoncord.detect.inputs import features_of
from andoncord.detect.mix import GATHERING_RUNS, OTHER, Past
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind


@pytest.mark.parametrize(
    ("text", "language", "length"),
    [
        ("Bitte die Rechnung und das Geld zurück", "german", "33 to 64"),
        ("Где мой заказ?", "cyrillic", "9 to 16"),
        ("注文はどこですか", "kana", "5 to 8"),
        ("refund 17", "latin", "9 to 16"),
        ("17", "none", "2 to 2"),
        ("x" * 40_000, "latin", "32769 to 65536"),
        ("\ud83d\x00", "none", "2 to 2"),
    ],
)
def test_an_input_has_a_language_and_a_length(text: str, language: str, length: str) -> None:
    """Any text has them, also nonsense."""
    features = features_of(Event(kind=EventKind.MODEL_COMPLETED, input_text=text))

    assert (features.language, features.length) == (language, length)


def test_only_the_common_words_are_told_apart_in_the_end() -> None:
    """A thousand words that come once do not push out the few that come always."""
    past = Past(limit=4)
    for number in range(GATHERING_RUNS):
        past.learn({f"rare-{number}": 0.5, "refund": 0.3, "order": 0.2}, 3)

    assert {"refund", "order", OTHER} <= set(past.shares)
    assert len(past.shares) <= 5
    assert past.of("never seen") == past.of("rare-1x") == pytest.approx(past.shares[OTHER] / past.runs)


def test_a_declared_class_is_followed_and_a_change_is_not_said_for_every_feature() -> None:
    """Emitters may say what kind of input it is; of what changes together, the first and the first that is far are said."""
    bank = Bank(tuple(rule for rule in default_rules() if rule.id == "input-drift"))
    found = []
    for number in range(600):
        at_ns = 1_767_225_600 * SECOND_NS + number * 10 * MINUTE_NS
        kind = "refund" if number < 400 else "poem"
        shared = {"agent": "a", "run_id": f"r{number}", "start_ns": at_ns, "end_ns": at_ns + 1, "received_ns": at_ns + 1}
        model = Event(
            kind=EventKind.MODEL_COMPLETED,
            span_id=f"m{number}",
            input_text=f"about the {kind} of this {kind}",
            attributes={"input_class": kind},
            **shared,  # type: ignore[arg-type]
        )
        end = Event(kind=EventKind.RUN_ENDED, span_id=f"e{number}", **shared)  # type: ignore[arg-type]
        found += [*bank.observe(model), *bank.observe(end)]

    assert [finding.severity for finding in found] == ["low", "medium"]
    assert found[0].mode == "alert"
    assert bank.faults == {}
