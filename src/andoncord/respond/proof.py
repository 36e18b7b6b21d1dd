"""How far the proof of a containment has come: states that only follow one another forward, each with the time it was reached.

REQUESTED → FENCED → CREDENTIALS_REVOKED → STOPPED → VERIFIED, or UNVERIFIED or FAILED from wherever it had come to.
"""

from collections.abc import Mapping

from andoncord.incident.stage import Reached, Stage
from andoncord.kernel.vocabulary import Verdict
from andoncord.respond.ladder import FENCING

VERDICTS = frozenset({Stage.VERIFIED, Stage.UNVERIFIED, Stage.FAILED})
ORDER = tuple(Stage)


def needed(rung: str, *, has_credentials: bool) -> tuple[Stage, ...]:
    """What must be reached before VERIFIED. Under a lesser rung than pause the agent is meant to go on.

    >>> [str(stage) for stage in needed("kill", has_credentials=True)]
    ['REQUESTED', 'FENCED', 'CREDENTIALS_REVOKED', 'STOPPED']
    >>> [str(stage) for stage in needed("restrict", has_credentials=True)]
    ['REQUESTED', 'FENCED']
    """
    stages = [Stage.REQUESTED, Stage.FENCED]
    if rung == "kill" and has_credentials:
        stages.append(Stage.CREDENTIALS_REVOKED)
    if rung in FENCING:
        stages.append(Stage.STOPPED)
    return tuple(stages)


def proof(reached: Mapping[Stage, int], *, verdict: Verdict, judged_ns: int) -> tuple[Reached, ...]:
    """The way a containment took, up to its verdict.

    A state that was passed without being reached is left out: an agent can be seen to stand whose credentials still work.

    >>> [str(each.stage) for each in proof({Stage.STOPPED: 9, Stage.REQUESTED: 1}, verdict=Verdict.UNVERIFIED, judged_ns=9)]
    ['REQUESTED', 'STOPPED', 'UNVERIFIED']
    """
    assert not VERDICTS & reached.keys(), "the verdict is given apart"
    assert Stage.REQUESTED in reached, "nothing follows from an order that was not given"
    way: list[Reached] = []
    for stage in ORDER:
        if stage in reached:
            # A late answer can tell of something that came before what was seen already.
            way.append(Reached(stage=stage, at_ns=max([reached[stage], *(each.at_ns for each in way)])))
    last = max([judged_ns, *(each.at_ns for each in way)])
    return (*way, Reached(stage=Stage(verdict.value), at_ns=last))
