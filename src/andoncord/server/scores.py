"""Scores that the server itself sends in, the way every sender takes: masked, durable, in the ledger."""

import msgspec

NAME = "gen_ai.evaluation.result"


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What was found about one run."""

    evaluator: str
    agent: str
    run_id: str
    trace_id: str = ""
    span_id: str = ""
    task: str = ""
    passed: bool | None = None
    value: float | None = None
    reason: str = ""
    weight: float = 1.0
    """How likely the least likely run was to be looked at, as a share of how likely this one was."""
    failure: str = ""
    """Why there is no verdict."""
    canary: str = ""
    """`asked` or `missed`: it is about a task with a known answer."""


def score_log(score: Score, *, at_ns: int) -> bytes:
    """A score as an OTLP/JSON log export."""
    texts = {
        "event.name": NAME,
        "gen_ai.agent.name": score.agent,
        "andoncord.run.id": score.run_id,
        "andoncord.task": score.task,
        "gen_ai.evaluation.name": score.evaluator,
        "gen_ai.evaluation.score.label": "" if score.passed is None else "pass" if score.passed else "fail",
        "gen_ai.evaluation.explanation": score.reason,
        "andoncord.evaluator.failure": score.failure,
        "andoncord.canary": score.canary,
    }
    pairs: list[dict[str, object]] = [{"key": key, "value": {"stringValue": text}} for key, text in texts.items() if text]
    if score.value is not None:
        pairs.append({"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": score.value}})
    if score.weight != 1.0:
        pairs.append({"key": "andoncord.sampling.weight", "value": {"doubleValue": score.weight}})
    record = {"timeUnixNano": str(at_ns), "eventName": NAME, "attributes": pairs}
    if score.trace_id:
        record |= {"traceId": score.trace_id, "spanId": score.span_id}
    return msgspec.json.encode({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
