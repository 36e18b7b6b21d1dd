"""Many findings about few causes, and many incidents."""

from typing import Any

from andoncord.engine.facts import FindingArrived
from andoncord.engine.index import Index
from andoncord.engine.listing import Listing
from andoncord.engine.queries import summaries, view
from andoncord.engine.replaying import replay
from andoncord.engine.run import take
from andoncord.engine.state import State
from andoncord.incident.correlate import MAX_WHOLE
from andoncord.kernel.journal import Entry
from andoncord.kernel.time import SECOND_NS
from andoncord.kernel.vocabulary import Severity
from andoncord.testing.story import PLAYBOOKS, Story, finding

CAUSES = 5
FINDINGS = 1_000


def storm(state: State, count: int = FINDINGS) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(count):
        now = 100 * SECOND_NS + number * 6_000_000
        found = finding(f"f{number}", agent=f"a{number % CAUSES}", trace_id=f"t{number}", at_ns=now, onset_ns=now)
        entries += take(state, FindingArrived(finding=found), now=now, playbooks=PLAYBOOKS)
    return entries


def index_of(state: State) -> Index:
    """The index made anew from the incidents and intents, without what only matters to caches."""
    index = Index(changed=state.index.changed)
    for incident in state.incidents.values():
        index.renew(None, incident)
    for intent in state.intents.values():
        index.targets.setdefault(intent.effect.target, []).append(intent.id)
    return index


def test_a_storm_about_few_causes_is_as_few_incidents_and_says_what_it_grouped() -> None:
    """Every finding is accounted for: kept whole, or counted under its rule; and none is taken twice."""
    state = State()
    entries = storm(state)
    shown = [view(state, incident, now=0) for incident in state.incidents]

    assert len(shown) == CAUSES
    assert [len(each["findings"]) for each in shown] == [MAX_WHOLE] * CAUSES
    assert [each["grouped"] for each in shown] == [[{"rule": "guard-loop", "count": FINDINGS // CAUSES - MAX_WHOLE}]] * CAUSES
    assert sum(each["findings_n"] for each in shown) == FINDINGS
    assert storm(state) == []
    assert replay(entries) == state


def test_what_says_something_new_is_never_only_counted() -> None:
    """A worse finding, another rule, another tool and more money at risk are kept, however many came before."""
    state = State()
    storm(state)
    incident = state.incidents["inc_000001"]
    later = 200 * SECOND_NS
    novel: tuple[dict[str, Any], ...] = (
        {"severity": Severity.CRITICAL},
        {"rule": "another"},
        {"facts": {"at_risk_micro_usd": 2_000_000_000}},
        {"facts": {"tool": "another"}},
    )
    for number, changes in enumerate(novel, start=1):
        found = finding(f"n{number}", agent="a0", trace_id="", at_ns=later, onset_ns=later, **changes)
        take(state, FindingArrived(finding=found), now=later, playbooks=PLAYBOOKS)
        assert len(state.incidents[incident.id].findings) == MAX_WHOLE + number

    assert state.incidents[incident.id].severity is Severity.CRITICAL


def test_the_index_says_what_a_search_would() -> None:
    """Through containment, recovery, resolution and review: what the index holds is what the incidents say."""
    story = Story()
    for number, agent in enumerate(("refunds", "search", "refunds")):
        story.find(finding(f"f{number}", agent=agent, trace_id=f"t{number % 2}"))
        assert story.state.index == index_of(story.state)
        story.run()
        assert story.state.index == index_of(story.state)


def test_the_listing_shows_what_is_computed_anew() -> None:
    """Kept lines are dropped when anything about their incident is written down, also by another incident."""
    story = Story()
    listing = Listing(lambda: story.state)

    def shown() -> list[object]:
        return list(listing.lines(listing.ids(), now=5))

    story.find(finding("f1", trusted=False))
    assert shown() == summaries(story.state, now=5)
    story.find(finding("f2", agent="search", trace_id="t2"))
    story.run()
    assert shown() == summaries(story.state, now=5)
    story.ask("contain", incident="inc_000001", agent="refunds", rung="pause")
    assert shown() == summaries(story.state, now=5)
    story.run()
    assert shown() == summaries(story.state, now=5)
    assert listing.ids("open") == [each["id"] for each in summaries(story.state, now=5, wanted="open")]
