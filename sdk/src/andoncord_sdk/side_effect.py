"""A side effect as it is held for a person: known by the digest of exactly what would be done."""

import hashlib
import json


def effect_digest(*, agent: str, run_id: str, tool: str, arguments: str) -> str:
    """Names one side effect of one run; another byte of its arguments gives another digest.

    >>> effect_digest(agent="a", run_id="r", tool="pay", arguments='{"usd":1}')[:12]
    '0cd592385d13'
    """
    text = json.dumps(["andoncord effect 1", agent, run_id, tool, arguments], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
