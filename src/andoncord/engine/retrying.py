"""Retrying what went wrong with other parameters (RSP-9 High), where a repetition can do no harm (RSP-15)."""

from typing import Any

import msgspec

from andoncord.engine.state import State
from andoncord.engine.stepping import RETRY_VERSION, judged, read_step
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.journal import Draft
from andoncord.recover.plan import RecoveryPlan, Step, Strategy

RETRY_MINUTES = 2


def retry_instead(state: State, incident: Incident, made: RecoveryPlan) -> tuple[list[Draft], RecoveryPlan]:
    """The plan to retry, where the playbook asks for it, nothing else can be run and a retry is allowed; else `made`.

    Where it is asked for and not allowed, a draft says why.
    """
    step = next((each for each in incident.steps if each["do"] == "retry"), None)
    if step is None or made.automatic or incident.retried:
        return [], made
    drafts, is_wanted = judged(state, incident, step)
    if not is_wanted:
        return drafts, made
    if why := refusal(incident):
        return [*drafts, Draft(kind="retry.refused", incident=incident.id, body={"why": why})], made
    return drafts, _plan(state, incident, read_step(step).settings, made)


def refusal(incident: Incident) -> str:
    """Why a retry is not allowed; empty when it is. What is unknown counts against it."""
    seen = (incident.investigation or {}).get("executed")
    if seen is None:
        return "it is not known which tools the run has called"
    unsafe = sorted(each["tool"] for each in seen if not each["repeatable"])
    if unsafe:
        return f"{', '.join(unsafe)} is neither declared to read nor to be idempotent"
    return ""


def _plan(state: State, incident: Incident, settings: dict[str, Any], instead: RecoveryPlan) -> RecoveryPlan:
    agent, values, watch_ms = incident.agents[0], settings["with"], int(settings["watch_ms"])
    active = state.registry.active(agent)
    version = f"{RETRY_VERSION}{incident.id}"
    changed = ", ".join(f"{name} {value}" for name, value in values.items())
    configure = Step(
        name="configure",
        kind=EffectKind.CONFIGURE,
        text=f"Publish {version} with {changed}, and make it the active version.",
        parameters={"version": version, "values": {**(active.values if active else {}), **values}, "publish": True},
    )
    restart = Step(name="restart", kind=EffectKind.RESTART, text="Have the supervisor start the agent anew, still fenced.")
    release = Step(
        name="release", kind=EffectKind.ORDER, text="Lift the fence, so that the run goes on.", parameters={"rung": "none"}
    )
    watch = Step(
        name="watch",
        kind=EffectKind.WAIT,
        text=f"Watch for {watch_ms / 1_000:g} s whether it goes wrong again.",
        parameters={"for_ms": watch_ms},
    )
    steps = (configure, restart, release, watch) if _is_supervised(state, incident) else (configure, release, watch)
    return RecoveryPlan(
        agent=agent,
        strategy=Strategy.RETRY,
        cause=instead.cause,
        automatic=True,
        steps=steps,
        total_minutes=RETRY_MINUTES,
        priority=instead.priority,
        why=f"{instead.why}; every tool that the run called may be called again, so it is tried with {changed}",
        person=instead.person,
    )


def _is_supervised(state: State, incident: Incident) -> bool:
    orders = [each for each in state.intents_of(incident.id) if each.effect.kind is EffectKind.ORDER and each.receipt]
    return bool(orders) and bool(orders[-1].receipt and orders[-1].receipt.detail.get("supervised"))


def plain(plan: RecoveryPlan) -> dict[str, Any]:
    """A plan as it is written down."""
    made: dict[str, Any] = msgspec.to_builtins(plan)
    return made
