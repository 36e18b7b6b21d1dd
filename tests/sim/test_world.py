"""The four failures through the real detectors and the real core, in virtual time."""

import pytest

from andoncord.engine.replaying import replay
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.journal import check
from andoncord.kernel.vocabulary import Category, IncidentState, Pattern, Verdict
from andoncord.sim.failing import POISON, UPLOADS
from andoncord.sim.fleet import FLEET
from andoncord.sim.story import FAILURES
from andoncord.sim.world import World

SEEDS = range(1, 21)
STORY_S = 50.0
SEEN_AS = {
    "a": (Pattern.INFINITE_LOOP, Category.RESOURCE_EXHAUSTION),
    "b": (Pattern.INJECTED_ACTION, Category.DECISION_FAILURE),
    "c": (Pattern.QUALITY_DROP, Category.DECISION_FAILURE),
    "d": (Pattern.SILENCE, Category.COMMUNICATION_BREAKDOWN),
}
HEALTHY = sorted(set(FLEET) - {failure.agent for failure in FAILURES})


def _told(seed: int) -> World:
    world = World(seed)
    world.run(STORY_S)
    return world


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"seed-{seed}")
def world(request: pytest.FixtureRequest) -> World:
    """A whole story of one seed; the seed is in the name of the test."""
    return _told(request.param)


def _incident(world: World, letter: str) -> Incident:
    agent = next(failure.agent for failure in FAILURES if failure.letter == letter)
    incident = world.incident_of(agent)
    assert incident is not None, f"failure {letter} was missed"
    return incident


@pytest.mark.parametrize("letter", SEEN_AS)
def test_each_failure_ends_well(world: World, letter: str) -> None:
    """Each failure is found after its onset, named for what it is, contained with proof, recovered, and its review drafted."""
    incident = _incident(world, letter)

    assert incident.detected_ns >= world.onsets[letter]
    assert (incident.pattern, incident.category) == SEEN_AS[letter]
    assert incident.containment is Verdict.VERIFIED
    assert incident.state.rank >= IncidentState.RESOLVED.rank
    assert incident.review is not None


def test_a_hung_agent_is_unverified_before_it_is_verified(world: World) -> None:
    """The guard that cannot answer is reported as UNVERIFIED; only its ended process tree makes it VERIFIED."""
    verdicts = [given.verdict for given in _incident(world, "d").verdicts]

    assert verdicts == [Verdict.UNVERIFIED, Verdict.VERIFIED]
    assert world.actors["reports"].terminations == 1


def test_nothing_healthy_is_stopped(world: World) -> None:
    """Four incidents, none of them of a healthy agent, and no order ever reached one."""
    assert len(world.state.incidents) == len(FAILURES)
    assert not [name for name in HEALTHY if world.actors[name].applied]
    assert not [refusal for name in HEALTHY for refusal in world.actors[name].refusals]


def test_the_journal_replays_to_the_same_state(world: World) -> None:
    """The chain holds, and replaying it gives the state that wrote it."""
    assert check(world.journal.read()) is None
    assert replay(world.journal.read()) == world.state


def test_the_applied_proposal_refuses_the_same_document() -> None:
    """With the proposal in force, the document that did harm is not read again, and nothing has to be stopped for it."""
    world = _told(7)
    research = world.actors["research"]
    stops = len(research.applied)

    world.wish("apply_proposal", incident=_incident(world, "b").id, reason="agreed")
    world.shelves.put(UPLOADS, POISON)
    world.run(10)

    assert research.refusals[-1].code == "policy"
    assert len(research.applied) == stops


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Two worlds of one seed write the same journal, byte for byte."""
    assert _told(7).journal_bytes() == _told(7).journal_bytes()


def test_a_fleet_to_which_nothing_happens_raises_no_incident() -> None:
    """Paging, polling, retrying and the odd wrong answer are not incidents."""
    world = World(3, failures=())

    world.run(300)

    assert not world.state.incidents


@pytest.mark.parametrize(
    "kind", [EffectKind.ORDER, EffectKind.CAPTURE, EffectKind.TERMINATE, EffectKind.RESTART, EffectKind.PROBE]
)
def test_a_crash_between_effect_and_receipt_does_nothing_twice(kind: EffectKind) -> None:
    """The engine comes back from its journal, asks again, and the world is acted upon once."""
    world = World(7, crash_on=frozenset({kind}))

    world.run(STORY_S)

    assert world.crashes == 1
    assert len(world.received) > len(set(world.received)), "an effect was asked for again"
    for actor in world.actors.values():
        assert len(actor.applied) == len(set(actor.applied))
    assert world.actors["reports"].terminations == 1
    assert world.actors["reports"].life == 2
    for letter in SEEN_AS:
        assert _incident(world, letter).state.rank >= IncidentState.RESOLVED.rank
