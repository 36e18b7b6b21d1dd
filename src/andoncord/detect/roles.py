"""Which agents do the same work, so that what is normal for one can be lent to another (DET-1)."""

import re
from functools import lru_cache

from andoncord.detect.declared import Declared

MAX_REMEMBERED = 10_000
"""Agents whose role need not be worked out again: every detector of runs asks at every end of one."""

_NUMBERED = re.compile(r"[-_./]?(?:[0-9]+|[0-9a-f]{8,})$")
_GLOB = frozenset("*?[")


def role_of(agent: str, declared: Declared) -> str:
    """The pattern under which an agent is declared, else its name without a number at its end.

    >>> (
    ...     role_of("refund-17", Declared(agent="refund-17")),
    ...     role_of("a", Declared(agent="team-*")),
    ...     role_of("b", Declared(agent="*")),
    ... )
    ('refund', 'team-*', 'b')
    """
    return _role_of(agent, declared.agent)


@lru_cache(maxsize=MAX_REMEMBERED)
def _role_of(agent: str, declared: str) -> str:
    if declared not in ("*", agent) and _GLOB.intersection(declared):
        return declared
    return _NUMBERED.sub("", agent) or agent
