"""Wiring: who says how good answers are, beside the pipeline."""

import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import NamedTuple

from andoncord.adapters.system.hook import run_hook
from andoncord.adapters.system.judge import by_command, by_url
from andoncord.config import Config
from andoncord.detect.ports import TelemetryReader
from andoncord.engine.state import State
from andoncord.kernel.access import Scope
from andoncord.server.auth import Auth
from andoncord.server.canaries import SENDER, Canaries, Canary
from andoncord.server.evaluators import Evaluator, Evaluators
from andoncord.server.hub import GuardHub
from andoncord.server.ports import AccessStore, ServerClock
from andoncord.server.predictions import Predictions

JUDGES = SENDER
"""In whose name scores of the server's own are sent in."""


def judges_token(auth: Auth, access: AccessStore) -> str:
    """What scores are sent in with: a token that only sends, for every agent, new at every start."""
    for token in access.tokens():
        if token.name == JUDGES and not token.revoked_ns:
            auth.revoke_token(token.id)
    return auth.create_token(name=JUDGES, scopes=(Scope.INGEST,), agent="*")[1]


def load_evaluators(config: Config, *, beside: Path) -> tuple[Evaluator, ...]:
    """The evaluators of the settings, each with the way it is asked.

    Raises:
        CallerError: one of them cannot be asked as it is written.
    """
    found = []
    for name, settings in config.evaluators.items():
        settings.check(name, hooks=frozenset(config.hooks))
        if settings.hook:
            ask = by_command(config.hooks[settings.hook].run, timeout_s=settings.at_most_s)
        else:
            token_file = beside / settings.token_file if settings.token_file else None
            ask = by_url(settings.url, token_file=token_file, timeout_s=settings.at_most_s)
        found.append(Evaluator(name, settings, ask))
    return tuple(found)


def load_canaries(config: Config) -> tuple[Canary, ...]:
    """The tasks with known answers of the settings.

    Raises:
        CallerError: one of them cannot be asked as it is written.
    """
    found = []
    for name, settings in config.canaries.items():
        settings.check(name, hooks=frozenset(config.hooks))
        found.append(Canary(name, settings, config.hooks[settings.hook].run if settings.hook else ()))
    return tuple(found)


class Quality(NamedTuple):
    """What runs beside everything else."""

    evaluators: Evaluators
    canaries: Canaries
    predictions: Predictions

    def parts(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """What runs for as long as the server does, by name."""
        return {"evaluators": self.evaluators.run, "canaries": self.canaries.run, "predictions": self.predictions.run}


def connect_quality(
    config: Config,
    *,
    hub: GuardHub,
    rung_of: Callable[[str], str],
    state: Callable[[], State],
    beside: Path,
    secret: bytes,
    telemetry: TelemetryReader,
    positions: AccessStore,
    clock: ServerClock,
    pass_on: Callable[[str, bytes], Awaitable[bool]],
    log: str,
) -> Quality:
    """Connect evaluators, canary tasks and predictions.

    Args:
        rung_of: what is in force for an agent.
        secret: of this installation; what is drawn cannot be foreseen without it.
    """
    key = hashlib.sha256(b"draws of runs\x00" + secret).digest()
    evaluators = Evaluators(
        load_evaluators(config, beside=beside),
        telemetry=telemetry,
        positions=positions,
        clock=clock,
        pass_on=pass_on,
        key=key,
        log=log,
    )
    canaries = Canaries(
        load_canaries(config), hub=hub, run=run_hook, rung_of=rung_of, positions=positions, clock=clock, pass_on=pass_on
    )
    return Quality(evaluators, canaries, Predictions(telemetry=telemetry, state=state, clock=clock))
