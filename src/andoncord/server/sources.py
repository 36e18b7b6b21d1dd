"""What other systems say about agents: signed webhooks and alerts, as findings and changes.

Source: Standard Webhooks 1.0 for signatures; Alertmanager's webhook payload, version 4.
"""

import base64
import binascii
import hmac
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar

import msgspec

from andoncord.detect.facts import stable_digest
from andoncord.detect.finding import Finding
from andoncord.engine.alerting import ALERT
from andoncord.engine.facts import FindingArrived
from andoncord.kernel.errors import CallerError
from andoncord.kernel.text import visible
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.kernel.vocabulary import Category, Mode, Pattern, Severity
from andoncord.server.auth import ForbiddenError, UnauthenticatedError
from andoncord.server.ports import ServerClock
from andoncord.server.source_settings import SourceSettings
from andoncord.telemetry.redact import redact_text

REPLAY_NS = 5 * MINUTE_NS
"""How old, or how far ahead, a signed event may be: what Standard Webhooks asks for."""
MAX_SIGNATURES = 8
MAX_ALERTS = 1_000
MIN_SECRET = 16
SECRET_PREFIX = "whsec_"

_SEVERITIES = {
    "critical": Severity.CRITICAL,
    "page": Severity.CRITICAL,
    "error": Severity.HIGH,
    "high": Severity.HIGH,
    "warning": Severity.MEDIUM,
    "warn": Severity.MEDIUM,
    "medium": Severity.MEDIUM,
    "info": Severity.LOW,
    "low": Severity.LOW,
    "none": Severity.LOW,
}


Word = TypeVar("Word", Category, Pattern)
Read = TypeVar("Read")


class SourceAwayError(Exception):
    """What was sent could not be passed on now; it may be sent again."""


class ChangeData(msgspec.Struct, frozen=True, kw_only=True):
    """`data` of a `change.made` event."""

    agent: str
    kind: Literal["prompt", "config", "tool", "model", "deployment"]
    before: str = msgspec.field(default="", name="from")
    after: str = msgspec.field(default="", name="to")


class FindingData(msgspec.Struct, frozen=True, kw_only=True):
    """`data` of a `finding.made` event."""

    agent: str
    summary: str
    severity: Severity = Severity.MEDIUM
    category: Category | None = None
    pattern: Pattern | None = None
    trace_id: str = ""
    run_id: str = ""


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    status: Literal["firing", "resolved"]
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    starts_at: datetime | None = None
    fingerprint: str = ""


class _Alerts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    version: Literal["4"]
    alerts: list[_Alert]


class Source:
    """One sender, as the settings name it."""

    def __init__(self, name: str, settings: SourceSettings, secret: str) -> None:
        """Raises CallerError: the secret is not one."""
        place = f"sources.{name}.secret_file"
        if len(secret) < MIN_SECRET:
            raise CallerError(f"holds fewer than {MIN_SECRET} characters", place=place, remedy="put a long random secret there")
        self.name = name
        self.settings = settings
        self._secret = secret.encode()
        if settings.kind == "webhook":
            try:
                self._secret = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
            except binascii.Error:
                raise CallerError("is not whsec_ and base64", place=place, remedy="copy the secret of the endpoint") from None

    def check_signature(self, headers: Mapping[str, str], body: bytes, *, now_ns: int) -> str:
        """The id of a signed event.

        Raises:
            UnauthenticatedError: it is not signed with our secret, or not now.
        """
        number, sent, signatures = (headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
        if not number or not (sent.isascii() and sent.isdigit() and len(sent) < 12):
            raise UnauthenticatedError("needs the headers webhook-id, webhook-timestamp and webhook-signature")
        if abs(int(sent) * SECOND_NS - now_ns) > REPLAY_NS:
            raise UnauthenticatedError("was sent more than five minutes ago, or ahead", remedy="check the clocks; sign it anew")
        signed = b".".join((number.encode("utf-8", "replace"), sent.encode(), body))
        expected = base64.b64encode(hmac.digest(self._secret, signed, "sha256")).decode()
        for signature in signatures.split(" ")[:MAX_SIGNATURES]:
            version, _, value = signature.partition(",")
            if version == "v1" and hmac.compare_digest(value.encode("utf-8", "replace"), expected.encode()):
                return number
        raise UnauthenticatedError("the signature is not that of the secret we know")

    def check_bearer(self, header: str) -> None:
        """Raises UnauthenticatedError: it does not carry the token we know."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._secret):
            raise UnauthenticatedError("needs the bearer token of this source")

    def covers(self, agent: str) -> bool:
        return bool(agent) and fnmatchcase(agent, self.settings.agents)


class Sources:
    """Takes what sources send.

    Args:
        submit: gives a finding to the engine, which knows each by its id.
        pass_on: gives an OTLP/JSON log export to the ingest worker in the name of a source; whether it took it.
    """

    def __init__(
        self,
        known: Mapping[str, Source],
        *,
        submit: Callable[[FindingArrived], Awaitable[Any]],
        pass_on: Callable[[str, bytes], Awaitable[bool]],
        clock: ServerClock,
    ) -> None:
        self.clock = clock
        self._known = known
        self._submit = submit
        self._pass_on = pass_on

    def find(self, name: str, kind: str) -> Source:
        """A source of the settings.

        Raises:
            UnauthenticatedError: there is none of this name and kind; who asks need not know which.
        """
        source = self._known.get(name)
        if source is None or source.settings.kind != kind:
            raise UnauthenticatedError("no such source, or not this secret", remedy="name it under `sources` in andon.yaml")
        return source

    async def take_event(self, source: Source, number: str, body: bytes, *, now_ns: int) -> str:
        """Take one signed event; what became of it. The same event again changes nothing.

        Raises:
            CallerError: it says nothing that is known here.
            ForbiddenError: it is about an agent that the source does not cover.
            SourceAwayError: it cannot be taken now.
        """
        event = _read(body, _Event, "")
        if event.type == "change.made":
            change = _read(event.data, ChangeData, "data")
            self._must_cover(source, change.agent)
            if not await self._pass_on(source.name, change_log(change, source=source.name, number=number, at_ns=now_ns)):
                raise SourceAwayError
            return "change"
        if event.type == "finding.made":
            data = _read(event.data, FindingData, "data")
            self._must_cover(source, data.agent)
            finding = _finding(
                source,
                key=number,
                agent=data.agent,
                severity=data.severity,
                category=data.category,
                pattern=data.pattern,
                summary=data.summary,
                at_ns=now_ns,
                trace_id=data.trace_id,
                run_id=data.run_id,
            )
            await self._submit(FindingArrived(finding=finding))
            return "finding"
        raise CallerError(f"there is no event {event.type[:80]!r}", place="type", remedy="change.made or finding.made")

    async def take_alerts(self, source: Source, body: bytes, *, now_ns: int) -> dict[str, int]:
        """Take what Alertmanager sends: each firing alert about an agent that the source covers is a finding.

        Raises:
            CallerError: it is no payload of version 4.
        """
        counts = {"findings": 0, "resolved": 0, "without_agent": 0, "not_covered": 0, "own": 0}
        for alert in _read(body, _Alerts, "").alerts[:MAX_ALERTS]:
            agent = alert.labels.get(source.settings.agent_label, "")
            if alert.labels.get("alertname") == ALERT:
                # One of our own incidents that comes back would be a finding about itself.
                counts["own"] += 1
            elif alert.status == "resolved":
                # That it stopped is for whoever handles the incident to judge.
                counts["resolved"] += 1
            elif not agent:
                counts["without_agent"] += 1
            elif not source.covers(agent):
                counts["not_covered"] += 1
            else:
                counts["findings"] += 1
                await self._submit(FindingArrived(finding=_of_alert(source, alert, agent, now_ns)))
        return counts

    @staticmethod
    def _must_cover(source: Source, agent: str) -> None:
        if not source.covers(agent):
            raise ForbiddenError(f"source {source.name!r} does not speak about {visible(agent, 80)!r}")


def change_log(change: ChangeData, *, source: str, number: str, at_ns: int) -> bytes:
    """A change as an OTLP/JSON log export, as the SDK reports its own."""
    attributes = {
        "event.name": "andoncord.change",
        "gen_ai.agent.name": change.agent,
        "andoncord.change.kind": change.kind,
        "andoncord.change.from": change.before,
        "andoncord.change.to": change.after,
        "andoncord.source": source,
        "andoncord.source.event": number,
    }
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items() if value]
    record = {"timeUnixNano": str(at_ns), "eventName": "andoncord.change", "attributes": pairs}
    return msgspec.json.encode({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})


def _of_alert(source: Source, alert: _Alert, agent: str, now_ns: int) -> Finding:
    labels, said = alert.labels, alert.annotations
    name = labels.get("alertname", "alert")
    onset_ns = _nanoseconds(alert.starts_at) or now_ns
    return _finding(
        source,
        key=f"{alert.fingerprint or sorted(labels.items())} {onset_ns}",
        agent=agent,
        severity=_SEVERITIES.get(labels.get("severity", "").lower(), Severity.MEDIUM),
        category=_word(Category, labels.get("category")),
        pattern=_word(Pattern, labels.get("pattern")),
        summary=f"{name}: {said.get('summary') or said.get('description') or 'firing'}",
        at_ns=now_ns,
        onset_ns=min(onset_ns, now_ns),
    )


def _finding(
    source: Source,
    *,
    key: str,
    agent: str,
    severity: Severity,
    category: Category | None,
    pattern: Pattern | None,
    summary: str,
    at_ns: int,
    onset_ns: int = 0,
    trace_id: str = "",
    run_id: str = "",
) -> Finding:
    """A finding that opens an incident and does nothing by itself: what others measured is for a person to act on."""
    return Finding(
        id=stable_digest("source", source.name, key),
        rule=f"source:{source.name}",
        agent=agent,
        severity=severity,
        category=category or source.settings.category,
        pattern=pattern or source.settings.pattern,
        score=1.0,
        summary=visible(redact_text(summary)[0], 400),
        at_ns=at_ns,
        onset_ns=onset_ns or at_ns,
        mode=Mode.ALERT,
        trusted=True,
        trace_id=visible(trace_id, 64),
        run_id=visible(run_id, 128),
        source=source.name,
    )


def _nanoseconds(at: datetime | None) -> int:
    if at is None:
        return 0
    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return math.floor(seconds) * SECOND_NS + at.microsecond * 1_000 if seconds > 0 else 0


def _word(words: type[Word], said: str | None) -> Word | None:
    """The word of a vocabulary that a label says, if it is one."""
    return next((word for word in words if word.value == said), None)


def _read(body: bytes | msgspec.Raw, kind: type[Read], place: str) -> Read:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise CallerError(f"not what is expected here: {wrong}", place=place or "body") from None
