"""Alerts out: open incidents are told to Alertmanager, again before they would be forgotten there, and their end as well."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol
from urllib.parse import urlsplit

import msgspec

from andoncord.engine.alerting import Alert, alerts_of
from andoncord.engine.run import Engine
from andoncord.kernel.errors import CallerError
from andoncord.kernel.ports import Clock
from andoncord.kernel.time import SECOND_NS
from andoncord.kernel.vocabulary import Severity
from andoncord.server.channel_settings import HERE

SETTLE_S = 0.5
"""How long is waited after a change, so that what belongs together is told at once."""
LASTS = 4
"""How many times the interval an alert lasts without being told again. Source: what Prometheus does."""
TOLD = frozenset(("incident.opened", "incident.judged", "incident.moved", "incident.merged", "incident.split"))
Key = tuple[tuple[str, str], ...]
logger = logging.getLogger(__name__)


class AlertmanagerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `alertmanager` of `andon.yaml`: where open incidents are told as alerts. Without an address nowhere."""

    urls: tuple[str, ...] = ()
    """Every Alertmanager of a cluster, such as `http://alertmanager:9093`: each is told, as Prometheus does."""
    token_file: str = ""
    """Holds a bearer token; relative to the settings file."""
    least: Severity = Severity.HIGH
    """Milder incidents are not told."""
    every_s: Annotated[float, msgspec.Meta(ge=5, le=600)] = 60.0
    """Seconds after which alerts that still fire are told again."""
    labels: dict[str, str] = {}
    """Added to every alert, such as `cluster: eu`."""
    allow_open: bool = False
    """The way there may be unencrypted, beyond this machine too."""

    def check(self) -> None:
        """Whether it can be used as it is written.

        Raises:
            CallerError: with place and remedy.
        """
        for url in self.urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
                raise CallerError(f"{url!r} is no http(s) address", place="alertmanager.urls")
            if parts.scheme == "http" and parts.hostname not in HERE and not self.allow_open:
                remedy = "use https, or say allow_open: true"
                raise CallerError("would go over an open wire", place="alertmanager.urls", remedy=remedy)
        for name in self.labels:
            if not (name.isascii() and name.isidentifier()) or name in ("alertname", "incident", "severity", "agent"):
                raise CallerError(f"{name!r} is no label of your own", place="alertmanager.labels")


class AlertTarget(Protocol):
    """One Alertmanager."""

    name: str

    async def tell(self, alerts: Sequence[Alert], *, ends_ns: int) -> str:
        """Tell it; why it did not work, empty where it did. What still fires ends at `ends_ns` unless it is told again."""
        ...


class AlertFeed:
    """Keeps every target told.

    Args:
        labels: of this installation, on every alert.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        clock: Clock,
        targets: Sequence[AlertTarget],
        least: Severity,
        labels: Mapping[str, str],
        every_s: float,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._targets = tuple(targets)
        self._least = least
        self._labels = dict(labels)
        self._every_s = every_s
        self._fired: dict[str, dict[Key, Alert]] = {target.name: {} for target in self._targets}
        """What fires as far as each of them knows. After a restart nothing: what they know from before ends by itself."""
        self._woken = asyncio.Event()
        self.failing: dict[str, str] = {target.name: "not told yet" for target in self._targets}
        """Targets that could not be told, and why."""
        self.left_out = 0
        """Alerts that there was no room for."""

    def why(self, name: str) -> str:
        """Why a target was not told; empty where it was."""
        return self.failing.get(name, "")

    async def run(self) -> None:
        """Tell them until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._repeat())

    async def _listen(self) -> None:
        while True:
            async for entry in self._engine.subscribe():
                if entry.kind in TOLD:
                    self._woken.set()
            await asyncio.sleep(SETTLE_S)

    async def _repeat(self) -> None:
        while True:
            try:
                await self.tell()
            except Exception:
                # What breaks here must not take the server with it.
                logger.exception("alerts could not be told")
            self._woken.clear()
            try:
                # Where somebody was not told, sooner.
                async with asyncio.timeout(self._every_s / (LASTS if self.failing else 1)):
                    await self._woken.wait()
                await asyncio.sleep(SETTLE_S)
            except TimeoutError:
                continue

    async def tell(self) -> None:
        """Tell every target what fires, and what does no more."""
        now = self._clock.now()
        alerts, self.left_out = alerts_of(self._engine.state, least=self._least, own=self._labels, now_ns=now)
        known = {alert.key: alert for alert in alerts}
        await asyncio.gather(*(self._tell_one(target, known, now) for target in self._targets))

    async def _tell_one(self, target: AlertTarget, known: dict[Key, Alert], now: int) -> None:
        fired = self._fired[target.name]
        gone = [msgspec.structs.replace(alert, ended_ns=now) for key, alert in fired.items() if key not in known]
        if not (known or gone or target.name in self.failing):
            return
        why = await target.tell([*known.values(), *gone], ends_ns=now + int(LASTS * self._every_s * SECOND_NS))
        if why:
            self.failing[target.name] = why
            return
        self.failing.pop(target.name, None)
        self._fired[target.name] = {key: alert for key, alert in known.items() if not alert.ended_ns}
